"""Checkpoints: a search state as one file; a kill at any moment leaves the last complete one.

The file is an ``.npz`` followed by its SHA-256 digest (32 bytes, which readers of zip archives
skip): truncation and changes are detected before anything is read.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from nas_engine.arrays import stored_arrays
from nas_engine.errors import FileFormatError
from nas_engine.evolution.evaluation import Candidates
from nas_engine.evolution.search import SearchState
from nas_engine.files import write_atomically
from nas_engine.reading import LARGE_FILE, parsing, read_regular

FORMAT = "nas-search/checkpoint/1"
"""Version of the file; another one is refused."""

_DIGEST_BYTES = hashlib.sha256().digest_size
_PARTS = ("population", "front")


def save_state(path: Path, state: SearchState, fingerprint: str) -> None:
    """Write a state as an ``.npz`` without pickles, and its digest.

    Args:
        path: The file; replaced at once, or not at all.
        state: The state.
        fingerprint: Names the problem and settings that the state belongs to.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the previous checkpoint is
            still there.
    """
    head = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "generation": state.generation,
        "evaluated": state.evaluated,
    }
    arrays = {
        f"{part}_{name}": getattr(getattr(state, part), name)
        for part in _PARTS
        for name in Candidates.__slots__
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, head=np.array(json.dumps(head)), **arrays)
    data = buffer.getvalue()
    write_atomically(path, data + hashlib.sha256(data).digest())


def load_state(path: Path, fingerprint: str) -> SearchState:
    """Return the state of a checkpoint.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Cut in half, changed, of another version, or of another problem.
    """
    content = read_regular(path, LARGE_FILE, "put it back, or start again with --force")
    data, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if not data or hashlib.sha256(data).digest() != digest:
        raise FileFormatError(
            path,
            "is not a whole checkpoint (cut off or damaged); put a copy back, or start again with "
            "--force",
        )
    with parsing(
        path, "is no checkpoint of a search; put a copy back, or start again with --force"
    ):
        arrays = stored_arrays(data)
        head = json.loads(str(arrays["head"]))
        if head["format"] != FORMAT:
            raise FileFormatError(
                path,
                f"is a checkpoint of version {head['format']!r}, this is {FORMAT!r}; start again "
                "with --force",
            )
        if head["fingerprint"] != fingerprint:
            raise FileFormatError(
                path,
                "belongs to another search (was the device or the space file changed?); put it "
                "back, or start again with --force",
            )
        for part in _PARTS:  # files of 0.1.0 lack them
            for name, kind in (("noise", np.float64), ("group", np.int64)):
                arrays.setdefault(f"{part}_{name}", np.zeros(arrays[f"{part}_score"].shape, kind))
        population, front = (
            Candidates(**{name: arrays[f"{part}_{name}"] for name in Candidates.__slots__})
            for part in _PARTS
        )
        return SearchState(
            generation=int(head["generation"]),
            evaluated=int(head["evaluated"]),
            population=population,
            front=front,
        )
