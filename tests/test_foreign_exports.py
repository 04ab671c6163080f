"""Nothing that lies in a run directory is ever compiled, linked or loaded: whatever is put into an
export is refused in one line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas_engine import __version__
from nas_engine.evolution.config import resolve_config
from nas_engine.exporters.bundle import DIGESTS, digest_list
from nas_engine.exporters.settings import FILE as SETTINGS
from nas_engine.exporters.settings import ExportSettings, settings_file
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.pipeline.verify import verify_run
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.sealed import seal_json
from tests.cli.command import Run, runner
from tests.cli.test_bad_input import snapshot
from tests.test_export_pipeline import CONFIG
from tests.training.runs import small_run
from tests.training.tasks import IMAGES, small_recipe


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and exported run, only to be copied."""
    path = small_run(tmp_path_factory.mktemp("exported") / "run")
    RunDirectory(path).write_config(resolve_config(CONFIG).as_mapping())
    assert (
        run_training(
            path,
            TrainingRequest(
                data="digits", recipe=small_recipe(epochs=2, ema_decay=0.5), limit=IMAGES
            ),
        )
        is not None
    )
    export_run(path)
    return path


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "run"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def reseal(folder: Path) -> None:
    """Write digests that fit, as somebody would who changes an export on purpose."""
    (folder / DIGESTS).unlink()
    (folder / DIGESTS).write_bytes(digest_list(snapshot(folder)))


def code(effect: Path) -> str:
    """Return C that creates a file as soon as it is loaded, and as a static initialiser of a header
    can.
    """
    return (
        "#include <fcntl.h>\n"
        f'__attribute__((constructor)) static void effect(void) {{ (void)open("{effect}", O_CREAT '
        f"| O_WRONLY, 0600); }}\n"
    )


def append(path: Path, content: str) -> None:
    with path.open("a") as file:
        file.write(content)


def socket_at(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have some hundred characters only
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def linked(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def replaced(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


Attack = Callable[[Path, Path], object]

ATTACKS: dict[str, tuple[Attack, str]] = {
    "a further C file": (
        lambda e, effect: (e / "c" / "nas_zz.c").write_text(code(effect)),
        "c/nas_zz.c: is a file that the export did not",
    ),
    "a further C file, listed": (
        lambda e, effect: ((e / "c" / "nas_zz.c").write_text(code(effect)), reseal(e)),
        "c/nas_zz.c: is a file that the export did not write",
    ),
    "a header of the system's name": (
        lambda e, effect: (e / "c" / "stdio.h").write_text(code(effect)),
        "c/stdio.h: is a file that",
    ),
    "a header beside": (
        lambda e, effect: (e / "string.h").write_text(code(effect)),
        "string.h: is a file that",
    ),
    "a hidden file": (
        lambda e, effect: (e / "c" / ".nas_x.c").write_text(code(effect)),
        "c/.nas_x.c: is a file that",
    ),
    "an object": (
        lambda e, effect: (e / "c" / "model.o").write_bytes(b"\x7fELF"),
        "c/model.o: is a file that",
    ),
    "a GNUmakefile": (
        lambda e, effect: (e / "c" / "GNUmakefile").write_text(f"$(shell touch {effect})\n"),
        "c/GNUmakefile: is a file that",
    ),
    "a changed model.c": (
        lambda e, effect: append(e / "c" / "model.c", code(effect)),
        "c/model.c: was changed or cut off",
    ),
    "a changed model.c, listed": (
        lambda e, effect: (append(e / "c" / "model.c", code(effect)), reseal(e)),
        "c/model.c: was changed or cut off after the export",
    ),
    "a changed header, listed": (
        lambda e, effect: (append(e / "c" / "nas_runtime.h", code(effect)), reseal(e)),
        "c/nas_runtime.h: was changed",
    ),
    "a changed Makefile": (
        lambda e, effect: append(e / "c" / "Makefile", f"$(shell touch {effect})\n"),
        "c/Makefile: was changed",
    ),
    "a cut model.c": (
        lambda e, effect: os.truncate(e / "c" / "model.c", 100),
        "c/model.c: was changed or cut off",
    ),
    "one changed byte of the TFLite file": (
        lambda e, effect: (
            (e / "model.tflite").write_bytes((e / "model.tflite").read_bytes()[:-1] + b"\x01"),
            reseal(e),
        ),
        "model.tflite: was changed",
    ),
    "an appended byte of the ONNX file": (
        lambda e, effect: (append(e / "model_int.onnx", "\0"), reseal(e)),
        "model_int.onnx: was changed",
    ),
    "a missing file": (
        lambda e, effect: (e / "c" / "nas_runtime.h").unlink(),
        "c/nas_runtime.h: is missing",
    ),
    "a missing list": (lambda e, effect: (e / DIGESTS).unlink(), f"{DIGESTS}: is missing"),
    "a further folder": (lambda e, effect: (e / "c" / "sys").mkdir(), "c/sys: is a folder that"),
    "a link to the same file": (
        lambda e, effect: linked(e / "c" / "model.c", e.parent / "model.c"),
        "c/model.c: is a link that",
    ),
    "a link to a device": (
        lambda e, effect: replaced(e / "c" / "model.h", lambda at: at.symlink_to("/dev/zero")),
        "c/model.h: is a link that",
    ),
    "a dangling link": (
        lambda e, effect: (e / "c" / "x.c").symlink_to("nowhere"),
        "c/x.c: is a link that",
    ),
    "a link to a folder": (lambda e, effect: (e / "d").symlink_to("/etc"), "d: is a link that"),
    "a named pipe": (
        lambda e, effect: replaced(e / "c" / "model.c", os.mkfifo),
        "c/model.c: is a named pipe that",
    ),
    "settings in a named pipe": (
        lambda e, effect: replaced(e / SETTINGS, os.mkfifo),
        f"{SETTINGS}: is a named pipe that",
    ),
    "settings in a link": (
        lambda e, effect: replaced(e / SETTINGS, lambda at: at.symlink_to("/dev/zero")),
        f"{SETTINGS}: is a link that",
    ),
    "a socket": (lambda e, effect: socket_at(e / "model.tflite"), "model.tflite: is a socket that"),
    "a folder in place of a file": (
        lambda e, effect: replaced(e / "c" / "model.c", Path.mkdir),
        "c/model.c: is a folder that",
    ),
    "a list that names a file elsewhere": (
        lambda e, effect: append(
            e / DIGESTS, f"{hashlib.sha256(b'').hexdigest()}  ../../../etc/hostname\n"
        ),
        f"{DIGESTS}: was changed",
    ),
    "a list that names a device": (
        lambda e, effect: append(e / DIGESTS, f"{'0' * 64}  /dev/zero\n"),
        f"{DIGESTS}: was changed",
    ),
    "a list in a link": (
        lambda e, effect: replaced(e / DIGESTS, lambda at: at.symlink_to("/dev/zero")),
        f"{DIGESTS}: is a link that",
    ),
    "the export in a link": (
        lambda e, effect: (e.rename(e.with_name("elsewhere")), e.symlink_to("elsewhere")),
        "export: is no folder of its own",
    ),
    "the export in a file": (
        lambda e, effect: (shutil.rmtree(e), e.write_text("")),
        "export: is no folder of its own",
    ),
    "no settings": (
        lambda e, effect: (e / SETTINGS).unlink(),
        f"has no {SETTINGS}, as exports of nas-search 0.1.0 have none",
    ),
    "settings that are cut": (
        lambda e, effect: os.truncate(e / SETTINGS, 200),
        f"{SETTINGS}: does not fit the digest",
    ),
    "settings by hand": (
        lambda e, effect: (e / SETTINGS).write_text('{"format": "x"}'),
        f"{SETTINGS}: format: is 'x'; expected",
    ),
    "settings with an unknown format": (
        lambda e, effect: (e / SETTINGS).write_bytes(
            settings_file(ExportSettings(formats=("c", "elf")), {"nas-search": __version__})
        ),
        "unknown format: 'elf'",
    ),
    "settings of fewer formats": (
        lambda e, effect: (e / SETTINGS).write_bytes(
            settings_file(ExportSettings(formats=("c",)), {"nas-search": __version__})
        ),
        "is a file that the export did not write",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_in_one_line_and_nothing_of_it_runs(
    name: str, run: Path, tmp_path: Path, command: Run
) -> None:
    attack, message = ATTACKS[name]
    effect = tmp_path / "effect"
    attack(run / "export", effect)
    refusal = command("verify", run, "--images", "2", "--emulated-images", "1").refusal()
    assert message in refusal
    options = ["--format", "c"] if name == "settings of fewer formats" else []
    before = ", or" if name == "settings with an unknown format" else ";"
    command_line = shlex.join(["nas-search", "export", str(run), *options])
    assert refusal.endswith(f"{before} type: {command_line}")
    assert not effect.exists()
    assert not (run / "verification.json").exists()


@pytest.mark.parametrize(
    "name",
    [
        "a further C file",
        "the export in a link",
        "the export in a file",
        "a named pipe",
        "no settings",
    ],
)
def test_the_command_that_it_names_mends_it(
    name: str, run: Path, exported: Path, tmp_path: Path, command: Run
) -> None:
    ATTACKS[name][0](run / "export", tmp_path / "effect")
    mend = re.search("type: (.*)$", command("verify", run).refusal())
    assert mend is not None
    assert command(*shlex.split(mend[1])[1:]).code == 0
    assert snapshot(run / "export") == snapshot(exported / "export")
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    assert verify_run(run, images=1, backends=["onnx"]).passed


@pytest.mark.parametrize(
    ("package", "changed", "told"),
    [
        ("nas-search", "c/model.c", "was written by nas-search 0.0.9; here is nas-search "),
        ("onnx", "model_int.onnx", "was written by onnx 0.0.9; here is onnx "),
        ("flatbuffers", "model.tflite", "was written by flatbuffers 0.0.9; here is flatbuffers "),
        ("onnx", "c/model.c", "c/model.c: was changed or cut off after the export"),
    ],
)
def test_an_export_by_another_version_is_called_that(
    package: str, changed: str, told: str, run: Path, command: Run
) -> None:
    """Where it decides the bytes that differ; where they do not differ, it is as good as one of
    this version.
    """
    path = run / "export" / SETTINGS
    lines = re.sub(rf'"{package}": "[^"]+"', f'"{package}": "0.0.9"', path.read_text()).split("\n")
    path.write_text(seal_json(json.loads("{" + "\n".join(lines[2:]))))
    reseal(run / "export")
    assert verify_run(run, images=1, backends=["onnx"]).passed
    append(run / "export" / changed, "\n")
    refusal = command("verify", run).refusal()
    assert told in refusal
    assert refusal.endswith(f"; type: nas-search export {run}")
