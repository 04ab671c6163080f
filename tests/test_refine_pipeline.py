"""From a trained run to refined ones: training from given float weights, evidence that is kept,
budgets that hold, errors.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.allocation.device_problem import device_problem, with_levels
from nas_engine.allocation.problem import InfeasibleAllocationError
from nas_engine.allocation.table import ALLOCATORS
from nas_engine.architecture import Bits
from nas_engine.costs.plan import plan_memory
from nas_engine.datasets import Dataset, Split
from nas_engine.errors import FileFormatError, InputError, NasEngineError, RunDirectoryError
from nas_engine.events import Event, Progress
from nas_engine.evolution.config import SearchConfig, build_problem
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.pipeline import refine
from nas_engine.pipeline.base_network import base_network
from nas_engine.pipeline.evaluation import evaluate_run
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.judging import draw_images, images_to_measure, shortage
from nas_engine.pipeline.refine import Refinement, run_refinement
from nas_engine.pipeline.refine_request import images_evaluated
from nas_engine.pipeline.refined_run import write_refined_run
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.quantization.prepare import is_quantised
from nas_engine.report.allocations import allocation_table
from nas_engine.report.run_plots import draw_plots
from nas_engine.report.search_record import load_runs
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.networks import load_network, save_network
from nas_engine.training.result import read_result
from nas_engine.training.start import network_of_checkpoint
from tests.cli.test_bad_input import snapshot
from tests.refine_runs import NEEDED, asked, usable_run
from tests.resealed import change
from tests.sinks import Kept, after_steps
from tests.training.runs import results, small_run
from tests.training.tasks import IMAGES, digits, digits_architecture, small_recipe


def request(teacher: str = "none", **changes: Any) -> TrainingRequest:
    return TrainingRequest(
        data="digits",
        recipe=small_recipe(**({"epochs": 2, "ema_decay": 0.5} | changes)),
        teacher=teacher,
        limit=IMAGES,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, only to be read or copied."""
    run = small_run(tmp_path_factory.mktemp("trained") / "run")
    assert run_training(run, request()) is not None
    return run


@pytest.fixture
def started(tmp_path: Path, trained: Path) -> Path:
    """The same run with the float weights alone."""
    run = small_run(tmp_path / "started")
    shutil.copyfile(trained / "training" / "float.pt", RunDirectory(run).start)
    return run


class TestTrainingFromFloatWeights:
    def test_is_the_second_stage_of_a_whole_training(self, trained: Path, started: Path) -> None:
        """The same weights, bits, seed and epochs: what comes out is the same to the bit."""
        result = run_training(started, request())
        assert result == read_result(started / "training" / "result.json")
        whole = read_result(trained / "training" / "result.json")
        assert result is not None
        assert result.accuracy == whole.accuracy
        assert (result.float_epochs, result.quantised_epochs) == (0, 1)
        for name in ("training/network.pt", "integer/model.npz"):
            assert (started / name).read_bytes() == (trained / name).read_bytes()
        assert not (started / "training" / "float.pt").exists()
        assert evaluate_run(started, None, limit=IMAGES)[1] == result.accuracy

    def test_other_widths_than_those_of_the_weights(self, started: Path) -> None:
        network = digits_architecture()
        other = replace(network, head=replace(network.head, bits=Bits(2, 3)))
        RunDirectory(started).write_best(other, {})
        assert run_training(started, request()) is not None
        assert load_network(started / "training" / "network.pt").architecture == other

    @pytest.mark.parametrize("steps", [1, 3])
    def test_interrupted(self, tmp_path: Path, started: Path, steps: int) -> None:
        whole, pause = Path(shutil.copytree(started, tmp_path / "whole")), after_steps(steps)
        assert run_training(started, request(epochs=4), watch=pause) is None
        assert run_training(started, request(epochs=4), resume=True) is not None
        assert run_training(whole, request(epochs=4)) is not None
        assert results(started) == results(whole)

    def test_not_resumed_with_other_weights(self, trained: Path, started: Path) -> None:
        pause = after_steps(1)
        run_training(started, request(), watch=pause)
        network = load_network(started / "start.pt")
        network.stem.weight.data *= 2.0
        save_network(started / "start.pt", network)
        before = snapshot(started)
        with pytest.raises(
            FileFormatError,
            match=r"was begun with other data, seed or teacher \(start [0-9a-f]{64}; now start",
        ):
            run_training(started, request(), resume=True)
        assert snapshot(started) == before

    def test_teacher_of_its_own(self, started: Path) -> None:
        assert run_training(started, request("auto")) is not None
        rows = [
            json.loads(row)
            for row in (started / "training" / "teacher" / "metrics.jsonl").read_text().splitlines()
        ]
        assert [(row["stage"], row["epoch"]) for row in rows] == [("float", 1), ("float", 2)]

    def test_weights_that_cannot_be_used(self, trained: Path, started: Path) -> None:
        start = RunDirectory(started).start
        good = start.read_bytes()
        with pytest.raises(
            InputError,
            match=r"recipe 'small' trains in float only, "
            r"but .*start.pt holds float weights already",
        ):
            run_training(started, request(float_share=1.0))
        network = digits_architecture()
        for content, says in (
            (good[:-1000], "is damaged, cut off or of another kind"),
            (
                (trained / "training" / "network.pt").read_bytes(),
                "holds a quantised network; expected the float weights of",
            ),
            (
                GraphNetwork(replace(network, head=replace(network.head, channels=16))),
                "holds another network than best.yaml; expected",
            ),
        ):
            if isinstance(content, GraphNetwork):
                save_network(start, content)
            else:
                start.write_bytes(content)
            before = snapshot(started)
            with pytest.raises(FileFormatError, match=r"start\.pt: ") as caught:
                run_training(started, request())
            assert says in str(caught.value)
            assert snapshot(started) == before

    def test_a_new_search_removes_them(self, started: Path) -> None:
        RunDirectory(started).refine.path.mkdir()
        RunDirectory(started).allocation.write_text("{}")
        RunDirectory(started).begin({"seed": 1})
        assert {path.name for path in started.iterdir()} == {"config.yaml"}


@pytest.fixture(scope="module")
def usable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose budgets bind, only to be read or copied."""
    return usable_run(tmp_path_factory.mktemp("usable"))


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory, usable: Path) -> Refinement:
    """All methods."""
    run = Path(shutil.copytree(usable, tmp_path_factory.mktemp("refined") / "run"))
    result = run_refinement(run, asked("all", exact_pairs=True))
    assert result is not None
    return result


class TestRefinement:
    def test_every_method_keeps_the_budgets(self, refined: Refinement) -> None:
        assert [report.method for report in refined.reports] == list(ALLOCATORS)
        config = SearchConfig.from_mapping(refined.directory.read_config(), "config.yaml")
        search, _ = build_problem(config)
        for report in refined.reports:
            best = refined.directory.refine.run(report.method).read_best()
            assert plan_memory(best).arena_bytes <= search.arena_bytes
            assert report.usage["peak SRAM"].used == plan_memory(best).arena_bytes
            assert report.usage["Flash"].used <= search.flash_bytes == report.usage["Flash"].limit
            assert tuple(bits.w for bits in best.layer_bits()) == report.w_bits
        assert refined.reports[list(ALLOCATORS).index("qbr")].w_bits == tuple(
            bits.w for bits in digits_architecture().layer_bits()
        )

    def test_says_where_the_bits_of_the_search_are_better(self, refined: Refinement) -> None:
        own = refined.reports[list(ALLOCATORS).index("qbr")].judged.accuracy
        for report in refined.reports:
            said = any(f"the bits of the search reach {own:.2f} %" in note for note in report.notes)
            assert said == (report.judged.accuracy < own), report.method
        assert any(report.judged.accuracy < own for report in refined.reports)

    def test_files(self, refined: Refinement, usable: Path) -> None:
        folder = refined.directory.refine
        for report in refined.reports:
            run = folder.run(report.method)
            assert run.read_config() == RunDirectory(usable).read_config()
            start = load_network(run.start)
            assert start.architecture == run.read_best()
            floating = load_network(usable / "training" / "float.pt")
            assert (start.stem.weight == floating.stem.weight).all()
            record = json.loads(run.allocation.read_text())
            assert record["method"] == report.method
            assert record["bits"]["head"] == str(run.read_best().head.bits)
            assert record["setting"]["images"] == 64
            assert record["warnings"] == []
        assert folder.comparison.exists()
        assert (folder.path / "allocations.png").exists()
        assert {path.name for path in folder.path.glob("*.npz")} == {
            "singles.npz",
            "pairs.npz",
            "hessian.npz",
            "entropies.npz",
        }
        assert folder.study.exists()

    def test_trained_and_exported(self, tmp_path: Path, refined: Refinement) -> None:
        origin = Path(shutil.copytree(refined.directory.path, tmp_path / "run"))
        run = RunDirectory(origin).refine.run("gauss-newton")
        recipe = small_recipe(epochs=4, float_share=0.75, batch_size=64)
        result = run_training(run.path, TrainingRequest(data="digits", recipe=recipe))
        assert result is not None
        assert (result.float_epochs, result.quantised_epochs) == (0, 1)
        exported = export_run(run.path, ["c"])
        assert (
            exported.arena_bytes == plan_memory(run.read_best()).arena_bytes <= NEEDED["sram_bytes"]
        )
        assert exported.packed_bytes <= NEEDED["flash_bytes"]
        assert len(draw_plots(load_runs(run.path)[0])) == 12
        before = snapshot(origin)
        with pytest.raises(
            RunDirectoryError, match=r"gauss-newton: was trained already; add --force to replace it"
        ):
            run_refinement(origin, asked("gauss-newton"))
        assert snapshot(origin) == before
        assert run_refinement(origin, asked("gauss-newton", swaps=0), force=True) is not None
        assert {path.name for path in run.path.iterdir()} == {
            "config.yaml",
            "best.yaml",
            "memory_plan.json",
            "start.pt",
            "classes.json",
            "allocation.json",
            "pareto",
            "pareto.csv",
        }

    def test_a_refined_run_is_refined_again(self, tmp_path: Path, refined: Refinement) -> None:
        """It has no float stage: its trained weights without quantisers are the base."""
        run = RunDirectory(
            Path(shutil.copytree(refined.directory.refine.run("greedy").path, tmp_path / "run"))
        )
        with pytest.raises(RunDirectoryError, match="is not trained to the end yet"):
            run_refinement(run.path, asked("uniform"))
        recipe = small_recipe(epochs=1, float_share=0.0, batch_size=64)
        assert run_training(run.path, TrainingRequest(data="digits", recipe=recipe)) is not None
        result = run_refinement(run.path, asked("uniform"))
        assert result is not None
        assert result.setting.network == str(run.training.network)
        trained = load_network(run.training.network)
        start = load_network(run.refine.run("uniform").start)
        assert (start.stem.weight == trained.stem.weight).all()
        assert not is_quantised(start)

    def test_the_same_again(self, tmp_path: Path, usable: Path, refined: Refinement) -> None:
        """Another place, measured in parts and anew: the same bits."""
        run = Path(shutil.copytree(usable, tmp_path / "run"))
        result = run_refinement(run, asked("greedy"))
        assert result is not None
        (first,) = (report for report in refined.reports if report.method == "greedy")
        assert (result.reports[0].w_bits, result.reports[0].a_bits) == (first.w_bits, first.a_bits)
        assert result.reports[0].judged == first.judged
        assert {path.name for path in (run / "refine").iterdir()} == {"singles.npz", "greedy"}

    def test_no_limit_binds(self, tmp_path: Path, usable: Path) -> None:
        run = Path(shutil.copytree(usable, tmp_path / "run"))
        config = RunDirectory(run).read_config()
        RunDirectory(run).write_config(config | {"sram_bytes": 2**18, "flash_bytes": 2**18})
        result = run_refinement(run, asked("gauss-newton"))
        assert result is not None
        (report,) = result.reports
        assert set(report.w_bits) == set(report.a_bits) == {8}
        assert report.judged.loss_change == 0.0
        assert "no limit binds" in report.notes[0]

    def test_solver_out_of_time(self, tmp_path: Path, usable: Path) -> None:
        run = Path(shutil.copytree(usable, tmp_path / "run"))
        result = run_refinement(run, asked("gauss-newton", solver_time_s=1e-6, swaps=0))
        assert result is not None
        assert result.reports[0].gap > 0.0

    def test_floor(self, tmp_path: Path, usable: Path) -> None:
        """Fewer bits than the budgets allow, as long as the accuracy holds."""
        run = Path(shutil.copytree(usable, tmp_path / "run"))
        result = run_refinement(run, asked("entropy-window", floor=100.0, trials=12))
        assert result is not None
        (report,) = result.reports
        assert report.details["aim"] == "bits"
        assert report.details["floor"] == 0.0
        assert report.usage["Flash"].used < NEEDED["flash_bytes"]


class TestMeasurementsAreKept:
    def test_stopped_and_gone_on(self, tmp_path: Path, usable: Path) -> None:
        """Two parts of 64 images: stopped after the first, the second alone is measured when it
        goes on.
        """
        straight = Path(shutil.copytree(usable, tmp_path / "straight"))
        request = asked("greedy", images=128)
        whole = run_refinement(straight, request)
        assert whole is not None
        run, seen = Path(shutil.copytree(usable, tmp_path / "run")), list[tuple[str, int, int]]()

        def kept(event: Event) -> None:
            if isinstance(event, Progress):
                seen.append((event.what, event.done, event.total))

        def watch(stop_at: int) -> Kept:
            return Kept(kept, stop=lambda sink: len(seen) >= stop_at)

        assert run_refinement(run, request, watch=watch(1)) is None
        assert seen == [("measuring singles", 1, 2)]
        assert not (run / "refine" / "greedy").exists()
        result = run_refinement(run, request, watch=watch(99))
        assert [part for part in seen if "swaps" not in part[0]] == [
            ("measuring singles", 1, 2),
            ("measuring singles", 2, 2),
        ]
        assert result is not None
        assert result.reports[0].w_bits == whole.reports[0].w_bits
        assert result.setting.measurements[0].loss == whole.setting.measurements[0].loss

    @pytest.mark.parametrize(
        ("method", "file"),
        [("greedy", "singles.npz"), ("hawq", "hessian.npz"), ("entropy-window", "entropies.npz")],
    )
    def test_of_another_network_or_damaged(
        self, tmp_path: Path, refined: Refinement, method: str, file: str
    ) -> None:
        run, notes = Path(shutil.copytree(refined.directory.path, tmp_path / "run")), Kept()
        request = asked(method, trials=0, swaps=0)
        assert run_refinement(run, request, watch=notes) is not None
        assert notes.notes == []
        (run / "refine" / file).write_bytes(b"half")
        assert run_refinement(run, request, watch=notes) is not None
        network = load_network(run / "training" / "float.pt")
        network.head.weight.data *= 1.25
        save_network(run / "training" / "float.pt", network)
        change(run / "training" / "result.json", made_of=None)  # else it is refused
        result = run_refinement(run, request, watch=notes)
        assert result is not None
        first, second = notes.notes
        assert first.startswith(f"{run}/refine/{file}: is damaged")
        assert second.startswith(f"{run}/refine/{file}: was measured with another network")
        assert all("; measured anew" in note for note in notes.notes)
        kept = run / "refine" / "singles.earlier.npz"
        assert kept.exists() == (file == "singles.npz")
        assert result.setting.floating != refined.setting.floating

    def test_a_study_of_another_problem(self, tmp_path: Path, refined: Refinement) -> None:
        """The run's own file is begun anew; a file that was given is left alone."""
        run, notes = Path(shutil.copytree(refined.directory.path, tmp_path / "run")), Kept()
        given = tmp_path / "study.log"
        given.write_bytes((run / "refine" / "entropy_study.log").read_bytes())
        request = asked("entropy-window", floor=50.0, trials=2)
        before = given.read_bytes()
        with pytest.raises(
            FileFormatError,
            match=r"study\.log: is a study with .*accuracy floor.*; "
            r"give another --storage or remove it",
        ):
            run_refinement(run, replace(request, storage=given))
        assert given.read_bytes() == before
        assert run_refinement(run, request, watch=notes) is not None
        (note,) = notes.notes
        assert note.startswith(f"{run}/refine/entropy_study.log: is a study with ")
        assert note.endswith("; begun anew")

    def test_trials_stopped_and_gone_on(self, tmp_path: Path, usable: Path) -> None:
        run, seen = Path(shutil.copytree(usable, tmp_path / "run")), list[tuple[str, int, int]]()

        def kept(event: Event) -> None:
            if isinstance(event, Progress):
                seen.append((event.what, event.done, event.total))

        def watch(what: str, stop_at: int) -> Kept:
            def stop(sink: Kept) -> bool:
                return any(name == what and done >= stop_at for name, done, _ in seen)

            return Kept(kept, stop=stop)

        trials = "entropy-window: trials"
        for stop_at in (0, 2):
            assert (
                run_refinement(run, asked("entropy-window"), watch=watch(trials, stop_at)) is None
            )
            assert seen[-1] == (trials, stop_at, 3)
            seen.clear()
        assert run_refinement(run, asked("entropy-window"), watch=watch(trials, 4)) is not None
        assert seen == [(trials, 2, 3), (trials, 3, 3)]


class TestRunsThatAreNotTrained:
    def test_at_all(self, tmp_path: Path, usable: Path) -> None:
        run = small_run(tmp_path / "run")
        RunDirectory(run).write_config(RunDirectory(usable).read_config())
        with pytest.raises(
            RunDirectoryError,
            match=r"is not trained to the end yet; type: nas-search train .* or add --force",
        ):
            run_refinement(run, asked("uniform"))
        with pytest.raises(
            InputError, match="it is not known what this run is trained on; give --data PATH"
        ):
            run_refinement(run, asked("uniform"), force=True)
        result = run_refinement(run, asked("uniform", data="digits"), force=True)
        assert result is not None
        says = f"{run} was never trained: bits are chosen for random weights"
        assert allocation_table(result.reports, result.setting).startswith(f"warning: {says}"[:100])
        member = RunDirectory(run).refine.run("uniform")
        assert json.loads(member.allocation.read_text())["warnings"] == [says]
        assert not member.start.exists()  # so that training begins with its float stage

    def test_to_the_end(self, tmp_path: Path, usable: Path) -> None:
        run, pause = small_run(tmp_path / "run"), after_steps(4)
        RunDirectory(run).write_config(RunDirectory(usable).read_config())
        run_training(run, request(epochs=4), watch=pause)
        result = run_refinement(run, asked("uniform", data="digits"), force=True)
        assert result is not None
        source = run / "training" / "checkpoint.pt"
        assert result.setting.warnings == (
            f"{run} is not trained to the end: bits are chosen for the weights in {source}",
        )
        start = load_network(run / "refine" / "uniform" / "start.pt")
        assert (start.stem.weight == network_of_checkpoint(source).stem.weight).all()


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            (
                {"method": "gaus-newton"},
                "unknown method: 'gaus-newton'; did you mean 'gauss-newton'?",
            ),
            (
                {"method": "greedy", "exact_pairs": True},
                "--exact-pairs: method 'greedy' needs no pairs",
            ),
            ({"images": 65}, "--images: 65; expected an even number from 64"),
            ({"images": 62}, "--images: 62; expected an even number from 64"),
            (
                {"limit": 40},
                r"40 training images are too few to choose bits by \(expected 64 .*\); "
                r"give more data, or --method qbr, which",
            ),
            ({"data": "nowhere"}, "nowhere"),
        ],
    )
    def test_request(self, usable: Path, changes: dict[str, Any], says: str) -> None:
        before = snapshot(usable)
        with pytest.raises(InputError, match=says):
            run_refinement(usable, asked(**({"method": "gauss-newton"} | changes)))
        assert snapshot(usable) == before

    def test_without_optuna(self, usable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nas_engine.pipeline.choice.find_spec", lambda name: None)
        with pytest.raises(InputError, match="optuna"):
            run_refinement(usable, asked("entropy-window"))

    def test_budgets_that_nothing_fits(self, tmp_path: Path, usable: Path) -> None:
        run = Path(shutil.copytree(usable, tmp_path / "run"))
        RunDirectory(run).write_config(RunDirectory(run).read_config() | {"sram_bytes": 4096 + 512})
        with pytest.raises(
            InfeasibleAllocationError,
            match=r"no choice of bits fits: the smallest possible peak SRAM .* give the search",
        ):
            run_refinement(run, asked("greedy"))

    def test_widths_that_the_space_forbids(
        self, tmp_path: Path, usable: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They matter to ``qbr`` alone: the others choose anew, and ``all`` does without it."""
        run = Path(shutil.copytree(usable, tmp_path / "run"))
        network = digits_architecture()
        RunDirectory(run).write_best(
            replace(network, head=replace(network.head, bits=Bits(5, 8))), {}
        )
        change(run / "training" / "result.json", made_of=None)  # else it is refused
        with pytest.raises(
            InputError, match="head weights: 5 bits are not allowed here; expected one of 2, 4, 8"
        ):
            run_refinement(run, asked("qbr"))
        monkeypatch.setattr(
            "nas_engine.pipeline.refine_request.ALLOCATORS",
            {name: ALLOCATORS[name] for name in ("uniform", "qbr")},
        )
        result = run_refinement(run, asked("all"))
        assert result is not None
        assert [report.method for report in result.reports] == ["uniform"]
        assert result.setting.warnings == (
            "qbr is left out: head weights: 5 bits are not allowed here; expected one of 2, 4, 8",
        )

    def test_weights_that_are_no_numbers(self, tmp_path: Path, usable: Path) -> None:
        run = Path(shutil.copytree(usable, tmp_path / "run"))
        network = load_network(run / "training" / "float.pt")
        network.head.weight.data[0] = float("nan")
        save_network(run / "training" / "float.pt", network)
        change(run / "training" / "result.json", made_of=None)  # else it is refused
        with pytest.raises(NasEngineError, match="nan") as caught:
            run_refinement(run, asked("greedy"))
        assert len(str(caught.value).splitlines()) == 1

    def test_bits_that_do_not_fit_are_never_written(
        self, tmp_path: Path, usable: Path, refined: Refinement
    ) -> None:
        run = RunDirectory(Path(shutil.copytree(usable, tmp_path / "run")))
        config = SearchConfig.from_mapping(run.read_config(), "config.yaml")
        search, _ = build_problem(config)
        base = base_network(run, run.read_best(), force=False, seed=0)
        wide = with_levels(
            device_problem(search, run.read_best()),
            run.read_best(),
            device_problem(search, run.read_best()).widest,
        )
        with pytest.raises(
            NasEngineError,
            match="internal error: method 'uniform' chose bits with a peak SRAM of 1,784 B; the "
            "budget is",
        ):
            write_refined_run(
                run, search, base, wide, refined.reports[0], refined.setting, ["0", "1"]
            )
        assert not run.refine.path.exists()


def test_images_that_measure_and_images_that_judge() -> None:
    dataset = digits(None)
    drawn = draw_images(dataset, 128, seed=3)
    measured, judged = drawn.measured, drawn.judged
    assert (len(measured), len(judged), drawn.enough, drawn.note) == (
        128,
        len(dataset.train) - 128,
        True,
        "",
    )
    assert measured.class_counts(10).min() >= 12
    both = np.concatenate([measured.images, judged.images]).reshape(len(dataset.train), -1)
    assert sorted(map(bytes, both)) == sorted(
        map(bytes, dataset.train.images.reshape(len(dataset.train), -1))
    )
    again, other = (
        draw_images(dataset, 128, seed=3).measured,
        draw_images(dataset, 128, seed=4).measured,
    )
    assert (again.images == measured.images).all()
    assert (other.images != measured.images).any()


@settings(max_examples=300)
@given(
    asked=st.integers(32, 2000).map(lambda half: 2 * half),
    images=st.integers(2, 5000),
    classes=st.integers(2, 300),
)
def test_how_many_images_measure(asked: int, images: int, classes: int) -> None:
    count, fewest = images_to_measure(asked, images, classes), max(64, classes)
    if count is None:
        assert images // 2 < fewest + 2
    else:
        assert count % 2 == 0
        assert fewest <= count <= images - fewest
        assert count == max(asked, classes + classes % 2) or (
            count <= asked and images // 2 - count in (0, 1)
        )
    assert (shortage(asked, images, classes) == "") == (count == asked)


@pytest.mark.parametrize("images", [2, 3, 10, 127, 128, 575, 576])
def test_few_images_are_parted_all_the_same(images: int) -> None:
    labels = np.arange(images) % 2
    split = Split(images=np.zeros((images, 4, 4, 1), np.uint8), labels=labels)
    drawn = draw_images(
        Dataset(name="few", source="few", classes=("a", "b"), train=split, test=split), 512, seed=0
    )
    assert len(drawn.measured) + len(drawn.judged) == images
    assert min(len(drawn.measured), len(drawn.judged)) >= 1
    assert drawn.enough == (images >= 128)
    assert len(drawn.measured) == (
        512 if images == 576 else images // 4 * 2 if drawn.enough else images // 2
    )


class TestFewImages:
    """Too few to choose bits by."""

    def test_the_bits_of_the_search_are_kept_and_it_is_said(
        self, tmp_path: Path, usable: Path
    ) -> None:
        run, notes = Path(shutil.copytree(usable, tmp_path / "run")), Kept()
        result = run_refinement(run, asked("qbr,greedy", limit=40), watch=notes)
        assert result is not None
        assert [report.method for report in result.reports] == ["qbr"]
        assert notes.notes == [
            "40 training images are too few to choose bits by (expected 64 that measure and "
            "64 others that judge); "
            "the bits of the search are kept"
        ]

    def test_keeping_the_bits_asks_for_none(self, tmp_path: Path, usable: Path) -> None:
        run, notes = Path(shutil.copytree(usable, tmp_path / "run")), Kept()
        result = run_refinement(run, asked("qbr", limit=10), watch=notes)
        assert result is not None
        assert result.chosen.read_best() == RunDirectory(run).read_best()
        assert notes.notes == []

    def test_half_measure_where_as_many_as_asked_would_leave_too_few(
        self, tmp_path: Path, usable: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, notes = Path(shutil.copytree(usable, tmp_path / "run")), Kept()
        monkeypatch.setattr(refine, "WORTH_TELLING_S", 0.0)
        result = run_refinement(run, asked("uniform", images=1400), watch=notes)
        assert result is not None
        assert (result.setting.images, result.setting.judged_images) == (718, 720)
        remark, duration = notes.notes
        assert remark == "718 of 1,438 training images measure what bits cost, instead of 1,400"
        assert re.fullmatch(r"refinement: about \d[^()]* left at most", duration)


def test_images_that_a_refinement_evaluates() -> None:
    counts = {"choices": 12, "measured": 100, "judged": 10}
    request = asked("greedy", swaps=2, trials=3)
    for methods, expected in (
        (("qbr",), 2 * 10),
        (("greedy",), 12 * 100 / 2 + 2 * 20 * 100 + 2 * 10),
        (("greedy", "diagonal"), 12 * 100 / 2 + 2 * 2 * 20 * 100 + 3 * 10),
        (("clado",), 12 * 12 / 2 * 100 / 3 + 2 * 20 * 100 + 2 * 10),
        (("hawq",), 2 * 20 * 100 + 2 * 10),
        (("entropy-window",), 3 * 10 + 2 * 10),
    ):
        assert images_evaluated(request, methods, **counts) == expected
