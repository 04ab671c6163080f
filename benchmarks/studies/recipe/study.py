"""How the epochs of a short training are best used: length and rate of the quantised stage, norms
frozen or not, crops, rates, sizes of batches.

python -m benchmarks.studies.recipe --data cifar-10-batches-py

One small network of inverted residuals; every training takes the same number of
epochs in all, and three seeds. A training that is recorded is not done again: the records lie in
``records.jsonl`` beside this file, the float networks that quantised stages start from in
``--folder``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.arms import add_record, compared, read_records
from benchmarks.harness import Row
from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.datasets import Dataset, Split, open_dataset
from nas_engine.kernels import Kernels
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.compute import prepare_compute, prepare_kernels
from nas_engine.training.loop import TrainingTask, accuracy, first_state, train
from nas_engine.training.networks import load_network, save_network
from nas_engine.training.recipe import TrainingRecipe, load_recipe
from nas_engine.training.start import with_widths_of

RECORDS = Path(__file__).parent / "records.jsonl"

JUDGED = 5000
"""Test images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to spend the epochs."""

    name: str
    """Name in the table."""
    floats: int = 12
    """Epochs in float."""
    quantised: int = 0
    """Epochs quantised."""
    width: int = 8
    """Bits of the weights but those of stem and classifier."""
    rate: float = 0.03
    """Peak rate of the quantised stage."""
    frozen: float = 0.2
    """Last share of the quantised stage with frozen norms."""
    float_rate: float = 0.1
    """Peak rate of the float stage."""
    batch: int = 128
    """Images of a step."""
    padding: int = 4
    """Border of the crops, pixels."""

    @property
    def start(self) -> Arm:
        """The float stage alone."""
        return Arm(
            name=f"{self.floats} in float",
            floats=self.floats,
            float_rate=self.float_rate,
            batch=self.batch,
            padding=self.padding,
        )


def shares(width: int) -> tuple[Arm, ...]:
    """Return the arms that differ in the quantised stage at one width; the first is the old way."""
    half = Arm(name="6 + 6, 0.03, last fifth frozen", floats=6, quantised=6, width=width)
    quarter = replace(half, name="9 + 3, 0.03, last fifth frozen", floats=9, quantised=3)
    short = replace(quarter, name="11 + 1, 0.03, frozen", floats=11, quantised=1, frozen=1.0)
    return (
        half,
        quarter,
        replace(quarter, name="9 + 3, 0.03, frozen", frozen=1.0),
        replace(quarter, name="9 + 3, 0.01, frozen", frozen=1.0, rate=0.01),
        short,
        replace(short, name="11 + 1, 0.01, frozen", rate=0.01),
    )


FLOATS = (
    Arm(name="12 in float: batch 128, rate 0.1, crops of 4"),
    Arm(name="crops of 2", padding=2),
    Arm(name="rate 0.2", float_rate=0.2),
    Arm(name="batch 64", batch=64),
)
"""Arms that differ in the float stage; the first is the old way."""

GROUPS = {
    "5 bits": shares(5),
    "3 bits": shares(3),
    "float": FLOATS,
}
"""Arms that are compared with each other, three seeds of each, seed by seed."""


def architecture(width: int, class_count: int) -> Architecture:
    """Return the network, 2.1 M MACs: its weights at a width, those of stem and classifier at 8."""
    inner, ends = Bits(width, 8), Bits(8, 8)
    return Architecture(
        resolution=32,
        input_channels=3,
        stem=Convolution(kernel=3, stride=2, channels=16, bits=ends),
        blocks=(
            Block(kernel=3, stride=1, bottleneck=48, channels=16, bits=((inner,) * 3,)),
            Block(kernel=3, stride=2, bottleneck=72, channels=32, bits=((inner,) * 3,) * 2),
            Block(kernel=3, stride=2, bottleneck=128, channels=48, bits=((inner,) * 3,) * 2),
        ),
        head=Convolution(kernel=1, stride=1, channels=96, bits=inner),
        classifier=Classifier(class_count=class_count, bits=ends),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Data, kernels and folder of all trainings."""

    dataset: Dataset
    """Training images."""
    judged: Split
    """Test images."""
    kernels: Kernels | None
    """Kernels of the trainings."""
    folder: Path
    """Folder of the float networks."""

    def recipe(self, arm: Arm, *, quantised: bool) -> TrainingRecipe:
        """Return the recipe of one stage of an arm."""
        return replace(
            load_recipe("cifar"),
            epochs=arm.quantised if quantised else arm.floats,
            float_share=0.0 if quantised else 1.0,
            learning_rate=arm.float_rate,
            quantised_learning_rate=arm.rate,
            batch_size=arm.batch,
            freeze_norm_share=arm.frozen,
            augmentation=Augmentation(kind="crop", padding=arm.padding),
        )

    def trained(self, arm: Arm, seed: int) -> tuple[GraphNetwork, float]:
        """Return the network of an arm and the processor seconds of its last stage."""
        net, start = architecture(arm.width, len(self.dataset.classes)), None
        if arm.quantised:
            start = with_widths_of(self.started(arm.start, seed), net)
        task = TrainingTask(
            architecture=net,
            recipe=self.recipe(arm, quantised=arm.quantised > 0),
            dataset=self.dataset,
            seed=seed,
            start=start,
            kernels=self.kernels,
        )
        began = time.process_time()
        network = train(task, first_state(task)).average
        return network, time.process_time() - began

    def started(self, arm: Arm, seed: int) -> GraphNetwork:
        """Return the float network of an arm, trained once."""
        path = self.folder / f"{_key(arm, seed)}.pt"
        if not path.exists():
            save_network(path, self.trained(arm, seed)[0])
        return load_network(path)


def _key(arm: Arm, seed: int) -> str:
    """Return a name of what a training depends on; its name in the table is no part of it."""
    return (
        f"{arm.floats}+{arm.quantised}-w{arm.width}-r{arm.float_rate:g}-q{arm.rate:g}"
        f"-f{arm.frozen:g}-b{arm.batch}-p{arm.padding}-s{seed}"
    )


def run(
    data: str,
    images: int = 4000,
    folder: str = "recipe-study",
    records: str = str(RECORDS),
    seeds: int = 3,
    groups: str = ",".join(GROUPS),
) -> list[Row]:
    prepare_compute("cpu", 1)
    place, kept = Path(folder), Path(records)
    place.mkdir(parents=True, exist_ok=True)
    judged = open_dataset(data, resolution=32, channels=3, limit=JUDGED).test
    dataset = open_dataset(data, resolution=32, channels=3, limit=images)
    few = Split(images=judged.images[:100], labels=judged.labels[:100])  # evaluated every epoch
    plan = Plan(
        dataset=replace(dataset, test=few),
        judged=judged,
        kernels=prepare_kernels("auto", "cpu"),
        folder=place,
    )
    done, rows = read_records(kept), list[Row]()
    for title in groups.split(","):
        arms, found = GROUPS[title], dict[str, list[float]]()
        for seed in range(seeds):
            for arm in arms:
                key = f"{_key(arm, seed)}-i{images}"
                if key not in done:
                    network, seconds = plan.trained(arm, seed)
                    judged_at = accuracy(network, plan.judged)
                    add_record(kept, done, key, judged_at, seconds, plan.kernels)
                    print(arm.name, done[key]["accuracy"], f"{seconds:.0f} s", flush=True)
                found.setdefault(arm.name, []).append(done[key]["accuracy"])
        rows += compared(title, [arm.name for arm in arms], found)
    return rows
