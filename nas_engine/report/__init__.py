"""Reports: what a network and a run amount to, as records, tables and pictures.

Compute, then draw.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)


class _Callable(ModuleType):
    """The package itself: ``nas_engine.report(run)`` is ``nas_engine.write_report(run)``."""

    def __call__(self, run: Any) -> Path:
        from nas_engine.report.write import write_report

        return write_report(run.directory.path if hasattr(run, "directory") else Path(run))


sys.modules[__name__].__class__ = _Callable
