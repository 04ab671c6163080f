"""The record of a whole run, on disk and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_engine.errors import FileFormatError
from nas_engine.runs.run_record import (
    DONE,
    RUNNING,
    STAGES,
    RunRecord,
    StageRecord,
    read_record,
    write_record,
)
from tests.resealed import content, rewrite

SEARCH = StageRecord(
    name="search",
    state=DONE,
    key="k",
    settings={"device": "cortex-m7", "stage_weights": [0.0, 1.0]},
    inputs={},
    command=None,
    seconds=1.5,
    outputs={"search/best.yaml": "0"},
    figures={"qe_score": 7.25},
)
TRAIN = StageRecord(
    name="train",
    state=RUNNING,
    key="l",
    settings={},
    inputs={"data": "digits"},
    command="nas-search train x",
)
RECORD = RunRecord(
    command="nas-search run", versions={"numpy": "2"}, machine="Linux", stages=(SEARCH, TRAIN)
)


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", RECORD)
    assert read_record(tmp_path / "run.json") == RECORD


def test_a_record_of_a_run_killed_before_its_first_stage_can_be_read(tmp_path: Path) -> None:
    record = RunRecord(command=None, versions={}, machine="Linux")
    write_record(tmp_path / "run.json", record)
    assert read_record(tmp_path / "run.json") == record


def test_stages_stand_in_their_order_whichever_comes_first() -> None:
    record = RunRecord(command=None, versions={}, machine="").with_stage(TRAIN).with_stage(SEARCH)
    assert [stage.name for stage in record.stages] == ["search", "train"]
    again = record.with_stage(
        StageRecord(name="search", state=RUNNING, key="m", settings={}, inputs={}, command=None)
    )
    assert [stage.key for stage in again.stages] == ["m", "l"]
    assert again.stage("verify") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "format: is 'other'"),
        ({"machine": 3}, "machine: is 3"),
        ({"stages": [{"name": "serch"}]}, "stages[0]"),
        ({"more": 1}, "unknown key: 'more'"),
        ({"versions": []}, "versions holds a list; expected a mapping"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "run.json"
    write_record(path, RECORD)
    rewrite(path, content(path) | change)
    with pytest.raises(FileFormatError) as caught:
        read_record(path)
    assert said in str(caught.value)


def test_a_file_cut_in_half_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_record(path, RECORD)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        FileFormatError, match=r"does not fit the digest .*; remove it to run every stage again"
    ):
        read_record(path)


def test_stages_are_those_of_the_table() -> None:
    from nas_engine.pipeline.stages import STAGE_TABLE

    assert tuple(STAGE_TABLE) == STAGES
