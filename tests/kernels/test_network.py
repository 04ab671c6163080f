"""Whole networks of every block kind train by the kernels as they do by torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from nas_engine.architecture import Architecture
from nas_engine.kernels import Kernels
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import calibrate, insert_quantisers
from nas_engine.training.loop import first_state, resumed_state, train
from nas_engine.training.state import TORCH, TrainingState, gone_on, placed
from tests.kernels.kernels import kernels
from tests.training.networks import block_kinds, small_architecture
from tests.training.tasks import digits, small_recipe, small_task

NETWORKS: dict[str, Callable[[], Architecture]] = {
    "inverted": small_architecture,
    "residual and separable": block_kinds,
}


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(12, 3, 16, 16, generator=generator)
    return images, torch.randint(4, (12,), generator=generator)


def network_of(name: str, by: Kernels | None, *, quantised: bool = False) -> GraphNetwork:
    torch.manual_seed(0)
    network = GraphNetwork(NETWORKS[name]())
    if quantised:
        insert_quantisers(network)
        calibrate(network, batch(0)[0])
    network.kernels = by
    return placed(network, "cpu").train()


@pytest.mark.parametrize("name", NETWORKS)
def test_float_losses_of_twenty_steps(name: str) -> None:
    def losses(by: Kernels | None) -> list[float]:
        network, found = network_of(name, by), list[float]()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
        for step in range(20):
            images, labels = batch(20 + step)  # none of their values is within 1e-7 of a ReLU's end
            loss = functional.cross_entropy(network(images), labels)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            found.append(loss.item())
        return found

    assert losses(kernels()) == pytest.approx(losses(None), abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_quantised_step(name: str) -> None:
    """Rounding flips single levels, so sums of gradients agree, not each value."""

    def gradients(by: Kernels | None) -> tuple[float, dict[str, torch.Tensor]]:
        network = network_of(name, by, quantised=True)
        images, labels = batch(1)
        loss = functional.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        parameters = network.named_parameters()
        return loss.item(), {key: each.grad for key, each in parameters if each.grad is not None}

    (loss, found), (expected_loss, expected) = gradients(kernels()), gradients(None)
    assert loss == pytest.approx(expected_loss, abs=1e-3)
    assert found.keys() == expected.keys()
    both = [torch.cat([each.flatten() for each in x.values()]) for x in (found, expected)]
    assert functional.cosine_similarity(*both, dim=0) > 0.999


def test_evaluation_is_torchs() -> None:
    images, _ = batch(2)
    by_kernels, by_torch = (network_of("inverted", by).eval() for by in (kernels(), None))
    assert torch.equal(by_kernels(images), by_torch(images))


class TestHistory:
    """Kernels that a training went through, and those by which it goes on."""

    def begun(self, path: Path, by: Kernels | None) -> TrainingState:
        task = small_task(small_recipe(epochs=2), kernels=by)
        return train(task, first_state(task), checkpoint=path, stop=lambda: True)

    def test_same(self, tmp_path: Path) -> None:
        assert self.begun(tmp_path / "c", kernels()).history == kernels().name
        state = resumed_state(small_task(small_recipe(epochs=2), kernels=kernels()), tmp_path / "c")
        assert state.history == kernels().name
        assert state.network.kernels is kernels()

    def test_begun_by_torch(self, tmp_path: Path) -> None:
        assert self.begun(tmp_path / "c", None).history == TORCH
        state = resumed_state(small_task(small_recipe(epochs=2), kernels=kernels()), tmp_path / "c")
        assert state.history == TORCH
        assert state.network.kernels is None

    def test_missing(self, tmp_path: Path) -> None:
        self.begun(tmp_path / "c", kernels())
        task = small_task(small_recipe(epochs=2))
        state = resumed_state(task, tmp_path / "c")
        assert state.history == f"{kernels().name}, then torch"
        assert train(task, state).history == state.history

    def test_gone_on(self) -> None:
        assert gone_on("C 1 (cc)", None) == "C 1 (cc), then torch"
        assert gone_on("C 1 (cc), then torch", None) == "C 1 (cc), then torch"

    def test_both_stages(self) -> None:
        task = small_task(small_recipe(epochs=2), kernels=kernels(), dataset=digits(20))
        state = train(task, first_state(task))
        assert state.stage == "quantised"
        assert state.network.kernels is kernels()
        assert state.history == kernels().name
