"""Result of a verification.

Every back-end is compared with the integer reference, every predicted byte count with the one
measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from nas_engine.escaping import command_line
from nas_engine.records import Text, plain, read_sealed, sealed

FORMAT = "nas-search/verification/1"
"""First key of ``verification.json``."""


class Verdict(StrEnum):
    """How a line of the report ended."""

    EQUAL = "equal"
    """Every value is the reference's, every byte within its tolerance."""
    DIFFERS = "differs"
    """A back-end that must be exact is not, or a prediction is off: the verification fails."""
    CLOSE = "close"
    """A form that cannot be exact by its nature; its differences are reported."""
    SKIPPED = "not run"
    """Something that it needs is not installed."""
    FAILED = "failed"
    """It could not be built or run: the verification fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One back-end beside the integer reference."""

    backend: str
    """Its name."""
    verdict: Verdict
    """How it ended."""
    version: Text = ""
    """Program or package that ran, and its version."""
    images: int = 0
    """Images that went through."""
    values: int = 0
    """Output values compared: images times classes."""
    differing: int = 0
    """Output values that differ."""
    largest: int = 0
    """Largest difference, in levels."""
    predictions: int = 0
    """Images whose predicted class differs."""
    tensors: int = 0
    """Intermediate tensors of the first image that were compared by checksum."""
    differing_tensors: tuple[str, ...] = ()
    """Those that differ, in the order of execution: the first one is where it goes wrong."""
    seconds: float = 0.0
    """Wall time, without building."""
    note: Text = ""
    """Why it was not run, what went wrong, or what the format cannot carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLine:
    """One amount of memory, predicted and measured."""

    backend: str
    """Where it was measured."""
    what: str
    """Name of the memory."""
    predicted: int | None
    """Bytes predicted; ``None`` without code sizes of the compiler."""
    measured: int
    """Bytes of the linked image, or of the painted stack."""
    tolerance: int
    """Bytes by which they may differ."""

    DERIVED: ClassVar[tuple[str, ...]] = ("verdict",)

    @property
    def verdict(self) -> Verdict:
        """How it ended."""
        if self.predicted is None:
            return Verdict.SKIPPED
        return (
            Verdict.EQUAL
            if abs(self.predicted - self.measured) <= self.tolerance
            else Verdict.DIFFERS
        )


MOST_OFF = 0.05
"""Largest relative error of predicted instructions that is within the prediction (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionLine:
    """Instructions of one image on one core, predicted and counted."""

    backend: str
    """Where they were counted."""
    predicted: Mapping[str, int] | None
    """Instructions of each step; ``None`` for a core or compiler that was not measured."""
    counted: int
    """Instructions of all steps."""
    limit: int | None = None
    """Most that the limits of the search leave; ``None`` without such a limit, and on other cores
    than the device's own."""

    DERIVED: ClassVar[tuple[str, ...]] = ("verdict",)

    @property
    def total(self) -> int | None:
        """Predicted instructions of all steps."""
        return None if self.predicted is None else sum(self.predicted.values())

    @property
    def off(self) -> float | None:
        """Relative error of the prediction."""
        return None if self.total is None else self.total / max(self.counted, 1) - 1

    @property
    def verdict(self) -> Verdict:
        """How it ended; only a limit that is exceeded fails the verification."""
        if self.limit is not None and self.counted > self.limit:
            return Verdict.FAILED
        if self.off is None:
            return Verdict.SKIPPED
        return Verdict.EQUAL if abs(self.off) <= MOST_OFF else Verdict.DIFFERS


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """The whole."""

    data: str
    """Where the images came from."""
    backends: tuple[Comparison, ...]
    """One per back-end, in the order of the table."""
    memory: tuple[MemoryLine, ...]
    """Amounts of memory, none where no firmware was built."""
    instructions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Instructions per step for one image, by back-end."""
    predictions: tuple[InstructionLine, ...] = ()
    """The same, predicted and counted; none in files of 0.1.0."""
    macs: Mapping[str, int] = field(default_factory=dict)
    """Multiply-accumulates per step."""
    exceptions: tuple[str, ...] = ()
    """Properties that a format cannot represent exactly or in their own width, one line each."""
    core: Text = ""
    """Core of the device, as its profile names it; empty where it is not recorded."""
    date: Text = ""
    """Day on which it was done, such as ``2026-11-30`` (UTC); empty where it is not known."""

    DERIVED: ClassVar[tuple[str, ...]] = ("passed",)

    @property
    def passed(self) -> bool:
        """True if there is no forbidden difference, no failure and at least one exact run.

        Instructions that were predicted otherwise are no failure, those beyond a limit are.

        An exact run is that of a back-end whose values must all equal the reference's.
        """
        verdicts = {
            *(comparison.verdict for comparison in self.backends),
            *(line.verdict for line in self.memory),
        }
        verdicts |= {line.verdict for line in self.predictions} & {Verdict.FAILED}
        ran = any(comparison.verdict is Verdict.EQUAL for comparison in self.backends)
        return ran and not {Verdict.DIFFERS, Verdict.FAILED} & verdicts

    @property
    def skipped(self) -> tuple[Comparison, ...]:
        """Back-ends that were not run."""
        return tuple(
            comparison for comparison in self.backends if comparison.verdict is Verdict.SKIPPED
        )

    def as_mapping(self) -> dict[str, Any]:
        """Return the plain values of ``verification.json``."""
        return {"format": FORMAT, **plain(self)}

    def as_json(self, made_of: Mapping[str, str] | None = None) -> str:
        """Return the text of ``verification.json``, which carries its own digest.

        Args:
            made_of: Digests of what was verified, by name.
        """
        return sealed(FORMAT, self, made_of)


def read_verification(path: Path) -> VerificationReport:
    """Return a verification; files of 0.1.0 have neither core nor date.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, of another version, or a verdict that does not follow from its
            lines.
    """
    remedy = f"verify again: {command_line('nas-search', 'verify', path.parent)}"
    return read_sealed(VerificationReport, path, FORMAT, remedy, defaults=True)
