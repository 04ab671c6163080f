"""Checkpoints: a search state as one file, written so that a kill at any moment leaves the last whole one."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from nas_engine.errors import FileFormatError
from nas_engine.evolution.evaluation import Candidates
from nas_engine.evolution.search import SearchState
from nas_engine.files import write_atomically

FORMAT = "nas-search/checkpoint/1"
"""Version of the file; another one is refused."""


def save_state(path: Path, state: SearchState, fingerprint: str) -> None:
    """Write a state as an ``.npz`` without pickles.

    Args:
        path: The file; replaced at once, or not at all.
        state: The state.
        fingerprint: Names the problem and settings that the state belongs to.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the previous checkpoint is still there.
    """
    head = {"format": FORMAT, "fingerprint": fingerprint, "generation": state.generation, "evaluated": state.evaluated}
    arrays = {f"{part}_{name}": getattr(getattr(state, part), name) for part in ("population", "front") for name in Candidates.__slots__}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, head=np.array(json.dumps(head)), **arrays)
    write_atomically(path, buffer.getvalue())


def load_state(path: Path, fingerprint: str) -> SearchState:
    """Return the state of a checkpoint.

    Raises:
        FileFormatError: Cut in half, of another version, or of another problem.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            head = json.loads(str(data["head"]))
            if head["format"] != FORMAT:
                raise FileFormatError(path, f"is a checkpoint of version {head['format']!r}, this is {FORMAT!r}; start again with --force")
            if head["fingerprint"] != fingerprint:
                raise FileFormatError(path, "belongs to a search with other options; resume with the same ones or start again with --force")
            population, front = (
                Candidates(**{name: data[f"{part}_{name}"] for name in Candidates.__slots__}) for part in ("population", "front")
            )
            return SearchState(generation=head["generation"], evaluated=head["evaluated"], population=population, front=front)
    except FileFormatError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(path, "is not a whole checkpoint (cut off or damaged); start again with --force") from error
