"""The steps of weights in training: how far they leave their channel's weights with and without
bounds, and what bounds cost.

python -m benchmarks.studies.lsq_steps --data cifar-10-batches-py

A small network is trained in float once per seed, and from there quantised at each width, once per
rule: its steps free, or bounded to multiples of the step that just holds the largest weight of the
channel. The stem has 8 bits throughout. Widths of 5 bits and more are trained for ``epochs``,
narrower ones for ``short`` epochs and with two bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import mean, stdev

import torch

from benchmarks.harness import Row
from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.datasets import Dataset, Split, open_dataset
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.lsq import WeightQuantiser, step_range
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.compute import prepare_compute
from nas_engine.training.loop import TrainingTask, accuracy, first_state, train
from nas_engine.training.recipe import TrainingRecipe
from nas_engine.training.start import with_widths_of
from nas_engine.training.state import TrainingState

FREE = (0.0, math.inf)
"""No bounds, as up to version 0.1.0."""

SEEDS = (0, 1, 2)

JUDGED = 5000
"""Test images."""

NARROW = 5
"""Bits below which another bound is tried as well, in shorter trainings."""

Range = tuple[float, float]


def architecture(width: int, class_count: int) -> Architecture:
    """Return a network of four residuals for 16 x 16 pixels, its weights at a width, those of stem
    and classifier at 8 bits.
    """
    inner = Bits(width, 8)
    row = (inner, inner, inner)
    return Architecture(
        resolution=16,
        input_channels=3,
        stem=Convolution(kernel=3, stride=2, channels=16, bits=Bits(8, 8)),
        blocks=(
            Block(kernel=3, stride=1, bottleneck=48, channels=16, bits=(row, row)),
            Block(kernel=3, stride=2, bottleneck=64, channels=32, bits=(row, row)),
        ),
        head=Convolution(kernel=1, stride=1, channels=64, bits=inner),
        classifier=Classifier(class_count=class_count, bits=Bits(8, 8)),
    )


def recipe(epochs: int, share: float, rate: float) -> TrainingRecipe:
    """Return how a stage is trained; ``rate`` is the peak of the quantised one."""
    return TrainingRecipe(
        name="steps",
        epochs=epochs,
        float_share=share,
        batch_size=64,
        optimiser="sgd",
        learning_rate=0.1,
        quantised_learning_rate=rate,
        freeze_norm_share=0.2,
        weight_decay=1e-4,
        warmup_epochs=0,
        augmentation=Augmentation(kind="crop", padding=2, flip=True),
    )


def weight_quantisers(network: GraphNetwork) -> Iterator[tuple[WeightQuantiser, torch.Tensor]]:
    """Yield each layer's quantiser with the weight it is for."""
    for _, unit in network.units():
        if isinstance(unit.weight_quantiser, WeightQuantiser):
            yield unit.weight_quantiser, unit.weight


def multiples(network: GraphNetwork) -> torch.Tensor:
    """Return every channel's step as a multiple of the one that just holds its largest weight,
    ``(channels of all layers,)``.
    """
    found = []
    for quantiser, weight in weight_quantisers(network):
        widest = weight.detach().abs().flatten(1).amax(1) / quantiser.limit
        found.append(quantiser.step.detach().flatten() / widest.clamp(min=1e-30))
    return torch.cat(found)


def bounded(network: GraphNetwork, rule: Callable[[int], Range]) -> bool:
    """Return whether every step is within what a rule says of its width."""
    for quantiser, weight in weight_quantisers(network):
        widest = weight.detach().abs().amax((1, 2, 3), keepdim=True) / quantiser.limit
        low, high = rule(quantiser.bits)
        if not (
            (quantiser.step >= low * widest * (1 - 1e-5))
            & (quantiser.step <= high * widest * (1 + 1e-5))
        ).all():
            return False
    return True


def quantised(task: TrainingTask, rule: Callable[[int], Range]) -> TrainingState:
    """Return the end of the quantised stage, steps bounded as ``rule`` says of a width."""
    state = first_state(task)
    for network in (state.network, state.average):
        for quantiser, _ in weight_quantisers(network):
            quantiser.step_range = rule(quantiser.bits)
    return train(task, state)


def compared(
    dataset: Dataset,
    judged: Split,
    starts: dict[int, GraphNetwork],
    width: int,
    epochs: int,
    rules: dict[str, Callable[[int], Range]],
    rate: float,
) -> list[Row]:
    """Return a row per rule: accuracy and loss over the seeds, and the steps."""
    net = architecture(width, len(dataset.classes))
    rows, free = list[Row](), list[float]()
    for name, rule in rules.items():
        accuracies, states = list[float](), list[TrainingState]()
        for seed, start in starts.items():
            task = TrainingTask(
                architecture=net,
                recipe=recipe(epochs, 0.0, rate),
                dataset=dataset,
                seed=seed,
                start=with_widths_of(start, net),
            )
            states.append(quantised(task, rule))
            accuracies.append(accuracy(states[-1].average, judged))
        every = torch.cat([multiples(state.network) for state in states])
        outside = 100 * float(((every > 2) | (every < 0.25)).float().mean())
        free = free or accuracies
        differences = [own - plain for own, plain in zip(accuracies, free, strict=True)]
        error = stdev(differences) / math.sqrt(len(differences))
        within = all(bounded(state.network, rule) for state in states)
        each = ", ".join(f"{value:.2f}" for value in accuracies)
        rows.append(
            Row(
                what=f"{width} bits (stem 8), {epochs} epochs, steps {name}: accuracy over "
                f"{len(starts)} seeds; steps as multiples",
                measured=f"{mean(accuracies):.2f} % "
                f"({each}; {mean(differences):+.2f} ± {error:.2f} points); "
                f"{float(every.min()):.2g} to {float(every.max()):.3g}, {outside:.1f} % of "
                "channels beyond 2 or below 1/4",
                at_least="for comparison"
                if accuracies is free
                else "no worse than free by more than two standard errors; steps within",
                reached=accuracies is free or (within and mean(differences) > -2 * max(error, 0.3)),
            )
        )
        print(rows[-1].what, rows[-1].measured, flush=True)
    return rows


def within_for(width: int, given: Range) -> Callable[[int], Range]:
    """Return the rule that bounds the steps of one width as given, those of others as shipped."""
    return lambda bits: given if bits == width else step_range(bits)


def run(
    data: str,
    widths: str = "8,5,4,3,2",
    images: int = 1000,
    epochs: int = 20,
    short: int = 6,
    floats: int = 10,
    rate: float = 0.1,
    threads: int = 1,
) -> list[Row]:
    prepare_compute("cpu", threads)
    dataset = open_dataset(data, resolution=16, channels=3, limit=images)
    judged = open_dataset(data, resolution=16, channels=3, limit=JUDGED).test
    starts: dict[int, GraphNetwork] = {}
    for seed in SEEDS:
        net = architecture(8, len(dataset.classes))
        task = TrainingTask(
            architecture=net, recipe=recipe(floats, 1.0, rate), dataset=dataset, seed=seed
        )
        starts[seed] = train(task, first_state(task)).average
    rows: list[Row] = []
    for width in map(int, widths.split(",")):
        rules: dict[str, Callable[[int], Range]] = {"free": lambda bits: FREE}
        for low, high in ((0.25, 1.0),) if width >= NARROW else ((0.25, 1.0), (0.25, 2.0)):
            rules[f"within [{low:g}, {high:g}]"] = within_for(width, (low, high))
        rows += compared(
            dataset, judged, starts, width, epochs if width >= NARROW else short, rules, rate
        )
    return rows
