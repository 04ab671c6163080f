"""Every kernel equals torch's own steps, forward and backward, of any shape, by any threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_engine.kernels.functions import DEPTHWISE, Ending, depthwise, finish, quantise_weights
from nas_engine.network.from_architecture import same_padding
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from tests.kernels.kernels import kernels

SHAPES = ((9, 3, 1, 1), (3, 8, 5, 7), (5, 40, 16, 16), (2, 300, 4, 4), (33, 1, 8, 8))
"""Single rows and a single channel, a last chunk that is not full, more channels than one tile."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Steps behind a batch norm that a test asks for."""

    summed: bool = False
    relu: bool = False
    quantised: bool = False


CASES = {
    "plain": Case(),
    "relu": Case(relu=True),
    "sum": Case(summed=True),
    "relu of a sum": Case(summed=True, relu=True),
    "levels": Case(quantised=True),
    "unsigned levels": Case(quantised=True, relu=True),
    "levels of a sum": Case(quantised=True, summed=True),
    "unsigned levels of a sum": Case(quantised=True, summed=True, relu=True),
}


def ending_of(case: Case) -> Ending:
    if not case.quantised:
        return Ending(relu=case.relu)
    levels = ActivationQuantiser(4, signed=not case.relu)
    own = ActivationQuantiser(8, signed=True) if case.relu and case.summed else None
    with torch.no_grad():
        levels.step.fill_(0.25)
        if own is not None:
            own.step.fill_(0.125)
    return Ending(relu=case.relu, levels=levels, own=own)


def by_torch(sums: Tensor, norm: nn.BatchNorm2d, ending: Ending, shortcut: Tensor | None) -> Tensor:
    """Do what ``GraphNetwork.compute`` does behind a convolution."""
    z, levels = norm(sums), ending.levels
    if shortcut is not None:
        if isinstance(levels, ActivationQuantiser):
            z = (ending.own or levels.narrow)(z)  # type: ignore[operator]
        z = z + shortcut
    if isinstance(levels, ActivationQuantiser):
        return levels(z)
    return functional.relu6(z) if ending.relu else z


def results(case: Case, shape: tuple[int, ...], frozen: bool, threads: int | None) -> list[Tensor]:
    """Return output, gradients and moved statistics; torch's, in float64, without ``threads``."""
    generator = torch.Generator().manual_seed(7)

    def values(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    norm, channels = nn.BatchNorm2d(shape[1]), shape[1]
    ending = ending_of(case)
    with torch.no_grad():
        norm.weight.copy_(values(channels).abs() + 0.5)
        norm.bias.copy_(values(channels) + 1)
    norm.train(not frozen)
    sums = (values(*shape) * 3 + values(channels)[:, None, None] * 5).requires_grad_()
    shortcut = (values(*shape) * 8).round().div(4).requires_grad_() if case.summed else None
    upstream = values(*shape)
    if threads is None:
        norm.double()
        sums, upstream = sums.detach().double().requires_grad_(), upstream.double()
        if shortcut is not None:
            shortcut = shortcut.detach().double().requires_grad_()
        for each in (ending.levels, ending.own):
            if isinstance(each, ActivationQuantiser):
                each.double()
    given = (sums, norm, ending, shortcut)
    out = by_torch(*given) if threads is None else finish(kernels(threads), *given)
    inputs: list[Any] = [sums, norm.weight, norm.bias, shortcut]
    inputs += [getattr(ending.levels, "step", None), getattr(ending.own, "step", None)]
    wanted = [each for each in inputs if each is not None]
    gradients = torch.autograd.grad(out, wanted, upstream)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    statistics = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
    return [out.detach(), *gradients, *statistics]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_norm_and_ending(case: str, shape: tuple[int, ...], frozen: bool) -> None:
    expected = results(CASES[case], shape, frozen, None)
    found = results(CASES[case], shape, frozen, 1)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape
        size = float(theirs.abs().max()) + 1.0
        torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=1e-6, atol=1e-6 * size)


@pytest.mark.parametrize("case", CASES)
def test_threads_change_no_bit(case: str) -> None:
    first, second, again = (results(CASES[case], (9, 40, 16, 16), False, n) for n in (1, 3, 3))
    for one, three, more in zip(first, second, again, strict=True):
        assert torch.equal(one, three)
        assert torch.equal(one, more)


def test_not_a_number_stays_one() -> None:
    norm, ending = nn.BatchNorm2d(4), ending_of(CASES["unsigned levels"])
    sums = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    sums[0, 1, 0, 0] = torch.nan
    out = finish(kernels(), sums, norm, ending, None)
    assert out[:, 1].isnan().all()
    assert out[:, [0, 2, 3]].isfinite().all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(2, 3, 9, 6), (3, 40, 16, 16), (1, 17, 1, 2), (2, 72, 7, 4)])
@pytest.mark.parametrize(("kernel", "stride"), DEPTHWISE)
def test_depthwise(kernel: int, stride: int, shape: tuple[int, ...], threads: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, requires_grad=True)
    weight = torch.randn(shape[1], 1, kernel, kernel, generator=generator, requires_grad=True)
    (top, bottom), (left, right) = (same_padding(size, kernel, stride) for size in shape[2:])
    found = depthwise(kernels(threads), x, weight, stride, (top, left))
    padded = functional.pad(x.double(), (left, right, top, bottom))
    expected = functional.conv2d(padded, weight.double(), None, stride, groups=shape[1])
    upstream = torch.randn(expected.shape, generator=generator)
    pairs = [(found, expected)]
    pairs += zip(
        torch.autograd.grad(found, [x, weight], upstream),
        torch.autograd.grad(expected, [x, weight], upstream.double()),
        strict=True,
    )
    for mine, theirs in pairs:
        size = float(theirs.detach().abs().max()) + 1.0
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-6, atol=1e-6 * size)


def layers() -> dict[str, tuple[Tensor, WeightQuantiser]]:
    """Weights of 2 to 8 bits, some of them clipped, in both memory layouts."""
    generator = torch.Generator().manual_seed(3)
    made = {}
    shapes = ((12, 3, 3, 3), (7, 300, 1, 1), (16, 1, 5, 5), (5, 2, 1, 1), (4, 20, 3, 3))
    for bits, shape in zip((8, 4, 2, 3, 5), shapes, strict=True):
        weight, quantiser = torch.randn(shape, generator=generator), WeightQuantiser(bits, shape[0])
        with torch.no_grad():
            top = weight.abs().amax((1, 2, 3), keepdim=True) / quantiser.limit
            quantiser.step.copy_(top * torch.rand(shape[0], 1, 1, 1, generator=generator).add(0.3))
        if bits != 5:
            weight = weight.contiguous(memory_format=torch.channels_last)
        made[f"w{bits}"] = weight.requires_grad_(), quantiser
    return made


def test_weights() -> None:
    """Forward to the bit; the sum over a channel in another order than torch's."""
    given = layers()
    expected = {name: quantiser(weight) for name, (weight, quantiser) in given.items()}
    found = quantise_weights(kernels(), given)
    generator = torch.Generator().manual_seed(4)
    upstream = {name: torch.randn(w.shape, generator=generator) for name, w in expected.items()}
    wanted = [each for weight, quantiser in given.values() for each in (weight, quantiser.step)]

    def gradients(results: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            [results[name] for name in given], wanted, [upstream[name] for name in given]
        )

    assert found.keys() == expected.keys()
    for name, mine in found.items():
        assert torch.equal(mine, expected[name])
        assert mine.stride() == given[name][0].stride()
    for mine, theirs in zip(gradients(found), gradients(expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_no_weights() -> None:
    assert quantise_weights(kernels(), {}) == {}
