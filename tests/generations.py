"""Searches with small generations, so that a test can afford several."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from nas_engine.evolution.search import SearchSettings

CHUNK, CHUNKS = 256, 4
GENERATION = CHUNK * CHUNKS
"""Networks of one generation, in which a search spends its candidates."""

SMALL_SETTINGS = functools.partial(SearchSettings, chunk=CHUNK, chunks=CHUNKS, population=128)
"""Stands in for ``nas_engine.pipeline.search.SearchSettings``."""

SMALL_SETTINGS_CODE = (
    "import nas_engine.pipeline.search, tests.generations\n"
    "nas_engine.pipeline.search.SearchSettings = tests.generations.SMALL_SETTINGS\n"
)
"""The same for another process."""

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
"""Environment in which another process finds the packages."""


def python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs code with small generations."""
    return [sys.executable, "-c", SMALL_SETTINGS_CODE + code, *arguments]
