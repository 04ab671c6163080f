"""Libraries built here, by this user, for this machine are loaded; for others there is one line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nas_engine import compilers
from nas_engine.events import Event, Note, Started
from nas_engine.kernels import Kernels, KernelsError, build, built_library
from nas_engine.training.compute import prepare_kernels
from tests.kernels.kernels import kernels

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kernels are built there alone")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache folder with the library of this machine in it, copied from that of all tests."""
    kernels()
    shutil.copytree(os.environ[build.VARIABLE], tmp_path / "cache")
    monkeypatch.setenv(build.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def no_build(text: str) -> None:
    raise AssertionError(text)


def entry(cache: Path) -> Path:
    return built_library(no_build).path.parent


def test_is_built_once_for_the_user_alone(cache: Path) -> None:
    library = built_library(no_build)
    assert library.path.parent.parent == cache
    for folder in (cache, library.path.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in library.path.parent.iterdir()) == [
        "kernels.json",
        "kernels.so",
    ]
    assert Kernels(library).name == library.name
    assert library.name.startswith(f"C {library.path.parent.name[:12]} (")


def cut_off(place: Path) -> None:
    library = place / "kernels.so"
    library.write_bytes(library.read_bytes()[:-1])


def of_another_source(place: Path) -> None:
    other = place.with_name("0" * 32)
    place.rename(other)
    (other / "kernels.json").write_text("{}")
    other.rename(place)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut off": cut_off,
    "another record": of_another_source,
    "no record": lambda place: (place / "kernels.json").unlink(),
    "a link": lambda place: (
        (place / "kernels.so").rename(place / "x.so") or (place / "kernels.so").symlink_to("x.so")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_library_is_built_anew(
    cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a compilation: the compiler is a copy."""
    place, told = entry(cache), list[str]()
    keep = place.with_name("keep.so")
    shutil.copy(place / "kernels.so", keep)
    DAMAGES[damage](place)
    run = build._run

    def copying(command: list[str], folder: Path | None = None) -> str:
        if "-o" not in command:
            return run(command, folder)
        shutil.copy(keep, command[-1])
        return ""

    monkeypatch.setattr(build, "_run", copying)
    library = built_library(told.append)
    assert told == ["building the kernels of training ..."]
    assert sorted(path.name for path in place.iterdir()) == ["kernels.json", "kernels.so"]
    assert library == built_library(no_build)
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


class Sink(list[Event]):
    def __call__(self, event: Event, /) -> None:
        self.append(event)

    def stop(self) -> bool:
        return False


def note_of(choice: str = "auto") -> str:
    """Return the one note that says why there are no kernels."""
    sink = Sink()
    assert prepare_kernels(choice, "cpu", sink) is None
    (note,) = (event for event in sink if isinstance(event, Note))
    assert "\n" not in note.text
    assert note.text.startswith("training goes torch's own way, at about half the speed: ")
    return note.text.partition(": ")[2]


class TestNone:
    """Torch's own way, and one line that says why."""

    def test_open_to_others(self, cache: Path) -> None:
        cache.chmod(0o755)
        assert "is open to others (mode 0755); expected 0700" in note_of()

    def test_of_another_user(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
        assert "is another user's; set NAS_SEARCH_CACHE" in note_of()

    def test_link(self, cache: Path) -> None:
        cache.rename(cache.with_name("elsewhere"))
        cache.symlink_to(cache.with_name("elsewhere"))
        assert "is a link or a file; expected a folder" in note_of()

    def test_file_in_the_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv(build.VARIABLE, str(tmp_path / "file"))
        note = note_of()
        assert "cannot be written" in note
        assert note.endswith("(NAS_SEARCH_CACHE=FOLDER)")

    def test_no_compiler(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
        monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
        assert note_of().startswith("there is no C compiler; install gcc or clang")

    @pytest.mark.parametrize(
        ("compiler", "expected"),
        [
            ("no-such-compiler", "no-such-compiler could not be run"),
            ("'", "CC is .*, which cannot be taken apart into words"),
            ("false", "false ended with status 1"),
        ],
    )
    def test_compiler(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, expected: str
    ) -> None:
        monkeypatch.setenv("CC", compiler)
        with pytest.raises(KernelsError, match=expected):
            built_library()
        assert note_of()

    def test_compiler_that_makes_no_library(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CC", "echo")
        assert note_of().startswith("the kernels do not run on this machine")
        assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []

    @pytest.mark.parametrize(("choice", "device"), [("torch", "cpu"), ("auto", "cuda")])
    def test_not_asked_for(self, choice: str, device: str) -> None:
        sink = Sink()
        assert prepare_kernels(choice, device, sink) is None
        assert sink == []


def test_kernels_of_this_machine(cache: Path) -> None:
    sink = Sink()
    found = prepare_kernels("auto", "cpu", sink)
    assert found is not None
    assert found.name == kernels().name
    assert not [event for event in sink if isinstance(event, Started)]
