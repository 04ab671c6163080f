"""The subjects of bit allocation, trained at a tiny size: begun as said, resumed as uninterrupted,
read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import subjects
from benchmarks.vision_transformer import VisionTransformer, vision_transformer
from nas_engine.datasets import Dataset, open_dataset
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.models.cifar_resnet import CifarResNet, cifar_resnet


@pytest.fixture(scope="module")
def data() -> Dataset:
    return open_dataset("digits", resolution=32, channels=3, limit=80)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(classes: int, start: Mapping[str, Tensor] | None) -> VisionTransformer:
        return vision_transformer(classes, width=24, depth=1)

    monkeypatch.setitem(
        subjects.SUBJECTS, "vit", replace(subjects.SUBJECTS["vit"], build=build, batch=16)
    )


def saved(path: Path, network: torch.nn.Module) -> Path:
    torch.save(network.state_dict(), path)
    return path


def lively(depth: int, classes: int = 10) -> CifarResNet:
    """Return a ResNet whose batch norms are not at their start."""
    torch.manual_seed(0)
    network = cifar_resnet(depth, classes)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 16, 16))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.mark.usefixtures("tiny")
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path, data: Dataset) -> None:
    teacher = saved(tmp_path / "teacher.pt", lively(20))
    whole = subjects.train(
        "vit", data, tmp_path / "whole", epochs=2, teacher=teacher, report=lambda line: None
    )

    def stop(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="epoch 1 of 2"):
        subjects.train("vit", data, tmp_path / "parts", epochs=2, teacher=teacher, report=stop)
    lines: list[str] = []
    subjects.train("vit", data, tmp_path / "parts", epochs=2, teacher=teacher, report=lines.append)
    assert [line.split(",")[0] for line in lines[:-1]] == ["vit: epoch 2 of 2"]
    assert lines[-1].endswith("% of 80 test images, float32")
    loaded = subjects.load_subject(tmp_path / "parts" / "vit.pt")
    assert isinstance(loaded, VisionTransformer)
    assert not loaded.training
    for key, value in whole.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key]), key
    with pytest.raises(
        InputError, match=r"checkpoint\.pt is of .*; expected .*; give another --folder$"
    ):
        subjects.train(
            "vit", data, tmp_path / "parts", epochs=3, teacher=teacher, report=lines.append
        )


def test_it_learns(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "resnet20-cifar100"
    monkeypatch.setitem(subjects.SUBJECTS, name, replace(subjects.SUBJECTS[name], batch=16))
    network = subjects.train(name, data, tmp_path, epochs=12, report=lambda line: None)
    assert subjects.accuracy(network, data.train) > 50  # chance is 10


def test_a_grown_resnet_computes_the_same() -> None:
    small = lively(32)
    large = subjects.grown(small, 56).eval()
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(large(x), small(x))
    assert large.depth == 56
    assert subjects.kept_places(5, 9) == [0, 2, 4, 6, 8]
    inserted, kept = subjects.block_weights(large, small)
    assert inserted == 0
    assert 0.5 < kept < 1.5
    with pytest.raises(InputError, match=r"^a ResNet-56 cannot grow to ResNet-32"):
        subjects.grown(large, 32)


def test_training_puts_the_inserted_blocks_to_work(tmp_path: Path) -> None:
    start = saved(tmp_path / "start.pt", lively(32))
    lines: list[str] = []
    few = open_dataset("digits", resolution=32, channels=3, limit=20)
    network = subjects.train("resnet56", few, tmp_path, epochs=1, start=start, report=lines.append)
    assert lines[0].endswith("before training")
    assert "mean size of the last batch norms' weights" in lines[-1]
    assert isinstance(network, CifarResNet)
    inserted, kept = subjects.block_weights(network, lively(32))
    assert 0 < inserted < kept
    assert isinstance(subjects.load_subject(tmp_path / "resnet56.pt"), CifarResNet)


def test_a_transfer_keeps_all_but_the_last_layer() -> None:
    state = lively(20, classes=4).state_dict()
    network = subjects.SUBJECTS["resnet20-cifar100"].build(10, state)
    assert network.linear.weight.shape == (10, 64)
    for key, value in network.state_dict().items():
        assert key.startswith("linear.") or torch.equal(value, state[key]), key
    same = subjects.SUBJECTS["resnet20-cifar100"].build(4, state)
    assert torch.equal(same.linear.weight, state["linear.weight"])


def test_what_cannot_be_used(tmp_path: Path, data: Dataset) -> None:
    with pytest.raises(UnknownNameError):
        subjects.train("resnet18", data, tmp_path)
    with pytest.raises(InputError, match=r"has 4 classes; expected 10"):
        subjects.train(
            "resnet56", data, tmp_path, start=saved(tmp_path / "four.pt", cifar_resnet(32, 4))
        )
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"list\.pt holds list; expected a state dict$"):
        subjects.load_subject(tmp_path / "list.pt")
    torch.save({"state_dict": cifar_resnet(20).state_dict()}, tmp_path / "public.pt")
    assert isinstance(subjects.load_subject(tmp_path / "public.pt"), CifarResNet)
