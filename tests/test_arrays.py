"""Archives of arrays: read back, and never more memory than they are large."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.arrays import stored_arrays


def archive(**arrays: Any) -> bytes:
    """Return an archive as NumPy writes it."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def with_member(content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive with one member of any content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        made.writestr("a.npy", content)
    return buffer.getvalue()


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    """Return the head of an array file."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_arrays_come_back_as_they_were() -> None:
    arrays = {
        "text": np.array("{}"),
        "none": np.zeros((0, 3)),
        "wide": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "i": np.int8([1]),
    }
    found = stored_arrays(archive(**arrays) + b"digest")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            with_member(header((2**20,)) + bytes(2**23), zipfile.ZIP_DEFLATED), id="compressed"
        ),
        pytest.param(with_member(header((2**60,))), id="more-than-is-there"),
        pytest.param(with_member(header((2,)) + bytes(17)), id="less-than-is-there"),
        pytest.param(with_member(header((-1,))), id="negative"),
        pytest.param(with_member(header((1,), "|O") + bytes(8)), id="objects"),
        pytest.param(with_member(b"nothing"), id="no-array"),
        pytest.param(b"nothing", id="no-archive"),
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        stored_arrays(content)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_changed_byte_never_asks_for_memory_or_the_system(at: int, bit: int) -> None:
    content = bytearray(archive(head=np.array("{}"), values=np.arange(12.0)))
    content[at % len(content)] ^= 1 << bit
    try:
        found = stored_arrays(bytes(content))
    except (MemoryError, OSError):
        raise
    except Exception:  # zipfile raises nearly anything
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)
