"""Every study at a tiny size, so that it does not rot; nothing is timed, nothing is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import (
    additions,
    code_size,
    golden,
    harness,
    kernels,
    long_recipe,
    qbr_gap,
    quality,
    small_sets,
    throughput,
    verification,
    whole_networks,
)
from benchmarks.exact_bits import exact_score
from benchmarks.studies.lsq_steps import study as lsq_steps
from benchmarks.studies.recipe import study as recipe_study
from device_profiles import load_device
from nas_engine.architecture import dump_architecture
from nas_engine.costs.compute import macs
from nas_engine.encoding import architecture_frame, decode, encode
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import make_problem
from nas_engine.layers import unroll
from nas_engine.models.cifar_resnet import cifar_resnet
from nas_engine.training.recipe import load_recipe
from nas_engine.verification.cortex_m import CortexM
from nas_engine.verification.toolchain import COMPILERS, missing_compiler
from search_spaces import load_space
from tests.training.networks import small_architecture

needs_firmware = pytest.mark.skipif(
    CortexM().missing() is not None, reason=f"{CortexM().missing()}"
)


def test_golden_reproduces_the_published_networks() -> None:
    rows = golden.run()
    assert len(rows) == 3
    assert all(row.reached for row in rows)


def test_qbr_gap_of_a_few_structures() -> None:
    rows = qbr_gap.run(structures=4)
    assert [row.reached for row in rows] == [True, True, True]


def test_quality_at_a_tiny_size() -> None:
    rows = quality.run(seconds=5.0, candidates=4096, seeds=2)
    by_name = {row.what.split(",")[0]: row for row in rows}
    assert by_name["activation widths that could be raised"].measured == "0"
    assert len(rows) == 5


def test_throughput_at_a_tiny_size() -> None:
    rows = throughput.run(candidates=4096, generations=1)
    assert len(rows) == 6
    assert all(row.measured for row in rows)


def test_a_whole_run_of_a_small_folder() -> None:
    (row,) = small_sets.run(counts="34")
    assert row.reached, row.measured
    assert row.what.endswith("34 training images (the search's bits are kept)")


def test_steps_of_weights_at_a_tiny_size() -> None:
    rows = lsq_steps.run(data="digits", widths="8,2", images=40, epochs=1, short=1, floats=1)
    assert [row.what.split(" bits")[0] for row in rows] == ["8", "8", "2", "2", "2"]
    assert all(
        "0.0 % of channels beyond" in row.measured for row in rows if "within [0.25" in row.what
    )


def test_exact_optimum_is_never_below_qbr_and_beats_halved_budgets() -> None:
    space = load_space("mobilenet-32")
    roomy, tight = (
        make_problem(space, load_device("cortex-m7").with_memory(kib * 1024, 2 * kib * 1024))
        for kib in (128, 48)
    )
    genes = sample(space, roomy.frame, 32, np.random.default_rng(5))
    found = evaluate(tight, genes.copy())
    fitting = np.flatnonzero(found.violation == 0)[:3]
    assert fitting.size == 3
    for i in fitting:
        network = decode(tight.frame, found.genes[:, i])
        exact = exact_score(tight, network)
        assert found.score[i] <= exact + 1e-9
        assert exact <= exact_score(roomy, network) + 1e-9


@needs_firmware
def test_kernels_of_one_layer() -> None:
    rows = kernels.run(layers=kernels.LAYERS[:1])
    assert rows[0].measured.endswith(" 0 differing")


@needs_firmware
def test_every_sum_of_two_pairs_of_scales() -> None:
    compiler = next(name for name in COMPILERS if missing_compiler(name) is None)
    rows = additions.run(cores="cortex-m7", compilers=compiler, pairs=2)
    assert all(row.reached for row in rows)


@needs_firmware
def test_code_sizes_of_one_core_and_compiler(tmp_path: Path) -> None:
    compiler = next(name for name in COMPILERS if missing_compiler(name) is None)
    rows = code_size.run(table=tmp_path / "table.yaml", cores="cortex-m7", compilers=compiler)
    assert all(row.reached for row in rows)


@needs_firmware
def test_one_whole_network() -> None:
    rows = whole_networks.run(networks="mobilenet-16-24k-64k", bits="4,8")
    counts, kinds, within_room, by_rows = rows[:4]
    assert "0 differing" in counts.measured
    assert "1x1 with sum" in kinds.measured
    assert "arena 16,864 to 16,864 B" in within_room.measured
    assert "arena 16,864 to 7,392 B" in by_rows.measured
    assert all("0 differing" in row.measured for row in (within_room, by_rows))
    assert rows[-1].reached


@pytest.mark.parametrize(
    ("name", "millions"),
    [("mobilenet-16-24k-64k", 1.8), ("mobilenet-32-64k-128k", 23.7)]
    + [
        (f"mobilenet-v2-0.35-{size}", macs) for size, macs in ((96, 12.5), (160, 32.5), (224, 62.5))
    ],
)
def test_whole_networks_are_the_ones_recorded(name: str, millions: float) -> None:
    network = whole_networks.read_network(name)
    frame = architecture_frame(network)
    assert round(macs(unroll(frame, encode(frame, [network])))[0] / 1e6, 1) == millions


@needs_firmware
def test_verification_of_one_network_of_each_kind() -> None:
    rows = verification.run(networks=1, images=4, emulated_images=1, residual=1)
    exact = [row for row in rows if row.at_least == "0"]
    assert len(exact) >= 6
    assert all(row.measured.startswith("0 of ") for row in exact)


def test_the_page_names_command_and_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(harness, "PAGE", tmp_path / "RESULTS.md")
    rows = [harness.Row(what="a thing", measured="7", at_least="8", reached=False)]
    harness.write("study", "python -m benchmarks.study", rows)
    harness.write("study", "python -m benchmarks.study", rows)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert text.startswith("# Results\n")
    assert text.count("| a thing | 7 | 8 | **no** |") == 1
    assert "| [study](#study) |" in text
    assert text.count("`python -m benchmarks.study`, ") == 1
    assert harness.machine() in text


def test_the_page_of_results_is_that_of_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness.renew(["--check"]) == 0, "run python -m benchmarks.harness"
    monkeypatch.setattr(harness, "PAGE", tmp_path / "RESULTS.md")
    assert harness.renew(["--check"]) == 1
    assert "run python -m benchmarks.harness" in capsys.readouterr().err
    assert harness.renew([]) == 0
    assert harness.renew(["--check"]) == 0
    harness.PAGE.write_text(harness.PAGE.read_text(encoding="utf-8") + "mine\n", encoding="utf-8")
    assert harness.renew(["--check"]) == 1


def test_a_long_recipe_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, network = tmp_path / "small.yaml", small_architecture(classes=10)
    small.write_text(dump_architecture(replace(network, resolution=8)), encoding="utf-8")
    torch.save(cifar_resnet(20).state_dict(), tmp_path / "teacher.th")
    sizes = {
        "data": "digits",
        "images": 40,
        "epochs": 2,
        "seeds": 1,
        "network": str(small),
        "records": str(tmp_path / "records.jsonl"),
    }
    names = list(long_recipe.ARMS)
    rows = long_recipe.run(**sizes)
    assert [row.what for row in rows] == [f"2 epochs of 40 images: {name}" for name in names[:-1]]
    taught = long_recipe.run(**sizes, teacher=str(tmp_path / "teacher.th"))
    assert taught[:-1] == rows
    records = (tmp_path / "records.jsonl").read_text()
    assert len(records.splitlines()) == len(names) == len(taught)

    def never(*_: object) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr(long_recipe, "train", never)
    assert long_recipe.run(**sizes) == rows
    assert (tmp_path / "records.jsonl").read_text() == records


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("smoothing 0.1", {"label_smoothing": 0.1}),
        ("decay 1e-4", {"weight_decay": 1e-4}),
        ("average 0.999", {"ema_decay": 0.999}),
        ("teacher", {}),
    ],
)
def test_arms_of_a_long_recipe_differ_in_one_thing(name: str, differs: dict[str, float]) -> None:
    recipe = load_recipe("cifar")
    plain, arm = (each.of(recipe) for each in (long_recipe.PLAIN, long_recipe.ARMS[name]))
    assert arm == replace(plain, **differs)
    assert long_recipe.ARMS[name].taught == (not differs)


def test_recipe_study_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = (
        recipe_study.Arm(name="two and one", floats=2, quantised=1, width=3),
        recipe_study.Arm(name="three in float", floats=3, batch=20),
    )
    monkeypatch.setattr(recipe_study, "GROUPS", {"tiny": arms})
    sizes = {
        "data": "digits",
        "images": 40,
        "folder": str(tmp_path / "networks"),
        "records": str(tmp_path / "records.jsonl"),
        "seeds": 1,
        "groups": "tiny",
    }
    rows = recipe_study.run(**sizes)
    assert [row.what for row in rows] == ["tiny: two and one", "tiny: three in float"]
    assert " points" not in rows[0].measured
    assert " points" in rows[1].measured
    records = (tmp_path / "records.jsonl").read_text()
    assert len(records.splitlines()) == 2

    def never(*_: object) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr(recipe_study.Plan, "trained", never)
    assert recipe_study.run(**sizes) == rows
    assert (tmp_path / "records.jsonl").read_text() == records
