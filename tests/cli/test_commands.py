"""The commands themselves: search with its run directory, score, plot, devices, spaces, help,
progress.
"""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

import nas_engine
from device_profiles import device_names
from nas_engine.architecture import read_architecture
from nas_engine.cli.main import cli
from nas_engine.cli.progress import Screen
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.events import Event, Progress
from nas_engine.names import Memory
from nas_engine.scoring.qe_score import default_stage_weights
from search_spaces import space_names
from tests.cli.command import SMALL, THREE, TWO, Run
from tests.cli.test_bad_input import snapshot
from tests.cli.test_json import check_json
from tests.generations import ENVIRONMENT, GENERATION, python

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
COMMAND = python("from nas_engine.cli.main import main\nmain()")
RESULTS = {
    "best.yaml",
    "checkpoint.npz",
    "config.yaml",
    "memory_plan.json",
    "pareto.csv",
    "search.jsonl",
}


def results(path: Path) -> dict[str, object]:
    """Return what a run found: every file but those that hold times."""
    found: dict[str, object] = {
        name: data
        for name, data in snapshot(path).items()
        if not name.endswith(("checkpoint.npz", ".jsonl"))
    }
    rows = [json.loads(line) for line in (path / "search.jsonl").read_text().splitlines()]
    found["history"] = [
        {key: value for key, value in row.items() if key not in ("elapsed_s", "crc32")}
        for row in rows
    ]
    return found


class TestHelp:
    def test_names_every_command_and_the_default_of_every_option(self, run: Run) -> None:
        outcome = run("--help")
        assert outcome.code == 0
        assert run("-h").out == run().out == outcome.out
        for command in cli.commands:
            assert re.search(rf"^  {command} ", outcome.out, re.MULTILINE)
            assert run(command, "--help").code == 0
        for option in cli.params:
            flags = ("version", "resume", "force", "help", "json", "quiet", "verbose")
            assert "default" in (getattr(option, "help", "") or "") or option.name in flags, option

    def test_version(self, run: Run) -> None:
        assert run("--version").out == f"nas-search, version {nas_engine.__version__}\n"

    def test_loads_nothing_heavy(self) -> None:
        code = (
            "import sys; sys.argv = ['nas-search', '--help']\n"
            "from nas_engine.cli.main import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "heavy = {'numpy', 'yaml', 'matplotlib', 'tqdm', 'multiprocessing', 'concurrent'} & "
            "set(sys.modules)\n"
            "sys.exit(f'loaded: {heavy}' if heavy else 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    def test_memory_models_are_those_of_the_costs(self) -> None:
        assert list(MEMORY_MODELS) == list(Memory)

    def test_documented_defaults_are_the_real_ones(self) -> None:
        from nas_engine.pipeline import resolve_config

        config = resolve_config({})
        texts = {option.name: getattr(option, "help", "") or "" for option in cli.params}
        for name, shown in (
            ("device", config.device),
            ("space", config.space),
            ("memory_model", config.memory_model),
            ("sigma_a", f"{config.sigma_a:g}"),
            ("sigma_w", f"{config.sigma_w:g}"),
            ("seed", str(config.seed)),
            ("candidates", f"{config.candidates // 1000}k"),
            ("qbr", "qbr" if config.qbr else "no-qbr"),
        ):
            assert f"[default: {shown}]" in texts[name]
        assert set(config.as_options()) <= {option.name for option in cli.params}


class TestDevicesAndSpaces:
    def test_list_and_show_each(self, run: Run) -> None:
        for command, names in (("devices", device_names()), ("spaces", space_names())):
            listed = run(command)
            for name in names:
                assert f"\n{name} " in f"\n{listed.out}"
                shown = run(command, name)
                assert shown.out.startswith(f"{name}: ")
                assert "source" in shown.out
                assert (shown.code, shown.err) == (0, "")

    def test_own_file(self, run: Run, tmp_path: Path) -> None:
        for command, folder, name in (
            ("devices", "device_profiles", "rp2040"),
            ("spaces", "search_spaces", "mobilenet-32"),
        ):
            text = (ROOT / folder / "data" / f"{name}.yaml").read_text(encoding="utf-8")
            file = tmp_path / f"my {command}.yaml"
            file.write_text(text.replace(f"name: {name}", "name: mine", 1), encoding="utf-8")
            assert run(command, file).out.startswith("mine: ")


class TestScore:
    MEMORY: ClassVar = ["peak_sram_bytes", "sram_bytes_per_layer", "flash_bytes"]
    KEYS: ClassVar = [
        "qe_score",
        "stage_terms",
        *MEMORY,
        "macs",
        "bitops",
        "cycles",
        "latency_ms",
        "effectiveness",
        "layers",
    ]

    def test_json_of_a_published_structure(self, run: Run) -> None:
        for name, score in (("mixed7d0G", 1224.54), ("mixed19d2G", None)):
            report = json.loads(
                run("score", GOLDEN / f"{name}.txt", "--json", "--memory-model", "paper").out
            )
            assert list(report) == self.KEYS
            assert report["layers"] == len(report["sram_bytes_per_layer"])
            assert report["peak_sram_bytes"] == max(report["sram_bytes_per_layer"])
            assert sum(report["stage_terms"]) == pytest.approx(report["qe_score"], rel=1e-12)
            if score:
                assert report["qe_score"] == pytest.approx(score, abs=0.01)

    def test_options(self, run: Run, finished_run: Path) -> None:
        file = GOLDEN / "mixed7d0G.txt"

        def report(*options: object) -> dict[str, float]:
            outcome = run("score", file, "--json", *options)
            assert outcome.code == 0, outcome
            found: dict[str, float] = json.loads(outcome.out)
            return found

        plain = report()
        assert (
            report(
                "--memory-model",
                "arena",
                "--resolution",
                "224",
                "--stage-weights",
                "0,0,1,1,6",
                "--sigma-a",
                "5",
            )
            == plain
        )
        assert report("--memory-model", "paper")["flash_bytes"] != plain["flash_bytes"]
        small = report("--resolution", "112")
        assert small["macs"] < plain["macs"]
        assert small["qe_score"] == plain["qe_score"]
        assert report("--sigma-w", "3")["qe_score"] != plain["qe_score"]
        assert report("--stage-weights", "0,0,0,0,1")["qe_score"] == pytest.approx(
            plain["stage_terms"][4] / 6
        )  # type: ignore[index]
        assert "this network has 5 stages" in run("score", file, "--stage-weights", "1,2").refusal()
        assert "resolution is 0" not in run("score", file, "--resolution", "0").refusal()
        table = run("score", file, "--device", "stm32f746").out
        assert "OVER BUDGET" in table or " %, " in table

    def test_best_of_a_run_scores_as_the_run_says(self, run: Run, finished_run: Path) -> None:
        report = json.loads(run("score", finished_run / "best.yaml", "--json").out)
        last = json.loads((finished_run / "search.jsonl").read_text().splitlines()[-1])
        assert report["qe_score"] == pytest.approx(last["best_score"], rel=1e-12)
        assert (
            report["peak_sram_bytes"]
            == json.loads((finished_run / "memory_plan.json").read_text())["arena_bytes"]
        )
        with (finished_run / "pareto.csv").open(newline="") as file:
            first = next(csv.DictReader(file))
        assert float(first["flash_bytes"]) == report["flash_bytes"]
        best = read_architecture(finished_run / "best.yaml")
        assert replace(best, room=None) == read_architecture(finished_run / first["file"])

    def test_stage_weights_by_the_number_of_stages(self, finished_run: Path) -> None:
        assert default_stage_weights(read_architecture(finished_run / "best.yaml")) == (
            0.0,
            1.0,
            1.0,
            6.0,
        )
        assert default_stage_weights(read_architecture(GOLDEN / "mixed7d0G.txt")) == (
            0.0,
            0.0,
            1.0,
            1.0,
            6.0,
        )


class TestSearch:
    def test_run_directory(self, run: Run, tmp_path: Path) -> None:
        outcome = run(*SMALL[:-1], "--out", "my run")
        assert outcome.code == 0
        path = tmp_path / "my run"
        assert {file.name for file in path.iterdir()} == {*RESULTS, "pareto", "plots"}
        assert len(list((path / "plots").iterdir())) == 12
        assert "written to my run" in outcome.out
        assert "peak SRAM" in outcome.out
        assert max(map(len, outcome.out.splitlines())) <= 160
        assert not any(line.startswith("error") for line in outcome.err.splitlines())
        again = run("plot", "my run", "--json")
        assert again.code == 0
        assert len(check_json("plot", again.out)["pictures"]) == 12

    def test_default_directory_is_named_after_the_search_and_found_again(
        self, run: Run, tmp_path: Path
    ) -> None:
        limits = ("--max-macs", "9m", "--max-latency", "none", "--max-effectiveness", "1.5")
        assert run(*SMALL, *limits, "--seed", "3").code == 0
        (path,) = (tmp_path / "runs").iterdir()
        name = "cortex-m7-64k-256k-mobilenet-32-32"
        assert path.name == f"{name}-macs-9m-latency-none-effectiveness-1.5"
        before = snapshot(path)
        assert run(*SMALL, *limits, "--resume").code == 0, "the seed comes from the run"
        assert snapshot(path) == before

    def test_resume_of_a_finished_run_changes_nothing_and_more_candidates_continue_it(
        self, run: Run, tmp_path: Path
    ) -> None:
        assert run(*SMALL, "--out", "run").code == 0
        before = snapshot(tmp_path / "run")
        again = run("--resume", "--out", "run", "--no-plots", "--workers", "1")
        assert (again.code, again.err) == (0, "")
        assert f"best of {TWO:,} candidates" in again.out
        assert snapshot(tmp_path / "run") == before
        assert (
            run(
                "--resume", "--out", "run", "--no-plots", "--workers", "1", "--candidates", THREE
            ).code
            == 0
        )
        assert run(*SMALL, "--candidates", THREE, "--out", "straight").code == 0
        assert results(tmp_path / "run") == results(tmp_path / "straight")

    def test_pictures_are_drawn_again_only_where_they_are_old(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn = []

        def draw(record: object) -> list[Path]:
            drawn.append(record)
            (tmp_path / "run" / "plots").mkdir(exist_ok=True)
            for stem in (
                "bit_map",
                "sram_per_layer",
                "flash_per_layer",
                "memory_plan",
                "search_progress",
                "pareto_front",
            ):
                for kind in ("png", "svg"):
                    (tmp_path / "run" / "plots" / f"{stem}.{kind}").write_text("picture")
            return []

        monkeypatch.setattr("nas_engine.cli.search.draw_plots", draw)
        search = [*SMALL[:-1], "--out", "run"]
        for arguments, count in (
            (search, 1),
            ([*search, "--resume"], 1),
            ([*search, "--resume", "--candidates", THREE], 2),
        ):
            assert run(*arguments).code == 0
            assert len(drawn) == count
        (tmp_path / "run" / "plots" / "bit_map.svg").unlink()
        assert run(*search, "--resume", "--candidates", THREE).code == 0
        assert len(drawn) == 3

    def test_force_replaces_the_run_and_keeps_foreign_files(self, run: Run, tmp_path: Path) -> None:
        assert run(*SMALL, "--out", "run").code == 0
        (tmp_path / "run" / "notes.txt").write_text("mine")
        (tmp_path / "run" / "config.yaml").write_text("damaged")
        assert run(*SMALL, "--seed", "1", "--out", "run", "--force").code == 0
        assert run(*SMALL, "--seed", "1", "--out", "straight").code == 0
        (tmp_path / "straight" / "notes.txt").write_text("mine")
        assert results(tmp_path / "run") == results(tmp_path / "straight")

    def test_time_limit_leaves_a_run_that_resumes_to_the_same_result(
        self, run: Run, tmp_path: Path
    ) -> None:
        outcome = run(*SMALL, "--candidates", THREE, "--time-limit", "0.001s", "--out", "run")
        assert outcome.code == 0
        assert (
            f"stopped after {GENERATION:,} of {THREE:,} candidates; continue with: nas-search "
            "--resume --out run" in outcome.out
        )
        assert run("--resume", "--out", "run", "--no-plots", "--workers", "1").code == 0
        assert run(*SMALL, "--candidates", THREE, "--out", "straight").code == 0
        assert results(tmp_path / "run") == results(tmp_path / "straight")

    def test_own_files_by_relative_path_are_found_from_elsewhere(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder, name in (("device_profiles", "rp2040"), ("search_spaces", "mobilenet-32")):
            (tmp_path / f"{name}.yaml").write_bytes(
                (ROOT / folder / "data" / f"{name}.yaml").read_bytes()
            )
        arguments = [
            "--device",
            "./rp2040.yaml",
            *SMALL,
            "--space",
            "mobilenet-32.yaml",
            "--out",
            "run",
        ]
        assert run(*arguments).code == 0
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert run("--resume", "--out", "../run", "--no-plots").code == 0
        assert run("plot", "../run").code == 0
        device = tmp_path / "rp2040.yaml"
        device.write_text(
            re.sub(r"(reserved_flash_bytes:\n  value: )\S+", r"\g<1>64k", device.read_text())
        )
        assert (
            "was the device or the space file changed?"
            in run("--resume", "--out", "../run").refusal()
        )

    def test_a_network_that_is_deep_for_its_width_is_remarked(
        self, run: Run, tmp_path: Path
    ) -> None:
        remark = "deep for its width (depth/width "
        for flags, remarked in (((), True), (("--max-effectiveness", "1"), False)):
            out = run(*SMALL, "--flash", "64k", *flags, "--out", "run", "--force").out
            rho = json.loads(run("score", "run/best.yaml", "--json").out)["effectiveness"]
            assert (remark in out) == (rho > 1) == remarked
            assert (f"{remark}{rho:.2f})" in out) == remarked


class TestSeveralResolutions:
    SEARCH = (*SMALL, "--resolution", "32,40", "--out", "run")

    def test_winners_side_by_side(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outcome = run(*self.SEARCH)
        assert outcome.code == 0
        assert re.search(r"32x32 .*\n *40x40 ", outcome.out)
        assert "QE-Score does not see the resolution" in outcome.out
        assert {path.name for path in (tmp_path / "run").iterdir()} == {
            "config.yaml",
            "r32",
            "r40",
            "resolutions.csv",
        }
        with (tmp_path / "run" / "resolutions.csv").open(newline="") as file:
            assert [row["resolution"] for row in csv.DictReader(file)] == ["32", "40"]
        assert run(*SMALL, "--resolution", "40", "--out", "single").code == 0
        assert results(tmp_path / "run" / "r40") == results(tmp_path / "single")

        before = snapshot(tmp_path / "run")
        assert "holds a run already" in run(*self.SEARCH).refusal()
        assert "holds a run already" in run(*SMALL, "--out", "run").refusal()
        assert (
            "has resolution 32,40, you asked for 32,48"
            in run(*self.SEARCH, "--resolution", "32,48", "--resume").refusal()
        )
        assert (
            "has resolution 32,40, you asked for 32;"
            in run(*self.SEARCH, "--resolution", "32", "--resume").refusal()
        )
        assert (
            "has resolution 32,40, you asked for 40,32"
            in run(*self.SEARCH, "--resolution", "40,32", "--resume").refusal()
        )
        assert (
            "has seed 0, you asked for 1" in run(*self.SEARCH, "--seed", "1", "--resume").refusal()
        )
        assert "'config.yaml' of a run" not in run("--resume", "--out", "run", "--no-plots").err
        assert snapshot(tmp_path / "run") == before

        monkeypatch.setattr(
            "nas_engine.pipeline.draw_plots", lambda record: [record.directory.plots]
        )
        assert run("plot", "run").out.split() == ["run/r32/plots", "run/r40/plots"]
        assert (
            run(
                "--resume", "--out", "run", "--candidates", THREE, "--workers", "1", "--no-plots"
            ).code
            == 0
        )
        assert (
            run(
                *SMALL, "--resolution", "40", "--candidates", THREE, "--out", "single", "--resume"
            ).code
            == 0
        )
        assert results(tmp_path / "run" / "r40") == results(tmp_path / "single")

    def test_force_replaces_all_of_it(self, run: Run, tmp_path: Path) -> None:
        assert run(*self.SEARCH).code == 0
        (tmp_path / "run" / "r32" / "notes.txt").write_text("mine")
        assert run(*self.SEARCH, "--resolution", "40,48", "--seed", "2", "--force").code == 0
        assert {path.name for path in (tmp_path / "run").iterdir()} == {
            "config.yaml",
            "r32",
            "r40",
            "r48",
            "resolutions.csv",
        }
        assert [path.name for path in (tmp_path / "run" / "r32").iterdir()] == ["notes.txt"]
        (tmp_path / "run" / "r32" / "notes.txt").unlink()
        (tmp_path / "run" / "r32").rmdir()
        assert run(*SMALL, "--out", "run", "--force").code == 0
        assert {path.name for path in (tmp_path / "run").iterdir()} == {*RESULTS, "pareto"}
        assert run(*self.SEARCH, "--force").code == 0
        assert {path.name for path in (tmp_path / "run").iterdir()} == {
            "config.yaml",
            "r32",
            "r40",
            "resolutions.csv",
        }

    def test_checked_as_a_whole_before_anything_starts(self, run: Run, tmp_path: Path) -> None:
        assert (
            "smallest possible peak SRAM"
            in run(
                *(*self.SEARCH, "--sram", "16k", "--resolution", "16,64", "--schedule", "layers")
            ).refusal()
        )
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine").touch()
        assert "'mine'" in run(*self.SEARCH).refusal()
        assert list(snapshot(tmp_path)) == ["run/mine"]

    def test_time_limit_is_shared(self, run: Run, tmp_path: Path) -> None:
        outcome = run(*self.SEARCH, "--candidates", THREE, "--time-limit", "0.001s")
        assert outcome.code == 0
        assert (
            f"stopped after {TWO:,} of {2 * THREE:,} candidates; continue with: nas-search "
            "--resume --out run" in outcome.out
        )
        assert run("--resume", "--out", "run", "--no-plots", "--workers", "1").code == 0
        assert run(*SMALL, "--candidates", THREE, "--resolution", "40", "--out", "single").code == 0
        assert results(tmp_path / "run" / "r40") == results(tmp_path / "single")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a terminal")
class TestInterrupt:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_best_so_far_is_kept_and_the_run_continues(
        self, run: Run, tmp_path: Path, workers: int
    ) -> None:
        path = tmp_path / "run"
        arguments = [
            *COMMAND,
            *SMALL,
            "--candidates",
            "100m",
            "--workers",
            str(workers),
            "--out",
            str(path),
        ]
        process = subprocess.Popen(
            arguments,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stderr is not None
            process.stderr.readline()  # the first generation is done
            os.killpg(process.pid, signal.SIGINT)  # what a terminal does
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 130, err
        assert "continue with: nas-search --resume --out" in out
        assert "Traceback" not in err
        evaluated = json.loads((path / "search.jsonl").read_text().splitlines()[-1])["evaluated"]
        assert f"stopped after {evaluated:,} of 100,000,000 candidates" in out
        assert run("score", path / "best.yaml").code == 0
        wanted = evaluated + GENERATION
        assert (
            run(
                "--resume", "--out", path, "--candidates", wanted, "--no-plots", "--workers", "1"
            ).code
            == 0
        )
        assert run(*SMALL, "--candidates", wanted, "--out", "straight").code == 0
        assert results(path) == results(tmp_path / "straight")

    def test_second_one_stops_at_once(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def watch(_: Screen, event: Event) -> None:
            if isinstance(event, Progress):
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Screen, "__call__", watch)
        handler = signal.getsignal(signal.SIGINT)
        assert run(*SMALL, "--out", "run").refusal(code=130).startswith("stopped at once")
        assert signal.getsignal(signal.SIGINT) is handler


class TestProgress:
    def test_plain_lines_where_there_is_no_terminal(self, run: Run) -> None:
        lines = run(*SMALL, "--candidates", 20 * GENERATION).err.splitlines()
        assert 8 <= len(lines) <= 11
        assert re.fullmatch(
            rf"32 px: [\d,]+/{20 * GENERATION:,} networks, [\d,]+/s, \d+ s left; "
            r"score \d+\.\d\d, SRAM \d+\.\d %, [\d,]+/61,440 B, Flash \d+\.\d %, [\d,]+/229,376 B",
            lines[-1],
        )

    @pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminal")
    def test_bar_on_a_terminal(self, tmp_path: Path) -> None:
        leader, follower = pty.openpty()  # of unknown size, as some terminals are
        process = subprocess.Popen(
            [*COMMAND, *SMALL, "--out", str(tmp_path / "run")],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=follower,
        )
        os.close(follower)
        shown = b""
        try:
            while piece := os.read(leader, 65536):
                shown += piece
        except OSError:  # Linux: the other end was closed
            pass
        finally:
            os.close(leader)
        assert process.wait(30) == 0
        *_, bar, text, end = re.split(r"[\r\n]+", re.sub(r"\x1b\[A", "", shown.decode()))
        assert re.search(r"^32 px +100 % \|.*\| ([\d.]+k)/\1 networks, .*/s, 00:00 left$", bar)
        assert re.search(
            r"^score \d+\.\d\d, SRAM \d+\.\d %, [\d,]+/61,440 B, Flash \d+\.\d %, [\d,]+/229,376 "
            r"B$",
            text,
        )
        assert end == ""
        assert max(len(bar), len(text)) <= 100
