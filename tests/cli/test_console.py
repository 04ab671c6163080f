"""Rules for every command: exit codes, ``--json``, ``--quiet``, colours, examples, completion."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete, CompletionItem, ShellComplete

from device_profiles import device_names, load_device
from nas_engine.allocation.table import ALLOCATORS
from nas_engine.cli import completion
from nas_engine.cli.command import OTHERS, Explained
from nas_engine.cli.console import highlighted
from nas_engine.cli.main import cli
from nas_engine.errors import InputError, NasEngineError
from nas_engine.files import StorageError
from nas_engine.training.recipe import recipe_names
from nas_engine.verification.result import Comparison, Verdict, VerificationReport
from search_spaces import space_names
from tests.cli.command import SMALL, THREE, TWO, Run
from tests.cli.test_json import check_json
from tests.generations import ENVIRONMENT
from tests.training.runs import small_run

BRIEF = ("--epochs", "2", "--limit", "40", "--batch-size", "16", "--threads", "1")
OVER = "peak SRAM   120.0 %, 12/10 B, OVER BUDGET by 2 B"


def report(*verdicts: Verdict) -> VerificationReport:
    """Return a verification with these verdicts."""
    return VerificationReport(
        data="noise",
        backends=tuple(Comparison(backend=f"b{n}", verdict=v) for n, v in enumerate(verdicts)),
        memory=(),
    )


def returning(value: object) -> Callable[..., object]:
    """Return a function that takes anything and returns a value."""
    return lambda *_, **__: value


def raising(error: BaseException) -> Callable[..., object]:
    """Return a function that takes anything and raises."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


class TestExitCodes:
    """0 done, 1 a failure at run time, 2 bad input, 130 Ctrl-C; for every command."""

    WORK = (
        ("--sram 64k --out run", "nas_engine.cli.search.run_search"),
        ("search --sram 64k --out run", "nas_engine.cli.search.run_search"),
        ("train run", "nas_engine.pipeline.training.run_training"),
        ("evaluate run", "nas_engine.pipeline.evaluation.evaluate_run"),
        ("refine run", "nas_engine.pipeline.refine.run_refinement"),
        ("export run", "nas_engine.pipeline.export.export_run"),
        ("verify run", "nas_engine.pipeline.verify.verify_run"),
        ("plot run", "nas_engine.pipeline.load_runs"),
        ("compare run", "nas_engine.report.compare.compare"),
        ("take run", "nas_engine.pipeline.take.front_of"),
        ("bits run/best.yaml", "nas_engine.pipeline.bits.set_bits"),
        ("score run/best.yaml", "nas_engine.architecture.read_architecture"),
        ("devices", "device_profiles.load_device"),
        ("spaces", "search_spaces.load_space"),
    )

    def test_every_command_is_driven(self) -> None:
        assert {line.split()[0] for line, _ in self.WORK} - {"--sram"} >= set(cli.commands) - {
            "run",
            "report",
        }

    @pytest.mark.parametrize(("arguments", "work"), WORK, ids=[line for line, _ in WORK])
    @pytest.mark.parametrize(
        ("error", "code", "says"),
        [
            (InputError("give another"), 2, "give another"),
            (NasEngineError("it broke"), 1, "it broke"),
            (StorageError("file", "No space left on device"), 1, "file: cannot be written"),
            (OSError(5, "Input/output error", "disk"), 1, "disk: Input/output error"),
            (MemoryError(), 1, "out of memory"),
            (KeyboardInterrupt(), 130, "stopped"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
    )
    def test_failures(
        self,
        run: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: str,
        work: str,
        error: BaseException,
        code: int,
        says: str,
    ) -> None:
        small_run(tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr(work, raising(error))
            outcome = run(*arguments.split())
        assert outcome.code == code, outcome
        if not arguments.startswith("refine") or code != 130:  # which says how to go on
            assert says in outcome.refusal(code)

    def test_bad_input_of_every_command(self, run: Run) -> None:
        for name, command in cli.commands.items():
            arguments = ["word" for param in command.params if isinstance(param, click.Argument)]
            assert "--nonsense" in run(name, *arguments, "--nonsense").refusal(2)
        assert "--nonsense" in run("--nonsense").refusal(2)

    def test_verification(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        for verdicts, code in (
            ((Verdict.EQUAL,), 0),
            ((Verdict.EQUAL, Verdict.DIFFERS), 1),
            ((Verdict.SKIPPED,), 1),
        ):
            monkeypatch.setattr(
                "nas_engine.pipeline.verify.verify_run", returning(report(*verdicts))
            )
            for options in ([], ["--json"], ["--quiet"]):
                assert run("verify", "run", *options).code == code

    @pytest.mark.skipif(sys.platform == "win32", reason="pipes")
    def test_reader_that_goes_away(self) -> None:
        code = (
            "import sys, os; from nas_engine.cli.main import main; sys.argv = ['nas-search', "
            "'devices']; main()"
        )
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=ENVIRONMENT,
                stdout=writer,
                stderr=subprocess.PIPE,
                check=False,
                timeout=60,
            )
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (1, b"")


class TestJson:
    def test_search(self, run: Run, tmp_path: Path) -> None:
        outcome = run(
            *SMALL, "--candidates", THREE, "--time-limit", "0.001s", "--out", "run", "--json"
        )
        assert outcome.code == 0
        found = json.loads(outcome.out)
        assert (found["run"], found["complete"], found["interrupted"]) == ("run", False, False)
        assert outcome.err.splitlines()[-1].endswith("continue with: nas-search --resume --out run")
        outcome = run("--resume", "--out", "run", "--json", "--no-plots", "--workers", "1")
        found = json.loads(outcome.out)
        (winner,) = found["winners"]
        assert found["complete"]
        scored = json.loads(run("score", winner["architecture"], "--json").out)
        assert {
            key: scored[key]
            for key in ("qe_score", "peak_sram_bytes", "flash_bytes", "macs", "bitops", "layers")
        } == {
            key: winner[key]
            for key in ("qe_score", "peak_sram_bytes", "flash_bytes", "macs", "bitops", "layers")
        }
        assert winner["limits"] == {"max_layers": 32, "max_latency": 1000.0}
        whole = ("peak_sram_bytes", "flash_bytes", "macs", "bitops", "cycles")
        assert all(type(winner[key]) is int for key in whole)
        assert (winner["sram_budget"], winner["flash_budget"], winner["evaluated"]) == (
            61440,
            229376,
            THREE,
        )

    def test_several_resolutions(self, run: Run) -> None:
        found = json.loads(
            run(
                *SMALL, "--candidates", TWO // 2, "--resolution", "32,40", "--out", "run", "--json"
            ).out
        )
        assert [winner["resolution"] for winner in found["winners"]] == [32, 40]

    def test_train_and_evaluate(self, run: Run, tmp_path: Path) -> None:
        small_run(tmp_path / "run")
        stopped = run("train", "run", *BRIEF, "--json", "--time-limit", "0.000001s")
        found = check_json("train", stopped.out)
        assert (found["finished"], found["run"]) == (False, "run")
        assert "--json" in shlex.split(found["continue"])
        assert (
            stopped.err.splitlines()[-1]
            == f"stopped; the state is saved; continue with: {found['continue']}"
        )
        found = check_json("train", run(*shlex.split(found["continue"])[1:]).out)
        result = json.loads((tmp_path / "run" / "training" / "result.json").read_text())
        assert found["finished"]
        assert found["accuracy"] == result["accuracy"]
        evaluated = check_json(
            "evaluate", run("evaluate", "run", "--json", "--limit", "40", "--threads", "1").out
        )
        assert evaluated == {"data": "digits", "accuracy": result["accuracy"]}

    def test_verify(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "nas_engine.pipeline.verify.verify_run", returning(report(Verdict.DIFFERS))
        )
        outcome = run("verify", "run", "--json")
        assert (outcome.code, json.loads(outcome.out)["passed"]) == (1, False)
        assert len(outcome.out.splitlines()) == 1

    def test_devices_and_spaces(self, run: Run) -> None:
        for command, names in (("devices", device_names()), ("spaces", space_names())):
            listed = check_json(command, run(command, "--json").out)[command]
            assert [each["name"] for each in listed] == list(names)
            assert check_json(command, run(command, names[0], "--json").out) == listed[0]
        device = json.loads(run("devices", "rp2040", "--json").out)
        assert device["arena_bytes"] == load_device("rp2040").arena_bytes
        assert device["bit_pairs"][0][0] == load_device("rp2040").bit_pairs[0][0]

    def test_nothing_on_standard_output_when_it_fails(self, run: Run) -> None:
        for name, command in cli.commands.items():
            assert any("--json" in param.opts for param in command.params), name
            outcome = run(name, "none.yaml", "--json")
            assert (outcome.code, outcome.out) == (2, ""), name


class TestQuiet:
    def test_search_and_plot(self, run: Run, tmp_path: Path) -> None:
        outcome = run(*SMALL, "--out", "run", "-q")
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
        assert (tmp_path / "run" / "best.yaml").exists()
        outcome = run(*SMALL, "--out", "run", "--force", "--quiet", "--json")
        assert (outcome.err, json.loads(outcome.out)["complete"]) == ("", True)
        assert run(*SMALL, "--out", "run", "-q").refusal().startswith("run: holds a run already")

    def test_train(self, run: Run, tmp_path: Path) -> None:
        small_run(tmp_path / "run")
        outcome = run("train", "run", *BRIEF, "--quiet")
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
        assert run("evaluate", "run", "-q", "--limit", "40", "--threads", "1").out == ""

    def test_every_long_command_has_it(self) -> None:
        short = {"score", "bits", "devices", "spaces"}
        assert {
            name
            for name, command in cli.commands.items()
            if not any("--quiet" in param.opts for param in command.params)
        } == short

    def test_before_a_command_it_belongs_to_a_search(self, run: Run) -> None:
        for option in ("--quiet", "--json"):
            assert (
                f"{option} before 'plot' belongs to a search"
                in run(option, "plot", "run").refusal()
            )


class TestColours:
    @pytest.fixture
    def terminal(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Return what makes both streams of a test a terminal."""
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")

        def make() -> None:
            for stream in (sys.stdout, sys.stderr):
                monkeypatch.setattr(stream, "isatty", lambda: True)

        return make

    def test_verdicts_and_errors(
        self, run: Run, terminal: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verdicts = (Verdict.EQUAL, Verdict.CLOSE, Verdict.DIFFERS, Verdict.FAILED, Verdict.SKIPPED)
        fake = returning(report(*verdicts))
        monkeypatch.setattr("nas_engine.pipeline.verify.verify_run", fake)
        plain = run("verify", "run").out
        assert "\x1b" not in plain
        terminal()
        shown = run("verify", "run").out
        assert click.unstyle(shown) == plain
        codes = {
            verdict: re.search(rf"\x1b\[(\d+)m(?:\x1b\[1m)?{verdict}\x1b\[0m$", shown, re.MULTILINE)
            for verdict in verdicts
        }
        assert [found and found[1] for found in codes.values()] == ["32", "32", "31", "31", "90"]
        assert re.search(r"^\x1b\[31m\x1b\[1mFAILED\x1b\[0m: b2, b3$", shown, re.MULTILINE)
        assert run("devices", "nothing").err.startswith(
            "\x1b[31m\x1b[1merror:\x1b[0m unknown device"
        )
        monkeypatch.setenv("NO_COLOR", "1")
        assert run("verify", "run").out == plain
        assert run("devices", "nothing").err.startswith("error: ")
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("TERM", "dumb")
        assert run("verify", "run").out == plain

    def test_over_budget(self) -> None:
        assert highlighted(OVER) == OVER.replace(
            "OVER BUDGET by 2 B", "\x1b[31m\x1b[1mOVER BUDGET by 2 B\x1b[0m"
        )
        assert (
            highlighted("peak SRAM  97.3 %, equal to what is FAILED here")
            == "peak SRAM  97.3 %, equal to what is FAILED here"
        )


class TestHelp:
    COMMANDS = (("", cli), *cli.commands.items())

    @pytest.mark.parametrize(("name", "command"), COMMANDS)
    def test_examples_are_real(self, run: Run, name: str, command: Explained) -> None:
        assert 1 <= len(command.examples) <= 4
        shown = run(*([name] if name else []), "--help").out
        for example in command.examples:
            assert f"\n  {example}\n" in shown, "not wrapped"
            words = shlex.split(example)
            assert words[: 1 + bool(name)] == ["nas-search", *([name] if name else [])]
            with command.make_context(name or "nas-search", words[1 + bool(name) :]) as context:
                assert context.params

    @pytest.mark.parametrize("name", ["", "train", "refine"])
    def test_long_lists_of_options_have_sections(self, run: Run, name: str) -> None:
        shown = run(*([name] if name else []), "--help").out
        titles = re.findall(r"^(\w[\w ]*):$", shown, re.MULTILINE)
        assert titles.index(OTHERS) == len(titles) - 2
        assert titles[-1] == "Examples"
        assert len(titles) >= 5
        command = cli.commands[name] if name else cli
        for param in command.params:
            if isinstance(param, click.Option):
                shape = rf"^  (?:-[qv], )?{param.opts[-1]}(?![-\w])"
                assert len(re.findall(shape, shown, re.MULTILINE)) == 1, param.opts


def completions(*words: str) -> list[CompletionItem]:
    """Return what a shell is given for the last word."""
    *before, last = words
    return ShellComplete(cli, {}, "nas-search", "_NAS_SEARCH_COMPLETE").get_completions(
        before, last
    )


def values(*words: str) -> list[str]:
    """Return what a shell is offered for the last word."""
    return [item.value for item in completions(*words)]


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            (("devices", ""), device_names()),
            (("--device", ""), device_names()),
            (
                ("score", "x", "--device", "rp"),
                [name for name in device_names() if name.startswith("rp")],
            ),
            (("spaces", ""), space_names()),
            (("--space", "mobilenet-3"), ["mobilenet-32"]),
            (("train", "run", "--recipe", ""), recipe_names()),
            (("train", "run", "--teacher", "a"), ["auto"]),
            (("train", "run", "--data", "d"), ["digits"]),
            (("refine", "run", "--method", ""), [*ALLOCATORS, "all"]),
            (("refine", "run", "--method", "qbr,gr"), ["qbr,greedy"]),
            (("export", "run", "--format", "c,"), ["c,tflite", "c,onnx"]),
            (
                ("verify", "run", "--backend", "cortex"),
                ["cortex-m7", "cortex-m4", "cortex-m33", "cortex-m0"],
            ),
            (("--memory-model", ""), ["arena", "paper"]),
            (("ref",), ["refine"]),
        ],
    )
    def test_names(self, words: tuple[str, ...], offered: list[str]) -> None:
        assert sorted(values(*words)) == sorted(offered)

    def test_options_and_words_that_mean_nothing(self) -> None:
        assert {"--sram", "--json", "--quiet"} <= set(values("--"))
        assert {"--images", "--layers"} <= set(values("verify", "run", "--"))
        completions("nonsense", "")
        completions("train", "run", "--epochs", "many", "")

    def test_files_where_they_are_allowed(self) -> None:
        for words in (
            ("--device", "boards/"),
            ("--space", "./m"),
            ("train", "run", "--recipe", "mine."),
            ("train", "r", "--data", "/data/"),
        ):
            (item,) = completions(*words)
            assert (item.type, item.value) == ("file", words[-1])

    def test_run_directories(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in (
            "here/config.yaml",
            "runs/one/config.yaml",
            "runs/two/run.yaml",
            "runs/one/refine/qbr/config.yaml",
            "runs/other/notes",
        ):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
        for command in ("train", "evaluate", "refine", "export", "verify", "plot"):
            assert values(command, "") == ["here", "runs/one", "runs/two"]
        assert values("train", "runs/o") == ["runs/one"]
        assert values("train", "runs/one/") == ["runs/one/refine/qbr"]
        assert values("--resume", "--out", "runs/t") == ["runs/two"]
        (item,) = completions("train", "[x")
        assert (item.type, item.value) == ("dir", "[x")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_script(self, shell: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            BashComplete, "_check_version", staticmethod(lambda: None), raising=False
        )
        monkeypatch.setenv("_NAS_SEARCH_COMPLETE", f"{shell}_source")
        outcome = run()
        assert outcome.code == 0
        assert "_NAS_SEARCH_COMPLETE" in outcome.out

    def test_a_press_of_a_key_imports_nothing_heavy(self) -> None:
        code = (
            "import sys\nfrom nas_engine.cli.main import main\nsys.argv = ['nas-search']\n"
            "try: main()\nexcept SystemExit: pass\n"
            "heavy = {'numpy', 'yaml', 'torch', 'matplotlib', 'device_profiles', 'search_spaces'} "
            "& set(sys.modules)\n"
            "sys.exit(f'loaded: {heavy}' if heavy else 0)"
        )
        asked = {
            "_NAS_SEARCH_COMPLETE": "bash_complete",
            "COMP_WORDS": "nas-search --device ",
            "COMP_CWORD": "2",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**ENVIRONMENT, **asked},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"plain,{name}" for name in sorted(device_names())]

    def test_shipped_names(self) -> None:
        assert completion.shipped("nas_engine", "nothing") == ()
        assert completion.shipped("no_such_package", "data") == ()


def test_every_command_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text(encoding="utf-8")
    assert [name for name in cli.commands if f"\n| `nas-search {name}` |" not in page] == []
