"""One fault: the n-th call of a kind fails, in a process that ends soon."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ERRORS = {
    "open": (errno.EMFILE, errno.EACCES, errno.EIO),
    "read": (errno.EIO, errno.ENOMEM),
    "write": (errno.ENOSPC, errno.EDQUOT, errno.EIO),
    "fsync": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EIO, errno.ENOSPC, errno.EACCES),
    "folder": (errno.EIO, errno.ENOSPC, errno.EACCES),
    "array": (),
}
"""Error codes by kind of call, used in turn; an array fails with ``MemoryError``. ``folder`` is
making, listing and removing."""


class _Raw(io.FileIO):
    """A file whose reads and writes can fail."""

    fault: Fault
    place: str

    def readinto(self, buffer: Any) -> Any:
        self.fault.met("read", self.place)
        return super().readinto(buffer)

    def read(self, size: int | None = -1) -> Any:
        self.fault.met("read", self.place)
        return super().read(-1 if size is None else size)

    def readall(self) -> Any:
        self.fault.met("read", self.place)
        self.fault.met("array", f"all of {self.place}")
        return super().readall()

    def write(self, data: Any) -> Any:
        self.fault.met("write", self.place)
        return super().write(data)


@dataclass(slots=True)
class Fault:
    """Counts calls of one kind on files below some roots and lets one of them, or all from one on,
    fail.

    Args:
        kind: Key of ``ERRORS``.
        number: Which call fails, from 1; 0: none.
        roots: Files and folders whose calls count.
        lasting: Whether all later ones fail too.
        repeats: How often the same chain of lines counts, so that a loop over images is not met
            once per image; 0: always.
    """

    kind: str
    number: int
    roots: tuple[str, ...]
    lasting: bool = False
    repeats: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    place: str = ""
    _seen: Counter[Any] = field(default_factory=Counter)

    def met(self, kind: str, place: str) -> None:
        """Count a call, and raise if it is the one."""
        if self.repeats and kind == self.kind and not self.place and not self._is_new(place):
            return
        self.counts[kind] += 1
        count = self.counts[kind]
        if kind != self.kind or not self.number:
            return
        if count == self.number or (self.lasting and count > self.number):
            self.place = self.place or place
            if kind == "array":
                raise MemoryError
            code = ERRORS[kind][self.number % len(ERRORS[kind])]
            raise OSError(code, os.strerror(code), place)

    def _is_new(self, place: str) -> bool:
        """Return whether a chain of lines of the project led here fewer than ``repeats`` times,
        with a file of this ending.
        """
        frame, chain = sys._getframe(2), [Path(place).suffix]
        while frame.f_back is not None:
            frame = frame.f_back
            if str(frame.f_globals.get("__name__", "")).startswith("nas_engine"):
                chain.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        key = tuple(chain)
        self._seen[key] += 1
        return self._seen[key] <= self.repeats

    def note(self) -> dict[str, Any]:
        """Return what was met: the place of the fault, empty where there was none, and counts."""
        return {"place": self.place, "counts": dict(self.counts)}

    def inside(self, place: object) -> str:
        """Return the absolute path of what is below a root, else nothing."""
        if isinstance(place, int):
            with contextlib.suppress(OSError):
                place = os.readlink(f"/proc/self/fd/{place}")
        if not isinstance(place, str | bytes | os.PathLike):
            return ""
        path = os.path.abspath(os.fsdecode(place))
        return (
            path if any(path == root or path.startswith(f"{root}/") for root in self.roots) else ""
        )

    def arm(self) -> None:
        """Put this into the place of Python's calls, for good: meant for a child that ends soon."""
        self._files()
        for kind, names in {
            "fsync": ("fsync", "fdatasync"),
            "rename": ("replace", "rename", "link"),
            "folder": ("mkdir", "rmdir", "unlink", "remove", "listdir", "scandir"),
        }.items():
            for name in names:
                setattr(os, name, self._counted(kind, getattr(os, name)))
        if self.kind == "array":
            self._arrays()
        shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]

    def _counted(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if args and (place := self.inside(args[0])):
                self.met(kind, place)
            return call(*args, **kwargs)

        return counted

    def _files(self) -> None:
        real, real_os = io.open, os.open

        def opened(
            file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any
        ) -> Any:
            place = self.inside(file)
            if not place:
                return real(file, mode, buffering, *args, **kwargs)
            if not isinstance(file, int):
                self.met("open", place)
            names = ("encoding", "errors", "newline", "closefd", "opener")
            given = dict(zip(names, args, strict=False)) | kwargs
            plain = mode.replace("b", "").replace("t", "")
            raw = _Raw(file, plain, given.get("closefd", True), given.get("opener"))
            raw.fault, raw.place = self, place
            if buffering == 0:
                return raw
            if "+" in mode:
                buffer: Any = io.BufferedRandom(raw)
            else:
                buffer = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return buffer
            told = {name: given.get(name) for name in ("encoding", "errors", "newline")}
            text = io.TextIOWrapper(buffer, **told, line_buffering=buffering == 1)  # type: ignore[arg-type]
            text.mode = mode  # type: ignore[misc]
            return text

        def opened_by_number(path: Any, *args: Any, **kwargs: Any) -> int:
            if kwargs.get("dir_fd") is None and (place := self.inside(path)):
                self.met("open", place)
            return real_os(path, *args, **kwargs)

        builtins.open = io.open = opened  # type: ignore[assignment]
        os.open = opened_by_number

    def _arrays(self) -> None:
        import numpy as np
        from numpy.lib.npyio import NpzFile
        from PIL import Image

        owners: list[tuple[Any, tuple[str, ...]]] = [
            (np, ("load", "frombuffer", "fromfile", "genfromtxt", "loadtxt")),
            (np.lib.format, ("read_array",)),
            (NpzFile, ("__getitem__",)),
            (Image, ("open",)),
            (Image.Image, ("load", "resize")),
        ]
        if torch := sys.modules.get("torch"):
            owners += [(torch, ("load", "frombuffer")), (torch.jit, ("load",))]
        for owner, names in owners:
            for name in names:
                setattr(owner, name, self._array(name, getattr(owner, name)))

    def _array(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            self.met("array", name)
            return call(*args, **kwargs)

        return made
