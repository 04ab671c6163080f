"""Quantisers: their places and widths, sharing across shortcuts, first ranges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nas_engine.architecture import Architecture, Bits
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution
from nas_engine.integer.reference import run, trace
from nas_engine.models.graph_network import GraphNetwork, scale_images
from nas_engine.quantization.extract import extract
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from nas_engine.quantization.prepare import (
    STEP_RULES,
    calibrate,
    insert_quantisers,
    is_quantised,
    quantisers,
)
from nas_engine.quantization.record import QuantisedLayer
from nas_engine.testing.networks import untrained
from tests.populations import EVERY_SPACE, networks, population
from tests.training.networks import block_kinds, small_architecture

W8A8 = Bits(8, 8)


def images(count: int = 32, size: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random images, uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, channels), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(size // 4, 1).repeat(size // 4, 2))


def trained(architecture: Architecture, seed: int = 0) -> GraphNetwork:
    """A network with quantisers, batch norms that have seen data, gains of either sign."""
    torch.manual_seed(seed)
    network = GraphNetwork(architecture)
    x = scale_images(torch.from_numpy(images(64, architecture.resolution)))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            with torch.no_grad():
                module.weight[::5] *= -1
            module.momentum = None
    network.train()
    with torch.no_grad():
        for _ in range(2):
            network(x)
    insert_quantisers(network)
    calibrate(network, x)
    return network.eval()


def pooled(architecture: Architecture) -> Architecture:
    """The same with a stride-2 block that keeps its channels, and its pooled shortcut."""
    last = architecture.blocks[-1]
    return replace(
        architecture,
        blocks=(*architecture.blocks[:-1], replace(last, channels=8)),
        pooled_shortcut=True,
    )


def test_every_layer_has_its_width() -> None:
    network = GraphNetwork(small_architecture())
    assert not is_quantised(network)
    insert_quantisers(network)
    assert is_quantised(network)
    bits = dict(
        zip(network.architecture.layer_names(), network.architecture.layer_bits(), strict=True)
    )
    inputs: dict[str, int] = {}
    with torch.no_grad():
        for name, unit in network.units():
            assert isinstance(unit.weight_quantiser, WeightQuantiser)
            assert unit.weight_quantiser.bits == bits[name].w
    stream = network.stem.output
    for index, block in enumerate(network.blocks()):
        prefix = ["s1.b1", "s1.b2", "s2.b1"][index]
        inputs |= {f"{prefix}.expand": stream.bits, f"{prefix}.depthwise": block.expand.output.bits}
        inputs[f"{prefix}.project"] = block.depthwise.output.bits
        stream = block.output
    inputs |= {"head": stream.bits, "classifier": network.head.output.bits}
    assert inputs == {name: bits[name].a for name in inputs}
    assert network.classifier.output.bits == 8
    assert network.classifier.output.signed
    assert not network.stem.output.signed


def test_a_stream_of_one_width_shares_one_quantiser() -> None:
    architecture = small_architecture()
    first = architecture.blocks[0]

    def network(*rows: Bits) -> GraphNetwork:
        bits = tuple((row, W8A8, W8A8) for row in rows)
        made = GraphNetwork(
            replace(architecture, blocks=(replace(first, bits=bits), *architecture.blocks[1:]))
        )
        insert_quantisers(made)
        return made

    same = network(W8A8, W8A8, W8A8)
    assert same.quantisers["s1.b1 output"] is not same.quantisers["stem output"]  # unsigned
    assert same.quantisers["s1.b1 output"] is same.quantisers["s1.b2 output"]
    assert same.blocks()[0].output is same.blocks()[1].output is same.quantisers["s1.b1 output"]
    other = network(W8A8, W8A8, Bits(8, 4)).blocks()
    assert other[0].output is not other[1].output


def test_a_pooled_shortcut_keeps_the_stream() -> None:
    network = GraphNetwork(pooled(small_architecture()))
    insert_quantisers(network)
    assert network.graph.node("s2.b1.project").shortcut == "s2.b1 pooled shortcut"
    assert network.quantisers["s2.b1 pooled shortcut"] is network.blocks()[-2].output


@pytest.mark.parametrize("space", EVERY_SPACE)
def test_sums_of_one_scale_are_those_that_a_search_counts(space: str) -> None:
    """Scales of ``untrained(alike=True)`` are as quantisers share them; its steps are counted."""
    least = EVERY_SPACE[space].min_resolution
    frame, genes = population(EVERY_SPACE[space], 3, seed=3, resolution=least + 1, classes=5)
    for architecture in networks(frame, genes)[1:]:
        made = GraphNetwork(architecture)
        insert_quantisers(made)
        model = untrained(architecture, alike=True)
        for node in model.nodes:
            if node.shortcut is not None:
                assert isinstance(node, IntegerConvolution)
                assert node.addition is not None
                operands = model.tensor(node.shortcut), model.tensor(node.output)
                same = made.graph.node(node.name)
                assert same.shortcut is not None
                shared = made.quantisers[same.shortcut] is made.quantisers[same.output]
                assert node.addition.is_exact(*operands) == shared


@pytest.mark.parametrize("rule", STEP_RULES)
def test_calibration_sets_every_step(rule: str) -> None:
    torch.manual_seed(0)
    network = GraphNetwork(small_architecture())
    insert_quantisers(network)
    x = scale_images(torch.from_numpy(images()))
    before = network(x)
    calibrate(network, x, rule)
    assert all(
        (quantiser.step > 0).all() and (quantiser.step != 1).all()
        for quantiser in quantisers(network)
    )
    assert all(
        q.observer is None for q in quantisers(network) if isinstance(q, ActivationQuantiser)
    )
    assert network.training
    assert not torch.equal(before, network(x))


def test_calibration_at_eight_bits_hardly_changes_the_network() -> None:
    torch.manual_seed(0)
    architecture = small_architecture()
    blocks = tuple(
        replace(block, bits=((W8A8,) * 3,) * block.depth) for block in architecture.blocks
    )
    network = GraphNetwork(replace(architecture, blocks=blocks)).eval()
    x = scale_images(torch.from_numpy(images()))
    with torch.no_grad():
        expected = network(x)
        insert_quantisers(network)
        calibrate(network, x)
        error = network(x) - expected
    assert error.square().mean().sqrt() < 0.06 * expected.std()


def test_batch_norm_is_handed_over_as_it_is() -> None:
    """Folded equals unfolded: gain * conv + offset is what convolution and norm give."""
    network = trained(small_architecture())
    record = extract(network, ("a", "b", "c", "d"))
    layer = next(step for step in record.nodes if step.name == "s1.b1.expand")
    assert isinstance(layer, QuantisedLayer)
    unit = network.blocks()[0].expand
    x = torch.randn(4, 8, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        quantised = unit.weight_quantiser(unit.weight).double()
        unfolded = unit.norm.double()(torch.nn.functional.conv2d(x, quantised))
    weights = torch.from_numpy(
        layer.weights.transpose(0, 3, 1, 2) * layer.weight_scale[:, None, None, None]
    )
    gain, offset = (
        torch.from_numpy(values.copy())[None, :, None, None]
        for values in (layer.gain, layer.offset)
    )
    assert torch.allclose(
        gain * torch.nn.functional.conv2d(x, weights) + offset, unfolded, rtol=1e-5, atol=1e-6
    )
    assert (layer.gain < 0).any()


def silenced(network: GraphNetwork) -> GraphNetwork:
    """The same with channel 1 of every layer dead: hardly any gain, and offsets of every size."""
    gains, offsets = (0.0, 1e-30, -1e-9, 1e-7), (0.37, -0.2, 1e6, -3.0, 0.05)
    for at, (_, unit) in enumerate(network.units()):
        if isinstance(unit.norm, torch.nn.BatchNorm2d):
            with torch.no_grad():
                unit.norm.weight[1], unit.norm.bias[1], unit.norm.running_mean[1] = (
                    gains[at % 4],
                    offsets[at % 5],
                    0.0,
                )
    return network


@pytest.mark.parametrize("shape", ["plain", "pooled", "kinds", "dead"])
def test_integers_follow_the_fake_quantised_network(shape: str) -> None:
    """Given the same input levels, each node gives the same output levels at evaluation; sums of
    different steps but for a few.
    """
    architecture = block_kinds() if shape == "kinds" else small_architecture()
    network = trained(pooled(architecture) if shape == "pooled" else architecture, seed=3)
    network = silenced(network) if shape == "dead" else network
    model = lower(extract(network, ("a", "b", "c", "d")))
    seen = trace(model, images(24, seed=9))

    values = {}
    for spec in model.tensors:
        found = seen[spec.name].transpose(0, 3, 1, 2).astype(np.float32) - spec.zero_point
        values[spec.name] = torch.from_numpy(spec.scale * found)
    for node in network.graph.nodes:
        quantiser = network.quantisers[node.output]
        with torch.no_grad():
            result = network.compute(node, values)
        levels = np.round(result.numpy() / quantiser.step.item()).transpose(0, 2, 3, 1)
        integers = seen[node.output].astype(int) - model.tensor(node.output).zero_point
        difference = np.abs(levels - integers)
        rescaled = node.shortcut and network.quantisers[node.shortcut] is not quantiser
        assert difference.max() <= (0 if node.kind == "average_pool" else 1), node.name
        assert np.mean(difference > 0) <= (0.06 if rescaled else 0.001), node.name
        if shape == "dead" and not rescaled and node.name not in ("pool", "classifier"):
            assert not difference[..., 1].any(), node.name


def test_a_rectified_sum_takes_its_operand_in_steps_of_its_own() -> None:
    network = trained(block_kinds())
    model = lower(extract(network, ("a", "b", "c", "d")))
    for node in network.graph.layers:
        block = network.end_of(node.name)
        own = None if block is None else block.own
        rectified = node.shortcut is not None and not network.graph.tensor(node.output).signed
        assert isinstance(own, ActivationQuantiser) == rectified
        if isinstance(own, ActivationQuantiser):
            assert (own.bits, own.signed) == (8, True)
            lowered = model.node(node.name)
            assert isinstance(lowered, IntegerConvolution)
            assert lowered.addition is not None
            assert lowered.addition.scale == np.float32(own.step.item())
            assert f"residuals.{network.blocks().index(block)}.own.step" in network.state_dict()


@pytest.mark.parametrize("architecture", [small_architecture(), block_kinds()])
def test_the_fake_quantised_network_predicts_as_the_integers_do(architecture: Architecture) -> None:
    network = trained(architecture, seed=3)
    x = images(200, seed=9)
    with torch.no_grad():
        logits = network(scale_images(torch.from_numpy(x))).numpy()
    integer = run(lower(extract(network, ("a", "b", "c", "d"))), x)
    assert np.mean(integer.argmax(1) == logits.argmax(1)) > 0.98


def test_a_channel_whose_weights_all_round_to_zero_is_its_offset_in_both() -> None:
    """A learnt step can run away until no weight is left; here it is so large that a single level
    would be worth thousands.
    """
    network = trained(small_architecture(), seed=3)
    unit = network.blocks()[1].expand
    with torch.no_grad():
        unit.weight_quantiser.step[2] = 2000.0
        unit.norm.bias[2] += 3.0
    x = images(50, seed=9)
    with torch.no_grad():
        logits = (
            network(scale_images(torch.from_numpy(x))).numpy()
            / network.classifier.output.step.item()
        )
    integer = run(lower(extract(network, ("a", "b", "c", "d"))), x)
    assert np.abs(logits - integer).max() <= 2.5


def test_training_rounds_once_and_evaluation_as_the_integers_do() -> None:
    network = trained(small_architecture(), seed=3)
    unit, x = network.blocks()[1].expand, torch.randn(8, 8, 8, 8)
    with torch.no_grad():
        sums = torch.nn.functional.conv2d(x, unit.weight_quantiser(unit.weight))
        plain = unit.output(unit.norm(sums))
        assert not torch.equal(unit(x), plain)
        unit.train()
        unit.norm.eval()
        assert torch.equal(unit(x), plain)


def test_a_channel_without_gain_is_its_offset() -> None:
    network = trained(small_architecture(), seed=3)
    unit = network.blocks()[0].expand
    with torch.no_grad():
        unit.norm.weight[2], unit.norm.bias[2] = 0.0, 0.7
        result = unit(torch.randn(2, 8, 8, 8))[:, 2]
        step = unit.output.step
        assert torch.equal(result, (torch.tensor(0.7) / step).round().expand_as(result) * step)
