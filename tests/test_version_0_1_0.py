"""Files that nas-search 0.1.0 wrote are read as before; they are in ``tests/golden``."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from device_profiles import load_device
from nas_engine.evolution.config import SearchConfig
from nas_engine.pipeline.run_config import resolve_run_config
from nas_engine.report.layer_errors import read_layer_errors
from nas_engine.runs.run_options import read_options
from nas_engine.runs.run_record import STAGES, read_record
from nas_engine.strict_yaml import read_mapping
from nas_engine.training.recipe import load_recipe
from nas_engine.training.result import read_result
from nas_engine.verification.result import Verdict, read_verification

GOLDEN = Path(__file__).parent / "golden"
RUN = GOLDEN / "run-0.1.0"


def test_device() -> None:
    device = load_device(GOLDEN / "device-0.1.0.yaml")
    assert (device.name, device.sram_bytes, device.flash_bytes) == ("cortex-m7", 524288, 2097152)
    assert device.allowed_table().sum() == 49


def test_config_of_a_search() -> None:
    mapping = read_mapping(RUN / "config.yaml", None)
    assert mapping.pop("format") == "nas-search/run/1"
    config = SearchConfig.from_mapping(mapping, "config.yaml")
    assert (config.sram_bytes, config.flash_bytes, config.resolution) == (24576, 65536, 16)
    assert config.limits == {"macs": 2e6, "layers": 32}
    assert config.stage_weights == (0.0, 1.0, 1.0, 6.0)
    written = config.as_mapping() | {"version": "0.1.0"}
    assert (written.pop("schedule"), written.pop("input")) == ("layers", "whole")  # of 0.2.0
    assert (written.pop("score"), written.pop("max_path_noise")) == ("qe-score", None)  # likewise
    assert (written.pop("max_latency"), written.pop("channels")) == ("none", None)  # likewise
    assert written.pop("cost") is written.pop("max_cost") is None  # likewise
    assert written.pop("path_noise_axis") is None  # likewise
    assert written == mapping


def test_config_of_a_whole_run() -> None:
    config = resolve_run_config(read_options(RUN / "run.yaml"))
    stored = yaml.safe_load((RUN / "run.yaml").read_text(encoding="utf-8"))
    mapping = config.as_mapping() | {"version": "0.1.0"}
    assert mapping["train"].pop("min_accuracy") is None  # a key of 0.2.0
    shortlist, search = mapping["shortlist"], mapping["search"]
    assert shortlist.pop("minutes") is shortlist.pop("rungs") is None  # of 0.2.0
    assert (search.pop("schedule"), search.pop("input")) == ("layers", "whole")  # of 0.2.0
    assert (search.pop("score"), search.pop("max_path_noise")) == ("qe-score", None)  # likewise
    assert (search.pop("max_latency"), search.pop("channels")) == ("none", None)  # likewise
    assert search.pop("cost") is search.pop("max_cost") is None  # likewise
    assert search.pop("path_noise_axis") is None  # likewise
    assert mapping == stored


def test_record_of_a_whole_run() -> None:
    record = read_record(RUN / "run.json")
    assert tuple(stage.name for stage in record.stages) == STAGES
    assert all(stage.done for stage in record.stages)
    found = record.stage("shortlist")
    assert found is not None
    assert [one["rank"] for one in (found.figures or {})["members"]] == [1, 2, 3]


def test_result_of_a_training() -> None:
    result = read_result(RUN / "result.json")
    assert result.accuracy.by_class is None
    assert result.accuracy.integer == pytest.approx(98.33, abs=0.01)
    assert load_recipe(str(RUN / "recipe.yaml")).quantised_epochs == result.quantised_epochs


def test_verification() -> None:
    report = read_verification(RUN / "verification.json")
    assert report.passed
    assert (report.core, report.date) == ("", "")
    assert {one.verdict for one in report.backends} <= {Verdict.EQUAL, Verdict.CLOSE}
    assert all(line.verdict is Verdict.EQUAL for line in report.memory)


def test_layer_errors() -> None:
    errors = read_layer_errors(RUN / "layer_errors.json")
    assert errors.layers[0].name == "stem"
    assert len(errors.layers) == 33
