"""An export as a whole: every format's files, and the digests by which a later reader knows that nothing was changed or cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from nas_engine.errors import FileFormatError
from nas_engine.exporters.exporter import Exporter, ExportSubject
from nas_engine.exporters.manifest import manifest
from nas_engine.integer.memory_plan import plan_memory
from nas_engine.integer.store import SavedModel

DIGESTS = "SHA256SUMS"
"""List of SHA-256 digests as ``sha256sum --check`` reads it."""

_REMEDY = "export again with nas-search export RUN"


def subject_of(saved: SavedModel, device: str | None = None) -> ExportSubject:
    """Return what exporters take.

    Args:
        saved: An integer model with its golden vectors.
        device: Name of the device profile, for the manifest.

    Raises:
        QuantisationError: Steps that do not form a chain of inverted residuals.
    """
    plan = plan_memory(saved.model)
    return ExportSubject(model=saved.model, golden=saved.golden, plan=plan, manifest=manifest(saved.model, plan, device=device))


def export_files(subject: ExportSubject, exporters: Iterable[Exporter]) -> dict[str, bytes]:
    """Return all files by their path in the export directory, with the list of their digests.

    Raises:
        ExportError: A format cannot carry this network.
    """
    files: dict[str, bytes] = {}
    for exporter in exporters:
        files |= exporter.files(subject)
    return {**files, DIGESTS: digest_list(files)}


def digest_list(files: Mapping[str, bytes]) -> bytes:
    """Return the list of digests of files."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def check_export(folder: Path) -> tuple[str, ...]:
    """Return the names of an export's files after comparing each with its digest.

    Raises:
        FileFormatError: A file is missing, cut off or changed; names it.
    """
    path = folder / DIGESTS
    try:
        rows = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise FileFormatError(path, f"is missing or damaged; {_REMEDY}") from error
    if not rows or any(len(row) != 2 or len(row[0]) != 64 for row in rows):
        raise FileFormatError(path, f"is no list of SHA-256 digests; {_REMEDY}")
    for digest, name in rows:
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise FileFormatError(folder / name, f"cannot be read ({error.strerror}); {_REMEDY}") from error
        if found != digest:
            raise FileFormatError(folder / name, f"was changed or cut off after the export; {_REMEDY}")
    return tuple(name for _, name in rows)
