"""The report of runs on disk: searched, trained, verified, refined, whole, unfinished, damaged.
Nothing here needs torch.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import nas_engine.pipeline.search as search_module
from nas_engine.architecture import read_architecture
from nas_engine.cli.main import cli
from nas_engine.cli.report import report
from nas_engine.errors import FileFormatError, RunDirectoryError
from nas_engine.evolution.config import resolve_config
from nas_engine.exporters.bundle import DIGESTS, digest_list
from nas_engine.exporters.settings import ExportSettings, settings_file
from nas_engine.options import rows_in
from nas_engine.pipeline.search import run_search
from nas_engine.report.allocations import (
    AllocationReport,
    JudgedChoice,
    comparison,
    write_allocation,
)
from nas_engine.report.layer_errors import FILE, LayerError, LayerErrors, write_layer_errors
from nas_engine.report.page.provenance import search_command
from nas_engine.report.watch import LiveReport
from nas_engine.report.write import write_report
from nas_engine.runs import chain
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.runs.run_record import DONE, RUNNING, RunRecord, StageRecord, write_record
from nas_engine.training.result import write_result
from tests.cli.test_json import check_json
from tests.generations import GENERATION, SMALL_SETTINGS
from tests.report.page_facts import CLOSE, EQUAL, OWN_CORE, TWO_CLASSES, proof, trained
from tests.report.page_html import Reader
from tests.report.test_allocations import SETTING
from tests.resealed import rewrite

LIMIT = 3 * 2**20
"""Bytes that a page must not exceed."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that is only searched, its report drawn."""
    run = tmp_path_factory.mktemp("report") / "my run"
    options = {
        "space": "mobilenet-32",
        "resolution": 16,
        "classes": 10,
        "sram": 24576,
        "flash": 65536,
        "max_macs": 2e6,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "SearchSettings", SMALL_SETTINGS)
        run_search(resolve_config({**options, "candidates": GENERATION}), run)
    write_report(run)
    return run


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(searched, tmp_path / "copy"))


def write_training(run: Path, *stages: str, finished: bool = True, **accuracy: Any) -> None:
    """Write what a training leaves that the report reads."""
    folder = RunDirectory(run).training
    folder.path.mkdir(exist_ok=True)
    rows = [
        {"stage": stage, "epoch": i, "loss": 2.0 / i, "train_accuracy": 50.0, "accuracy": 70.0 + i}
        for stage in stages
        for i in (1, 2)
    ]
    folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.recipe.write_text("batch_size: 64\n")
    result = trained(**accuracy).result
    assert result is not None
    if finished:
        write_result(folder.result, result, chain.made_of(RunDirectory(run), chain.RESULT))


def write_proof(run: Path) -> None:
    """Write what an export and its verification leave that the report reads."""
    directory = RunDirectory(run)
    settings = settings_file(
        ExportSettings(formats=("c",)),
        {"nas-search": "0.1.0"},
        chain.made_of(directory, chain.EXPORT),
    )
    files = {"c/model.c": b"int model;\n", "settings.json": settings}
    directory.write_export({**files, DIGESTS: digest_list(files)})
    directory.verification.write_text(
        proof(EQUAL, OWN_CORE, CLOSE).as_json(chain.made_of(directory, chain.VERIFICATION))
    )


def write_errors(run: Path) -> None:
    """Write the error of every layer."""
    network = read_architecture(run / "best.yaml")
    layers = tuple(
        LayerError(
            name=name,
            w_bits=bits.w,
            a_bits=bits.a,
            out_bits=8,
            signal=1.0,
            error=0.01 * i,
            own_signal=1.0,
            own_error=0.001 * i,
        )
        for i, (name, bits) in enumerate(
            zip(network.layer_names(), network.layer_bits(), strict=True)
        )
    )
    errors = LayerErrors(data="digits", split="test", images=4, layers=layers)
    write_layer_errors(run / FILE, errors, chain.made_of(RunDirectory(run), chain.LAYER_ERRORS))


def method(run: Path, name: str) -> AllocationReport:
    """Return what a method of allocation leaves."""
    network = read_architecture(run / "best.yaml")
    return AllocationReport(
        method=name,
        bits=dict(zip(network.layer_names(), network.layer_bits(), strict=True)),
        mean_w_bits=5.0,
        mean_a_bits=8.0,
        usage={},
        status="optimal",
        judged=JudgedChoice(loss=0.5, loss_change=0.1, accuracy=80.0),
        seconds=1.0,
    )


def whole_run(folder: Path, searched: Path, *, finished: bool = True) -> Path:
    """Write a whole run made of a search."""
    whole = PipelineDirectory(folder)
    search = {**resolve_config({"sram": 24576, "flash": 65536}).as_mapping()}
    del search["version"]
    sizes = {memory: search.pop(f"{memory}_bytes") for memory in ("sram", "flash")}
    folder.mkdir()
    whole.config.write_text(
        json.dumps({"format": "nas-search/run-config/1", "search": search | sizes})
    )
    shutil.copytree(searched, whole.search.path)
    shutil.copytree(searched, whole.network.path)
    write_training(whole.network.path, "float", quantised=None, integer=None, agreement=None)
    members = [
        {"rank": i, "qe_score": 9.0 - i, "layers": 9, "accuracy": 60.0 + i}
        | dict.fromkeys(("peak_sram_bytes", "flash_bytes", "macs", "loss"), 1.0)
        for i in (1, 2, 3)
    ]
    done = {
        "state": DONE,
        "key": "k",
        "settings": {},
        "inputs": {},
        "command": None,
        "seconds": 1.0,
    }
    figures = {
        "images": 50,
        "epochs": 2,
        "members": [row | {"chosen": row["rank"] == 3} for row in members],
    }
    stages = [StageRecord(name="shortlist", figures=figures, **done)]
    if finished:
        shutil.copytree(searched, whole.final.path)
        for name in ("search.jsonl", "plots"):
            path = whole.final.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_training(whole.final.path, "quantised", by_class=TWO_CLASSES)
        write_proof(whole.final.path)
        write_errors(whole.final.path)
        whole.network.refine.path.mkdir()
        methods = [method(searched, "qbr"), method(searched, "hawq")]
        rewrite(
            whole.network.refine.comparison,
            comparison(methods, SETTING)
            | {"made_of": chain.made_of(whole.network, chain.COMPARISON)},
        )
        judged = {"accuracy": methods[1].judged.accuracy, "loss": methods[1].judged.loss}
        stages.append(
            StageRecord(
                name="refine",
                figures={"chosen": "hawq", "methods": {"qbr": {}, "hawq": judged}},
                **done,
            )
        )
    else:
        stages.append(StageRecord(name="train", **(done | {"state": RUNNING})))
    write_record(
        whole.record,
        RunRecord(
            command="nas-search run 'my <own>.yaml'",
            versions={"numpy": "2"},
            machine="Linux",
            stages=tuple(stages),
        ),
    )
    return folder


def read(run: Path) -> Reader:
    """Write the report of a run and read it."""
    page = write_report(run)
    assert page == run / "report.html"
    assert page.stat().st_size < LIMIT
    return Reader(page.read_text(encoding="utf-8"))


def pictures(folder: Path) -> set[str]:
    """Return the names of the pictures in a folder, each there as PNG and as SVG."""
    png, svg = ({path.stem for path in folder.glob(f"*.{kind}")} for kind in ("png", "svg"))
    assert png == svg
    return png


OF_A_SEARCH = {
    "bit_map",
    "sram_per_layer",
    "memory_plan",
    "flash_per_layer",
    "time_per_layer",
    "search_progress",
    "pareto_front",
    "budget_bars",
}


class TestRunDirectory:
    def test_a_search(self, searched: Path) -> None:
        page = read(searched)
        assert "Searched only" in page.words
        assert "nas-search train '" in page.words
        assert len(page.drawings) == 7
        live = LiveReport(searched)
        assert live.page == (searched / "report.html").read_bytes()
        assert not live.look()
        assert pictures(searched / "plots") == OF_A_SEARCH
        assert "Front" in page.words

    def test_trained_and_verified(self, run: Path) -> None:
        write_training(run, "float", "quantised")
        assert "Trained but not verified" in read(run).words
        write_proof(run)
        write_errors(run)
        page = read(run)
        assert "Recorded, digests fit: host C and Cortex-M7 gave every output value" in page.words
        assert "SHA-256" in page.words
        assert {"training_curves", "layer_error"} <= pictures(run / "plots")

    def test_one_method_of_a_refinement(self, run: Path) -> None:
        refined = RunDirectory(run).refine.run("hawq").path
        shutil.copytree(
            run, refined, ignore=shutil.ignore_patterns("refine", "search.jsonl", "plots")
        )
        made_of = chain.made_of(RunDirectory(refined), chain.ALLOCATION)
        write_allocation(refined / "allocation.json", method(run, "hawq"), SETTING, made_of)
        (refined / "pareto.csv").write_text(
            "".join((run / "pareto.csv").read_text().splitlines(keepends=True)[:2])
        )
        page = read(refined)
        assert "copy, refined by hawq: the refined network" in page.words
        assert "front" not in page.ids
        assert "allocation" in page.ids
        assert "hawq" in read(run).words

    def test_pictures_of_the_same_data_are_kept(self, run: Path) -> None:
        before = write_report(run).read_bytes()
        marked, edited = run / "plots" / "bit_map.png", run / "plots" / "pareto_front.svg"
        marked.write_bytes(marked.read_bytes() + b"kept")
        edited.write_bytes(edited.read_bytes().replace(b"</svg>", b"<script/></svg>"))
        (run / "plots" / "memory_plan.png").unlink()
        assert write_report(run).read_bytes() == before
        assert marked.read_bytes().endswith(b"kept")
        assert (run / "plots" / "memory_plan.png").exists()
        assert b"script" not in edited.read_bytes()
        assert write_report(run, redraw=True).read_bytes() == before
        assert not marked.read_bytes().endswith(b"kept")

    def test_a_picture_of_other_data_is_drawn_anew(self, run: Path) -> None:
        before = (run / "plots" / "pareto_front.svg").read_bytes()
        (run / "pareto.csv").write_text(
            "".join((run / "pareto.csv").read_text().splitlines(keepends=True)[:4])
        )
        write_report(run)
        assert (run / "plots" / "pareto_front.svg").read_bytes() != before

    def test_without_a_winner_yet(self, run: Path) -> None:
        for name in ("best.yaml", "search.jsonl", "pareto.csv"):
            (run / name).unlink()
        page = read(run)
        assert "No network yet" in page.words
        assert page.drawings == []

    def test_damaged_files_are_named_and_the_rest_is_there(self, run: Path) -> None:
        write_training(run, "float", "quantised")
        write_proof(run)
        write_errors(run)
        names = (
            "search.jsonl",
            "pareto.csv",
            "verification.json",
            "training/metrics.jsonl",
            "training/result.json",
            FILE,
            "export/SHA256SUMS",
        )
        for name in names:
            (run / name).write_text("{<b>\n{<b>\n")
        page = read(run)
        for name in names:
            assert f"{run / name}: " in page.words
        assert "network" in page.ids

    def test_a_damaged_network_or_config_is_an_error(self, run: Path) -> None:
        (run / "best.yaml").write_text("[")
        with pytest.raises(FileFormatError, match=r"best\.yaml"):
            write_report(run)

    def test_what_is_no_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match="holds no run"):
            write_report(tmp_path)
        RunDirectory(tmp_path).write_config({"resolutions": [16, 32]})
        with pytest.raises(RunDirectoryError, match="r16"):
            write_report(tmp_path)


class TestWholeRun:
    def test_a_finished_one(self, searched: Path, tmp_path: Path) -> None:
        run = whole_run(tmp_path / "a <run>", searched)
        page = read(run)
        assert "a <run>: the final network" in page.words
        assert "nas-search run 'my <own>.yaml'" in page.words
        assert "The run continued with the bits of hawq" in page.words
        assert "held in 0 of 3 pairs" in page.words
        assert "missing" not in page.ids
        assert pictures(run / "report") == OF_A_SEARCH | {
            "training_curves",
            "layer_error",
            "shortlist",
            "allocations",
        }
        assert not (run / "final" / "plots").exists()

    def test_an_unfinished_one(self, searched: Path, tmp_path: Path) -> None:
        page = read(whole_run(tmp_path / "run", searched, finished=False))
        assert "run: the winner of the shortlist" in page.words
        assert "running or stopped" in page.words
        assert "nas-search run, the same command again" in page.words

    def test_one_that_has_just_begun(self, searched: Path, tmp_path: Path) -> None:
        run = whole_run(tmp_path / "run", searched, finished=False)
        for name in ("search", "network"):
            shutil.rmtree(run / name)
        (run / "run.json").unlink()
        page = read(run)
        assert "No network yet" in page.words
        assert "24,576 B (24 KiB) SRAM" in page.words
        (run / "run.json").write_text("{")
        assert "run.json" in read(run).words


def test_the_command_of_a_search_has_every_value_of_its_config_and_is_understood() -> None:
    limits = {"max_macs": 2e6, "max_bitops": 1e9, "max_cycles": 1e7, "max_effectiveness": 0.7}
    given = {"sram": 24576, "flash": 65536, **limits, "qbr": False}
    config = resolve_config(given)
    words = shlex.split(search_command(config.as_options(), "runs/my run"))
    assert words[0] == "nas-search"
    context = cli.make_context("nas-search", words[1:], resilient_parsing=False)
    assert context.params["out"] == "runs/my run"
    options = {name: context.params[name] for name in rows_in("search")}
    assert resolve_config({**options, "resolution": options["resolution"][0]}) == config


class TestCommand:
    """The command as it stands, whether registered or not."""

    @pytest.fixture
    def redrawn(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Return whether pictures were asked to be drawn anew; they are not, which saves time."""
        asked: list[bool] = []

        def write(path: Path, *, redraw: bool = False) -> Path:
            asked.append(redraw)
            return write_report(path)

        monkeypatch.setattr("nas_engine.report.write.write_report", write)
        return asked

    def test_it_prints_the_path_and_draws_anew(self, run: Path, redrawn: list[bool]) -> None:
        outcome = CliRunner().invoke(report, [str(run)])
        assert (outcome.exit_code, outcome.stdout) == (0, f"{run / 'report.html'}\n")
        assert redrawn == [True]

    def test_it_prints_json(self, run: Path, redrawn: list[bool]) -> None:
        outcome = CliRunner().invoke(report, [str(run), "--json"])
        assert check_json("report", outcome.stdout) == {
            "report": str(run / "report.html"),
            "bytes": (run / "report.html").stat().st_size,
        }

    def test_it_shows_the_page(
        self, run: Path, redrawn: list[bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown: list[str] = []
        monkeypatch.setattr("click.launch", shown.append)
        assert CliRunner().invoke(report, [str(run), "--open"]).exit_code == 0
        assert shown == [(run / "report.html").resolve().as_uri()]
