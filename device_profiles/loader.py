"""Reads device profiles: the shipped ones by name, a user's own by path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from device_profiles.profile import (
    BITS,
    LAYER_KINDS,
    MAX_CLOCK_HZ,
    SOURCED_KEYS,
    DeviceProfile,
    PairSupport,
)
from nas_engine.errors import FileFormatError, InputError, UnknownNameError
from nas_engine.strict_yaml import Fields, parse_mapping, read_checked
from nas_engine.units import parse_size

_DATA = Path(__file__).parent / "data"
_SIZES = ("sram_bytes", "flash_bytes", "reserved_sram_bytes", "reserved_flash_bytes")
_WORDS = ("name", "title", "core", "dsp", "fpu", "compiler_flags", "emulator_machine")
_BLOCK_KEYS = {
    "bit_pairs": ("rows", "source"),
    "cycles_per_mac": (*LAYER_KINDS, "estimate", "source"),
}
_LETTERS = {"N": PairSupport.NATIVE, "S": PairSupport.STORAGE_ONLY, "F": PairSupport.FORBIDDEN}


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


def load_device(name_or_path: str | os.PathLike[str]) -> DeviceProfile:
    """Return a shipped device by name, or a device from a YAML file.

    Args:
        name_or_path: A shipped name (upper or lower case, ``_`` or ``-``), or a path: anything with
            a path separator or the ending ``.yaml`` or ``.yml``.

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
    name = name_or_path.strip().lower().replace("_", "-")
    if name not in device_names():
        raise UnknownDeviceError("device", " ".join(name_or_path.split()), device_names())
    return _read(_DATA / f"{name}.yaml")


def _read(path: Path) -> DeviceProfile:
    return read_checked(path, None, lambda text: _parse(text, path))


def _parse(text: str, path: Path) -> DeviceProfile:
    top = Fields(parse_mapping(text, path), path).only(*_WORDS, *SOURCED_KEYS)
    values: dict[str, Any] = {
        "name": top.take_str("name"),
        "title": top.take_str("title"),
        "core": top.take_str("core"),
        "dsp": top.take_bool("dsp"),
        "fpu": top.take_str("fpu"),
        "compiler_flags": top.take_str("compiler_flags", None),
        "emulator_machine": top.take_str("emulator_machine", None),
    }
    blocks = {
        key: top.take_fields(key).only(*_BLOCK_KEYS.get(key, ("value", "source")))
        for key in SOURCED_KEYS
    }
    sources = {key: block.take_str("source").strip() for key, block in blocks.items()}
    values["clock_hz"] = blocks["clock_hz"].take_int("value", low=1, high=MAX_CLOCK_HZ)
    for key in _SIZES:
        values[key] = _size(blocks[key])
    values["bit_pairs"] = _pairs(blocks["bit_pairs"])
    cycles = blocks["cycles_per_mac"]
    values["cycles_are_estimates"] = cycles.take_bool("estimate")
    values["cycles_per_mac"] = {kind: _cycles(cycles, kind) for kind in LAYER_KINDS}
    with top.located():
        return DeviceProfile(**values, sources=sources)


def _size(block: Fields) -> int:
    value = block.take("value")
    if value == 0 and type(value) is int and "reserved" in block.where:
        return 0
    if type(value) not in (int, str):
        raise block.error(
            "value",
            f"is {value!r}; expected a size such as 320k (binary: 327,680 B) or a whole number of "
            "bytes",
        )
    try:
        return parse_size(value, block.name("value"))
    except InputError as error:
        raise FileFormatError(block.path, str(error)) from error


def _pairs(block: Fields) -> tuple[tuple[PairSupport, ...], ...]:
    rows = block.take_list("rows", length=len(BITS), of=str)
    for bits, row in zip(BITS, rows, strict=True):
        if len(row) != len(BITS) or not set(row) <= set(_LETTERS):
            expected = f"{len(BITS)} letters N, S or F, for activation bits 2 to 8"
            raise block.error(
                "rows", f"the row of {bits}-bit weights is {row!r}; expected {expected}"
            )
    return tuple(tuple(_LETTERS[letter] for letter in row) for row in rows)


def _cycles(block: Fields, kind: str) -> Any:
    value = block.take(kind)
    if type(value) in (int, float):
        return ((value,) * len(BITS),) * len(BITS)
    return value
