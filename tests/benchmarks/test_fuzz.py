"""Wrong inputs through the whole command line, a few of every kind; hundreds: ``python -m
benchmarks.fuzz``.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.fuzz import cases

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


def test_a_seed_has_cases_of_every_kind_and_others_than_the_next_seed() -> None:
    kinds = [[cases.kind_of(seed, index) for index in range(900)] for seed in (0, 1)]
    assert kinds[0] != kinds[1]
    counts = Counter(kinds[0])
    assert set(counts) == set(cases.KINDS)
    assert min(counts.values()) >= 9


def test_a_few_wrong_inputs_end_with_one_line(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "benchmarks.fuzz", "--count", "40"]
    done = subprocess.run(
        [*words, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
