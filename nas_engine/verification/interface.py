"""Interface of an exported network under one name, whatever the prefix of its export.

Drivers and firmware include it.
"""

from __future__ import annotations

from pathlib import Path

from nas_engine.exporters.settings import DEFAULT_PREFIX, read_settings
from nas_engine.exporters.settings import FILE as SETTINGS
from nas_engine.reading import LARGE_FILE, read_regular

NAMES = (
    "init",
    "input",
    "invoke",
    "invoke_observed",
    "invoke_rows",
    "invoke_rows_observed",
    "observer",
    "row_source",
    "predict",
    "layer",
    "layer_info",
    "class_names",
)
"""Functions, types and array of an export's header, behind the prefix; no header has all."""

MACROS = (
    "INPUT_HEIGHT",
    "INPUT_WIDTH",
    "INPUT_CHANNELS",
    "CLASSES",
    "LAYERS",
    "IMAGE_BY_ROWS",
    "ARENA_BYTES",
)
"""Its macros."""


def prefix_of(export: Path) -> str:
    """Return the prefix of an export, the default one where it does not say.

    Raises:
        FileFormatError: Settings that are damaged or changed.
    """
    path = export / SETTINGS
    return (
        read_settings(path, "export the network again")[0].prefix
        if path.exists()
        else DEFAULT_PREFIX
    )


def asks_for_rows(sources: Path, prefix: str) -> bool:
    """Return whether a network takes its image row by row: then it holds no whole one.

    Args:
        sources: The folder ``c`` of an export.
        prefix: Its prefix.
    """
    header = sources / f"{prefix}.h"
    text = read_regular(header, LARGE_FILE) if header.is_file() else b""
    return f"#define {prefix.upper()}_IMAGE_BY_ROWS 1".encode() in text


def include_folders(sources: Path, prefix: str, work: Path) -> tuple[Path, ...]:
    """Return the folders in which ``#include "model.h"`` finds the network, in their order.

    Args:
        sources: The folder ``c`` of an export.
        prefix: Its prefix.
        work: Folder for what is written.
    """
    if prefix == DEFAULT_PREFIX:
        return (sources,)
    folder, upper = work / "interface", prefix.upper()
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f'#include "{prefix}.h"',
        *(f"#define {DEFAULT_PREFIX}_{name} {prefix}_{name}" for name in NAMES),
    ]
    lines += [f"#define {DEFAULT_PREFIX.upper()}_{name} {upper}_{name}" for name in MACROS]
    (folder / f"{DEFAULT_PREFIX}.h").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return (folder, sources)
