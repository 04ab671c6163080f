"""Settings every test runs under."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports pyplot: tests draw into files, never onto a screen.
os.environ["MPLBACKEND"] = "Agg"

# Contract suites are not named test_*; let their asserts explain themselves too.
pytest.register_assert_rewrite("tests.contracts")

# The same examples on every run and machine, and no verdict that depends on how busy the machine is.
settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")
