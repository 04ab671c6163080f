"""Prepared runs, the faults swept through them, and the rules they are judged by."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import small
from benchmarks.faults.fault import Fault
from benchmarks.in_process import Outcome, in_child

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
        """Return True if a command ended as it does without a fault."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """One fault, and what became of it."""

    case: str
    kind: str
    number: int
    place: str
    hit: Outcome
    wrong: tuple[str, ...]
    """Broken rules; empty where all is well."""

    def __str__(self) -> str:
        said = (self.hit.err.strip().splitlines() or [""])[-1]
        return (
            f"{self.case}, {self.kind} {self.number} ({self.place}): {'; '.join(self.wrong)} | "
            f"exit {self.hit.code}: {said[:300]}"
        )


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
