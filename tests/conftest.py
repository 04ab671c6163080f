"""Settings every test runs under."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports pyplot: tests draw into files, never onto a screen.
os.environ["MPLBACKEND"] = "Agg"

# Kernels of training are built once for all tests, and not into the user's own folder.
os.environ.setdefault(
    "NAS_SEARCH_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "nas-search")
)

# Before anything imports torch: tests run side by side, and its threads would wait for each other
# spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background ignores Ctrl-C for them and their children; some
# of them are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Contract suites are not named test_*; let their asserts explain themselves too.
pytest.register_assert_rewrite("tests.contracts", "nas_engine.testing")

# The same examples on every run and machine, and no verdict that depends on how busy the machine
# is.
settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")
