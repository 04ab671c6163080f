"""Training of the proxy study: every network under one recipe, one file of one JSON line per
network, resumable at any moment.

The recipe: SGD with momentum 0.9, batches of 64, flips; two thirds of the epochs in float (peak
rate 0.3), the others quantised (0.1), each with half an epoch of warm-up and cosine decay; weight
decay 1e-4, gradients clipped to norm 5, no teacher, no averaging. Numbers are chosen here: of 13
settings (SGD at six rates, AdamW at three, batches of 32 and 64, with and without crops) they are
those of least loss at batches of 64 after two float epochs of one network; they reached 56 %, a
rate of 0.05 with crops 45 %.

What is judged is the fake-quantised network after the last epoch, on all test images; nothing is
selected by them.

Several processes may train into one folder: a network that another one has locked is left to it. On
machines without a common folder, give each its share of the networks (``--shard``) and copy the
JSON files together.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies.proxy.networks import Chosen
from nas_engine.architecture import dump_architecture
from nas_engine.datasets import Dataset, Split, open_dataset
from nas_engine.datasets.selection import ranks_within_class
from nas_engine.errors import FileFormatError, InputError
from nas_engine.files import write_atomically
from nas_engine.kernels.functions import Kernels
from nas_engine.records import plain
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.loop import (
    TrainingError,
    TrainingTask,
    accuracy,
    first_state,
    resumed_state,
    train,
)
from nas_engine.training.recipe import TrainingRecipe
from nas_engine.training.state import STAGES, TrainingState

if sys.platform != "win32":
    import fcntl

HELD_OUT = 1000
"""Training images that are left out and show the progress after each epoch; nothing is selected by
them."""

ADDED = {"fewest_steps": 0}
"""Keys of recipes that older records lack, with the value that changes nothing."""

REQUIRED = {
    "network",
    "title",
    "architecture",
    "accuracy",
    "processor_seconds",
    "recipe",
    "data",
    "test_images",
    "history",
}
"""Keys without which a file is no record."""


def recipe(epochs: int) -> TrainingRecipe:
    """Return the recipe of the study, see the module's description."""
    return TrainingRecipe(
        name="proxy",
        epochs=epochs,
        float_share=2 / 3,
        batch_size=64,
        learning_rate=0.3,
        quantised_learning_rate=0.1,
        freeze_norm_share=0.2,
        weight_decay=1e-4,
        warmup_epochs=0.5,
        gradient_clip=5.0,
        augmentation=Augmentation(kind="crop", padding=0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How networks are trained, and where their files lie."""

    folder: Path
    """Of the study."""
    epochs: int
    """Float and quantised together."""
    images: int
    """Training images."""
    seed: int = 0
    """Of weights, order and crops; the images are the same for every seed."""
    device: str = "cpu"
    """A torch device."""
    kernels: Kernels | None = None
    """Kernels that trainings go through; ``None`` for torch's own way."""
    recipe_of: Callable[[int], TrainingRecipe] = recipe
    """Recipe of so many epochs."""

    def place(self, name: str, ending: str) -> Path:
        """Return a file of a network."""
        return (
            self.folder / "networks" / f"{name}-e{self.epochs}-i{self.images}-s{self.seed}.{ending}"
        )

    def doubled(self) -> Plan:
        """Return the plan with twice the epochs."""
        return replace(self, epochs=2 * self.epochs)

    def reseeded(self) -> Plan:
        """Return the plan with another seed."""
        return replace(self, seed=self.seed + 1)


def study_data(data: str, resolution: int, images: int) -> Dataset:
    """Return the data with so many training images drawn at random, some others as validation, and
    all test images.

    Raises:
        InputError: There are not enough training images.
    """
    whole = open_dataset(data, resolution=resolution, channels=3)
    if images + HELD_OUT > len(whole.train):
        raise InputError(
            f"--images {images}: {data} has {len(whole.train):,} training images, and {HELD_OUT} "
            "are held out; give fewer"
        )
    labels = whole.train.labels
    order = np.lexsort((labels, ranks_within_class(labels, 0)))  # as many of each class

    def part(chosen: Any) -> Split:
        return Split(images=whole.train.images[chosen], labels=whole.train.labels[chosen])

    return Dataset(
        name=whole.name,
        source=whole.source,
        classes=whole.classes,
        train=part(np.sort(order[:images])),
        test=whole.test,
        validation=part(np.sort(order[images : images + HELD_OUT])),
        notes=whole.notes,
    )


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Say whether a network is this process's to train; the lock ends with the process, however
    that ends.
    """
    if sys.platform == "win32":
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def train_missing(
    chosen: list[Chosen],
    plan: Plan,
    data: Callable[[], Dataset],
    say: Callable[[str], None] = print,
) -> None:
    """Train the networks that have no record yet and that no other process is at; one that diverges
    is told and left without.

    Args:
        chosen: The networks.
        plan: How and where.
        data: Returns the images; called only if something is to be trained.
        say: Called with lines of text.
    """
    for network in chosen:
        result = plan.place(network.name, "json")
        if result.exists():
            continue
        with _claimed(plan.place(network.name, "lock")) as mine:
            if not mine or result.exists():  # another process has it, or had it until just now
                continue
            say(f"{network.name} ({network.title}): begins")
            try:
                record = trained(network, plan, data())
            except TrainingError as error:
                say(f"{network.name}: {error}")
                continue
            write_atomically(result, json.dumps(record) + "\n")
            for ending in ("pt", "epochs.jsonl", "lock"):
                plan.place(network.name, ending).unlink(missing_ok=True)
            say(
                f"{network.name}: {record['accuracy']:.2f} % after "
                f"{record['processor_seconds']:.0f} s of processor time"
            )


def trained(network: Chosen, plan: Plan, dataset: Dataset) -> dict[str, Any]:
    """Train one network, from its checkpoint if there is one, and return its record."""
    task = TrainingTask(
        architecture=network.architecture,
        recipe=plan.recipe_of(plan.epochs),
        dataset=dataset,
        seed=plan.seed,
        device=plan.device,
        kernels=plan.kernels,
        fingerprint=f"{dataset.name}; {plan.images} images; seed {plan.seed}",
    )
    checkpoint, log = plan.place(network.name, "pt"), plan.place(network.name, "epochs.jsonl")
    state = resumed_state(task, checkpoint) if checkpoint.exists() else first_state(task)
    rows, last = _kept(log, state), time.process_time()

    def keep(row: dict[str, Any]) -> None:
        nonlocal last
        now = time.process_time()
        rows.append(row | {"processor_s": now - last})
        last = now
        write_atomically(log, "".join(json.dumps(line) + "\n" for line in rows))

    state = train(task, state, checkpoint=checkpoint, record=keep)
    return {
        "network": network.name,
        "title": network.title,
        "architecture": dump_architecture(network.architecture),
        "recipe": plain(task.recipe),
        "data": dataset.name,
        "images": plan.images,
        "epochs": plan.epochs,
        "seed": plan.seed,
        "test_images": len(dataset.test),
        "accuracy": accuracy(state.average, dataset.test),
        "seconds": round(state.elapsed_s, 1),
        "processor_seconds": round(sum(row["processor_s"] for row in rows), 1),
        "device": plan.device,
        "kernels": state.history,
        "torch": version("torch"),
        "history": [
            {key: row[key] for key in ("stage", "epoch", "loss", "accuracy")} for row in rows
        ],
    }


def _kept(log: Path, state: TrainingState) -> list[dict[str, Any]]:
    """Return the epochs of a log up to a state: a kill may have come between a line and its
    checkpoint.
    """
    if not log.exists():
        return []
    reached = (STAGES.index(state.stage), state.epoch)
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if (STAGES.index(row["stage"]), row["epoch"]) <= reached]


def read_records(plan: Plan, part: str) -> list[dict[str, Any]]:
    """Return the records of a part that were made under a plan, by the network's number.

    Raises:
        FileFormatError: A damaged record, one of another recipe, or records of different data in
            one folder.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(
        plan.folder.glob(f"networks/{part}-*-e{plan.epochs}-i{plan.images}-s{plan.seed}.json")
    ):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not record.keys() >= REQUIRED:
                raise ValueError("no record")
        except (OSError, ValueError, AttributeError) as error:
            raise FileFormatError(
                path, "is no record of this study; remove it, so that its network is trained again"
            ) from error
        if ADDED | record["recipe"] != plain(plan.recipe_of(plan.epochs)):
            raise FileFormatError(
                path, "was trained under another recipe; remove it, or give another --folder"
            )
        if found and record["data"] != found[0]["data"]:
            raise FileFormatError(
                path,
                f"is of {record['data']}, others are of {found[0]['data']}; give every data set "
                "its own --folder",
            )
        found.append(record)
    return found
