"""Distillation, averaged weights, smoothed labels and weight decay in a longer training.

python -m benchmarks.long_recipe --data cifar-10-batches-py --teacher resnet32.th

One network, that of ``baselines/searched-48k.yaml``, is trained as recipe ``cifar`` has it but for
25 epochs, two seeds of each arm; the arms differ from the first in one thing. The accuracy is that
of the quantised network on all test images. A training that is in ``--records`` is not done again,
so the command may be stopped at any moment and goes on with the next training. Without
``--teacher`` the arm that needs one is left out. An epoch of 50,000 images takes minutes of one
core.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.arms import add_record, compared, read_records
from benchmarks.harness import Row, main
from nas_engine.architecture import Architecture, read_architecture
from nas_engine.datasets import Split, open_dataset
from nas_engine.training.compute import prepare_compute, prepare_kernels
from nas_engine.training.loop import TrainingTask, accuracy, first_state, train
from nas_engine.training.recipe import TrainingRecipe, load_recipe
from nas_engine.training.teachers import load_teacher

NETWORK = Path(__file__).parent / "baselines" / "searched-48k.yaml"

RECORDS = Path(__file__).parent / "long_recipe.jsonl"
"""Trainings that are done."""

FEW = 100
"""Test images that are evaluated after every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train."""

    smoothing: float = 0.0
    """Probability spread over the other classes."""
    decay: float = 5e-4
    """Weight decay."""
    average: float = 0.0
    """Decay of the averaged weights; 0 for none."""
    taught: bool = False
    """True with a teacher."""

    def of(self, recipe: TrainingRecipe) -> TrainingRecipe:
        """Return a recipe with the settings of this arm."""
        return replace(
            recipe,
            label_smoothing=self.smoothing,
            weight_decay=self.decay,
            ema_decay=self.average,
        )


PLAIN = Arm()

ARMS = {
    "no teacher, no average, labels as they are, decay 5e-4": PLAIN,
    "smoothing 0.1": replace(PLAIN, smoothing=0.1),
    "decay 1e-4": replace(PLAIN, decay=1e-4),
    "average 0.999": replace(PLAIN, average=0.999),
    "teacher": replace(PLAIN, taught=True),
}
"""Arms by the names of the table; all but the first differ from it in one thing."""


def key_of(arm: Arm, network: Architecture, epochs: int, images: int, seed: int) -> str:
    """Return a name of what a training depends on."""
    size = f"{network.resolution}-{len(network.layer_names())}"
    return (
        f"n{size}-e{epochs}-i{images}-l{arm.smoothing:g}-d{arm.decay:g}-a{arm.average:g}"
        f"-t{int(arm.taught)}-s{seed}"
    )


def run(
    data: str,
    teacher: str = "",
    epochs: int = 25,
    seeds: int = 2,
    images: int = 50_000,
    network: str = str(NETWORK),
    records: str = str(RECORDS),
) -> list[Row]:
    prepare_compute("cpu", 1)
    kernels, kept, net = prepare_kernels("auto", "cpu"), Path(records), read_architecture(network)
    dataset = open_dataset(data, resolution=net.resolution, channels=net.input_channels)
    dataset = replace(dataset, train=_first(dataset.train, images))
    judged, dataset = dataset.test, replace(dataset, test=_first(dataset.test, FEW))
    classes = len(dataset.classes)
    known = load_teacher(Path(teacher), class_count=classes) if teacher else None
    arms = {name: arm for name, arm in ARMS.items() if known or not arm.taught}
    recipe = replace(load_recipe("cifar"), epochs=epochs).for_images(len(dataset.train))
    done, found = read_records(kept), dict[str, list[float]]()
    for seed in range(seeds):
        for name, arm in arms.items():
            key = key_of(arm, net, epochs, len(dataset.train), seed)
            if key not in done:
                task = TrainingTask(
                    architecture=net,
                    recipe=arm.of(recipe),
                    dataset=dataset,
                    seed=seed,
                    teacher=known if arm.taught else None,
                    kernels=kernels,
                )
                began = time.process_time()
                trained = train(task, first_state(task)).average
                seconds = time.process_time() - began
                add_record(kept, done, key, accuracy(trained, judged), seconds, kernels)
                print(name, f"{done[key]['accuracy']:.2f} %", f"{seconds:.0f} s", flush=True)
            found.setdefault(name, []).append(done[key]["accuracy"])
    title = f"{epochs} epochs of {len(dataset.train):,} images"
    return compared(title, list(arms), found)


def _first(split: Split, count: int) -> Split:
    return Split(images=split.images[:count], labels=split.labels[:count])


if __name__ == "__main__":
    main(
        "long_recipe",
        run,
        data="cifar-10-batches-py",
        teacher="",
        epochs=25,
        seeds=2,
        images=50_000,
        network=str(NETWORK),
        records=str(RECORDS),
    )
