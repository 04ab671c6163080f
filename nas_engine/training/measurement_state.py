"""Sums of a long measurement, kept in a file so that it can be stopped and go on."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas_engine.allocation.problem import Floats
from nas_engine.arrays import stored_arrays
from nas_engine.errors import FileFormatError
from nas_engine.files import write_atomically
from nas_engine.reading import LARGE_FILE, parsing, read_regular

FORMAT = "nas-search/sensitivities/1"
"""Version of a state file."""

SAVE_EVERY_S = 60.0
"""Seconds between state files (chosen here)."""

Shapes = dict[str, tuple[int, ...]]
"""Shapes of arrays by name."""


@dataclass(kw_only=True, eq=False)
class MeasurementState:
    """Partial sums of a measurement.

    Parts of the work are added in one order, each wholly or not at all, so that resuming changes no
    bit.
    """

    path: Path | None
    """Where it is kept, if anywhere."""
    fingerprint: dict[str, str]
    """Settings that the sums depend on, by their name in messages."""
    total: int
    """Parts of the work."""
    arrays: dict[str, Floats]
    """The sums by name; zeros at first."""
    done: int = 0
    """Parts that are in the sums."""
    seconds: float = 0.0
    """Time that took, until the last save."""
    _began: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)

    def read(self) -> None:
        """Take over the state file, if it is there.

        Raises:
            UnreadableError: The operating system refuses.
            FileFormatError: It is damaged, or of something else.
        """
        if self.path is None or not self.path.exists():
            return
        remedy = "delete it to measure again"
        content = read_regular(self.path, LARGE_FILE, "try again")
        with parsing(self.path, f"is damaged or no state of a measurement ({FORMAT}); {remedy}"):
            arrays = stored_arrays(content)
            head = json.loads(str(arrays.pop("head")))
            theirs, version = dict(head["fingerprint"]), head["format"]
            done, seconds = int(head["done"]), float(head["seconds"])
        different = [what for what, mine in self.fingerprint.items() if theirs.get(what) != mine]
        if (
            version != FORMAT
            or different
            or {name: array.shape for name, array in arrays.items()} != self._shapes()
        ):
            of = (
                f"with another {' and '.join(different)}"
                if different
                else "by another version of nas-search"
            )
            raise FileFormatError(self.path, f"was measured {of}; give the same again, or {remedy}")
        self.arrays, self.done, self.seconds = arrays, done, seconds

    def _shapes(self) -> Shapes:
        return {name: array.shape for name, array in self.arrays.items()}

    def save(self) -> None:
        """Write the state file, whole or not at all.

        Raises:
            StorageError: The disk is full; an older file stays.
        """
        now = time.monotonic()
        self.seconds, self._began, self._saved = self.seconds + now - self._began, now, now
        if self.path is None:
            return
        head = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "done": self.done,
            "seconds": self.seconds,
        }
        buffer = io.BytesIO()
        np.savez(buffer, head=np.array(json.dumps(head)), **self.arrays)  # type: ignore[arg-type]
        write_atomically(self.path, buffer.getvalue())

    def advance(self, **more: Floats) -> None:
        """Add what one part of the work gave."""
        for name, values in more.items():
            self.arrays[name] += values
        self.done += 1
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()
