"""Options of a whole run: files, options, defaults, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas_engine.allocation.table import ALLOCATORS
from nas_engine.architecture import dump_architecture
from nas_engine.errors import InputError
from nas_engine.evolution.config import build_problem, resolve_config
from nas_engine.pipeline.run_config import RunConfig, resolve_run_config, write_run_config
from nas_engine.runs.run_options import check_options, continued, merged, read_options
from tests.training.networks import small_architecture

ROOT = Path(__file__).resolve().parents[1]

options = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "search": st.fixed_dictionaries(
            {},
            optional={
                "sram": st.sampled_from(["64k", 65536, "1m"]),
                "flash": st.sampled_from(["256k", "2MiB"]),
                "space": st.sampled_from(["mobilenet", "mobilenet-32"]),
                "resolution": st.integers(32, 96),
                "max_macs": st.sampled_from(["12m", 3e6]),
                "candidates": st.sampled_from(["10k", 500]),
                "seed": st.integers(0, 100),
                "qbr": st.booleans(),
                "sigma_a": st.floats(0.5, 10),
            },
        ),
        "data": st.fixed_dictionaries(
            {}, optional={"source": st.just("digits"), "limit": st.integers(100, 1000)}
        ),
        "shortlist": st.fixed_dictionaries(
            {}, optional={"count": st.integers(1, 9), "epochs": st.integers(2, 9)}
        ),
        "train": st.fixed_dictionaries(
            {},
            optional={
                "recipe": st.sampled_from(["digits", "cifar"]),
                "epochs": st.integers(2, 99),
                "float_share": st.floats(0.1, 0.9),
                "learning_rate": st.floats(0.001, 0.5),
            },
        ),
        "refine": st.fixed_dictionaries(
            {},
            optional={
                "method": st.sampled_from([*ALLOCATORS, "all"]),
                "images": st.integers(32, 499).map(lambda half: 2 * half),
            },
        ),
        "verify": st.fixed_dictionaries({}, optional={"images": st.integers(1, 999)}),
    },
)


@settings(max_examples=15)
@given(options)
def test_a_resolved_config_resolves_to_itself(given_options: dict[str, Any]) -> None:
    config = resolve_run_config(given_options)
    again = yaml.safe_load(yaml.safe_dump(config.as_mapping()))
    assert resolve_run_config(again) == config
    assert check_options(again) == check_options(check_options(again))


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    config = resolve_run_config({"seed": 7, "train": {"epochs": 5}})
    write_run_config(tmp_path / "run.yaml", config)
    assert resolve_run_config(read_options(tmp_path / "run.yaml")) == config


def test_without_anything_it_is_the_digits_in_a_small_device() -> None:
    config = resolve_run_config({})
    search = config.search
    assert (config.data.source, search.space, search.resolution, search.class_count) == (
        "digits",
        "mobilenet-32",
        16,
        10,
    )
    assert (search.sram_bytes, search.flash_bytes, search.limits) == (
        24576,
        65536,
        {"macs": 2e6, "layers": 32, "latency": 1000.0},
    )
    assert config.train.recipe == "digits"


def test_a_device_or_a_size_replaces_the_small_one() -> None:
    assert resolve_run_config({"search": {"device": "stm32f746"}}).search.sram_bytes == 327680
    whole = resolve_run_config({"search": {"device": "cortex-m7"}}).search
    assert resolve_run_config({"search": {"sram": "128k"}}).search.flash_bytes == whole.flash_bytes


def test_the_seed_is_that_of_the_search_unless_it_has_its_own() -> None:
    assert resolve_run_config({"seed": 3}).search.seed == 3
    assert resolve_run_config({"seed": 3, "search": {"seed": 4}}).search.seed == 4


def test_options_override_a_file_key_by_key() -> None:
    layers = merged(
        {"search": {"sram": "64k", "flash": "256k"}, "seed": 1}, {"search": {"sram": "128k"}}
    )
    assert layers == {"search": {"sram": "128k", "flash": "256k"}, "seed": 1}


def test_what_follows_from_a_value_that_changes_is_resolved_anew() -> None:
    stored = resolve_run_config({"search": {"device": "stm32f746"}}).as_mapping()
    other = resolve_run_config(
        continued(stored, {"search": {"device": "cortex-m7", "space": "mobilenet"}})
    )
    assert (
        other.search.sram_bytes
        == resolve_run_config({"search": {"device": "cortex-m7"}}).search.sram_bytes
    )
    assert len(other.search.stage_weights) == 5
    same = resolve_run_config(
        continued(stored, {"search": {"device": "stm32f746"}, "train": {"epochs": 9}})
    )
    assert same.search == resolve_run_config(stored).search
    assert same.train.epochs == 9


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"serch": {}}, "unknown key: 'serch'; did you mean 'search'?"),
        ({"search": {"srma": "1k"}}, "did you mean 'sram'?"),
        ({"search": {"sram": "much"}}, "sram: 'much' is not a size"),
        ({"search": ["sram"]}, "search holds a list; expected a mapping"),
        ({"search": {"device": "cortex-m77"}}, "did you mean 'cortex-m7'?"),
        ({"search": {"space": "mobilnet"}}, "did you mean 'mobilenet'?"),
        (
            {"search": {"classes": 0}},
            "search.classes is 0; a network without a classifier cannot be trained",
        ),
        ({"search": {"candidates": 0.5}}, "is not a whole number from 1"),
        ({"seed": -1}, "seed: is -1; expected a whole number"),
        (
            {"data": {"source": "no/such/place"}},
            "'no/such/place' does not exist; expected a path, or 'digits'",
        ),
        ({"train": {"epochs": 1}}, "epochs: is 1; expected a whole number from 2"),
        (
            {"train": {"float_share": 1}},
            "train.float_share is 1; a run trains in float and then quantised",
        ),
        ({"train": {"teacher": "no/teacher.pt"}}, "expected a path, or 'none' or 'auto'"),
        ({"refine": {"method": "clad"}}, "did you mean 'clado'?"),
        ({"format": "nas-search/run-config/99"}, "expected 'nas-search/run-config/1'"),
    ],
)
def test_bad_options_are_one_clear_line(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_run_config(bad)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def images(path: Path, side: int, *, grey: bool) -> str:
    """Write arrays of two classes and return their file."""
    rng = np.random.default_rng(0)
    shape = (4, side, side) if grey else (4, side, side, 3)
    arrays = {f"x_{split}": rng.integers(0, 256, shape, np.uint8) for split in ("train", "test")}
    labels = np.arange(4) % 2
    np.savez(path, y_train=labels, y_test=labels, **arrays)
    return str(path)


@pytest.mark.parametrize(
    ("side", "grey", "search", "space", "resolution", "channels"),
    [
        (28, True, {}, "mobilenet-32", 28, 1),
        (49, True, {}, "mobilenet-32", 49, 1),
        (32, False, {}, "mobilenet-32", 32, None),
        (4, True, {}, "mobilenet-32", 8, 1),
        (96, False, {}, "mobilenet", 96, None),
        (180, False, {}, "mobilenet", 160, None),
        (28, True, {"resolution": 20}, "mobilenet-32", 20, 1),
        (28, True, {"space": "mobilenet"}, "mobilenet", 32, None),
        (28, True, {"channels": 3}, "mobilenet-32", 28, 3),
        (28, True, {"space": "residual-32", "channels": 1}, "residual-32", 28, 1),
    ],
)
def test_space_size_and_channels_follow_the_images(
    tmp_path: Path,
    side: int,
    grey: bool,
    search: dict[str, Any],
    space: str,
    resolution: int,
    channels: int | None,
) -> None:
    source = images(tmp_path / "data.npz", side, grey=grey)
    config = resolve_run_config({"data": {"source": source}, "search": search})
    found = config.search
    assert (found.space, found.resolution, found.channels) == (space, resolution, channels)
    problem, _ = build_problem(found)
    assert problem.frame.input_channels == (channels or 3)
    assert resolve_run_config(check_options(config.as_mapping())) == config


def test_photos_keep_the_default(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number, shape in enumerate(((30, 40), (50, 20), (40, 40))):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = np.random.default_rng(number).integers(0, 256, (*shape, 3), np.uint8)
            Image.fromarray(colour).save(path)
    found = resolve_run_config({"data": {"source": str(tmp_path / "photos")}}).search
    assert (found.space, found.resolution, found.channels) == ("mobilenet", 160, None)


def test_a_network_of_a_file_keeps_its_channels(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(dump_architecture(small_architecture()), encoding="utf-8")
    with pytest.raises(InputError, match="takes images of 3 channels, asked for are 1; leave"):
        resolve_config({"space": str(path), "classes": 4, "channels": 1})


def test_every_setting_is_in_the_file() -> None:
    mapping = resolve_run_config({}).as_mapping()
    assert set(mapping) == {
        "format",
        "version",
        "seed",
        "search",
        "data",
        "shortlist",
        "train",
        "refine",
        "verify",
    }
    assert isinstance(resolve_run_config(mapping), RunConfig)
