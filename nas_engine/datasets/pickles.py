"""Reader of pickles that can run nothing.

They may hold bytes, texts, numbers, lists, dictionaries and uint8 arrays.

A pickle is a program. This reader lets it name only the few functions that the CIFAR files name,
and puts harmless ones of its own in their place: not even NumPy's own functions are called.
"""

from __future__ import annotations

import io
import math
import pickle  # noqa: S403
import pickletools
from typing import Any

import numpy as np

from nas_engine.datasets.records import Pixels
from nas_engine.errors import FileFormatError, one_line, shortened

_CUT_OFF = ("truncated", "exhausted", "remain", "not enough data", "no newline found")
"""Words in what is said of a pickle whose end is missing."""


class _ForbiddenError(pickle.UnpicklingError):
    """The pickle names something it must not."""


class _Type:
    """Stands for ``numpy.dtype``."""

    def __init__(self, text: object, *_: object) -> None:
        if text not in ("u1", b"u1", "|u1", "uint8"):
            raise ValueError(f"an array of {text!r}; expected uint8")

    def __setstate__(self, state: object) -> None:
        """Nothing that matters to single bytes."""


class _Array:
    """Stands for ``numpy.ndarray``."""

    value: Pixels

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, data = state
        self.fill(data, kind, shape, "F" if is_fortran else "C")

    def fill(self, data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> None:
        if type(kind) is not _Type or math.prod(shape) != len(data):
            raise ValueError("an array that is not what its header says")
        self.value = np.frombuffer(data, np.uint8).reshape(
            shape, order="F" if order == "F" else "C"
        )


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _frombuffer(data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.fill(data, kind, shape, order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _bytes(*arguments: object) -> bytes:
    """Stand for ``bytes`` and ``bytearray``.

    Never for a number of zeros, which takes any memory.
    """
    if any(isinstance(argument, int) for argument in arguments):
        raise ValueError("bytes of a number")
    return bytes(*arguments)


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    # NumPy 1 (and Python 2), NumPy 2
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
"""Names that a pickle may use, and their replacements."""


class _Unpickler(pickle.Unpickler):  # noqa: S301
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; nothing is imported."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


def load_pickle(data: bytes, path: object, *, whole: int) -> dict[str, Any]:
    """Return the dictionary that a pickle holds, keys as text, arrays as uint8 arrays.

    Args:
        data: The file, of any pickle protocol, from Python 2 or 3.
        path: Its path, for messages.
        whole: Bytes that the original file has at least, to tell how much of a half-downloaded one
            is missing.

    Raises:
        FileFormatError: Cut off, no pickle, one that names what it must not, or one that holds no
            dictionary.
    """
    try:
        _check_places(data)
        # Python 2's texts come as bytes: no encoding was ever said
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not a dictionary")
        return {
            _text(key): value.value if isinstance(value, _Array) else value
            for key, value in content.items()
        }
    except _ForbiddenError as error:
        raise FileFormatError(
            path,
            f"asks Python for '{shortened(str(error))}', which no CIFAR file does; nothing was "
            "run; download the original",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can make the reader raise nearly anything
        if isinstance(error, EOFError) or any(word in str(error) for word in _CUT_OFF):
            raise FileFormatError(
                path,
                f"is cut off after {len(data):,} B; expected at least {whole:,} B, as the original "
                "has; download it again",
            ) from error
        raise FileFormatError(
            path,
            f"is not a file of the CIFAR archives ({shortened(one_line(str(error)))}); download it "
            "again",
        ) from error


def _check_places(data: bytes) -> None:
    """Refuse places in the reader's memory that no honest pickle of this size uses.

    The reader would make room for all places before them.
    """
    for operation, argument, _ in pickletools.genops(data):
        if "PUT" in operation.name and int(argument or 0) > len(data):
            raise ValueError(f"a place of {argument}")


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
