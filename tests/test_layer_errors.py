"""The quantisation error of every layer: against the same sums made by hand, what cut widths do to
it, and runs that have none.
"""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_engine.architecture import Architecture, Bits, Block
from nas_engine.datasets.records import Pixels
from nas_engine.errors import FileFormatError, InputError, PathError, RunDirectoryError
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.models.graph_network import ConvolutionUnit, GraphNetwork, scale_images
from nas_engine.pipeline import layer_errors as measured
from nas_engine.pipeline.layer_errors import layer_errors, measure_layer_errors
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.quantization.extract import extract
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from nas_engine.quantization.prepare import calibrate, insert_quantisers
from nas_engine.report.layer_errors import FILE, LayerError, read_layer_errors
from nas_engine.training.start import with_widths_of
from nas_engine.training.unrounded import unrounded
from tests.integer import scalar
from tests.resealed import change
from tests.sinks import Kept
from tests.training.networks import block_kinds, small_architecture
from tests.training.runs import small_run
from tests.training.tasks import IMAGES, small_recipe

Plane = list[list[list[float]]]


def tiny() -> Architecture:
    """A shortcut, a pooled shortcut, kernels of 3 and 5, mixed widths; small enough for loops in
    Python.
    """
    w4a8, w8a4, w3a5 = Bits(4, 8), Bits(8, 4), Bits(3, 5)
    return replace(
        small_architecture(3, 1),
        resolution=6,
        blocks=(
            Block(kernel=3, stride=1, bottleneck=5, channels=8, bits=((w4a8, w8a4, w3a5),)),
            Block(kernel=5, stride=2, bottleneck=4, channels=8, bits=((w8a4, w4a8, w8a4),)),
        ),
        pooled_shortcut=True,
    )


def tiny_kinds() -> Architecture:
    """The other kinds of blocks, as small."""
    return replace(block_kinds(3), input_channels=1, resolution=6)


def with_bits(
    architecture: Architecture, bits: Bits, cut: str = "", cut_to: Bits | None = None
) -> Architecture:
    """Return the network with one width everywhere, and another at one layer of its inverted
    residuals.
    """
    names = iter([name for name in architecture.layer_names() if "." in name])
    blocks = []
    for block in architecture.blocks:
        rows = [
            tuple(cut_to if next(names) == cut and cut_to else bits for _ in range(3))
            for _ in range(block.depth)
        ]
        blocks.append(replace(block, bits=tuple(rows)))  # type: ignore[arg-type]
    assert architecture.classifier is not None
    ends = {
        end: replace(getattr(architecture, end), bits=bits)
        for end in ("stem", "head", "classifier")
    }
    return replace(architecture, blocks=tuple(blocks), **ends)


def noise(architecture: Architecture, count: int, seed: int = 0) -> Pixels:
    shape = (count, architecture.resolution, architecture.resolution, architecture.input_channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def float_network(architecture: Architecture) -> GraphNetwork:
    """Return a network with random weights and batch norms that differ from channel to channel."""
    torch.manual_seed(1)
    network = GraphNetwork(architecture).eval()
    for _, unit in network.units():
        if isinstance(unit.norm, torch.nn.BatchNorm2d):
            assert unit.norm.running_mean is not None
            assert unit.norm.running_var is not None
            unit.norm.running_mean.normal_(0, 0.2)
            unit.norm.running_var.uniform_(0.3, 2)
            torch.nn.init.uniform_(unit.norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(unit.norm.bias, 0.2, 0.3)
    return network


def quantised(
    network: GraphNetwork, architecture: Architecture | None = None, shrink: float = 1.0
) -> tuple[GraphNetwork, IntegerModel]:
    """Return the network with quantisers, their steps fitted to noise, and its integers; ``shrink``
    times those of block outputs.
    """
    copied = with_widths_of(network, architecture or network.architecture)
    insert_quantisers(copied)
    calibrate(copied, scale_images(torch.from_numpy(noise(copied.architecture, 32, seed=9))))
    for block in copied.blocks():
        assert isinstance(block.output, ActivationQuantiser)
        block.output.step.data *= shrink
    assert copied.architecture.classifier is not None
    return copied, lower(
        extract(copied, [f"c{i}" for i in range(copied.architecture.classifier.class_count)])
    )


def clamped(value: float, quantiser: Any) -> float:
    low, high = (
        (quantiser.low, quantiser.high)
        if isinstance(quantiser, ActivationQuantiser)
        else (-quantiser.limit, quantiser.limit)
    )
    step = float(quantiser.step)
    return min(max(value, low * step), high * step)


def layer_by_hand(
    step: IntegerConvolution,
    unit: ConvolutionUnit,
    values: dict[str, Plane],
    target: Any,
    block: Any,
) -> Plane:
    """Return what a layer gives without rounding, one multiplication at a time."""
    quantiser = unit.weight_quantiser
    assert isinstance(quantiser, WeightQuantiser)
    limits = (quantiser.limit * quantiser.step.detach()).flatten().tolist()
    weights: list[Any] = unit.weight.tolist()
    result: Plane = []
    for y in range(target.height):
        result.append([])
        for x in range(target.width):
            window = scalar._window(step, values[step.input], y, x)  # type: ignore[arg-type]
            place = []
            for o, limit in enumerate(limits):
                total = 0.0
                for i, j, channels in window:
                    for c, value in (
                        [(0, channels[o])] if step.kind == "depthwise" else enumerate(channels)
                    ):
                        total += value * min(max(weights[o][c][i][j], -limit), limit)
                norm: Any = unit.norm
                if unit.bias is None:
                    spread = math.sqrt(float(norm.running_var[o]) + norm.eps)
                    total = (total - float(norm.running_mean[o])) / spread * float(
                        norm.weight[o]
                    ) + float(norm.bias[o])
                else:
                    total += float(unit.bias[o])
                if isinstance(unit.output, ActivationQuantiser):
                    total = clamped(total, unit.output)
                if step.shortcut is not None:
                    grid = float((block.own or block.output).step)
                    total = min(max(total, -128 * grid), 127 * grid) + shortcut_by_hand(
                        values, step.shortcut, block.input, y, x, o
                    )
                if block is not None:
                    total = clamped(total, block.output)
                place.append(total)
            result[-1].append(place)
    return result


def shortcut_by_hand(
    values: dict[str, Plane], name: str, source: str, y: int, x: int, channel: int
) -> float:
    if "pooled" not in name:
        return values[name][y][x][channel]
    plane = values[source]
    found = [
        plane[2 * y + i][2 * x + j][channel]
        for i in (0, 1)
        for j in (0, 1)
        if 2 * y + i < len(plane) and 2 * x + j < len(plane[0])
    ]
    return sum(found) / len(found)


def errors_by_hand(
    network: GraphNetwork, model: IntegerModel, images: Pixels
) -> dict[str, list[float]]:
    """Return the four mean squares of every layer."""
    network.requires_grad_(False)
    units = dict(network.units())
    sums: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for image in images:
        pixels = image.tolist()
        integers = scalar.run(model, pixels)
        real: dict[str, Plane] = {}
        for name, plane in integers.items():
            tensor = model.tensor(name)
            real[name] = [
                [[tensor.scale * (value - tensor.zero_point) for value in place] for place in row]
                for row in plane
            ]
        floats: dict[str, Plane] = {
            "image": [[[(pixel - 128) / 128 for pixel in place] for place in row] for row in pixels]
        }
        (pooled,) = [node.input for node in model.nodes if node.output == "pooled vector"]
        for step in model.nodes:
            if not isinstance(step, IntegerConvolution):
                continue
            target = model.tensor(step.output)
            block: Any = network.end_of(step.name)
            outputs = []
            for values in (floats, real):
                given = dict(values)
                if step.name == "classifier":
                    flat = [place for row in values[pooled] for place in row]
                    given["pooled vector"] = [
                        [[sum(column) / len(flat) for column in zip(*flat, strict=True)]]
                    ]
                outputs.append(layer_by_hand(step, units[step.name], given, target, block))
            floats[step.output] = outputs[0]
            found = [value for row in real[step.output] for place in row for value in place]
            total = sums.setdefault(step.name, [0.0] * 4)
            for i, output in enumerate(outputs):
                flat_output = [value for row in output for place in row for value in place]
                total[2 * i] += sum(value**2 for value in flat_output)
                total[2 * i + 1] += sum(
                    (a - b) ** 2 for a, b in zip(found, flat_output, strict=True)
                )
            counts[step.name] = counts.get(step.name, 0) + len(found)
    return {name: [value / counts[name] for value in total] for name, total in sums.items()}


def squares(layer: LayerError) -> list[float]:
    return [layer.signal, layer.error, layer.own_signal, layer.own_error]


class TestMeasurement:
    @pytest.mark.parametrize(
        ("architecture", "shrink"),
        [
            (tiny(), 1.0),
            (with_bits(tiny(), Bits(8, 8)), 0.2),
            (tiny_kinds(), 1.0),
            (tiny_kinds(), 0.2),
        ],
    )
    def test_every_layer_as_by_hand(self, architecture: Architecture, shrink: float) -> None:
        network, model = quantised(
            float_network(architecture), shrink=shrink
        )  # shrunk, so that operands of sums saturate
        assert any(step.shortcut for step in model.nodes if isinstance(step, IntegerConvolution))
        images = noise(network.architecture, 2)
        found = layer_errors(network, model, images)
        expected = errors_by_hand(network, model, images)
        assert (
            [layer.name for layer in found]
            == list(expected)
            == list(network.architecture.layer_names())
        )
        for layer in found:
            assert squares(layer) == pytest.approx(expected[layer.name], rel=2e-3, abs=1e-9), (
                layer.name
            )
            assert layer.error > 0
        widths = network.architecture.layer_bits()
        assert [(layer.w_bits, layer.a_bits) for layer in found] == [
            (bits.w, bits.a) for bits in widths
        ]
        graph = network.graph
        assert [layer.out_bits for layer in found] == [
            graph.tensor(node.output).bits for node in graph.layers
        ]

    def test_first_layer_has_no_error_but_its_own(self) -> None:
        network, model = quantised(float_network(tiny()))
        stem = layer_errors(network, model, noise(network.architecture, 4))[0]
        assert (stem.signal, stem.error) == (stem.own_signal, stem.own_error)

    def test_wide_beats_narrow(self) -> None:
        network = float_network(small_architecture())
        images = noise(network.architecture, 8)
        wide, narrow = (
            layer_errors(*quantised(network, with_bits(network.architecture, bits)), images)
            for bits in (Bits(8, 8), Bits(2, 2))
        )
        for eight, two in zip(wide, narrow, strict=True):
            assert eight.own_sqnr_db > two.own_sqnr_db + 10, eight.name
            assert eight.sqnr_db > two.sqnr_db + 10, eight.name
        assert min(layer.own_sqnr_db for layer in wide) > 20

    @pytest.mark.parametrize("cut", ["s1.b1.depthwise", "s1.b2.project", "s2.b1.expand"])
    def test_a_layer_that_is_cut_shows_it_alone(self, cut: str) -> None:
        network = float_network(small_architecture())
        images = noise(network.architecture, 8)
        whole, with_cut = (
            layer_errors(
                *quantised(network, with_bits(network.architecture, Bits(8, 8), name, Bits(2, 8))),
                images,
            )
            for name in ("", cut)
        )
        at = network.architecture.layer_names().index(cut)
        for i, (before, after) in enumerate(zip(whole, with_cut, strict=True)):
            assert (before.own_sqnr_db - after.own_sqnr_db > 15) == (i == at), before.name
            assert (before.sqnr_db - after.sqnr_db > 3) == (i >= at), before.name
        assert min(with_cut, key=lambda layer: layer.own_sqnr_db).name == cut

    def test_parts_of_the_images_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, model = quantised(float_network(tiny()))
        images = noise(network.architecture, 7)
        found = layer_errors(network, model, images)
        monkeypatch.setattr(measured, "AT_ONCE", 3)
        for one, other in zip(found, layer_errors(network, model, images), strict=True):
            assert squares(one) == pytest.approx(squares(other), rel=1e-4)

    def test_the_network_stays_as_it_is(self) -> None:
        network, model = quantised(float_network(tiny()))
        images = scale_images(torch.from_numpy(noise(network.architecture, 3)))
        before = network(images)
        layer_errors(network, model, noise(network.architecture, 2))
        assert torch.equal(network(images), before)

    def test_ranges_stay_and_rounding_goes(self) -> None:
        network, _ = quantised(float_network(tiny()))
        images = scale_images(torch.from_numpy(noise(network.architecture, 3)))
        with torch.no_grad():
            network.stem.weight[0] *= 1000  # beyond the range of its quantiser
        within = unrounded(network)
        bent = within.stem.weight_quantiser(within.stem.weight)
        quantiser: Any = network.stem.weight_quantiser
        assert torch.allclose(bent[0].abs().max(), quantiser.limit * quantiser.step[0])
        assert torch.equal(
            bent[1:],
            within.stem.weight[1:].clamp(
                -quantiser.limit * quantiser.step[1:], quantiser.limit * quantiser.step[1:]
            ),
        )
        levels = within.stem(images) / network.stem.output.step
        assert ((levels - levels.round()).abs() > 0.01).any()

    def test_integers_of_another_network(self) -> None:
        network, _ = quantised(float_network(tiny()))
        images = noise(network.architecture, 1)
        with pytest.raises(InputError, match="other layers than the trained network"):
            layer_errors(network, quantised(float_network(small_architecture(3, 1)))[1], images)
        wider = replace(tiny(), head=replace(tiny().head, channels=33))
        with pytest.raises(
            InputError, match=r"head gives \[32, 2, 2\] in the trained network and \[33, 2, 2\]"
        ):
            layer_errors(network, quantised(float_network(wider))[1], images)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, only to be copied."""
    run = small_run(tmp_path_factory.mktemp("trained") / "run")
    recipe = small_recipe(epochs=2)
    assert (
        run_training(run, TrainingRequest(data="digits", recipe=recipe, limit=IMAGES)) is not None
    )
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def change_result(run: Path, **values: Any) -> None:
    path = run / "training" / "result.json"
    change(path, **values)


class TestRun:
    def test_record_and_file(self, run: Path) -> None:
        told = Kept()
        errors = measure_layer_errors(run, images=20, watch=told)
        assert read_layer_errors(run / FILE) == errors
        assert (errors.data, errors.split, errors.images, len(errors.layers)) == (
            "digits",
            "test",
            20,
            12,
        )
        assert told.started == [
            "reading digits ...",
            "comparing integers and float on 20 images ...",
        ]
        assert measure_layer_errors(run, images=20) == errors
        training = measure_layer_errors(run, images=20, split="train")
        assert (training.split, training.layers == errors.layers) == ("train", False)

    def test_fewer_images_than_classes(self, run: Path) -> None:
        assert measure_layer_errors(run, images=3).images == 3

    def test_all_images_there_are(self, run: Path) -> None:
        assert measure_layer_errors(run, images=100_000).images == 359

    def test_not_trained(self, tmp_path: Path) -> None:
        with pytest.raises(
            RunDirectoryError, match="is not trained to the end yet; type: nas-search train"
        ):
            measure_layer_errors(small_run(tmp_path / "new"))

    def test_in_float_alone(self, run: Path) -> None:
        change_result(run, quantised_epochs=0)
        with pytest.raises(
            RunDirectoryError, match="was trained in float alone, so there is no integer model"
        ):
            measure_layer_errors(run)
        assert not (run / FILE).exists()

    def test_data_gone(self, run: Path) -> None:
        change_result(run, data=os.path.join(run, "gone"))
        with pytest.raises(PathError, match="are not there any more; give their place with --data"):
            measure_layer_errors(run)
        assert measure_layer_errors(run, "digits", images=10).images == 10

    @pytest.mark.parametrize("images", [0, -1])
    def test_no_images(self, run: Path, images: int) -> None:
        with pytest.raises(InputError, match=f"on {images} images; expected at least one"):
            measure_layer_errors(run, images=images)

    def test_no_such_split(self, run: Path) -> None:
        with pytest.raises(
            InputError, match="there is no split 'validation'; give one of: train, test"
        ):
            measure_layer_errors(run, split="validation")

    def test_integers_of_another_run(self, run: Path, tmp_path: Path) -> None:
        from nas_engine.integer.store import save

        other = replace(
            small_architecture(10, 1),
            resolution=8,
            head=replace(small_architecture().head, channels=16),
        )
        shutil.rmtree(run / "integer")
        _, model = quantised(float_network(other))
        save(run / "integer", model, noise(other, 2))
        with pytest.raises(
            FileFormatError,
            match=r"result\.json: is not of the files beside it \(integer/model\.json is another",
        ):
            measure_layer_errors(run)
        change_result(run, made_of=None)
        with pytest.raises(
            FileFormatError,
            match=r"integer: head gives .*; train again with: nas-search train .* --force",
        ):
            measure_layer_errors(run)
