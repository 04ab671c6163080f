"""JSON files of a run changed with a digest that fits again, for tests of what a reader checks
beside the digest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nas_engine.sealed import seal_json


def content(path: Path) -> dict[str, Any]:
    """Return the values of a file without its digest."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    values.pop("sha256", None)
    return values


def rewrite(path: Path, values: dict[str, Any]) -> None:
    """Put values in the place of those of a file, with their digest."""
    path.write_text(seal_json(values), encoding="utf-8")


def change(path: Path, **values: Any) -> None:
    """Put other values behind some keys of a file."""
    rewrite(path, content(path) | values)
