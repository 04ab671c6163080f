"""Names that are no words, from the folder of the data to the last file: bytes that are no UTF-8,
line ends, comments, quotes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nas_engine.datasets import open_dataset
from nas_engine.datasets.summary import summary_lines
from nas_engine.escaping import is_hidden
from nas_engine.evolution.config import resolve_config
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.runs.run_directory import RunDirectory
from tests.cli.command import Run, runner
from tests.datasets.files import labels, pixels
from tests.exporters.c_exports import STRICT, compile_c, host_compiler
from tests.training.runs import small_run
from tests.training.tasks import small_recipe

ODD = os.fsdecode(
    b'donn\xe9es *\\ int x; \\* ??\\\nnote: fine\x1b[31m \xe2\x80\xae it\'s "odd" <b> `x` $HOME'
)
NAMES = [ODD, " ", "-rf", os.fsdecode(b"\xff\xfe"), "it's"]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


def is_plain(text: str) -> bool:
    """Return whether a text has nothing hidden but its line ends."""
    return not any(is_hidden(character) for character in text.replace("\n", ""))


def pasted(command_line: str) -> list[bytes]:
    """Return the words of a command as a shell reads them."""
    shell = shutil.which("bash") or pytest.skip("needs bash")
    done = subprocess.run(
        [shell, "-c", f"printf '%s\\0' {command_line}"], capture_output=True, check=True
    )
    return done.stdout.split(b"\0")[:-1]


def begun(run: Path) -> None:
    """Write a run directory with a small winner of ten classes."""
    small_run(run)
    RunDirectory(run).write_config(
        resolve_config({"space": "mobilenet-32", "resolution": 8, "classes": 10}).as_mapping()
    )


def trained(run: Path, data: Path) -> None:
    """Train a run on ten classes of noise in an .npz file of that name."""
    arrays = {
        "x_train": pixels(20, 8, 8),
        "y_train": labels(20, 10),
        "x_test": pixels(10, 8, 8, seed=1),
        "y_test": labels(10, 10),
    }
    with data.open("wb") as file:
        np.savez(file, **arrays)
    begun(run)
    request = TrainingRequest(data=str(data), recipe=small_recipe(epochs=2, ema_decay=0.5))
    assert run_training(run, request) is not None


@pytest.mark.parametrize("name", [ODD, " "], ids=ascii)
def test_every_command_works_with_every_name(name: str, command: Run, tmp_path: Path) -> None:
    run, folder = tmp_path / f"run {name}", tmp_path / "data"
    folder.mkdir()
    trained(run, folder / f"{name}.npz")
    outcome = command("export", run)
    assert (outcome.code, outcome.err) == (0, "")
    assert is_plain(outcome.out)
    assert pasted(outcome.out.splitlines()[-1].removeprefix("prove it: ")) == [
        b"nas-search",
        b"verify",
        os.fsencode(run),
    ]
    exported = run / "export" / "c"
    compile_c(
        host_compiler(), *STRICT, "-fsyntax-only", f"-I{exported}", *sorted(exported.glob("*.c"))
    )
    head = (exported / "model.h").read_text(encoding="ascii")
    assert re.search(r"^ \* data: \S", head, re.MULTILINE)
    assert is_plain((exported / "README.md").read_text(encoding="utf-8"))
    assert json.loads((run / "training" / "result.json").read_bytes())["data"] == str(
        folder / f"{name}.npz"
    )
    outcome = command("evaluate", run, "--layers")
    assert outcome.code == 0, outcome
    assert is_plain(outcome.out + outcome.err)
    assert not [line for line in outcome.out.splitlines() if line.startswith("note: fine")]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("verb", ["train", "evaluate", "export", "verify", "refine"])
def test_refusals_are_one_line_with_commands_to_paste(
    verb: str, name: str, command: Run, tmp_path: Path
) -> None:
    run = Path(name)
    begun(run)
    argument = f"./{run}"
    refusal = command(
        verb, argument, *(["--data", f"missing {name}"] if verb == "train" else [])
    ).refusal()
    assert is_plain(refusal)
    told = re.search(r"(?:type|with|again): (nas-search .*?)(?: \(with|, or|$)", refusal)
    if told and verb in ("evaluate", "export", "verify", "refine"):
        words = pasted(told[1])
        assert os.fsencode(run) in (words[2], words[2].removeprefix(b"./"))
        assert len(shlex.split(told[1])) == len(words)
        assert not words[2].startswith(b"-")
    elif verb in ("evaluate", "export", "verify", "refine"):
        pytest.fail(f"no command in: {refusal}")


def test_a_file_name_forges_no_note(tmp_path: Path) -> None:
    for number, label in enumerate(("cat", "dog")):
        (tmp_path / label).mkdir()
        for index in range(12):
            np_image = np.full((8, 8, 3), 40 * number + index, np.uint8)
            (tmp_path / label / f"{index}.ppm").write_bytes(b"P6 8 8 255\n" + np_image.tobytes())
    (tmp_path / "cat" / "a\nnote: everything is fine \x1b[31m\x07.png").write_bytes(b"")
    lines = summary_lines(open_dataset(tmp_path, resolution=8, channels=3))
    assert all(map(is_plain, lines))
    assert not [line for line in lines if "\n" in line or line.startswith("note: everything")]
    assert [line for line in lines if r"a\nnote: everything is fine \x1b[31m\x07.png" in line]
