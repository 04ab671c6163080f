"""A terminal in place of standard error, for tests of bars."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

import pytest


def shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> str:
    """Return what an action shows on standard error when that is a terminal of unknown size, as
    some are.
    """
    import pty

    leader, follower = pty.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # Linux: the other end was closed
            while piece := os.read(leader, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        action()
    reader.join()
    os.close(leader)
    return b"".join(pieces).decode()
