"""Default limit on time: of which searches, what lifts it, and what older files mean."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from nas_engine.architecture import dump_architecture
from nas_engine.evolution.config import SearchConfig, resolve_config
from nas_engine.pipeline import run_search
from nas_engine.pipeline.run_config import resolve_run_config
from nas_engine.pipeline.search import best_without_latency
from nas_engine.runs.run_options import check_options
from tests.generations import GENERATION
from tests.training.networks import small_architecture


@pytest.mark.parametrize(
    ("options", "latency"),
    [
        ({}, 1000.0),
        ({"device": "rp2040"}, 1000.0),
        ({"device": "stm32h743", "sram": 2**18}, 300.0),
        ({"max_latency": 20.5}, 20.5),
        ({"max_latency": "2s"}, 2000.0),
        ({"max_latency": "none"}, None),
        ({"max_latency": None, "max_macs": 1e6}, 1000.0),
        ({"max_cycles": 1e9}, None),
        ({"max_cycles": 1e9, "max_latency": 20.5}, 20.5),
        ({"memory_model": "paper"}, None),
        ({"memory_model": "paper", "max_latency": 20.5}, 20.5),
        ({"space": "qe-score-2022"}, None),
    ],
)
def test_a_search_has_the_default_of_its_device(
    options: dict[str, Any], latency: float | None
) -> None:
    config = resolve_config(options)
    assert config.limits.get("latency") == latency
    again = SearchConfig.from_mapping(config.as_mapping(), "config.yaml")
    assert again == config == resolve_config(config.as_options())


def test_a_network_of_a_file_has_none(tmp_path: Any) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(dump_architecture(small_architecture()), encoding="utf-8")
    assert "latency" not in resolve_config({"space": str(path), "classes": 4}).limits


def test_older_files_had_no_limit() -> None:
    config = resolve_config({"max_latency": "none"}).as_mapping()
    del config["max_latency"]
    assert "latency" not in SearchConfig.from_mapping(config, "config.yaml").limits
    search = {"classes": 10}
    assert resolve_run_config({"search": search}).search.limits["latency"] == 1000
    written = check_options({"version": "0.1.0", "search": search})
    assert "latency" not in resolve_run_config(written).search.limits


def test_a_run_keeps_that_the_limit_was_lifted() -> None:
    config = resolve_run_config({"search": {"classes": 10, "max_latency": "none"}})
    stored = yaml.safe_load(yaml.safe_dump(config.as_mapping()))
    assert resolve_run_config(check_options(stored)) == config


def test_beside_it_stands_an_eighth_of_a_search_without(tmp_path: Any) -> None:
    options = {"sram": 2**16, "flash": 2**18, "space": "mobilenet-32", "candidates": 8 * GENERATION}
    limited = resolve_config({**options, "max_latency": 100.0})
    found = best_without_latency(limited, workers=2)
    free = resolve_config({**options, "max_latency": "none", "candidates": GENERATION})
    alone = run_search(free, tmp_path / "run").best
    assert found is not None
    assert (found.architecture, found.qe_score) == (alone.architecture, alone.qe_score)
    assert found.latency == alone.latency
