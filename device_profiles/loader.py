"""Reads device profiles: the shipped ones by name, a user's own by path."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from device_profiles.profile import (
    BITS,
    LAYER_KINDS,
    MAX_CLOCK_HZ,
    SOURCED_KEYS,
    DeviceProfile,
    PairSupport,
)
from device_profiles.timing import CyclesPerInstruction, DefaultLatency, PublishedCycles
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.ranges import Range
from nas_engine.records import read
from nas_engine.strict_yaml import Fields, parse_mapping, read_checked
from nas_engine.units import parse_size

_DATA = Path(__file__).parent / "data"
_LETTERS = {"N": PairSupport.NATIVE, "S": PairSupport.STORAGE_ONLY, "F": PairSupport.FORBIDDEN}


def _size(value: Any, name: str) -> int:
    """Return the bytes of a size; 0 where something is reserved."""
    is_nothing = type(value) is int and value == 0 and "reserved" in name
    return 0 if is_nothing else parse_size(value, name)


def _pairs(value: Any, name: str) -> tuple[PairSupport, ...]:
    """Return the support of the pairs of one width of weights."""
    if not isinstance(value, str) or len(value) != len(BITS) or not set(value) <= set(_LETTERS):
        raise InputError(
            f"{name}: is {value!r}; expected {len(BITS)} letters N, S or F, for activation bits 2 "
            "to 8"
        )
    return tuple(_LETTERS[letter] for letter in value)


def _cycles(value: Any, name: str) -> Any:
    """Return the table of a layer kind, of which a number alone fills every place."""
    is_number = type(value) in (int, float)
    return ((value,) * len(BITS),) * len(BITS) if is_number else value


_Row = Annotated[tuple[PairSupport, ...], _pairs]
_Table = Annotated[Any, _cycles]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sourced:
    """Something with the text that says where it comes from."""

    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clock(_Sourced):
    value: Annotated[int, Range(1, MAX_CLOCK_HZ)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size(_Sourced):
    value: Annotated[int, _size]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs(_Sourced):
    rows: tuple[_Row, _Row, _Row, _Row, _Row, _Row, _Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cycles(_Sourced):
    conv: _Table
    pointwise: _Table
    depthwise: _Table
    dense: _Table
    estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A YAML file of a device."""

    name: str
    title: str
    boards: tuple[str, ...] = ()
    core: str
    dsp: bool
    fpu: str
    compiler_flags: str | None = None
    emulator_machine: str | None = None
    clock_hz: _Clock
    sram_bytes: _Size
    flash_bytes: _Size
    reserved_sram_bytes: _Size
    reserved_flash_bytes: _Size
    bit_pairs: _Pairs
    cycles_per_mac: _Cycles
    cycles_per_instruction: CyclesPerInstruction | None = None
    default_latency: DefaultLatency | None = None
    published_cycles: tuple[PublishedCycles, ...] = ()


class UnknownDeviceError(UnknownNameError):
    """A device name that does not ship; the message also tells how to give a file."""

    def __str__(self) -> str:
        """Return the one-line message."""
        return (
            f"{UnknownNameError.__str__(self)}; or give the path of a YAML file of your own, such "
            "as ./my-board.yaml"
        )


def device_names() -> tuple[str, ...]:
    """Return the names of the shipped devices, sorted; reads no file."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.yaml")))


@functools.cache
def _carried() -> dict[str, str]:
    """Return the shipped device of each board."""
    devices = {name: _read(_DATA / f"{name}.yaml") for name in device_names()}
    return {board: name for name, device in devices.items() for board in device.boards}


def shipped_name(text: str) -> str:
    """Return the shipped device that a name or a board means, in its own spelling, or the text.

    Example:
        >>> shipped_name("Pico"), shipped_name("./mine.yaml")
        ('rp2040', './mine.yaml')
    """
    name = text.strip().lower().replace("_", "-")
    return name if name in device_names() else _carried().get(name, text)


def load_device(name_or_path: str | os.PathLike[str]) -> DeviceProfile:
    """Return a shipped device by name, or a device from a YAML file.

    Args:
        name_or_path: A shipped name or a board that carries it (upper or lower case, ``_`` or
            ``-``), or a path: anything with a path separator or the ending ``.yaml`` or ``.yml``.

    Raises:
        UnknownNameError: No shipped device of that name; the message gives the nearest one.
        FileFormatError: The file cannot be read, or does not hold a device profile; the message
            names the key and what to write.
        InputError: Neither a name nor a path.

    Example:
        >>> load_device("cortex-m7").sram_bytes
        524288
    """
    if isinstance(name_or_path, os.PathLike):
        return _read(Path(name_or_path))
    if not isinstance(name_or_path, str):
        raise InputError(
            f"device is {name_or_path!r}; expected the name of a shipped device or the path of a "
            "YAML file"
        )
    if (
        "/" in name_or_path
        or "\\" in name_or_path
        or name_or_path.lower().endswith((".yaml", ".yml"))
    ):
        return _read(Path(name_or_path))
    name = shipped_name(name_or_path)
    if name not in device_names():
        raise UnknownDeviceError("device", " ".join(name_or_path.split()), device_names())
    return _read(_DATA / f"{name}.yaml")


def _read(path: Path) -> DeviceProfile:
    return read_checked(path, None, lambda text: _parse(text, path))


@functools.lru_cache(maxsize=64)
def _parse(text: str, path: Path) -> DeviceProfile:
    part = Fields(parse_mapping(text, path), path)
    found = read(_File, part, defaults=True)
    values = {each.name: getattr(found, each.name) for each in fields(found)}
    sources = {key: values[key].source.strip() for key in SOURCED_KEYS}
    cycles = found.cycles_per_mac
    values |= {key: each.value for key, each in values.items() if isinstance(each, _Clock | _Size)}
    values["bit_pairs"] = found.bit_pairs.rows
    values["cycles_per_mac"] = {kind: getattr(cycles, kind) for kind in LAYER_KINDS}
    with part.located():
        return DeviceProfile(**values, cycles_are_estimates=cycles.estimate, sources=sources)
