"""Faults swept: the n-th open, read, write, flush to disk, rename or array of a command fails, for
n = 1, 2, ... until none is met.

python -m benchmarks.faults --stage export --kind write

From a prepared run, in forked children, as SQLite tests its own files. Faults are injected into
Python's own calls, for paths of the run, its data and its config alone. After each the command must
end with one line and exit code 1 or 2 that neither calls a file damaged nor puts one aside; then
the same command, undisturbed, must leave the very files of a run without faults, and no temporary
one. A fault that is met and survived (exit code 0) must come to the same files as well, or the
report must name what could not be read. ``--lasting 1`` lets every call from the n-th on fail, as a
full disk does.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import errno
import hashlib
import io
import itertools
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import small
from benchmarks.in_process import Outcome, in_child, warm

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

STAGES = ("search", "shortlist", "train", "refine", "quantise", "export", "verify", "report")
COMMANDS = (
    "train --resume",
    "evaluate",
    "evaluate images",
    "export alone",
    "verify alone",
    "report alone",
)

_DAMAGE = re.compile(
    r"damaged|cut off|corrupt|no whole|of another kind|plain arrays|put a copy back|is missing|no "
    r"such file",
    re.I,
)
_TEMPORARY = re.compile(r"\.tmp(/|$)|(^|/)\.|~$|\.partial|\.earlier|(^|/)tmp")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One stage or command, and what a folder holds before it."""

    name: str
    before: Path
    """The folder of the run as it is copied each time."""
    words: Callable[[Path], list[str]]
    """The command on a copy."""
    last: str = ""
    """The stage after which a whole run ends."""
    same: dict[str, str] = field(default_factory=dict)
    """Digest of all files that two undisturbed commands left alike, by name."""
    names: frozenset[str] = frozenset()
    """All files that it leaves."""
    code: int = 0
    """Its exit code without a fault: 1 for a whole run that ends before it verified anything."""

    def ended_well(self, outcome: Outcome) -> bool:
        """Return whether a command came to its end as without a fault."""
        return outcome.code == self.code and "error: " not in outcome.err

    def until_last(self) -> None:
        """Let a whole run in this process end with ``last``."""
        if self.last:
            import nas_engine.pipeline.run as run
            import nas_engine.runs.run_record as record

            kept = record.STAGES[: record.STAGES.index(self.last) + 1]
            run.STAGES = record.STAGES = kept  # type: ignore[assignment]


def files_of(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Sweep:
    """Prepared runs in a folder of their own, and the sweeps from them.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run, self.data = folder / "run", small.write_data(folder / "data")
        self.config = small.write_config(folder, self.data["npz"], "onnx")
        self.cases: dict[str, Case] = {}
        self._went_on: set[str] = set()

    def prepare(self, names: tuple[str, ...]) -> None:
        """Make what these stages and commands need, and learn what they leave undisturbed."""
        furthest = len(STAGES) if set(names) & set(COMMANDS) else 0
        furthest = max([furthest, *(STAGES.index(name) + 1 for name in names if name in STAGES)])
        finished = self.folder / "prepared" / "start"
        finished.mkdir(parents=True)
        for name in STAGES[:furthest]:
            case = Case(name=name, before=finished, words=self._whole, last=name)
            self.cases[name] = self._learnt(case, wanted=name in names)
            finished = self.folder / "prepared" / name
            shutil.copytree(self.run, finished)
        for name in names:
            if name in COMMANDS:
                self.cases[name] = self._learnt(self._command(name, finished), wanted=True)

    def _whole(self, run: Path) -> list[str]:
        return [
            "run",
            str(self.config),
            "--out",
            str(run),
            "--threads",
            "1",
            "--workers",
            "1",
            "-q",
        ]

    def _command(self, name: str, finished: Path) -> Case:
        final, data = "final", self.data
        before = finished
        if name == "train --resume":
            before = self.folder / "prepared" / "half"
            shutil.copytree(finished, before)
            at = before / "network"
            for left in ("training", "integer"):
                shutil.rmtree(at / left, ignore_errors=True)
            more = ["--data", str(data["npz"]), "--epochs", "3", "--threads", "1", "-q"]
            in_child(["train", str(at), *more, "--time-limit", "0.000001s"], self.folder)
            return Case(
                name=name,
                before=before,
                words=lambda run: ["train", str(run / "network"), *more, "--resume"],
            )
        typed: dict[str, list[str]] = {
            "evaluate": ["evaluate", final, "--layers", "--threads", "1", "-q"],
            "evaluate images": [
                "evaluate",
                final,
                "--data",
                str(data["images"]),
                "--threads",
                "1",
                "-q",
            ],
            "export alone": ["export", final, "-q"],
            "verify alone": [
                "verify",
                final,
                "--images",
                "2",
                "--emulated-images",
                "1",
                "--backend",
                "onnx",
                "-q",
            ],
            "report alone": ["report", "", "-q"],
        }
        verb, where, *more = typed[name]
        return Case(name=name, before=before, words=lambda run: [verb, str(run / where), *more])

    def _fresh(self, case: Case) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(case.before, self.run)

    def _once(self, case: Case, fault: Fault | None = None) -> Outcome:
        def before() -> None:
            case.until_last()
            if fault is not None:
                fault.arm()

        after = fault.note if fault is not None else dict
        return in_child(case.words(self.run), self.folder, before=before, after=after, work_s=300)

    def _learnt(self, case: Case, wanted: bool) -> Case:
        left, codes = [], set()
        for _ in range(2 if wanted else 1):
            self._fresh(case)
            done = self._once(case)
            if "error: " in done.err or done.code not in (0, 1):
                raise RuntimeError(f"{case.name}: undisturbed, exit code {done.code}: {done.err}")
            codes.add(done.code)
            left.append(files_of(self.run))
        first = left[0]
        same = {
            name: digest
            for name, digest in first.items()
            if all(other.get(name) == digest for other in left)
        }
        return replace(case, same=same, names=frozenset(first), code=codes.pop())

    def roots(self) -> tuple[str, ...]:
        """Return what faults are limited to."""
        return (
            str(self.run),
            str(self.folder / "data"),
            str(self.config),
            str(self.folder / "space.yaml"),
        )

    def sweep(
        self,
        name: str,
        kind: str,
        *,
        every: int = 1,
        first: int = 1,
        lasting: bool = False,
        repeats: int = 0,
    ) -> Iterator[Met]:
        """Yield what became of each n, until one is not met any more."""
        case = self.cases[name]
        for number in itertools.count(first, every):
            self._fresh(case)
            fault = Fault(kind, number, self.roots(), lasting, repeats)
            hit = self._once(case, fault)
            place = hit.note.get("place", "")
            if hit.note and not place:
                return
            wrong = self._wrong(case, kind, hit)
            state = f"{name} {self._state()}"
            if state not in self._went_on:
                found = self._again(case)
                wrong += found
                if not found:
                    self._went_on.add(state)
            shown = place.replace(str(self.folder), "")
            yield Met(case=name, kind=kind, number=number, place=shown, hit=hit, wrong=tuple(wrong))

    def _again(self, case: Case) -> list[str]:
        """Do the same command without a fault and return what is wrong with what it leaves."""
        again = self._once(case)
        wrong = [text for text in again.faults() if text != "no message"]
        if not case.ended_well(again):
            said = (again.err.strip().splitlines() or [""])[-1]
            wrong.append(f"exit code {again.code} ({said[:200]})")
        return [f"again: {text}" for text in (*wrong, *self._differs(case, ""))]

    def _state(self) -> str:
        """Return a digest of the folder as it is, but for times: what it leads to need be seen only
        once.
        """
        left = files_of(self.run)
        record = self.run / "run.json"
        if record.is_file():
            left["run.json"] = re.sub(
                r'"(seconds|sha256)": [^,\n]+', "", record.read_text(encoding="utf-8")
            )
        return hashlib.sha256(repr(sorted(left.items())).encode()).hexdigest()

    def _wrong(self, case: Case, kind: str, hit: Outcome) -> list[str]:
        wrong = [text for text in hit.faults(frozenset({0, 1, 2})) if text != "no message"]
        told = [line for line in hit.err.splitlines() if line.startswith("error: ")]
        if not told and not case.ended_well(hit):
            wrong.append("no error line")
        # A note may name what is no longer there; an error or a note must not call a fault of the
        # machine damage.
        if _DAMAGE.search(hit.err):
            wrong.append("told as damage")
        if case.ended_well(hit) and not self._said_on_the_page(case):
            wrong += self._differs(case, "survived: ", removal_failed=kind == "folder")
        if any(".earlier" in path.name for path in self.run.rglob("*")):
            wrong.append("put aside")
        return wrong

    def _said_on_the_page(self, case: Case) -> bool:
        """Return whether only the report differs, and names what could not be read."""
        left = files_of(self.run)
        other = [name for name, digest in case.same.items() if left.get(name) != digest]
        page = self.run / "report.html"
        return (
            all(name.startswith("report") for name in other)
            and "cannot be read (" in page.read_text()
            if page.exists()
            else False
        )

    def _differs(self, case: Case, when: str, removal_failed: bool = False) -> list[str]:
        left = files_of(self.run)
        wrong = []
        other = sorted(name for name, digest in case.same.items() if left.get(name) != digest)
        if other:
            wrong.append(f"{when}{len(other)} files differ ({', '.join(other[:3])})")
        more = sorted(set(left) - case.names)
        if removal_failed:  # what could not be removed is removed the next time
            more = [name for name in more if not _TEMPORARY.search(name)]
        if more:
            temporary = any(_TEMPORARY.search(name) for name in more)
            wrong.append(
                f"{when}{'temporary files' if temporary else 'more files'} ({', '.join(more[:3])})"
            )
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """One fault, and what became of it."""

    case: str
    kind: str
    number: int
    place: str
    hit: Outcome
    wrong: tuple[str, ...]
    """What is not as it must be; nothing where all is well."""

    def __str__(self) -> str:
        said = (self.hit.err.strip().splitlines() or [""])[-1]
        return (
            f"{self.case}, {self.kind} {self.number} ({self.place}): {'; '.join(self.wrong)} | "
            f"exit {self.hit.code}: {said[:300]}"
        )


def main() -> int:
    """Sweep, print a table of counts and every failure; the exit code says whether there was one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument(
        "--stage", action="append", choices=[*STAGES, *COMMANDS], help="default: all"
    )
    parser.add_argument("--kind", action="append", choices=list(ERRORS), help="default: all")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th n")
    parser.add_argument(
        "--seed", type=int, default=0, help="where to begin among the first --every"
    )
    parser.add_argument(
        "--lasting", type=int, default=0, help="1: every call from the n-th on fails"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="how often the same chain of lines counts; 0: always"
    )
    parser.add_argument("--folder", default="", help="where to work; default: a temporary folder")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    names, kinds = tuple(given.stage or (*STAGES, *COMMANDS)), tuple(given.kind or ERRORS)
    warm("nas_engine")
    failures: list[Met] = []
    with tempfile.TemporaryDirectory(dir=given.folder or None) as folder:
        sweep = Sweep(Path(folder))
        sweep.prepare(names)
        print(
            f"{'stage or command':18} {'kind':7} {'met':>5} {'told':>5} {'survived':>8} "
            f"{'wrong':>5} seconds"
        )
        for name in names:
            for kind in kinds:
                first = 1 + random.Random(f"{given.seed}{name}{kind}").randrange(given.every)
                began, found = time.monotonic(), Counter[str]()
                told = {
                    "every": given.every,
                    "first": first,
                    "lasting": bool(given.lasting),
                    "repeats": given.repeats,
                }
                for met in sweep.sweep(name, kind, **told):
                    found["met"] += 1
                    found["told" if "error: " in met.hit.err else "survived"] += 1
                    if met.wrong:
                        found["wrong"] += 1
                        failures.append(met)
                        print(f"  {met}", flush=True)
                counts = " ".join(f"{found[word]:{width}}" for word, width in _WIDTHS.items())
                print(f"{name:18} {kind:7} {counts} {time.monotonic() - began:7.0f}", flush=True)
    print(f"{len(failures)} wrong")
    return int(bool(failures))


_WIDTHS = {"met": 5, "told": 5, "survived": 8, "wrong": 5}


if __name__ == "__main__":
    raise SystemExit(main())
