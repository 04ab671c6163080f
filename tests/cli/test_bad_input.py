"""Bad input: one line that begins with ``error: ``, exit code 2 (1 at run time), nothing lost,
never a traceback.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from device_profiles import device_names
from nas_engine.architecture import read_architecture
from tests.cli.command import SMALL, TWO, Run
from tests.generations import GENERATION


def snapshot(path: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def device_file(path: Path, **rows: list[str]) -> Path:
    """Write a copy of a shipped profile with other bit pairs."""
    text = (Path(__file__).parents[2] / "device_profiles" / "data" / "cortex-m7.yaml").read_text(
        encoding="utf-8"
    )
    before, _, after = text.partition("  rows:\n")
    rest = after[after.index("\n\n") :]
    listed = "".join(f"    - {row}\n" for row in rows["pairs"])
    path.write_text(f"{before}  rows:\n{listed}{rest}", encoding="utf-8")
    return path


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ("--device cortex-m8", "unknown device: 'cortex-m8'; did you mean 'cortex-m7'?"),
            ("--device ''", "unknown device"),
            ("--device none.yaml", "none.yaml: cannot be read (No such file"),
            ("--space mobilnet", "did you mean 'mobilenet'?"),
            ("--sram -1", "--sram: '-1' is not a size"),
            ("--sram 0", "--sram: '0' is 0 B"),
            ("--sram 12x", "--sram: '12x' is not a size"),
            ("--sram 0.3", "--sram: '0.3' is 0.3 B"),
            ("--sram 1g", "--sram: SRAM of 1,073,741,824 B"),
            ("--flash 1g", "--flash: Flash of 1,073,741,824 B"),
            ("--sram 4g", "beyond the 536,870,912 B"),
            ("--sram 5g", "beyond the 4,294,967,296 B (4 GiB)"),
            ("--sram 1t", "--sram: '1t' is not a size"),
            (f"--sram {'9' * 5000}", "beyond the 4,294,967,296 B (4 GiB)"),
            ("--sram 4k", "give at least 5k"),
            ("--sram 8k", "smallest possible peak SRAM"),
            ("--flash 64k", "smallest possible Flash"),
            ("--max-macs 1k", "smallest possible MACs"),
            ("--max-bitops 1k", "smallest possible BitOps"),
            ("--max-cycles 1k", "smallest possible cycles"),
            ("--max-latency 1us", "smallest possible latency is "),
            ("--max-latency 0", "--max-latency: '0' is not the time of one inference"),
            ("--max-latency 3mhz", "--max-latency: '3mhz' is not the time of one inference; "),
            ("--max-latency nan", "expected for example 200ms, 0.2s or none"),
            ("--max-latency 2h", "--max-latency: '2h' is not the time of one inference"),
            ("--max-latency 101s", "max_latency is 101000; expected a number from 0.001 to 100000"),
            ("--max-macs 0", "--max-macs: '0' is not a positive number"),
            ("--max-cycles 200ms", "(decimal: 50,000,000); a time is --max-latency"),
            ("--max-macs nan", "--max-macs: 'nan'"),
            (
                "--max-effectiveness 0",
                "--max-effectiveness: '0' is not a number from 1e-06 to 1e+06; "
                "expected for example 0.7",
            ),
            ("--max-effectiveness nan", "--max-effectiveness: 'nan' is not a number"),
            ("--max-effectiveness inf", "--max-effectiveness: 'inf' is not a number"),
            ("--max-layers 3", "--max-layers"),
            ("--max-layers 5", "max_layers 5 is below the 17 layers"),
            ("--max-stage-share 7", "--max-stage-share: '7' is not a number from 0 to 1"),
            ("--max-stage-share nan", "--max-stage-share: 'nan' is not a number"),
            ("--stage-weights 1,2", "stage weights 1,2 are 2 values; this network has 5 stages"),
            ("--stage-weights 0,0,0,0,0", "not all 0"),
            ("--stage-weights 0,0,1,1,-6", "stage_weights[4]: is -6.0; expected a number from 0"),
            ("--stage-weights 0,0,1,1,inf", "is not a list of numbers; expected for example"),
            ("--stage-weights x", "--stage-weights: 'x' is not a list of numbers"),
            ("--sigma-a 0", "--sigma-a: '0' is not a number from 0.1 to 1000"),
            ("--sigma-a nan", "--sigma-a: 'nan' is not a number"),
            ("--sigma-w inf", "--sigma-w: 'inf' is not a number"),
            ("--sigma-w x", "--sigma-w"),
            ("--resolution 0", "--resolution: '0' is not a list"),
            ("--resolution 9999", "--resolution: '9999' is not a list"),
            ("--resolution 999", "resolution 999 is outside space 'mobilenet'; expected 32 to 320"),
            ("--resolution abc", "--resolution: 'abc'"),
            ("--resolution 96,96", "different sizes"),
            ("--resolution 96,999", "resolution 999 is outside"),
            ("--resolution ,", "--resolution: ','"),
            (f"--resolution {'9' * 5000}", "is not a list"),
            ("--classes -1", "--classes"),
            ("--candidates 0", "--candidates: '0'"),
            (
                "--candidates 1e30",
                "--candidates: '1e30' is not a whole number from 1 to 1,000,000,000,000",
            ),
            ("--candidates 0.5", "--candidates: '0.5'"),
            ("--candidates many", "--candidates: 'many'"),
            ("--seed -1", "--seed"),
            ("--seed x", "--seed"),
            ("--workers 0", "--workers"),
            ("--time-limit 0", "--time-limit: '0'"),
            ("--time-limit inf", "--time-limit: 'inf'"),
            ("--memory-model real", "--memory-model"),
            ("--devise cortex-m7", "--device"),
            ("--sram", "--sram"),
            ("--resume --force", "give one of the two"),
            ("--resume --out none", "none: holds no run to continue"),
            ("--resume", "holds no run to continue"),
            (
                "serach",
                (
                    "unknown command 'serach'; did you mean 'search'? expected one of: run, "
                    "search, train, evaluate, refine, export, verify"
                ),
            ),
            ("fly", "unknown command 'fly'; expected one of: run, search"),
            ("scor best.yaml", "unknown command 'scor'; did you mean 'score'?"),
            ("''", "unknown command ''"),
            ("--sram 256k score best.yaml", "--sram before 'score' belongs to a search"),
            ("--resume plot run", "--resume before 'plot' belongs to a search"),
            ("score", "Missing argument 'FILE'"),
            ("score a b", "extra argument"),
            ("score none.yaml", "none.yaml: cannot be read (No such file"),
            ("score --candidates 3 a", "No such option"),
            (
                "score . --resolution 1,2",
                "--resolution: '1,2' is not a whole number from 1 to 1,024",
            ),
            ("run --resolution 96,128", "one size (nas-search search compares several)"),
            ("plot none", "none: is not a run directory"),
            ("score m.onnx", "m.onnx: models of other programs are not taken"),
            ("export runs/M.TFLITE", "M.TFLITE: models of other programs are not taken"),
            ("compare m.h5 run", "docs/how_to/own_network.md"),
            ("import m.onnx", "unknown command 'import'; models of other programs are not taken"),
            ("plot", "Missing argument 'RUN'"),
            ("devices stm32f745", "did you mean 'stm32f746'?"),
            ("devices none/board.yaml", "none/board.yaml: cannot be read"),
            ("spaces mobilenet-33", "did you mean 'mobilenet-32'?"),
            ("spaces none.yaml", "none.yaml: cannot be read"),
        ],
    )
    def test_one_line_and_nothing_written(
        self, run: Run, tmp_path: Path, arguments: str, says: str
    ) -> None:
        message = run(*["" if word == "''" else word for word in arguments.split(" ")]).refusal()
        assert says in message
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", [os.fsdecode(b"\xff"), "a b/c d", "n" * 5000, "a\nb", "é"])
    def test_odd_names(self, run: Run, name: str) -> None:
        for arguments in (
            ("score", name),
            ("plot", name),
            ("devices", name),
            ("spaces", name),
            (name,),
            ("--device", f"{name}.yaml"),
        ):
            run(*arguments).refusal()

    @pytest.mark.parametrize(
        "command",
        [
            "score",
            "report",
            "plot",
            "--device",
            "--max-macs",
            "--sram",
            "--classes 2 --out",
            "run --set",
            "run --out",
            "train",
            "",
        ],
    )
    def test_a_text_without_end_is_not_echoed(self, run: Run, tmp_path: Path, command: str) -> None:
        message = run(*command.split(), "a" * 5000).refusal()
        assert len(f"error: {message}") <= 700
        assert " ..." in message
        assert not list(tmp_path.iterdir())

    def test_budget_named_in_the_message_is_enough_and_one_byte_less_is_not(
        self, run: Run, tmp_path: Path
    ) -> None:
        for number, (option, big) in enumerate((("--sram", "--flash"), ("--flash", "--sram"))):
            search = (
                "--candidates",
                "1",
                "--workers",
                "1",
                "--no-plots",
                big,
                "8m",
                "--out",
                tmp_path / f"run{number}",
            )
            words = run(option, "34k" if option == "--flash" else "8k", *search).refusal().split()
            enough = int(words[words.index(option) + 1])
            run(option, enough - 1, *search).refusal()
            assert run(option, enough, *search).code == 0


class TestFiles:
    CONTENT: ClassVar = {
        "empty": b"",
        "binary": bytes(range(256)),
        "cut": b"name: x\ntitle: [1, 2",
        "list": b"- 1",
        "huge": b"a: " + b"x" * (5 * 2**20),
        "many": b"a:\n" + b"- 1\n" * 50_000,
        "bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"b%d: &b%d [%s]\n" % (i, i, b",".join([b"*b%d" % (i - 1) if i else b"*a"] * 9))
            for i in range(9)
        ),
        "deep": b"a: " + b"[" * 2000,
        "key": b"nmae: x",
        "twice": b"name: x\nname: y",
        "tag": b"name: !!python/object:os.system x",
    }

    @pytest.mark.parametrize("content", CONTENT)
    def test_every_file_that_can_be_given(self, run: Run, tmp_path: Path, content: str) -> None:
        file = tmp_path / "my file.yaml"
        file.write_bytes(self.CONTENT[content])
        for arguments in (("score", file), ("--device", file), ("--space", file)):
            assert run(*arguments).refusal().startswith(f"{file}: ")
        assert [path.name for path in tmp_path.iterdir()] == [file.name]

    def test_directory_and_device_node_as_files(self, run: Run, tmp_path: Path) -> None:
        folder = tmp_path / "folder.yaml"
        folder.mkdir()
        for file in (folder, "/dev/zero") if Path("/dev/zero").exists() else (folder,):
            for arguments in (("score", file), ("devices", file), ("--space", file)):
                run(*arguments).refusal()

    def test_misspelt_key_names_the_nearest(self, run: Run, tmp_path: Path) -> None:
        text = (
            Path(__file__).parents[2] / "device_profiles" / "data" / "cortex-m7.yaml"
        ).read_text(encoding="utf-8")
        file = tmp_path / "board.yaml"
        file.write_text(text.replace("clock_hz:", "clok_hz:"), encoding="utf-8")
        assert "did you mean 'clock_hz'?" in run("--device", file).refusal()

    def test_latency_on_a_core_that_nobody_measured_says_what_is_missing(
        self, run: Run, tmp_path: Path
    ) -> None:
        board = device_file(tmp_path / "board.yaml", pairs=["NNNNNNN"] * 7)
        text = re.sub(r"(?m)^cycles_per_instruction:\n( .*\n)+", "", board.read_text("utf-8"))
        board.write_text(text, encoding="utf-8")
        refusal = run("--device", board, *SMALL, "--max-latency", "1s", "--out", "run").refusal()
        assert "has no cycles_per_instruction, without which cycles are no time" in refusal
        assert "give --max-cycles" in refusal
        assert run("--device", board, *SMALL, "--out", "run").code == 0


class TestForbiddenWidths:
    def test_search_keeps_to_what_the_device_allows(self, run: Run, tmp_path: Path) -> None:
        pairs = ["FFFFFFF", "FFFFFFF", "FFNFFFN", "FFFFFFF", "FFFFFFF", "FFFFFFF", "FFNFFFN"]
        board = device_file(tmp_path / "board.yaml", pairs=pairs)
        assert run("--device", board, *SMALL, "--out", "run").code == 0
        best = read_architecture(tmp_path / "run" / "best.yaml")
        used = {str(bits) for bits in best.layer_bits()}
        assert used <= {"w4a4", "w4a8", "w8a4", "w8a8"}
        assert len(used) > 1

    @pytest.mark.parametrize(
        ("pairs", "says"),
        [
            (["FFFFFFF"] * 7, "forbids every pair"),
            (
                ["FFFFFFN", *["FFFFFFF"] * 6],
                "forbids w8a8, which space 'mobilenet' gives stem and classifier",
            ),
            (
                ["FFFFFFF", "FFFFFFF", "FFFFFFN", "FFFFFFF", "FFFFFFF", "FFFFFFF", "FFNFFFN"],
                "forbids w4a4 but allows either width",
            ),
            (["NNNNNNN"] * 6, "rows"),
            (["NNNNNNX"] * 7, "rows"),
        ],
    )
    def test_no_width_left(self, run: Run, tmp_path: Path, pairs: list[str], says: str) -> None:
        assert says in run("--device", device_file(tmp_path / "board.yaml", pairs=pairs)).refusal()


class TestRunDirectories:
    def test_existing_run_without_resume_or_force(self, run: Run, finished_run: Path) -> None:
        before = snapshot(finished_run)
        assert (
            "--resume to continue it, --force to replace it"
            in run(*SMALL, "--out", finished_run).refusal()
        )
        assert snapshot(finished_run) == before

    @pytest.mark.parametrize("flags", [(), ("--force",), ("--resume",)])
    def test_foreign_directory(self, run: Run, tmp_path: Path, flags: tuple[str, ...]) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
        assert "'chapter.tex'" in run(*SMALL, "--out", "thesis", *flags).refusal()
        assert snapshot(tmp_path) == {"thesis/chapter.tex": b"years of work"}

    def test_archived_results_are_not_taken_for_a_run(
        self, run: Run, tmp_path: Path, finished_run: Path
    ) -> None:
        (tmp_path / "archive").mkdir()
        shutil.copy(finished_run / "best.yaml", tmp_path / "archive")
        for flags in ((), ("--resume",)):
            assert (
                "holds 'best.yaml' of a run but no config.yaml"
                in run(*SMALL, "--out", "archive", *flags).refusal()
            )
        assert list(snapshot(tmp_path)) == ["archive/best.yaml"]

    def test_file_in_place_of_the_directory(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        assert "is a file" in run(*SMALL, "--out", "file").refusal()
        assert "cannot be written" in run(*SMALL, "--out", "file/run").refusal(code=1)
        assert "is longer than the system allows" in run(*SMALL, "--out", "n" * 5000).refusal()
        assert snapshot(tmp_path) == {"file": b"mine"}

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--device", "rp2040"),
            ("--sram", "128k"),
            ("--flash", "1m"),
            ("--space", "mobilenet"),
            ("--resolution", "48"),
            ("--resolution", "32,48"),
            ("--classes", "12"),
            ("--memory-model", "paper"),
            ("--sigma-a", "3"),
            ("--stage-weights", "1,1,1,1"),
            ("--max-macs", "50m"),
            ("--max-layers", "30"),
            ("--max-effectiveness", "0.7"),
            ("--no-qbr", ""),
            ("--seed", "1"),
        ],
    )
    def test_resume_with_another_option(
        self, run: Run, finished_run: Path, option: str, value: str
    ) -> None:
        before = snapshot(finished_run)
        message = run(
            "--resume", "--out", finished_run, option, *([value] if value else [])
        ).refusal()
        assert message.startswith("--resume: this run has ")
        assert f"leave --{option.removeprefix('--').removeprefix('no-')} out" in message
        assert snapshot(finished_run) == before

    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (
                lambda text: text.replace(b"/run/1", b"/run/7"),
                "is a run of another version ('nas-search/run/7'",
            ),
            (lambda text: b"\n".join(text.splitlines()[1:]), "is a run of another version (None"),
            (lambda text: text[: len(text) // 2], "config.yaml: "),
            (lambda text: b"", "config.yaml: holds nothing"),
            (lambda text: b"\x00\xff" * 9, "config.yaml: is not a text file"),
            (lambda text: text.replace(b"seed: 0", b"seed: zero"), "config.yaml: seed: is 'zero'"),
            (
                lambda text: text.replace(b"seed:", b"sead:"),
                "config.yaml: unknown key: 'sead'; did you mean 'seed'?",
            ),
            (lambda text: text + b"more: 1\n", "config.yaml: unknown key: 'more'"),
            (lambda text: text.replace(b"- 6.0", b"- six"), "config.yaml: stage_weights[3]: is"),
            (
                lambda text: text.replace(b"device: cortex-m7", b"device: cortex-m9"),
                "unknown device",
            ),
            (
                lambda text: text.replace(b"resolution: 32", b"resolution: 4000"),
                "resolution: is 4000; expected",
            ),
        ],
    )
    def test_damaged_config(
        self, run: Run, tmp_path: Path, finished_run: Path, damage: object, says: str
    ) -> None:
        shutil.copytree(finished_run, tmp_path / "run")
        config = tmp_path / "run" / "config.yaml"
        _, written = config.read_bytes().split(
            b"\n", 1
        )  # without the digest, which finds each of these
        config.write_bytes(damage(written))  # type: ignore[operator]
        before = snapshot(tmp_path)
        for arguments in (("--resume", "--out", "run", "--no-plots"), ("plot", "run")):
            assert says in run(*arguments).refusal()
        assert snapshot(tmp_path) == before

    def test_a_changed_config_is_refused_with_what_mends_it(
        self, run: Run, tmp_path: Path, finished_run: Path
    ) -> None:
        shutil.copytree(finished_run, tmp_path / "run")
        config, best = tmp_path / "run" / "config.yaml", tmp_path / "run" / "best.yaml"
        written = config.read_bytes()
        config.write_bytes(written.replace(b"seed: 0", b"seed: 1"))
        for arguments in (("--resume", "--out", "run"), ("plot", "run"), ("report", "run")):
            assert "write it anew with nas-search --force --out run" in run(*arguments).refusal()
        config.write_bytes(written)
        text = best.read_bytes()
        best.write_bytes(text.replace(b"stride: 2", b"stride: 1", 1))
        assert "does not fit the digest that it carries" in run("plot", "run").refusal()
        assert run(*shlex.split("--resume --out run --no-plots")).code == 0
        assert best.read_bytes() == text

    def test_a_changed_file_by_its_path_is_taken_with_one_note(
        self, run: Run, tmp_path: Path, finished_run: Path
    ) -> None:
        mine = tmp_path / "mine.yaml"
        mine.write_bytes(
            (finished_run / "best.yaml").read_bytes().replace(b"stride: 2", b"stride: 1", 1)
        )
        outcome = run("score", "mine.yaml")
        assert (outcome.code, outcome.err) == (
            0,
            "note: mine.yaml was changed after nas-search wrote it; taken as it is now\n",
        )
        assert run("score", finished_run / "best.yaml").err == ""

    def test_cut_or_changed_checkpoint(self, run: Run, tmp_path: Path, finished_run: Path) -> None:
        shutil.copytree(finished_run, tmp_path / "run")
        checkpoint = tmp_path / "run" / "checkpoint.npz"
        whole = checkpoint.read_bytes()
        size = len(whole)
        cuts = [
            whole[:end]
            for end in (0, 1, 4, 31, 32, 33, 100, size // 2, size - 33, size - 32, size - 1)
        ]
        flips = [
            whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            for at in (0, 7, 30, 200, size // 3, size // 2, size - 60, size - 1)
        ]
        for damaged in (*cuts, *flips, whole + b"x"):
            checkpoint.write_bytes(damaged)
            assert (
                "checkpoint.npz: is not a whole checkpoint (cut off or damaged)"
                in run("--resume", "--out", "run").refusal()
            )
            assert checkpoint.read_bytes() == damaged
        checkpoint.unlink()
        checkpoint.mkdir()
        assert (
            "checkpoint.npz: is a folder; expected a regular file"
            in run("--resume", "--out", "run").refusal()
        )

    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (
                lambda text: text.replace(b'"generation": 1', b'"generation": x', 1),
                "line 1 is damaged",
            ),
            (lambda text: text.replace(b'"elapsed_s"', b'"elapsed"', 1), "line 1 is damaged"),
            (
                lambda text: text.replace(b'"best_score": ', b'"best_score": "', 1),
                "line 1 is damaged",
            ),
            (
                lambda text: text.replace(b'"evaluated": %d' % GENERATION, b'"evaluated": NaN'),
                "line 1 is damaged",
            ),
            (
                lambda text: text.replace(b'"evaluated": %d' % GENERATION, b'"evaluated": 9999999'),
                "line 1 is damaged",
            ),
            (lambda text: b"[" * 100_000 + b"\n" + text, "line 1 is damaged"),
            (lambda text: b"\xff" + text, "is not a text file in UTF-8"),
            (lambda text: text.splitlines(keepends=True)[0], "ends before generation 2"),
            (lambda text: text[: len(text) - 9], "ends before generation 2"),
            (lambda text: b"", "ends before generation 2"),
        ],
    )
    def test_damaged_history(
        self, run: Run, tmp_path: Path, finished_run: Path, damage: object, says: str
    ) -> None:
        shutil.copytree(finished_run, tmp_path / "run")
        history = tmp_path / "run" / "search.jsonl"
        damaged = damage(history.read_bytes())  # type: ignore[operator]
        history.write_bytes(damaged)
        message = run("--resume", "--out", "run", "--no-plots").refusal()
        assert f"search.jsonl: {says}" in message
        assert "remove the file to go on without this history" in message
        assert history.read_bytes() == damaged
        history.unlink()
        assert run("--resume", "--out", "run", "--no-plots").code == 0

    def test_damaged_results_when_pictures_are_drawn(
        self, run: Run, tmp_path: Path, finished_run: Path
    ) -> None:
        for name, content in (
            ("best.yaml", b"cut: ["),
            ("best.yaml", b""),
            ("best.yaml", (finished_run / "best.yaml").read_bytes()[:300]),
            (
                "best.yaml",
                (finished_run / "best.yaml").read_bytes().replace(b"stride: 2", b"stride: 1"),
            ),
            ("pareto.csv", b""),
            ("pareto.csv", b"file,qe_score\nx,1\n"),
            (
                "pareto.csv",
                (finished_run / "pareto.csv").read_bytes()[:-4].replace(b".yaml,", b".yaml,nan", 1),
            ),
            ("pareto.csv", b"\xff\xfe"),
            ("search.jsonl", b"{}\n"),
        ):
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            shutil.copytree(finished_run, tmp_path / "run")
            (tmp_path / "run" / name).write_bytes(content)
            assert run("plot", "run").refusal(), (name, content)
            assert (tmp_path / "run" / name).read_bytes() == content
            assert run("--resume", "--out", "run", "--no-plots").code == (
                2 if name == "search.jsonl" else 0
            )
        for name in ("best.yaml", "search.jsonl"):
            (tmp_path / "run" / name).unlink()
        assert "has no best.yaml yet" in run("plot", "run").refusal()


class TestRunTime:
    def test_full_disk(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            outcome = run(*SMALL, "--out", "run")
        assert "cannot be written (No space left on device)" in outcome.refusal(code=1)
        assert run(*SMALL, "--out", "run", "--resume").code == 0
        assert not list((tmp_path / "run").glob(".*"))

    def test_unexpected_refusal_of_the_operating_system(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise PermissionError(13, "Permission denied", "/some/file")

        monkeypatch.setattr("device_profiles.loader.read_checked", fail)
        assert run("devices", "rp2040").refusal(code=1) == "/some/file: Permission denied"

    def test_no_memory(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("device_profiles.loader.read_checked", fail)
        assert "out of memory" in run("devices", device_names()[0]).refusal(code=1)

    def test_errors_of_the_programmer_are_not_hidden(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise TypeError("a bug")

        monkeypatch.setattr("device_profiles.loader.read_checked", fail)
        with pytest.raises(TypeError, match="a bug"):
            run("devices", "rp2040")

    def test_nothing_found(self, run: Run, tmp_path: Path) -> None:
        least = (
            run(*SMALL, "--max-cycles", "1k", "--out", "run")
            .refusal()
            .split("--max-cycles ")[1]
            .split()[0]
        )
        outcome = run(
            *SMALL, "--no-qbr", "--max-cycles", least, "--out", "run"
        )  # mutation alone does not meet the fastest bits of the smallest structure so soon
        assert outcome.code == 1
        assert (
            f"error: no network that fits was found in {TWO:,} candidates; the closest needs "
            in outcome.err
        )
        assert (
            f" where --max-cycles leaves {int(least):,}: loosen that, or add --resume and more "
            "--candidates" in outcome.err
        )
        assert (tmp_path / "run" / "checkpoint.npz").exists()

    def test_the_closest_miss_is_a_limit_that_can_be_kept(self, run: Run) -> None:
        search = (*SMALL, "--sram", "512k", "--max-effectiveness")
        outcome = run(*search, "0.01", "--out", "run")
        assert outcome.code == 1
        (needed,) = re.findall(r"([0-9.]+) where --max-effectiveness leaves 0.01:", outcome.err)
        assert run(*search, needed, "--out", "again").code == 0
