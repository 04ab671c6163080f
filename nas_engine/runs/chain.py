"""Chain of digests: the inputs of each record of a run, compared with the files there. No torch.

Digests find mixing, accident and age, not forgery: who changes a file can change its digest
too. A record without digests, as nas-search 0.1.0 wrote them or a hand edited them, cannot be
checked; it is neither refused nor ever called proven.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from nas_engine.architecture import Architecture, dump_architecture, read_architecture
from nas_engine.datasets.digits import WORD as DIGITS
from nas_engine.datasets.records import Labels, Pixels
from nas_engine.digests import NONE, digests, file_digest
from nas_engine.errors import FileFormatError
from nas_engine.escaping import command_line
from nas_engine.reading import UnreadableError
from nas_engine.runs.epochs import read_epochs
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.sealed import Seal, read_sealed_json

RESULT = "training/result.json"
EXPORT = "export/settings.json"
VERIFICATION = "verification.json"
LAYER_ERRORS = "layer_errors.json"
ALLOCATION = "allocation.json"
COMPARISON = "refine/comparison.json"

DATA = "data"
"""Key of the fingerprint of the images that a record was made with; it is no file."""

_BEST = "best.yaml"
_INTEGERS = ("integer/model.json", "integer/model.npz")
_WEIGHTS = ("training/float.pt", "training/network.pt")
_COURSE = ("training/recipe.yaml", "training/classes.json", "training/metrics.jsonl")
_TEACHER = ("training/teacher/network.pt", "training/teacher/metrics.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a run."""

    inputs: tuple[str, ...]
    """Files it is made of, below the run directory; a folder means its whole content."""
    mend: tuple[str, ...]
    """The command that makes it anew: a verb, and options behind the run."""


CHAIN: Mapping[str, Record] = {
    RESULT: Record(
        inputs=(_BEST, "start.pt", *_COURSE, *_TEACHER, *_WEIGHTS, *_INTEGERS),
        mend=("train", "--force"),
    ),
    EXPORT: Record(inputs=_INTEGERS, mend=("export",)),
    VERIFICATION: Record(inputs=(*_INTEGERS, "export"), mend=("verify",)),
    LAYER_ERRORS: Record(inputs=("training/network.pt", *_INTEGERS), mend=("evaluate", "--layers")),
    ALLOCATION: Record(inputs=(_BEST, "start.pt", "classes.json"), mend=("refine", "--force")),
    COMPARISON: Record(inputs=(_BEST, *_WEIGHTS), mend=("refine", "--force")),
}
"""Dependencies: each record of a run directory with the files that it is made of."""


class Standing(StrEnum):
    """How a record and the files that it is made of go together."""

    FITS = "fits"
    """They are the very files that it names."""
    STALE = "stale"
    """They are others: changed since, gone, added, or of another run."""
    UNCHECKED = "not checked"
    """It names none, or was edited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of checking a record."""

    record: Path
    """The record."""
    standing: Standing
    """State of the record."""
    problem: str = ""
    """Mismatch, if it is stale."""
    command: str = ""
    """The command that makes it anew."""

    def error(self) -> FileFormatError:
        """Return (not raise) the error about a record that is stale."""
        return FileFormatError(
            self.record,
            f"is not of the files beside it ({self.problem}); put them back, or type: "
            f"{self.command}",
        )


def made_of(directory: RunDirectory, record: str) -> dict[str, str]:
    """Return the digests of the files that a record is made of, by path below the run directory.

    Missing files are left out.

    Of ``best.yaml`` the network counts, not how it is written; of the epochs of a training what was
    measured, not how long it took.

    Raises:
        UnreadableError: The operating system refuses.
    """
    found: dict[str, str] = {}
    for name in CHAIN[record].inputs:
        path = directory.path / name
        found |= (
            {name: _content_digest(path)}
            if path.name in _OF_CONTENT
            else digests(directory.path, [path])
        )
    return {name: digest for name, digest in found.items() if digest != NONE}


def network_digest(network: Architecture) -> str:
    """Return the digest of a network: of what its file says, comments apart."""
    lines = dump_architecture(network).splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    return hashlib.sha256(text.encode()).hexdigest()


def _best_digest(path: Path) -> str:
    return network_digest(read_architecture(path))


def _epochs_digest(path: Path) -> str:
    rows = [
        {key: value for key, value in row.items() if key != "elapsed_s"}
        for row in read_epochs(path)
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _content_digest(path: Path) -> str:
    """Return the digest of a file's content; of its bytes if damaged, ``NONE`` if missing."""
    try:
        return _OF_CONTENT[path.name](path)
    except UnreadableError as error:
        if not error.missing:  # a failing disk or missing rights make nothing stale
            raise
        return NONE
    except FileFormatError:
        return file_digest(path)


_OF_CONTENT: Mapping[str, Callable[[Path], str]] = {
    _BEST: _best_digest,
    "metrics.jsonl": _epochs_digest,
}
"""Files of which something else than their bytes counts."""


def of_allocation(network: Architecture, run: RunDirectory) -> dict[str, str]:
    """Return the digests of what ``allocation.json`` is made of, before ``best.yaml`` is written.

    Raises:
        UnreadableError: The operating system refuses.
    """
    found = {
        _BEST: network_digest(network),
        **{path.name: file_digest(path) for path in (run.start, run.classes)},
    }
    return {name: digest for name, digest in found.items() if digest != NONE}


def images_digest(*arrays: Pixels | Labels) -> str:
    """Return the fingerprint of images and labels: SHA-256 of types, shapes and bytes of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()


def check(directory: RunDirectory, record: str) -> Finding:
    """Return True if an existing record matches the files next to it.

    Raises:
        UnreadableError: The operating system refuses.
        FileFormatError: A damaged record, or one that was changed by hand.
    """
    path, command = directory.path / record, mend(directory, record)
    values, seal = read_sealed_json(path, f"type: {command}")
    if record == RESULT and isinstance(data := values.get("data"), str):
        command = mend(directory, record, "--data", data if data == DIGITS else Path(data))
    named = values.get("made_of")
    if seal is not Seal.FITS or not isinstance(named, dict):
        return Finding(record=path, standing=Standing.UNCHECKED, command=command)
    problem = _difference(
        {name: digest for name, digest in named.items() if name != DATA}, made_of(directory, record)
    )
    return Finding(
        record=path,
        standing=Standing.STALE if problem else Standing.FITS,
        problem=problem,
        command=command,
    )


def require(directory: RunDirectory, record: str) -> None:
    """Refuse an existing record that does not match the files next to it.

    Raises:
        UnreadableError: The operating system refuses.
        FileFormatError: It is stale, damaged, or was changed by hand; says which file, and the
            command that mends it.
    """
    finding = check(directory, record)
    if finding.standing is Standing.STALE:
        raise finding.error()


def _difference(named: Mapping[str, Any], found: Mapping[str, str]) -> str:
    """Return in words the first file that a record does not match, and how many more; or ""."""
    wrong = [name for name in sorted({**named, **found}) if named.get(name) != found.get(name)]
    if not wrong:
        return ""
    first = wrong[0]
    what = (
        "is another one"
        if first in named and first in found
        else "is gone"
        if first in named
        else "was not there"
    )
    return f"{first} {what}{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}"


def mend(directory: RunDirectory, record: str, *more: str | Path) -> str:
    """Return the command that makes a record anew, with more words behind it."""
    verb, *options = CHAIN[record].mend
    path = directory.path
    whole = PipelineDirectory(path.parent)
    if whole.started() and path in (whole.search.path, whole.network.path, whole.final.path):
        return command_line("nas-search", "run", "--out", path.parent)
    if record == ALLOCATION and path.parent.name == "refine":
        return command_line(
            "nas-search", verb, path.parents[1], "--method", path.name, *options, *more
        )
    return command_line("nas-search", verb, path, *options, *more)
