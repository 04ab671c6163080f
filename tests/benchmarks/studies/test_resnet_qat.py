"""The study of allocations on a ResNet at a tiny size: real digits, random weights, two steps per
epoch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.studies.resnet_qat import study as resnet_qat
from benchmarks.studies.resnet_qat.fake_quantisation import quantise_layers
from benchmarks.studies.resnet_qat.study import (
    Bits,
    CifarResNet,
    Recipe,
    mean_bits,
    random_bits,
    read_bits,
    sizes,
    uniform,
)
from nas_engine.errors import FileFormatError, InputError
from nas_engine.models.cifar_resnet import cifar_resnet

THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="module")
def student() -> CifarResNet:
    torch.manual_seed(0)
    return cifar_resnet(20)


def write_networks(folder: Path) -> dict[str, str]:
    torch.manual_seed(0)
    paths = {}
    for name, depth in (("student", 20), ("teacher", 32)):
        torch.save(cifar_resnet(depth).state_dict(), folder / f"{name}.th")
        paths[name] = str(folder / f"{name}.th")
    return paths


def write_bits(path: Path, bits: Any) -> str:
    path.write_text(json.dumps(bits), encoding="utf-8")
    return str(path)


def measured(rows: list[resnet_qat.Row]) -> list[str]:
    return [row.what + row.measured for row in rows]


def test_study_stopped_and_again_from_its_files(
    tmp_path: Path, student: CifarResNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_bits(tmp_path / "given.json", uniform(student, 3))
    request = {
        "bits": f"random-3.6,{given}",
        "epochs": 2,
        "batch": 8,
        "limit": 20,
        **write_networks(tmp_path),
    }
    whole = resnet_qat.run(folder=str(tmp_path / "whole"), **request)
    assert [row.what.split(",")[0] for row in whole] == ["random-3.6", "given"]
    assert [row.at_least == "for comparison" for row in whole] == [True, False]
    checkpoints = [tmp_path / name / "given" / "checkpoint.pt" for name in ("whole", "stopped")]

    train_epoch = resnet_qat.train_epoch

    def stops(task: Any, network: Any, optimiser: Any, epoch: int) -> float:
        if epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(task, network, optimiser, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(resnet_qat, "train_epoch", stops)
        with pytest.raises(KeyboardInterrupt):
            resnet_qat.run(folder=str(tmp_path / "stopped"), **request | {"bits": given})
    again = resnet_qat.run(folder=str(tmp_path / "stopped"), **request | {"bits": given})
    assert measured(again) == measured(whole[1:])
    states = [torch.load(path, weights_only=True) for path in checkpoints]
    assert all(
        torch.equal(value, states[1]["network"][key]) for key, value in states[0]["network"].items()
    )
    assert len(states[0]["record"]["epochs"]) == len(states[0]["record"]["losses"]) == 2
    assert not torch.equal(
        states[0]["network"]["layer1.0.conv1.parametrizations.weight.original"],
        student.layer1[0].conv1.weight,
    )

    with monkeypatch.context() as patch:
        patch.setattr(resnet_qat, "train_epoch", stops)  # nothing is trained again
        assert measured(resnet_qat.run(folder=str(tmp_path / "whole"), **request)) == measured(
            whole
        )
    with pytest.raises(FileFormatError, match="another recipe"):
        resnet_qat.run(folder=str(tmp_path / "whole"), **request | {"rate": 0.02})


def test_random_widths_lie_just_below_the_mean_asked_for(student: CifarResNet) -> None:
    bits = random_bits(student, 3.6)
    assert all(3.55 < mean <= 3.6 for mean in mean_bits(student, bits))
    inner = [width for widths in bits.values() for width in list(widths.values())[1:-1]]
    assert set(inner) <= {2, 3, 4, 5, 6, 8}
    assert len(set(inner)) > 2
    assert all(widths["conv1"] == widths["linear"] == 8 for widths in bits.values())
    assert bits == random_bits(student, 3.6) != random_bits(student, 3.6, seed=1)


def test_means_leave_the_first_and_last_layer_out_and_weigh_by_size(student: CifarResNet) -> None:
    count = sizes(student)
    assert len(count) == 18
    assert count["layer2.0.conv1"] == (32 * 16 * 9, 16 * 32 * 32)
    assert count["layer3.2.conv2"] == (64 * 64 * 9, 64 * 8 * 8)
    bits: Bits = uniform(student, 4)
    assert mean_bits(student, bits) == (4.0, 4.0)
    bits["weights"]["layer3.2.conv2"] = 8
    bits["activations"]["layer1.0.conv1"] = 2
    weights, inputs = np.sum(list(count.values()), 0)
    assert mean_bits(student, bits) == pytest.approx(
        (4 + 4 * 64 * 64 * 9 / weights, 4 - 2 * 16 * 32 * 32 / inputs)
    )


def test_bits_that_cannot_be_used(tmp_path: Path, student: CifarResNet) -> None:
    assert read_bits(student, "uniform-5") == uniform(student, 5)
    for entry in ("uniform", "uniform-4.5", "best"):
        with pytest.raises(InputError, match="expected uniform-B"):
            read_bits(student, entry)
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_bits(student, write_bits(tmp_path / "a.json", {"weights": {}}))
    lacking = uniform(student, 4)
    del lacking["activations"]["layer1.0.conv1"]
    with pytest.raises(InputError, match=r"lacks layer1\.0\.conv1"):
        read_bits(student, write_bits(tmp_path / "b.json", lacking))


def test_every_parameter_is_trained_once_and_steps_have_their_own_rate(
    student: CifarResNet,
) -> None:
    network = copy.deepcopy(student)
    bits = uniform(student, 4)
    quantise_layers(network, bits["weights"], bits["activations"])
    decayed, norms, steps = resnet_qat.optimiser_of(network, Recipe(epochs=1)).param_groups
    found = [id(parameter) for group in (decayed, norms, steps) for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in network.parameters())
    assert [len(group["params"]) for group in (decayed, norms, steps)] == [20, 2 * 19 + 1, 2 * 20]
    assert [group["weight_decay"] > 0 for group in (decayed, norms, steps)] == [True, False, False]
    assert steps["factor"] == Recipe(epochs=1).step_rate
