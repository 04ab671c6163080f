"""Profile of one microcontroller: its resources, and the source of each number."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from device_profiles.timing import CyclesPerInstruction, DefaultLatency, PublishedCycles
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.units import ADDRESS_SPACE_BYTES, format_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYER_KINDS = ("conv", "pointwise", "depthwise", "dense")
"""Layer kinds with a cycle table of their own: k x k convolution, 1 x 1 convolution, depthwise
convolution, fully connected."""

BITS = (2, 3, 4, 5, 6, 7, 8)
"""Bit widths of weights and activations, in the order of the rows and columns of every table."""

SOURCED_KEYS = (
    "clock_hz",
    "sram_bytes",
    "flash_bytes",
    "reserved_sram_bytes",
    "reserved_flash_bytes",
    "bit_pairs",
    "cycles_per_mac",
)
"""Fields that hold numbers or tables; each must have a text in ``DeviceProfile.sources``."""

MAX_CLOCK_HZ = 10**10
"""Highest clock accepted, in Hz; anything above is a typing error."""

MAX_CYCLES_PER_MAC = 1e4
"""Highest number of cycles per multiply-accumulate accepted; anything above is a typing error."""

_Cell = TypeVar("_Cell")


class PairSupport(StrEnum):
    """How a device treats one (weight bits, activation bits) pair."""

    NATIVE = "native"
    """A kernel unpacks both operands from whole words while it multiplies."""

    STORAGE_ONLY = "storage-only"
    """Stored at its own width, but unpacked to 8 bits tile by tile before it multiplies: saves
    memory, costs cycles."""

    FORBIDDEN = "forbidden"
    """The runtime cannot run it; no layer may be given this pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """One microcontroller as the search sees it; immutable, validated, picklable and hashable.

    Raises:
        InputError: Any field out of range, of the wrong type or of the wrong shape; the message
            names the field.
    """

    name: str
    """Short name for the command line: lower-case letters, digits and inner hyphens."""

    title: str
    """Common name of the board or chip."""

    core: str
    """Processor core, such as ``"cortex-m7"``."""

    clock_hz: int
    """Highest core clock, in Hz."""

    sram_bytes: int
    """Largest contiguous SRAM that one static arena can use, in bytes."""

    flash_bytes: int
    """Flash for code and weights, in bytes."""

    reserved_sram_bytes: int
    """SRAM for stack and static data, which the arena cannot use, in bytes."""

    reserved_flash_bytes: int
    """Flash for firmware and runtime code, which the weights cannot use, in bytes."""

    dsp: bool
    """True if the core has the DSP extension (two 16-bit multiply-accumulates per instruction)."""

    fpu: str
    """Floating-point unit by its compiler name, such as ``"fpv5-sp-d16"``, or ``"none"``."""

    bit_pairs: tuple[tuple[PairSupport, ...], ...]
    """Support of each pair, 7 x 7: row = weight bits 2 to 8, column = activation bits 2 to 8."""

    cycles_per_mac: Mapping[str, tuple[tuple[float, ...], ...]] = field(hash=False)
    """Cycles per multiply-accumulate for each of ``LAYER_KINDS``, 7 x 7 with the axes of
    ``bit_pairs``."""

    cycles_are_estimates: bool
    """True where ``cycles_per_mac`` was derived rather than measured on the board."""

    sources: Mapping[str, str] = field(hash=False)
    """Where each number comes from: one text for each of ``SOURCED_KEYS``."""

    boards: tuple[str, ...] = ()
    """Boards that carry it with this much memory; ``--device`` takes their names too."""

    compiler_flags: str | None = None
    """Flags that make the C compiler build for this core, if known."""

    emulator_machine: str | None = None
    """Emulated machine with the same core, if there is one; its memory map is not the board's."""

    cycles_per_instruction: CyclesPerInstruction | None = None
    """Range from which latency follows; ``None`` where nobody said, and cycles are no time."""

    default_latency: DefaultLatency | None = None
    """Latency limit of searches that are given none; ``None`` for no limit."""

    published_cycles: tuple[PublishedCycles, ...] = ()
    """Other engines on this board, for comparison."""

    def __post_init__(self) -> None:
        """Check every field and freeze the mappings."""
        self._check_words()
        self._check_sizes()
        pairs = _table("bit_pairs", self.bit_pairs, _as_support)
        if all(pair is PairSupport.FORBIDDEN for row in pairs for pair in row):
            raise InputError(
                "bit_pairs forbids every pair of bit widths; expected at least one native or "
                "storage-only pair"
            )
        _check_keys("cycles_per_mac", self.cycles_per_mac, LAYER_KINDS)
        _check_keys("sources", self.sources, SOURCED_KEYS)
        for key in SOURCED_KEYS:
            if not _is_text(self.sources[key]):
                raise InputError(
                    f"sources.{key} is {self.sources[key]!r}; expected a text that says where "
                    f"{key} comes from"
                )
        cycles = {
            kind: _table(f"cycles_per_mac.{kind}", self.cycles_per_mac[kind], _as_cycles)
            for kind in LAYER_KINDS
        }
        object.__setattr__(self, "bit_pairs", pairs)
        object.__setattr__(self, "cycles_per_mac", MappingProxyType(cycles))
        object.__setattr__(
            self, "sources", MappingProxyType({key: self.sources[key] for key in SOURCED_KEYS})
        )

    def _check_words(self) -> None:
        for key in ("name", "title", "core", "fpu", "compiler_flags", "emulator_machine"):
            value = getattr(self, key)
            if not (
                _is_text(value) or (value is None and key in ("compiler_flags", "emulator_machine"))
            ):
                raise InputError(f"{key} is {value!r}; expected a text on one line")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise InputError(
                f"name is {self.name!r}; expected lower-case letters, digits and inner hyphens, "
                "such as my-board"
            )
        for key in ("dsp", "cycles_are_estimates"):
            if not isinstance(getattr(self, key), bool):
                raise InputError(f"{key} is {getattr(self, key)!r}; expected true or false")

    def _check_sizes(self) -> None:
        for key, low, high in (
            ("clock_hz", 1, MAX_CLOCK_HZ),
            ("sram_bytes", 1, ADDRESS_SPACE_BYTES),
            ("flash_bytes", 1, ADDRESS_SPACE_BYTES),
            ("reserved_sram_bytes", 0, ADDRESS_SPACE_BYTES),
            ("reserved_flash_bytes", 0, ADDRESS_SPACE_BYTES),
        ):
            value = getattr(self, key)
            if type(value) is not int or not low <= value <= high:
                unit = "Hz" if key == "clock_hz" else "bytes"
                raise InputError(
                    f"{key} is {value!r}; expected a whole number of {unit} from {low:,} to "
                    f"{high:,}"
                )
        for memory, total, reserved, use in (
            ("SRAM", self.sram_bytes, self.reserved_sram_bytes, "stack and static data"),
            ("Flash", self.flash_bytes, self.reserved_flash_bytes, "firmware and runtime code"),
        ):
            if total <= reserved:
                raise InputError(
                    f"{memory} of {format_size(total)} leaves nothing for a network: device "
                    f"{self.name} reserves {format_size(reserved)} "
                    f"for {use}; give at least {reserved // 1024 + 1}k"
                )

    def __reduce__(self) -> tuple[Callable[..., DeviceProfile], tuple[dict[str, Any]]]:
        """Pickle through the constructor, so that a profile is checked wherever it is loaded."""
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        return _rebuild, (
            {**state, "cycles_per_mac": dict(self.cycles_per_mac), "sources": dict(self.sources)},
        )

    @property
    def arena_bytes(self) -> int:
        """SRAM left for the activations of a network, in bytes."""
        return self.sram_bytes - self.reserved_sram_bytes

    @property
    def milliseconds_per_cycle(self) -> tuple[float, float] | None:
        """Least and most milliseconds per cycle of ``cycles_per_mac``; ``None`` if not known."""
        pace = self.cycles_per_instruction
        if pace is None:
            return None
        each = 1000 / (pace.assumed * self.clock_hz)
        return pace.least * each, pace.most * each

    @property
    def storage_bytes(self) -> int:
        """Flash left for the weights and constants of a network, in bytes."""
        return self.flash_bytes - self.reserved_flash_bytes

    def support(self, w_bits: int, a_bits: int) -> PairSupport:
        """Return how the device treats one pair of bit widths.

        Args:
            w_bits: Bits of the weights, 2 to 8.
            a_bits: Bits of the input activations, 2 to 8.

        Raises:
            InputError: A width outside 2 to 8.
        """
        for what, bits in (("weight", w_bits), ("activation", a_bits)):
            if not (hasattr(bits, "__index__") and bits in BITS):
                raise InputError(
                    f"{what} bits: {bits!r} is not a supported width; expected one of 2, 3, 4, 5, "
                    "6, 7, 8"
                )
        return self.bit_pairs[w_bits - BITS[0]][a_bits - BITS[0]]

    def allowed(self, w_bits: int, a_bits: int) -> bool:
        """Return True if a layer may use the pair, natively or storage-only.

        Arguments and errors as in ``support``.
        """
        return self.support(w_bits, a_bits) is not PairSupport.FORBIDDEN

    def allowed_table(self) -> NDArray[np.bool_]:
        """Return a new (9, 9) boolean table indexed ``[w_bits, a_bits]``.

        Rows and columns 0 and 1 are False.
        """
        import numpy as np

        table = np.zeros((BITS[-1] + 1, BITS[-1] + 1), dtype=np.bool_)
        table[BITS[0] :, BITS[0] :] = [
            [pair is not PairSupport.FORBIDDEN for pair in row] for row in self.bit_pairs
        ]
        return table

    def cycles_table(self, kind: str) -> NDArray[np.float64]:
        """Return a new (9, 9) table of cycles per multiply-accumulate indexed ``[w_bits, a_bits]``.

        Entries are NaN in rows and columns 0 and 1 and where the pair is forbidden.

        Args:
            kind: One of ``LAYER_KINDS``.

        Raises:
            UnknownNameError: Not a layer kind.
        """
        import numpy as np

        if kind not in LAYER_KINDS:
            raise UnknownNameError("layer kind", kind, LAYER_KINDS)
        table = np.full((BITS[-1] + 1, BITS[-1] + 1), np.nan)
        table[BITS[0] :, BITS[0] :] = self.cycles_per_mac[kind]
        table[~self.allowed_table()] = np.nan
        return table

    def with_memory(
        self, sram_bytes: int | None = None, flash_bytes: int | None = None
    ) -> DeviceProfile:
        """Return the same device with other memory totals; what is reserved stays reserved.

        Args:
            sram_bytes: New ``sram_bytes`` (``--sram``), or None to keep the board's own.
            flash_bytes: New ``flash_bytes`` (``--flash``), or None to keep the board's own.

        Raises:
            InputError: Not a positive whole number of bytes, beyond a 32-bit address space, or not
                above what is reserved.
        """
        changes: dict[str, Any] = {}
        sources = dict(self.sources)
        for key, size in (("sram_bytes", sram_bytes), ("flash_bytes", flash_bytes)):
            if size is not None and (type(size) is not int or size != getattr(self, key)):
                changes[key] = size
                sources[key] = "given by the user in place of the board's own size"
        return replace(self, **changes, sources=sources) if changes else self


def _rebuild(state: dict[str, Any]) -> DeviceProfile:
    return DeviceProfile(**state)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value.splitlines()) == 1


def _check_keys(what: str, mapping: object, expected: tuple[str, ...]) -> None:
    if not isinstance(mapping, Mapping):
        raise InputError(
            f"{what} is {mapping!r}; expected a mapping with the keys {', '.join(expected)}"
        )
    for key in mapping:
        if key not in expected:
            raise UnknownNameError(f"key in {what}", key, expected)
    for key in expected:
        if key not in mapping:
            raise InputError(f"{what}.{key} is missing; add it")


def _table(
    what: str, rows: object, convert: Callable[[str, object], _Cell]
) -> tuple[tuple[_Cell, ...], ...]:
    if not (_is_row(rows) and all(_is_row(row) for row in rows)):
        shape = "rows for weight bits 2 to 8, columns for activation bits 2 to 8"
        raise InputError(f"{what} is not a table of {len(BITS)} x {len(BITS)}; expected {shape}")
    return tuple(
        tuple(
            convert(f"{what}, w{w_bits}a{a_bits}", cell)
            for a_bits, cell in zip(BITS, row, strict=True)
        )
        for w_bits, row in zip(BITS, rows, strict=True)
    )


def _is_row(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (tuple, list)) and len(value) == len(BITS)


def _as_support(what: str, cell: object) -> PairSupport:
    if not (isinstance(cell, str) and cell in tuple(PairSupport)):
        raise InputError(
            f"{what}: {cell!r} is no kind of support; expected one of: {', '.join(PairSupport)}"
        )
    return PairSupport(cell)


def _as_cycles(what: str, cell: object) -> float:
    if (
        isinstance(cell, bool)
        or not isinstance(cell, (int, float))
        or not 0 < cell <= MAX_CYCLES_PER_MAC
    ):
        raise InputError(
            f"{what}: {cell!r} is not a number of cycles; expected a number above 0 and up to "
            f"{MAX_CYCLES_PER_MAC:,.0f}"
        )
    return float(cell)
