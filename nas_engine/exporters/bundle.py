"""An export as a whole: every format's files, and the digests by which a later reader knows that nothing was changed or cut."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nas_engine.errors import FileFormatError, UnknownNameError
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.manifest import ManifestExporter, manifest
from nas_engine.exporters.settings import FILE as SETTINGS
from nas_engine.exporters.settings import ExportSettings, settings_file, versions_for
from nas_engine.exporters.table import EXPORTERS
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


def formats_of(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return formats in the order of the table, the manifest, which is always written, left out: those named, or all.

    Raises:
        UnknownNameError: There is no such format.
    """
    known = [name for name in EXPORTERS if name != ManifestExporter.name]
    for name in names or ():
        if name not in known:
            raise UnknownNameError("format", name, known)
    return tuple(name for name in known if names is None or name in names)


def missing_for(formats: Sequence[str]) -> dict[str, str]:
    """Return, by format, the line about the package that is not installed; nothing for those that can be written."""
    return {name: line for name in formats if (line := EXPORTERS[name].missing()) is not None}


def export_files(subject: ExportSubject, settings: ExportSettings, versions: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Return every file of an export by its path in the export directory: the settings and the list of digests are among them.

    The same subject and settings give the same bytes, with the same versions of what writes them: ``nas-search export`` and
    ``nas-search verify`` both call this.

    Args:
        subject: The network.
        settings: What to write.
        versions: What ``settings.json`` says of versions; the installed ones if ``None``.

    Raises:
        UnknownNameError: There is no such format.
        ExportError: A format cannot carry this network, or its package is missing.
    """
    subject = replace(subject, settings=settings)
    files: dict[str, bytes] = {}
    for name in (ManifestExporter.name, *formats_of(settings.formats)):
        files |= EXPORTERS[name].files(subject)
    files[SETTINGS] = settings_file(settings, versions_for(settings) if versions is None else versions)
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
