"""Library of the kernels: compiled once per machine, kept for the user alone, checked before use.

It lies in ``~/.cache/nas-search/kernels`` (``VARIABLE`` names another place), under the digest of
all that it is made of: sources, compiler, flags and processor. What is loaded is the user's own,
lies in folders that are closed to others, and has the digest that was recorded when it was built.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from nas_engine.compilers import ZIG, find_compiler
from nas_engine.errors import InputError, NasEngineError, one_line, shortened
from nas_engine.files import StorageError, storage_errors, sweep, temporary, write_atomically
from nas_engine.reading import regular_digest
from nas_engine.sealed import read_sealed_json, seal_json

SOURCES = Path(__file__).parent
"""Where the C files lie."""

FLAGS = (
    "-O3",
    "-std=c99",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
)
"""Flags of the compiler. Not ``-ffast-math``: with it GCC makes comparisons into calls, and sums
lose their order."""

VARIABLE = "NAS_SEARCH_CACHE"
"""Variable of the environment that names the cache folder; without it, the one of the system."""

SECONDS = 300.0
"""Longest time of one compiler run."""

_LARGEST = 2**26
_LIBRARY, _RECORD, _FORMAT = "kernels.so", "kernels.json", "nas-search/kernels/1"
_CHECK = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).nas_check())"


class KernelsError(NasEngineError):
    """Reason why there are no kernels, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library that was checked."""

    path: Path
    """The file."""
    name: str
    """Name that results depend on: a digest, and the compiler in words."""


def built_library(announce: Callable[[str], None] = lambda text: None) -> Library:
    """Return the library of this machine, after building it if it is not there.

    A library that does not fit its record is built anew.

    Args:
        announce: Told that it is about to be built, which takes some seconds.

    Raises:
        KernelsError: No compiler, or one that fails; a cache folder that is open to others or
            cannot be written.
    """
    if os.name != "posix":
        raise KernelsError("kernels are built on Linux and macOS alone")
    try:
        command, compiler = _compiler()
        made_of = [*_texts(), *command, compiler, *_flags(), _processor()]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        place = _cache() / digest[:32]
        name = f"C {digest[:12]} ({compiler})"
        if not _fits(place, digest):
            announce("building the kernels of training ...")
            _build(place, command, {"format": _FORMAT, "made_of": digest, "name": name})
        return Library(path=place / _LIBRARY, name=name)
    except StorageError as error:
        raise KernelsError(f"{error} ({VARIABLE}=FOLDER)") from error
    except InputError as error:
        raise KernelsError(str(error)) from error


def _texts() -> list[str]:
    files = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])
    return [path.read_text(encoding="utf-8") for path in files]


def _flags() -> tuple[str, ...]:
    arm = platform.machine().lower().startswith(("arm", "aarch64"))
    return (*FLAGS, "-mcpu=native" if arm else "-march=native")


def _compiler() -> tuple[tuple[str, ...], str]:
    """Return a compiler's command and version."""
    command = find_compiler()
    if not command:
        raise KernelsError(
            "there is no C compiler; install gcc or clang, or type: pip install 'nas-search[mcu]'"
        )
    if command == ZIG:  # to ask it takes half a second
        return (*command, "-fno-sanitize=all", "-g0"), f"zig {version('ziglang')}"
    text = _run([*command, "--version"]).strip()
    return command, one_line(text.splitlines()[0]) if text else shlex.join(command)


def _processor() -> str:
    """Return model and instructions of the processor."""
    wanted = ("model name", "flags", "Features", "CPU part", "isa")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    return "; ".join(
        [platform.machine(), platform.processor(), *(x for x in lines if x.startswith(wanted))]
    )


def _cache() -> Path:
    """Return the folder of all libraries after making it, for this user alone.

    Raises:
        KernelsError: It is somebody else's, or open to others.
    """
    own, common = (os.environ.get(name, "") for name in (VARIABLE, "XDG_CACHE_HOME"))
    try:
        root = Path(common) if os.path.isabs(common) else Path.home() / ".cache"
    except RuntimeError as error:
        raise KernelsError(f"{error}; set {VARIABLE} to a folder of yours") from error
    folder = (Path(own) if os.path.isabs(own) else root / "nas-search") / "kernels"
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise KernelsError(f"{folder} is a link or a file; expected a folder; remove it")
    if found.st_uid != os.getuid():
        raise KernelsError(f"{folder} is another user's; set {VARIABLE} to a folder of yours")
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        remedy = "expected 0700; look who wrote there, then remove it"
        raise KernelsError(f"{folder} is open to others (mode {mode}); {remedy}")
    return folder


def _fits(place: Path, digest: str) -> bool:
    """Return whether a library is there, this user's, and the one that was recorded."""
    library = place / _LIBRARY
    try:
        for path, is_kind in ((place, stat.S_ISDIR), (library, stat.S_ISREG)):
            found = path.lstat()
            if not is_kind(found.st_mode) or found.st_uid != os.getuid():
                return False
        values, _ = read_sealed_json(place / _RECORD, "remove it")
        return bool(
            values.get("format") == _FORMAT
            and values.get("made_of") == digest
            and values.get("library") == regular_digest(library, _LARGEST)
        )
    except (OSError, InputError):
        return False


def _build(place: Path, command: Sequence[str], record: dict[str, str]) -> None:
    """Compile the library into a folder beside its place, try it, and move it there."""
    sweep(place.parent)
    draft = temporary(place)
    try:
        with storage_errors(draft):
            draft.mkdir(mode=0o700)
        library = draft / _LIBRARY
        sources = sorted(str(path) for path in SOURCES.glob("*.c"))
        _run([*command, *_flags(), *sources, "-o", str(library)], draft)
        try:
            _run([sys.executable, "-I", "-c", _CHECK, str(library)])
        except KernelsError as error:
            raise KernelsError(f"the kernels do not run on this machine: {error}") from error
        values = record | {"library": regular_digest(library, _LARGEST)}
        write_atomically(draft / _RECORD, seal_json(values))
        with storage_errors(place):
            shutil.rmtree(draft / "zig", ignore_errors=True)
            if _fits(place, record["made_of"]):  # another process was faster
                return
            if place.is_symlink() or place.is_file():
                place.unlink()
            elif place.exists():
                os.replace(place, draft / "old")
            os.replace(draft, place)
            shutil.rmtree(place / "old", ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    """Run a program and return what it printed; zig keeps its own cache in the folder.

    Raises:
        KernelsError: It cannot be started, fails or takes too long.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    if folder is not None:
        zig = str(folder / "zig")
        environment |= {"ZIG_LOCAL_CACHE_DIR": zig, "ZIG_GLOBAL_CACHE_DIR": zig}
    tool = "zig" if list(command[:3]) == list(ZIG[:3]) else Path(command[0]).name
    try:
        done = subprocess.run(
            list(command),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelsError(f"{tool} could not be run ({one_line(str(error))})") from error
    if done.returncode:
        lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
        told = next((x for x in lines if "error" in x.lower()), (lines or ["it said nothing"])[0])
        reason = shortened(one_line(told.strip()), 200)
        raise KernelsError(f"{tool} ended with status {done.returncode}: {reason}")
    return done.stdout.decode("utf-8", "replace")
