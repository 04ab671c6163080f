"""A whole run: every stage once, again only what depends on a change, and the same files however
often it is killed.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from benchmarks import results
from benchmarks.small_sets import write_folder
from benchmarks.whole_run import lasting
from nas_engine.api.look import load_run
from nas_engine.architecture import Architecture, read_architecture
from nas_engine.cli.run import outcome
from nas_engine.datasets import open_dataset
from nas_engine.digests import file_digest
from nas_engine.errors import FileFormatError, InputError, NasEngineError, RunDirectoryError
from nas_engine.events import Event, Finished, Started
from nas_engine.evolution.config import build_problem
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.pipeline import run as run_module
from nas_engine.pipeline import stage_actions
from nas_engine.pipeline.judging import is_ahead
from nas_engine.pipeline.members import figures_of, members, pattern
from nas_engine.pipeline.new_run import write_new_run
from nas_engine.pipeline.run import run_pipeline
from nas_engine.pipeline.run_config import resolve_run_config
from nas_engine.pipeline.rungs import FINALISTS, best_of_ranks
from nas_engine.pipeline.shortlist import best_of, choose
from nas_engine.pipeline.stages import STAGE_TABLE
from nas_engine.pipeline.training import LoweringError
from nas_engine.pipeline.work import Work, recipe_of
from nas_engine.report.gather import gather
from nas_engine.report.html.document import Table, Tone
from nas_engine.report.page.headline import verdict_sentence
from nas_engine.report.page.reading import shortlist_of
from nas_engine.report.page.search import shortlist as shortlist_section
from nas_engine.report.run_table import run_table
from nas_engine.report.search_record import report_member
from nas_engine.report.tables import depth_remark
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.runs.run_options import continued, stored_options
from nas_engine.runs.run_record import STAGES, RunRecord, read_record
from nas_engine.training.compute import threads_of_torch
from nas_engine.training.loop import DivergedError, TrainingError
from nas_engine.training.networks import save_network
from nas_engine.training.result import TrainingResult, read_result
from nas_engine.training.start import same_structure
from tests.cli.test_json import check_json
from tests.refine_runs import SPACE
from tests.resealed import content, rewrite
from tests.sinks import Kept
from tests.training.tasks import digits_architecture
from tests.whole_runs import Killed, Recorder, run_tiny, tiny_config


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord, int]:
    """A run that was never disturbed: its folder's folder, its record, and how often it told
    something.
    """
    folder = tmp_path_factory.mktemp("whole")
    recorder = Recorder()
    record = run_tiny(folder, folder / "run", recorder)
    assert recorder.done == list(STAGES)
    return folder, record, recorder.count


@pytest.fixture
def copy(whole: tuple[Path, RunRecord, int], tmp_path: Path) -> Path:
    """A copy of that run, to be changed."""
    shutil.copytree(whole[0] / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def space(whole: tuple[Path, RunRecord, int]) -> Path:
    """The folder of its space."""
    return whole[0]


class TestOnce:
    def test_its_object_is_what_the_schema_says(self, whole: tuple[Path, RunRecord, int]) -> None:
        folder, record, _ = whole
        found = check_json("run", json.dumps(outcome(record, folder / "run")))
        assert found["verified"] is True
        assert found["network"]["directory"] == str(folder / "run" / "final")
        assert found["network"]["peak_sram_bytes"] == found["stages"][5]["figures"]["arena_bytes"]
        stopped = check_json("run", json.dumps(outcome(replace(record, stages=()), folder)))
        assert stopped["accuracy"] is stopped["verified"] is stopped["network"] is None

    def test_every_stage_is_recorded_with_what_it_came_to(
        self, whole: tuple[Path, RunRecord, int]
    ) -> None:
        folder, record, _ = whole
        assert [stage.name for stage in record.stages] == list(STAGES)
        assert all(stage.done and stage.seconds > 0 for stage in record.stages)
        stored = stored_options(PipelineDirectory(folder / "run"))
        assert resolve_run_config(stored) == tiny_config(folder)
        assert load_run(folder / "run") == record
        verified = record.stage("verify")
        assert verified is not None
        assert verified.figures is not None
        assert verified.figures["passed"]
        assert (folder / "run" / "report.html").exists()

    def test_it_becomes_a_row_of_results(
        self, whole: tuple[Path, RunRecord, int], tmp_path: Path
    ) -> None:
        made = results.add(whole[0] / "run", "tiny", "a tiny run", None, tmp_path)
        assert results.read_results(tmp_path) == {"tiny": made}
        assert made.command == "nas-search run tiny.yaml"
        assert (made.data, made.images) == ("digits", 359)
        assert made.instructions is None, "no emulator was asked for"
        assert results.check({"tiny": made}, None, tmp_path) == 0

    def test_the_shortlist_has_two_networks_of_different_structure(
        self, whole: tuple[Path, RunRecord, int]
    ) -> None:
        stage = whole[1].stage("shortlist")
        assert stage is not None
        assert stage.figures is not None
        members = stage.figures["members"]
        assert [member["rank"] for member in members] == [1, 2]
        assert members[0]["qe_score"] >= members[1]["qe_score"]
        chosen = best_of(
            *([member[name] for member in members] for name in ("accuracy", "loss")),
            stage.figures["images"],
        )
        best = members[chosen]
        assert best["chosen"]
        assert sum(member["chosen"] for member in members) == 1
        directory = PipelineDirectory(whole[0] / "run")
        assert directory.network.read_best() == directory.candidate(best["rank"]).read_best()
        apart = is_ahead(
            *sorted((member["accuracy"] for member in members), reverse=True),
            stage.figures["images"],
        )
        assert stage.figures["decided_by"] == ("accuracy" if apart else "loss")

    def test_the_shortlist_takes_other_patterns_before_other_channels(
        self, whole: tuple[Path, RunRecord, int]
    ) -> None:
        search = PipelineDirectory(whole[0] / "run").search
        scores = [row["qe_score"] for row in search.front.read()]
        room = search.read_best().room
        front = [
            replace(read_architecture(search.path / "pareto" / f"{number:03d}.yaml"), room=room)
            for number in range(1, len(scores) + 1)
        ]
        by_score = [
            network
            for _, network in sorted(zip(scores, front, strict=True), key=lambda item: -item[0])
        ]
        firsts: dict[tuple[tuple[str, int, int], ...], Architecture] = {}
        for network in by_score:
            firsts.setdefault(pattern(network), network)
        assert len(firsts) > 1
        some = min(len(firsts), FINALISTS)
        assert members(search, some) == list(firsts.values())[:some]
        found = members(search, len(front) + 1)  # by score and by path noise in turn
        assert {pattern(network) for network in found} == set(firsts)
        places = [by_score.index(network) for network in found]
        assert [sorted(scores)[-1 - place] for place in places] == sorted(
            (sorted(scores)[-1 - place] for place in places), reverse=True
        )
        assert not any(
            same_structure(one, other)
            for number, one in enumerate(found)
            for other in found[:number]
        )
        assert members(search, 2) == list(firsts.values())[:2]

    def test_the_chosen_bits_are_the_final_ones(self, whole: tuple[Path, RunRecord, int]) -> None:
        stage = whole[1].stage("refine")
        assert stage is not None
        assert stage.figures is not None
        methods = stage.figures["methods"]
        assert set(methods) == {"qbr", "gauss-newton"}
        ahead = is_ahead(
            methods["gauss-newton"]["accuracy"], methods["qbr"]["accuracy"], stage.figures["images"]
        )
        smaller = methods["gauss-newton"]["loss"] < methods["qbr"]["loss"]
        assert stage.figures["chosen"] == ("gauss-newton" if ahead and smaller else "qbr")
        directory = PipelineDirectory(whole[0] / "run")
        assert (
            directory.final.read_best()
            == directory.network.refine.run(stage.figures["chosen"]).read_best()
        )

    def test_the_table_has_a_line_per_stage(self, whole: tuple[Path, RunRecord, int]) -> None:
        lines = run_table(whole[1]).splitlines()
        assert [line.split()[0] for line in lines[2:]] == list(STAGES)
        assert (
            "equal, but not verified for this device: of " in lines[8]
        )  # only some back-ends are asked for


@pytest.mark.parametrize(
    ("accuracies", "losses", "images", "best"),
    [
        ([60.0, 61.0, 62.0], [1.0, 0.9, 1.1], 1000, 1),  # noise: the loss decides
        ([60.0, 61.0, 62.0], [1.0, 0.9, 1.1], 1_000_000, 2),  # no noise
        (
            [40.0, 61.0, 62.0],
            [0.1, 0.9, 0.8],
            1000,
            2,
        ),  # a small loss does not save one that is behind
        ([0.0, 0.0], [2.3, 2.2], 50, 1),
        ([100.0], [0.0], 50, 0),
    ],
)
def test_the_loss_decides_where_accuracies_are_alike(
    accuracies: list[float], losses: list[float], images: int, best: int
) -> None:
    assert best_of(accuracies, losses, images) == best


class UntilTraining(Recorder):
    """Kills the run before its winner is trained."""

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Started) and event.stage == "train":
            raise Killed


class TestRungs:
    """Several rungs: narrowed down in float, then as a shortlist of one rung."""

    PLAN: ClassVar[dict[str, Any]] = {"rungs": "3x1,2x2"}

    def test_who_goes_on_and_what_is_kept(self, space: Path, copy: Path) -> None:
        with pytest.raises(Killed):
            run_tiny(space, copy, UntilTraining(), shortlist=self.PLAN)
        record = read_record(copy / "run.json")
        stage = record.stage("shortlist")
        assert stage is not None
        assert stage.figures is not None
        (rung,), members = stage.figures["rungs"], stage.figures["members"]
        assert (rung["epochs"], len(rung["members"]), stage.figures["epochs"]) == (1, 3, 2)
        ranks = [row["rank"] for row in rung["members"] if row["goes_on"]]
        losses, noises = ([row[key] for row in rung["members"]] for key in ("loss", "path_noise"))
        assert [rank - 1 for rank in ranks] == best_of_ranks(losses, noises, 2)
        assert [row["rank"] for row in members] == ranks
        directory = PipelineDirectory(copy)
        for row in rung["members"]:
            run = directory.candidate(row["rank"], 1)
            assert figures_of(run.read_best()).noise == row["path_noise"]
            assert read_result(run.training.result).accuracy.floating == row["accuracy"]
        shown = shortlist_of(stage.figures, copy)
        assert [len(each.members) for each in shown.rungs] == [3]
        section = shortlist_section(replace(gather(copy), shortlist=shown))
        assert section is not None
        captions = [block.caption for block in section.blocks if isinstance(block, Table)]
        assert captions[0].startswith("Rung 1: 3 networks after 1 epoch in float each")
        assert "of 3 to 2: " in run_table(record)

    def test_threads_do_not_change_it(self, space: Path, copy: Path) -> None:
        config, before, found = tiny_config(space, shortlist=self.PLAN), torch.get_num_threads(), []
        work = Work(config=config, recipe=recipe_of(config), directory=PipelineDirectory(copy))
        for threads in (1, 2):
            with threads_of_torch(threads):
                found.append(stage_actions.shortlist(work, resume=False))
        assert found[0] is not None
        assert found[0]["threads"] == 1
        assert found[0] == found[1]
        assert torch.get_num_threads() == before

    def test_minutes_are_turned_into_rungs_once(
        self, space: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: dict[str, Any] = {"count": 3, "epochs": None, "minutes": 0.2}
        directory = PipelineDirectory(copy)
        macs = [figures_of(network).macs for network in members(directory.search, 3)]
        epoch_s = 2.39 * macs[0] / (sum(macs) / 3)  # 2.39 s of the network with the mean MACs
        monkeypatch.setattr(stage_actions, "measured_epoch", lambda *_: (epoch_s, 100))
        with pytest.raises(Killed):
            run_tiny(space, copy, Recorder(kill_at=9), shortlist=asked)
        assert stored_options(directory)["shortlist"]["rungs"] == "2x2"

        def again(*_: Any) -> tuple[float, int]:
            raise AssertionError("measured twice")

        monkeypatch.setattr(stage_actions, "measured_epoch", again)
        options = continued(stored_options(directory), {"shortlist": {"minutes": 0.2}})
        record = run_pipeline(resolve_run_config(options), copy)
        stage = record.stage("shortlist")
        assert stage is not None
        assert stage.figures is not None
        assert (len(stage.figures["members"]), stage.figures["epochs"]) == (2, 2)
        other = continued(stored_options(directory), {"shortlist": {"minutes": 5}})
        assert "rungs" not in other["shortlist"]

    def test_too_few_minutes_are_one_line(
        self, space: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The epoch of a mean network of the shortlist counts, here with three fourths of the MACs
        of the one that was measured.
        """
        monkeypatch.setattr(stage_actions, "measured_epoch", lambda *_: (60.0, 100))
        with pytest.raises(
            InputError,
            match=r"^--shortlist-minutes: is 1, and one epoch of a network takes 46 s here; "
            r"expected at least 3\.9 for two networks, or --shortlist 1 ",
        ):
            run_tiny(space, copy, shortlist={"count": 3, "epochs": None, "minutes": 1})


class TestFailingCandidates:
    """Of a shortlist of two."""

    def choose(
        self, copy: Path, space: Path, errors: dict[int, Exception], notes: Kept
    ) -> dict[str, Any] | None:
        directory = PipelineDirectory(copy)

        def attempt(path: Path, what: str) -> TrainingResult:
            if int(path.name) in errors:
                raise errors[int(path.name)]
            return read_result(RunDirectory(path).training.result)

        search = build_problem(tiny_config(space).search)[0]
        return choose(
            directory,
            search,
            dict(enumerate(members(directory.search, 2), 1)),
            attempt,
            fresh=False,
            watch=notes,
        )

    @pytest.mark.parametrize(
        "error",
        [
            DivergedError("float epoch 1, step 1", "the loss is nan"),
            LoweringError("no integer model"),
        ],
    )
    @pytest.mark.parametrize("failing", [1, 2])
    def test_one_is_left_out_and_said(
        self,
        whole: tuple[Path, RunRecord, int],
        space: Path,
        copy: Path,
        error: Exception,
        failing: int,
    ) -> None:
        notes = Kept()
        figures = self.choose(copy, space, {failing: error}, notes)
        assert figures is not None
        lost, taken = (figures["members"][place] for place in (failing - 1, 2 - failing))
        assert (lost["accuracy"], lost["loss"], lost["failure"], lost["chosen"]) == (
            None,
            None,
            str(error),
            False,
        )
        assert (taken["failure"], taken["chosen"], figures["decided_by"]) == (
            None,
            True,
            "failures",
        )
        assert notes.notes == [f"candidate {failing} of 2 is left out: {error}"]
        directory = PipelineDirectory(copy)
        assert directory.network.read_best() == directory.candidate(3 - failing).read_best()
        stage = whole[1].stage("shortlist")
        assert stage is not None
        assert "failed" in run_table(whole[1].with_stage(replace(stage, figures=figures)))
        shown = shortlist_of(figures, copy)
        assert [one.failure for one in shown.members if one.accuracy is None] == [str(error)]

    def test_all_failing_is_one_line(self, space: Path, copy: Path) -> None:
        errors = {
            rank: DivergedError("float epoch 1, step 1", f"the loss is {rank}") for rank in (1, 2)
        }
        with pytest.raises(
            NasEngineError,
            match=(
                r"^none of the 2 networks .*; the first: .*the loss is 1; every .*another --recipe$"
            ),
        ):
            self.choose(copy, space, dict(errors), Kept())

    @pytest.mark.parametrize(
        "error",
        [TrainingError("float epoch 1, step 1", "out of memory"), InputError("no such data")],
    )
    def test_what_is_no_fault_of_the_network_ends_the_stage(
        self, space: Path, copy: Path, error: NasEngineError
    ) -> None:
        with pytest.raises(type(error)):
            self.choose(copy, space, {1: error}, Kept())


class TestAgain:
    def test_nothing_is_done_twice_but_the_report(self, space: Path, copy: Path) -> None:
        before = lasting(PipelineDirectory(copy))
        recorder = Recorder()
        record = run_tiny(space, copy, recorder)
        assert recorder.done == ["report"]
        assert lasting(PipelineDirectory(copy)) == before
        assert all(stage.done for stage in record.stages)

    def test_a_release_that_changes_no_stage_redoes_nothing(
        self, space: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in list(sys.modules.values()):
            if module.__name__.startswith("nas_engine") and hasattr(module, "__version__"):
                monkeypatch.setattr(module, "__version__", "99.0.0")
        before = lasting(PipelineDirectory(copy))
        recorder = Recorder()
        record = run_tiny(space, copy, recorder)
        assert record.versions["nas-search"] == "99.0.0"
        assert recorder.done == ["report"]
        assert lasting(PipelineDirectory(copy)) == before

    def test_a_stage_of_another_version_is_done_again(
        self, space: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verify = STAGE_TABLE["verify"]
        monkeypatch.setattr(
            run_module,
            "STAGE_TABLE",
            {**STAGE_TABLE, "verify": replace(verify, version=verify.version + 1)},
        )
        recorder = Recorder()
        run_tiny(space, copy, recorder)
        assert recorder.done == ["verify", "report"]
        assert recorder.why["verify"].startswith("again (another version of nas-search): ")

    def test_every_stage_has_a_version_of_its_own(self) -> None:
        """A number here changes with the code of that stage, and with nothing else: see
        ``Stage.version``.
        """
        versions = {
            "search": 1,
            "shortlist": 1,
            "train": 1,
            "refine": 1,
            "quantise": 1,
            "export": 1,
            "verify": 1,
            "report": 1,
        }
        assert {name: stage.version for name, stage in STAGE_TABLE.items()} == versions

    def test_a_change_of_the_proof_does_the_proof_again(self, space: Path, copy: Path) -> None:
        recorder = Recorder()
        run_tiny(space, copy, recorder, verify={"images": 5})
        assert recorder.done == ["verify", "report"]
        assert recorder.why["verify"].startswith("again (images 4 -> 5): ")

    def test_a_change_of_the_bits_keeps_the_float_training(self, space: Path, copy: Path) -> None:
        recorder = Recorder()
        record = run_tiny(space, copy, recorder, refine={"method": "qbr"})
        assert recorder.done[0] == "refine"
        assert not {"search", "shortlist", "train"} & set(recorder.done)
        stage = record.stage("refine")
        assert stage is not None
        assert stage.figures is not None
        assert set(stage.figures["methods"]) == {"qbr"}

    def test_a_file_that_was_changed_by_hand_is_made_again(self, space: Path, copy: Path) -> None:
        directory = PipelineDirectory(copy)
        before = lasting(directory)
        (directory.final.export / "quant.json").write_bytes(b"changed")
        recorder = Recorder(stop_at=7)  # once it is done
        run_tiny(space, copy, recorder)
        assert recorder.done == ["export"]
        assert recorder.why["export"].startswith(
            "again (final/export/quant.json is no longer what it left): "
        )
        assert lasting(directory) == before

    def test_a_file_that_was_put_into_the_export_is_removed_and_never_compiled(
        self, space: Path, copy: Path, tmp_path: Path
    ) -> None:
        directory = PipelineDirectory(copy)
        before, effect = lasting(directory), tmp_path / "effect"
        (directory.final.export / "c" / "nas_zz.c").write_text(
            f"#include <fcntl.h>\n__attribute__((constructor)) static void e(void) {{ "
            f'(void)open("{effect}", O_CREAT, 0600); }}\n'
        )
        recorder = Recorder()
        run_tiny(space, copy, recorder)
        assert recorder.done[0] == "export"
        assert recorder.why["export"].startswith(
            "again (final/export/c/nas_zz.c (a file) is not what it left): "
        )
        assert lasting(directory) == before
        assert not effect.exists()

    def test_a_shortlist_of_one_trains_nothing(self, space: Path, copy: Path) -> None:
        recorder = Recorder(stop_at=3)
        record = run_tiny(space, copy, recorder, shortlist={"count": 1})
        assert recorder.done == ["shortlist"]
        stage = record.stage("shortlist")
        assert stage is not None
        assert stage.figures is not None
        assert [member["accuracy"] for member in stage.figures["members"]] == [None]

    def test_other_budgets_choose_the_bits_anew_but_keep_the_training(
        self, space: Path, copy: Path
    ) -> None:
        directory = PipelineDirectory(copy)
        before, after = (
            Work(config=config, recipe=recipe_of(config), directory=directory)
            for config in (tiny_config(space), tiny_config(space, search={"flash": 65536}))
        )
        changed = {
            name
            for name, stage in STAGE_TABLE.items()
            if stage.settings(before) != stage.settings(after)
        }
        assert changed == {"search", "refine", "export", "verify"}

        trained = file_digest(directory.network.training.float_network)
        directory.search.write_config(directory.search.read_config() | {"flash_bytes": 65536})
        network = directory.network.read_best()
        choose(
            directory,
            build_problem(after.config.search)[0],
            {1: network},
            lambda path, what: None,
            fresh=False,
        )
        assert directory.network.read_config()["flash_bytes"] == 65536
        assert file_digest(directory.network.training.float_network) == trained

    def test_long_work_is_not_thrown_away(
        self, space: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_module, "PRECIOUS_S", 0.0)
        before = lasting(PipelineDirectory(copy))
        with pytest.raises(
            InputError, match=r"stage 'shortlist' took .* \(epochs 2 -> 3.*add --force to do so"
        ):
            run_tiny(space, copy, Recorder(), shortlist={"epochs": 3})
        assert lasting(PipelineDirectory(copy)) == before


class TestPage:
    """Report of a whole run whose record, or files, were changed."""

    def test_all_digests_and_figures_fit(self, copy: Path) -> None:
        facts = gather(copy)
        assert facts.checked
        assert facts.verification is not None
        assert verdict_sentence(facts)[0].startswith(
            f"Recorded on {facts.verification.date}, digests fit"
        )

    @pytest.mark.parametrize(
        ("stage", "change", "told"),
        [
            (
                "quantise",
                lambda figures: figures["accuracy"].update(integer=95.33),
                "stage 'quantise' says integer 95.33, its record ",
            ),
            (
                "train",
                lambda figures: figures["accuracy"].update(floating=99.0),
                "stage 'train' says floating 99.0, its record ",
            ),
            (
                "verify",
                lambda figures: figures.update(passed=False),
                "stage 'verify' says passed False, its record True",
            ),
            (
                "refine",
                lambda figures: figures["methods"]["qbr"].update(accuracy=99.0),
                "says of qbr accuracy 99.0, its record",
            ),
            (
                "shortlist",
                lambda figures: figures["members"][0].update(accuracy=99.0),
                "of candidate 1 an accuracy of 99.0, its record",
            ),
            (
                "search",
                lambda figures: figures.update(candidates=1),
                "stage 'search' says candidates 1, its record ",
            ),
        ],
    )
    def test_figures_that_are_not_those_of_their_records(
        self, copy: Path, stage: str, change: Any, told: str
    ) -> None:
        path = PipelineDirectory(copy).record
        values = content(path)
        change(next(one for one in values["stages"] if one["name"] == stage)["figures"])
        rewrite(path, values)
        facts = gather(copy)
        assert any(told in one.problem for one in facts.stale)
        assert {one.command for one in facts.stale} == {f"nas-search run --out {copy}"}
        assert verdict_sentence(facts)[1] is Tone.BAD
        assert facts.record is None

    @pytest.mark.parametrize(
        "name",
        [
            "network/training/float.pt",
            "network/best.yaml",
            "final/training/network.pt",
            "final/start.pt",
            "final/best.yaml",
        ],
    )
    def test_files_that_are_not_what_the_run_left(self, copy: Path, name: str) -> None:
        """Those of another network of the shortlist stand in their place."""
        other = "training/network.pt" if name.endswith(".pt") else "best.yaml"
        candidates = [PipelineDirectory(copy).candidate(rank) for rank in (1, 2)]
        source = next(
            one
            for one in candidates
            if not same_structure(one.read_best(), PipelineDirectory(copy).network.read_best())
        )
        shutil.copyfile(source.path / other, copy / name)
        facts = gather(copy)
        assert facts.stale
        assert verdict_sentence(facts)[1] is Tone.BAD

    def test_a_proof_that_is_not_run_again_is_called_recorded(
        self, whole: tuple[Path, RunRecord, int]
    ) -> None:
        stage = whole[1].stage("verify")
        assert stage is not None
        assert stage.figures is not None
        told = run_table(whole[1], {"verify"})
        assert f"recorded on {stage.figures['date']}, digests fit: " in told
        assert "verified: of" not in told


class TestKilled:
    def test_killed_again_and_again_it_ends_with_the_same_files(
        self, whole: tuple[Path, RunRecord, int], tmp_path: Path
    ) -> None:
        folder, _, told = whole
        kills = 0
        for kill_at in (
            2,
            told // 9,
            told // 7,
            told // 5,
            told // 4,
            4,
            told // 6,
            3,
            9,
            told // 8,
            5,
            7,
        ):
            try:
                run_tiny(folder, tmp_path / "run", Recorder(kill_at=kill_at))
            except Killed:
                kills += 1
        record = run_tiny(folder, tmp_path / "run")
        assert kills >= 6
        assert all(stage.done for stage in record.stages)
        assert lasting(PipelineDirectory(tmp_path / "run")) == lasting(
            PipelineDirectory(folder / "run")
        )

    def test_a_refined_run_has_no_winner_before_its_weights(
        self, copy: Path, tmp_path: Path
    ) -> None:
        directory = PipelineDirectory(copy)

        def killed(run: RunDirectory) -> None:
            raise Killed

        config = resolve_run_config(stored_options(directory))
        run, search = RunDirectory(tmp_path / "other"), build_problem(config.search)[0]
        with pytest.raises(Killed):
            write_new_run(run, directory.search, search, directory.final.read_best(), killed)
        with pytest.raises(RunDirectoryError, match=r"has no best\.yaml yet"):
            run.read_best()

    def test_stopped_it_says_what_is_not_done(
        self, whole: tuple[Path, RunRecord, int], tmp_path: Path
    ) -> None:
        folder, _, told = whole
        recorder = Recorder(stop_at=told // 4)
        record = run_tiny(folder, tmp_path / "run", recorder)
        assert not record.stages[-1].done
        assert load_run(tmp_path / "run") == record
        network, problem = (
            PipelineDirectory(tmp_path / "run").search.read_best(),
            build_problem(tiny_config(folder).search)[0],
        )
        remark = depth_remark(report_member(network, problem))
        assert [note for note in recorder.notes if "deep for its width" in note] == (
            [remark] if remark else []
        )


class TestSmallFolders:
    """Image folders with fewer images than a choice of bits asks for: none is refused, least of all
    at the end of a run.
    """

    def test_half_of_the_images_measure(self, tmp_path: Path) -> None:
        data = write_folder(tmp_path / "data", 130)
        recorder = Recorder()
        options = {
            "data": {"source": str(data)},
            "refine": {"images": 512},
            "verify": {"backends": ["host-c"]},
        }
        record = run_tiny(tmp_path, tmp_path / "run", recorder, **options)
        assert all(stage.done for stage in record.stages)
        stage = record.stage("refine")
        assert stage is not None
        assert stage.figures is not None
        assert set(stage.figures["methods"]) == {"qbr", "gauss-newton"}
        told = [note for note in recorder.notes if "training images" in note]
        assert told == 2 * [
            "64 of 130 training images measure what bits cost, instead of 512"
        ]  # before the search, and in its stage


class TestAskedFirst:
    """Refusals by data, options and budgets come before anything runs or is written."""

    def refused(self, tmp_path: Path, **changes: Any) -> str:
        with pytest.raises(InputError) as caught:
            run_tiny(tmp_path, tmp_path / "run", Recorder(kill_at=1), **changes)
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    def test_classes(self, tmp_path: Path) -> None:
        said = self.refused(tmp_path, search={"classes": 7})
        assert said == (
            "digits: the data have 10 classes, 7 are asked for; give --classes 10, or leave it out"
        )

    def test_limit(self, tmp_path: Path) -> None:
        assert "limit is 9, but there are 10 classes" in self.refused(tmp_path, data={"limit": 9})

    def test_a_class_with_nothing_to_set_aside(self, tmp_path: Path) -> None:
        said = self.refused(tmp_path, data={"limit": 10})
        assert (
            "class '0' has a single training image, and the shortlist sets one of each class aside"
            in said
        )
        assert said.endswith("add images, or give --shortlist 1")

    def test_channels(self, tmp_path: Path) -> None:
        (tmp_path / "space.yaml").write_text(
            SPACE.replace("input_channels: 1", "input_channels: 5")
        )
        assert "takes images of 5 channels, which no data have" in self.refused(tmp_path)

    def test_resolution(self, tmp_path: Path) -> None:
        assert "resolution 17 is outside space" in self.refused(tmp_path, search={"resolution": 17})

    def test_odd_number_of_images(self, tmp_path: Path) -> None:
        assert "refine.images: is 65; expected an even number from 64, such as 66" in self.refused(
            tmp_path, refine={"images": 65}
        )

    def test_a_teacher_for_images_of_another_kind(self, tmp_path: Path) -> None:
        save_network(
            tmp_path / "colour.pt", GraphNetwork(replace(digits_architecture(), input_channels=3))
        )
        said = self.refused(tmp_path, train={"teacher": str(tmp_path / "colour.pt")})
        assert "fails on images of 1x8x8 (channels x height x width)" in said

    def remarks(self, tmp_path: Path, **changes: Any) -> list[str]:
        recorder = Recorder(kill_at=1)
        with pytest.raises(Killed):
            run_tiny(tmp_path, tmp_path / "run", recorder, **changes)
        return recorder.notes

    def test_data_are_summed_up_first(self, tmp_path: Path) -> None:
        def kill(event: Event) -> None:
            if isinstance(event, Started):
                raise Killed

        kept = Kept(kill)
        with pytest.raises(Killed):
            run_tiny(tmp_path, tmp_path / "run", kept)
        summed = kept.events[0]
        assert isinstance(summed, Finished)
        assert re.fullmatch(r"digits: 10 classes; images: train [\d,]+, test [\d,]+", summed.text)
        assert summed.table[-1].startswith("note: no split of its own: a fixed 20 %")

    def test_remarks_on_size_and_colour(self, tmp_path: Path) -> None:
        assert self.remarks(tmp_path) == []
        (tmp_path / "space.yaml").write_text(
            SPACE.replace("input_channels: 1", "input_channels: 3").replace(
                "max: 16}", "max: 24}", 1
            )
        )
        needed = {"sram": 131072, "flash": 131072}
        grey, size = sorted(self.remarks(tmp_path, search={**needed, "resolution": 20}))
        assert size.startswith("the images are grey; space '")
        assert grey.startswith(
            "the images are 8 x 8 pixels and the network's input 20 x 20 pixels: enlarging shows "
            "nothing new"
        )

    def test_colours_on_a_grey_space(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        arrays = {
            f"x_{split}": rng.integers(0, 256, (40, 8, 8, 3), np.uint8)
            for split in ("train", "test")
        }
        np.savez(
            tmp_path / "data.npz", y_train=np.arange(40) % 2, y_test=np.arange(40) % 2, **arrays
        )
        notes = self.remarks(
            tmp_path, data={"source": str(tmp_path / "data.npz")}, refine={"method": "qbr"}
        )
        assert [note.partition(";")[0] for note in notes] == ["the images have colours"]

    def test_data_are_looked_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []

        def counted(location: str, **options: Any) -> Any:
            opened.append(location)
            return open_dataset(location, **options)

        monkeypatch.setattr("nas_engine.pipeline.data.open_dataset", counted)
        data = write_folder(tmp_path / "data", 20)
        self.remarks(tmp_path, data={"source": str(data)})
        assert opened == [str(data)]
        (data / "train" / "odd" / "0001.png").unlink()
        self.remarks(tmp_path, data={"source": str(data), "limit": 300}, search={"seed": 1})
        assert len(opened) == 2


class TestBadInput:
    def test_a_folder_with_other_files_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.tex").write_text("")
        with pytest.raises(
            RunDirectoryError,
            match="holds files that are not a run's; give --out a new or empty directory",
        ):
            run_tiny(tmp_path, tmp_path / "run")

    def test_a_run_of_single_commands_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.yaml").write_text("")
        with pytest.raises(RunDirectoryError, match="holds a run of single commands"):
            run_tiny(tmp_path, tmp_path / "run")

    def test_a_budget_that_nothing_fits_is_refused_before_anything_is_written(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="smallest possible"):
            run_tiny(tmp_path, tmp_path / "run", search={"sram": 4200})
        assert not (tmp_path / "run").exists()

    def test_what_would_fail_after_the_training_is_refused_before_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(
            InputError, match=r"unknown back-end: 'host-d'; did you mean 'host-c'\?"
        ):
            run_tiny(tmp_path, tmp_path / "run", verify={"backends": ["host-d"]})
        teacher = tmp_path / "teacher.pt"
        teacher.write_bytes(b"no network")
        with pytest.raises(FileFormatError, match=r"teacher\.pt"):
            run_tiny(tmp_path, tmp_path / "run", train={"teacher": str(teacher)})
        recipe = tmp_path / "float.yaml"
        recipe.write_text("epochs: 4\nfloat_share: 1\n")
        with pytest.raises(InputError, match="recipe 'float' has only one stage"):
            run_tiny(tmp_path, tmp_path / "run", train={"recipe": str(recipe)})
        monkeypatch.setattr(
            "nas_engine.exporters.to_onnx.OnnxExporter.missing",
            lambda self: "onnx is not installed",
        )
        with pytest.raises(InputError, match="onnx is not installed"):
            run_tiny(tmp_path, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_what_is_no_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match=r"no run\.yaml"):
            load_run(tmp_path)

    def test_a_damaged_record_is_refused_and_nothing_is_lost(self, space: Path, copy: Path) -> None:
        path = copy / "run.json"
        path.write_text(path.read_text()[:50])
        before = lasting(PipelineDirectory(copy))
        with pytest.raises(FileFormatError, match="remove it to run every stage again"):
            run_tiny(space, copy)
        assert lasting(PipelineDirectory(copy)) == before

    def test_a_record_of_another_version_makes_every_stage_anew(
        self, space: Path, copy: Path
    ) -> None:
        path = copy / "run.json"
        record = content(path)
        for stage in record["stages"]:
            stage["key"] = "0" * 64
        rewrite(path, record)
        recorder = Recorder(stop_at=1)
        run_tiny(space, copy, recorder)
        assert recorder.why["search"].startswith("again (another version of nas-search): ")
