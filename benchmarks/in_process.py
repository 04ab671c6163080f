"""Commands run in forked children of one warm process: what each said, how long it took, how much
memory, whether it hung.

Imports take longer than most commands; a fork shares them. A child is a session of its own, so that
compilers and emulators it started end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import re
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_LINE = 700
"""Most characters of an error message (chosen here)."""

MIB = 2**20

_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode that a terminal does not show as a character; the two joiners among them
are part of how words are written."""

_OF_OTHERS = r"torchinductor_|\.ses$"
"""Entries that torch and ONNX Runtime make in the folder for temporary files and never remove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of a command."""

    code: int | None
    """Exit code, negative for a signal; ``None`` for one that was ended because it hung or took too
    much memory."""
    out: str
    err: str
    seconds: float
    memory: int
    """Most memory of its process beyond that of the warm one, in bytes."""
    note: dict[str, Any] = field(default_factory=dict)
    """Value that ``after`` returned."""
    hung: bool = False
    excess: bool = False
    """True if it took more memory than allowed."""
    interrupted: bool = False
    """True if it was still busy after the patience for work and got a Ctrl-C."""
    litter: tuple[str, ...] = ()
    """Files it left in the folder for temporary files."""

    def faults(self, codes: frozenset[int] = frozenset({0, 1, 2, 130})) -> list[str]:
        """Return what is wrong with how it ended, whatever it was asked: nothing for a command that
        keeps the rules.
        """
        found = [word for word, so in (("hang", self.hung), ("memory", self.excess)) if so]
        in_a_destructor = (
            self.interrupted and self.code == 0 and "Exception ignored" in self.err
        )  # Python's own way with a Ctrl-C
        if "Traceback (most recent call last)" in self.err and not in_a_destructor:
            found.append("traceback")
        if self.code is not None and self.code not in codes:
            found.append(f"exit code {self.code}")
        if self.litter:
            found.append("temporary files left")
        if (
            re.search(r"^.*\w+Warning: |^Exception ignored", self.err, re.MULTILINE)
            and not in_a_destructor
        ):
            found.append("stray warning")
        return found + self.message_faults()

    def message_faults(self) -> list[str]:
        """Return what is wrong with the one line that an error is."""
        lines = self.err.splitlines()
        told = [line for line in lines if line.startswith("error: ")]
        found = []
        if len(told) > 1 or (told and lines[-1] != told[0]):
            found.append("more than one line")
        if not told and (self.code == 2 or (self.code == 1 and not self.out.strip())):
            found.append("no message")
        if any(len(line) > LONGEST_LINE for line in told):
            found.append("long line")
        if any(
            unicodedata.category(letter) in _CONTROLS and letter not in "\n\u200c\u200d"
            for letter in self.err
        ):
            found.append("control character")
        return found


def warm(*packages: str) -> None:
    """Import all modules of packages, and what drawing needs, so that children need not."""
    for package in packages:
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith("_worker"):
                with contextlib.suppress(ImportError):
                    importlib.import_module(found.name)
    for name in (
        "matplotlib.pyplot",
        "PIL.Image",
        "PIL.PngImagePlugin",
        "PIL.JpegImagePlugin",
        "sklearn.datasets",
        "onnx",
        "torch.jit",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def command_line(words: list[str]) -> int:
    """Run ``nas-search`` with these words in this very process and return its exit code; a
    traceback is printed as Python would.
    """
    from nas_engine.cli.main import main

    sys.argv = ["nas-search", *words]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def in_child(
    words: list[str],
    folder: Path,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], dict[str, Any]] = dict,
    work_s: float = 30.0,
    hang_s: float = 20.0,
    most: int = 1536 * MIB,
) -> Outcome:
    """Run a command in a forked child.

    Args:
        words: Behind ``nas-search``.
        folder: Working directory.
        before: Called in the child first.
        after: Called in the child last; returns plain values.
        work_s: Seconds after which a child that works gets a Ctrl-C, as a user would stop it.
        hang_s: Seconds without any work, or after the Ctrl-C, that count as a hang.
        most: Bytes of memory beyond those of this process at which it is ended.
    """
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        (at / "tmp").mkdir()
        _give_back_free_memory()
        before_memory = _resident("self")
        began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _be_child(words, folder, at, before, after)
        # a child of a large process has fewer pages than it: those of files are not mapped anew
        before_memory = min(before_memory, _resident(str(child)) or before_memory)
        state = _watched(child, began, work_s, hang_s, before_memory + most)
        seconds = time.monotonic() - began
        memory = state.pop("memory") - before_memory
        read = {
            stream: (at / stream).read_bytes().decode(errors="backslashreplace")
            for stream in ("out", "err")
        }
        note = json.loads((at / "note").read_text()) if (at / "note").exists() else {}
        litter = tuple(
            sorted(
                path.name for path in (at / "tmp").iterdir() if not re.match(_OF_OTHERS, path.name)
            )
        )
        return Outcome(
            **read, **state, seconds=seconds, memory=max(memory, 0), note=note, litter=litter
        )


def _be_child(
    words: list[str],
    folder: Path,
    at: Path,
    before: Callable[[], None],
    after: Callable[[], dict[str, Any]],
) -> None:
    code = 70
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, path, how in (
            (0, os.devnull, os.O_RDONLY),
            (1, at / "out", flags),
            (2, at / "err", flags),
        ):
            opened = os.open(path, how, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        os.environ["TMPDIR"] = tempfile.tempdir = str(at / "tmp")
        os.chdir(folder)
        before()
        code = command_line(words)
        note = after()
        sys.stdout.flush()
        if note:
            (at / "note").write_text(json.dumps(note))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code & 255)


def _watched(child: int, began: float, work_s: float, hang_s: float, most: int) -> dict[str, Any]:
    """Wait for a child, end it where it hangs, and return code, memory and how it was ended."""
    state: dict[str, Any] = {"code": None, "memory": 0}
    worked, last, pause = -1, began, 0.001
    try:
        while True:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            now = time.monotonic()
            if ended:
                state["memory"] = max(state["memory"], usage.ru_maxrss * 1024)
                if not any(state.get(word) for word in ("hung", "excess")):
                    state["code"] = os.waitstatus_to_exitcode(status)
                return state
            state["memory"] = max(state["memory"], _resident(str(child)))
            if state["memory"] > most:
                state["excess"] = True
                os.killpg(child, signal.SIGKILL)
            ticks = _ticks(child)
            if ticks != worked:
                worked, last = ticks, now
            if now - began > work_s and not state.get("interrupted") and now - last < 1.0:
                state["interrupted"], interrupted_at = True, now
                os.kill(child, signal.SIGINT)
            if now - last > hang_s or (state.get("interrupted") and now - interrupted_at > hang_s):
                state["hung"] = True
                os.killpg(child, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)


def _give_back_free_memory() -> None:
    """Return this process's free heap to the system (glibc alone keeps it): a child would
    otherwise fill pages that it was born with, and its growth would not be seen.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _resident(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, IndexError):
        return 0


def _ticks(session: int) -> int:
    """Return the processor time of all processes of a session, in ticks; those that ended count
    through who waited for them.
    """
    total = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(") ")[2].split()
                if int(fields[3]) == session:
                    total += sum(map(int, fields[11:15]))
    return total
