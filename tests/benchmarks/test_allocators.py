"""The studies of allocators at a tiny size: real digits, a tiny vision transformer with random
weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import allocators, judged, rank_correlation, statistics
from benchmarks.studies.resnet_qat import bits as resnet_bits
from benchmarks.vision_transformer import vision_transformer

THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "vit.pt"
    torch.save(vision_transformer(10, width=24, depth=1).state_dict(), path)
    return str(path)


def test_accuracies_of_every_method_stopped_and_again(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "HESSIAN_IMAGES", 8)
    sizes = {
        "data": "digits",
        "networks": network,
        "folder": str(tmp_path),
        "seeds": "1",
        "images": "16",
        "paired": "4",
        "joint": "0",
    }
    rows = allocators.run(**sizes, tested="20")
    what = [row.what for row in rows]
    for method in (*allocators.METHODS, allocators.SWAPPED):
        cells = next(row.measured for row in rows if f", {method}, " in row.what)
        assert cells.count(": ") == (4 if method == "clado" else 5)
        assert all(0.0 <= float(cell) <= 100.0 for cell in re.findall(r": ([\d.]+)", cells))
    assert sum("less uniform" in text for text in what) == 5
    assert sum("less diagonal" in text for text in what) == 5

    def evaluated(*_: object) -> tuple[float, float]:
        raise AssertionError("evaluated again")

    monkeypatch.setattr(judged.Judged, "loss", evaluated)
    assert allocators.run(**sizes, tested="20") == rows


def test_a_value_for_each_network() -> None:
    assert allocators.each("256,128", 3) == ["256", "128", "128"]


def test_correlations(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "HESSIAN_IMAGES", 8)
    monkeypatch.setattr(rank_correlation, "WIDTHS", (2, 4, 8))
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 20)
    monkeypatch.setattr(rank_correlation, "EQUAL_WITHIN", 1.0)
    rows = rank_correlation.run(
        data="digits",
        network=network,
        folder=str(tmp_path),
        assignments=6,
        images=16,
        paired=4,
        judging=20,
    )
    assert sum("CLADO (measured pairs)" in row.what for row in rows) == 2
    assert sum("Gauss-Newton" in row.what for row in rows) >= 3
    for row in rows:
        value, low, high = map(float, re.findall(r"-?[\d.]+|nan", row.measured))
        assert np.isnan(value) or -1.0 <= low <= high <= 1.0


def test_random_levels_of_equal_size_are_equal(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "HESSIAN_IMAGES", 8)
    subject = judged.Judged(
        network, "digits", tmp_path, seed=0, images=16, weight_bits=(2, 3, 4, 5, 6, 7, 8)
    )
    found = rank_correlation.random_levels(subject.problem, 5, 0, 3.6)
    assert all(
        abs(subject.problem.mean_bits(levels, "weights") - 3.6) <= rank_correlation.EQUAL_WITHIN
        for levels in found
    )
    assert len({tuple(levels) for levels in found}) > 1


def test_bits_for_training(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "HESSIAN_IMAGES", 8)
    monkeypatch.setattr(resnet_bits, "HELD_OUT", 20)
    out = tmp_path / "bits.json"
    words = [
        "--data",
        "digits",
        "--network",
        network,
        "--images",
        "16",
        "--trials",
        "3",
        "--folder",
        str(tmp_path),
        "--out",
        str(out),
    ]
    for method in ("gauss-newton", "entropy-window"):
        monkeypatch.setattr("sys.argv", ["resnet_bits", *words, "--method", method])
        resnet_bits.main()
        bits = json.loads(out.read_text(encoding="utf-8"))
        assert bits["weights"].keys() == bits["activations"].keys()
        assert set(bits["weights"].values()) <= {2, 3, 4, 5, 6, 8}
