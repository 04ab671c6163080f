"""Complete export: the files of every format, and their digests.

The digests show a later reader that nothing was changed or truncated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nas_engine.costs.plan import plan_schedule
from nas_engine.digests import surplus
from nas_engine.errors import FileFormatError, UnknownNameError
from nas_engine.exporters.exporter import ExportSubject, check_supported
from nas_engine.exporters.manifest import MANIFEST_NAME, ManifestExporter, manifest
from nas_engine.exporters.settings import FILE as SETTINGS
from nas_engine.exporters.settings import PACKAGES, ExportSettings, settings_file, versions_for
from nas_engine.exporters.table import EXPORTERS
from nas_engine.integer.store import SavedModel
from nas_engine.names import ImageInput, Schedule
from nas_engine.parts import EXPORTER, adopt, blamed
from nas_engine.reading import read_regular

DIGESTS = "SHA256SUMS"
"""List of SHA-256 digests as ``sha256sum --check`` reads it."""

_LISTS = (DIGESTS, SETTINGS)


def subject_of(
    saved: SavedModel,
    device: str | None = None,
    *,
    schedule: Schedule = "layers",
    image: ImageInput = "whole",
    room: int | None = None,
) -> ExportSubject:
    """Return what exporters take.

    Args:
        saved: An integer model with its golden vectors.
        device: Name of the device profile, for the manifest.
        schedule: How the units of the C export run.
        image: How the image comes to it.
        room: Bytes that its arena may take; without them it is the smallest.

    Raises:
        ExportError: A node that the formats do not run.
        InputError: The image comes by rows, which the network cannot take.
    """
    check_supported(saved.model)
    plan = plan_schedule(saved.model, schedule, image, room)
    return ExportSubject(
        model=saved.model,
        golden=saved.golden,
        plan=plan,
        manifest=manifest(saved.model, plan, device=device),
    )


def formats_of(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the named formats, or all, in the order of the table; a user's own are put into it.

    The manifest, which is always written, is left out.

    Raises:
        UnknownNameError: There is no such format.
    """
    wanted = None
    if names is not None:
        try:
            wanted = [adopt(EXPORTER, name, EXPORTERS) for name in names]
        except UnknownNameError as error:
            others = (name for name in error.choices if name != ManifestExporter.name)
            raise UnknownNameError("format", error.name, others) from error
    known = [name for name in EXPORTERS if name != ManifestExporter.name]
    if wanted is not None and ManifestExporter.name in wanted:
        raise UnknownNameError("format", ManifestExporter.name, known)
    return tuple(name for name in known if wanted is None or name in wanted)


def missing_for(formats: Sequence[str]) -> dict[str, str]:
    """Return, by format, a line about its package that is not installed.

    Formats that can be written have no entry.
    """
    return {name: line for name in formats if (line := EXPORTERS[name].missing()) is not None}


def export_files(
    subject: ExportSubject,
    settings: ExportSettings,
    versions: Mapping[str, str] | None = None,
    made_of: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Return every file of an export by its path in the export directory.

    The settings and the list of digests are among them.

    The same subject and settings give the same bytes, with the same versions of what writes them:
    ``nas-search export`` and ``nas-search verify`` both call this.

    Args:
        subject: The network.
        settings: What to write.
        versions: What ``settings.json`` says of versions; the installed ones if ``None``.
        made_of: What it says of the files of the integer model: their digests by path below the run
            directory.

    Raises:
        UnknownNameError: There is no such format.
        ExportError: A format cannot carry this network, or its package is missing.
    """
    subject = replace(subject, settings=settings)
    files: dict[str, bytes] = {}
    for name in (ManifestExporter.name, *formats_of(settings.formats)):
        with blamed(EXPORTER, name, EXPORTERS[name]):
            files |= EXPORTERS[name].files(subject)
    files[SETTINGS] = settings_file(
        settings, versions_for(settings) if versions is None else versions, made_of
    )
    return {**files, DIGESTS: digest_list(files)}


def digest_list(files: Mapping[str, bytes]) -> bytes:
    """Return the list of digests of files."""
    return "".join(
        f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)
    ).encode()


def check_export(
    folder: Path,
    subject: ExportSubject,
    settings: ExportSettings,
    versions: Mapping[str, str],
    made_of: Mapping[str, str],
    remedy: str,
) -> dict[str, bytes]:
    """Return the newly written files of an export after comparing those in a folder with them.

    Files are compared name by name and byte by byte.

    The files in the folder are looked at, nothing more: a user who builds, loads or runs an export
    takes the bytes that come back.

    Args:
        folder: The export directory.
        subject: The network that it is to be of.
        settings: What it was made with.
        versions: Versions of what wrote it.
        made_of: Digests of the files of the integer model.
        remedy: The command that mends it, for messages.

    Raises:
        UnreadableError: The operating system refuses.
        FileFormatError: A file that is missing, changed, or not one of the export; another network,
            or other versions. Names the first.
        ExportError: A format cannot carry this network, or its package is missing.
    """
    files = export_files(subject, settings, versions, made_of)
    problem = _difference(folder, files)
    if problem is None:
        return files
    name, what = problem
    others = {
        package: (found, versions[package])
        for package, found in versions_for(settings).items()
        if found != versions[package]
    }
    if culprits := {
        package: pair
        for package, pair in others.items()
        if _writes(package, name, subject, settings)
    }:
        then, now = (
            " and ".join(f"{package} {pair[which]}" for package, pair in culprits.items())
            for which in (1, 0)
        )
        raise FileFormatError(
            folder,
            f"was written by {then}; here is {now}, which writes other bytes ({name}); {remedy}",
        )
    raise FileFormatError(folder / name, f"{what}; {remedy}")


def _difference(folder: Path, files: Mapping[str, bytes]) -> tuple[str, str] | None:
    """Return the first difference between a folder and ``files``, ``None`` if there is none.

    The difference is the path below the folder and what is wrong with it.
    """
    if (added := surplus(folder, files)) is not None:
        name, kind = added
        return name, f"is {kind} that the export did not write"
    differing = []
    for name, content in files.items():
        path = folder / name
        try:
            if path.stat().st_size != len(content) or read_regular(path, len(content)) != content:
                differing.append(name)
        except FileNotFoundError:
            return name, "is missing"
    if not differing:
        return None
    if MANIFEST_NAME in differing and len(differing) > len(_LISTS) + 1:
        return MANIFEST_NAME, "is that of another training or device"
    first = next((name for name in differing if name not in _LISTS), differing[0])
    return first, "was changed or cut off after the export"


def _writes(package: str, name: str, subject: ExportSubject, settings: ExportSettings) -> bool:
    """Return whether a package decides the bytes of an exported file."""
    formats = [one for one in settings.formats if PACKAGES.get(one) == package]
    return package not in PACKAGES.values() or any(
        name in EXPORTERS[one].files(subject) for one in formats
    )
