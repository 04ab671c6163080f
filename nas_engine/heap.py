"""One setting of the C library's heap, worth a factor of up to two in speed.

A batch of candidates makes temporaries of a few hundred kilobytes, a batch of images some of many
megabytes. glibc gives such blocks back to the kernel as soon as they are freed and faults them in
again, page by page, for the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 2**30


def keep_freed_blocks() -> None:
    """Tell glibc to keep freed blocks of up to 1 GiB for the next use; a no-op elsewhere."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
