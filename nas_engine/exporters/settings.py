"""ExportSettings: options that determine the bytes of an export.

They do so together with network and device; ``export/settings.json`` stores them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nas_engine import __version__
from nas_engine.errors import InputError, UnknownNameError, shortened
from nas_engine.names import Format
from nas_engine.records import read_sealed, sealed

FILE = "settings.json"
"""Name of the file in an export directory."""

FORMAT = "nas-search/export-settings/1"
"""First key of the file."""

PACKAGES: Mapping[str, str] = {Format.TFLITE: "flatbuffers", Format.ONNX: "onnx"}
"""The package that writes a format's bytes; formats without one are written by nas-search alone."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_PREFIX = re.compile(r"(?=.{1,31}\Z)[a-z][a-z0-9]*(_[a-z0-9]+)*")
_WORDS_OF_C = (
    # keywords of C
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return "
    "short signed sizeof static struct switch typedef union unsigned void volatile while "
    # headers of C, which a file of that name would hide
    "assert complex ctype errno fenv inttypes iso646 limits locale math setjmp signal stdalign "
    "stdarg stdatomic stdbool stddef stdint "
    "stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype "
    "main nas"
)
_TAKEN = frozenset(_WORDS_OF_C.split())

DEFAULT_PREFIX = "model"
"""Prefix of an export that shares a program with no other."""
_VERSION = re.compile(r"[0-9A-Za-z.+!_-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """Settings of an export; with the integer model and the device they determine every byte."""

    formats: tuple[str, ...]
    """Names of formats in the order of the table, without the manifest, which is always written."""
    prefix: str = DEFAULT_PREFIX
    """Start of every symbol, macro, section and file name of the C export."""
    metadata: bool = True
    """True if the TFLite files contain the manifest."""

    def __post_init__(self) -> None:
        if len(set(self.formats)) != len(self.formats) or not all(
            _NAME.fullmatch(name) for name in self.formats
        ):
            raise InputError(
                f"formats are {shortened(repr(list(self.formats)))}; expected names of formats, "
                "each once"
            )
        if not _PREFIX.fullmatch(self.prefix):
            expected = (
                "expected up to 31 lower-case letters and digits, a letter first, with single "
                "underscores between, such as 'cats_v2'"
            )
            raise InputError(f"the prefix is {shortened(repr(self.prefix))}; {expected}")
        if self.prefix in _TAKEN or self.prefix.startswith("nas_"):
            expected = (
                "expected another name: this one belongs to C (a keyword, a header, main) or to "
                "the runtime (nas)"
            )
            raise InputError(f"the prefix is '{self.prefix}'; {expected}")

    def options(self, formats: Sequence[str]) -> list[str]:
        """Return the options of ``nas-search export`` that give these settings.

        ``formats`` is the list of all available formats.
        """
        given = (
            ["--format", ",".join(self.formats)]
            if self.formats and self.formats != tuple(formats)
            else []
        )
        given += ["--prefix", self.prefix] if self.prefix != DEFAULT_PREFIX else []
        return given + ["--no-metadata"] * (not self.metadata)


PLAIN = ExportSettings(formats=())
"""The defaults, without a format."""


def versions_for(settings: ExportSettings) -> dict[str, str]:
    """Return the installed versions of the packages that write an export's bytes.

    These are nas-search and the packages of its formats.
    """
    found = {"nas-search": __version__}
    for package in _packages(settings):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _packages(settings: ExportSettings) -> list[str]:
    return sorted({PACKAGES[name] for name in settings.formats if name in PACKAGES})


def settings_file(
    settings: ExportSettings, versions: Mapping[str, str], made_of: Mapping[str, str] | None = None
) -> bytes:
    """Return the content of ``settings.json``.

    Args:
        settings: What the export is made with.
        versions: Versions of what writes it, as ``versions_for`` returns them.
        made_of: Digests of the files of the integer model, by path below the run directory.
    """
    stored = _Stored(
        formats=settings.formats,
        prefix=settings.prefix,
        metadata=settings.metadata,
        versions=versions,
    )
    return sealed(FORMAT, stored, made_of).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Content of ``settings.json``."""

    formats: tuple[str, ...]
    prefix: str
    metadata: bool
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        names = ("nas-search", *_packages(self.settings))
        for name in names:
            text = self.versions.get(name)
            if text is None or not _VERSION.fullmatch(text):
                found = "missing" if text is None else shortened(repr(text))
                raise InputError(f"versions.{name}: is {found}; expected a version")
        for name in self.versions:
            if name not in names:
                raise UnknownNameError("key in versions", name, names)

    @property
    def settings(self) -> ExportSettings:
        """Settings of the export."""
        return ExportSettings(formats=self.formats, prefix=self.prefix, metadata=self.metadata)


def read_settings(path: Path, remedy: str) -> tuple[ExportSettings, dict[str, str]]:
    """Return what an export was made with, and the versions of what wrote it.

    Args:
        path: The file.
        remedy: The command that mends it, for messages.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, changed, of another format, an unknown key, or values that no
            export has.
    """
    stored = read_sealed(_Stored, path, FORMAT, remedy, digest=True)
    return stored.settings, dict(stored.versions)
