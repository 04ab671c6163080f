"""Allocations of widths trained alike: a CIFAR ResNet from its float weights, a few quantised
epochs with a teacher.

python -m benchmarks.studies.resnet_qat --data DIR --student resnet20.th --teacher resnet32.th \\
    --bits uniform-4,random-3.6,FILE.json,...

Slow (a quarter of an hour per allocation and more); stop it whenever you like, the same command
goes on. Student and teacher are state dicts of github.com/akamaster/pytorch_resnet_cifar10. A file
of bits is ``{"weights": {layer: bits}, "activations": {layer: bits}}`` with module names of the
student; a layer's activations are its input. ``uniform-4`` and ``random-3.6`` are made here.
Shortcuts, sums and batch norms stay in float, so accuracies compare allocations and not what
integers would give.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Row
from benchmarks.studies.resnet_qat.fake_quantisation import (
    calibrate_layers,
    quantise_layers,
    step_parameters,
)
from nas_engine.datasets import open_dataset
from nas_engine.datasets.records import Split
from nas_engine.errors import FileFormatError, InputError
from nas_engine.files import write_atomically
from nas_engine.models.cifar_resnet import CifarResNet
from nas_engine.models.graph_network import scale_images
from nas_engine.quantization.lsq import SMALLEST_STEP
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.compute import prepare_compute
from nas_engine.training.distillation import hard_loss, soft_loss
from nas_engine.training.loop import random_of
from nas_engine.training.schedule import learning_rate
from nas_engine.training.teachers import Teacher, load_teacher

OUTER_BITS = 8
"""Width of the first convolution and of the classifier in our allocations; they are left out of the
means, as CLADO leaves them."""
OPTIONS = (2, 3, 4, 5, 6, 8)
"""Widths that a random allocation draws from."""
DRAWS = 100_000
"""Random allocations of which the one nearest below the mean asked for is taken (chosen here)."""
LARGEST_LOSS = 0.6
"""Points of accuracy that an allocation may lose against float."""
LARGEST_MEAN = 3.6
"""Mean width up to which that counts."""

AUGMENTATION = Augmentation(kind="crop")
CALIBRATION_IMAGES = 256
EVALUATION_BATCH = 500
FREEZE_SHARE = 0.2
"""Last share of the training in which batch norms keep their statistics."""
CLASSES = 10

Bits = dict[str, dict[str, int]]
"""``weights`` and ``activations``, each by name of layer."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training recipe of all allocations."""

    epochs: int
    """Passes over the training images."""
    batch: int = 128
    """Images per step; what is left over of an epoch is not seen."""
    rate: float = 0.01
    """Highest learning rate of weights."""
    step_rate: float = 0.1
    """Learning rate of quantisation steps, as a factor of the former."""
    warmup: float = 0.05
    """Share of the training in which the learning rate rises."""
    decay: float = 1e-4
    """Weight decay."""
    soft: float = 0.9
    """Weight of the teacher's soft labels in the loss; the rest is that of the labels."""
    temperature: float = 4.0
    """Of the soft labels."""
    half: bool = True
    """True if convolutions run in bfloat16 while training, with 8 bits of mantissa: an error far
    below that of quantisation. Steps, weights and batch-norm statistics stay in float32, and so
    does every evaluation."""
    seed: int = 0
    """Of order and augmentation."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Network, data and teacher of a training."""

    student: CifarResNet
    """Float network; each training takes a copy."""
    teacher: Teacher
    """Gives the soft labels."""
    train: Split
    """Images to learn from."""
    test: Split
    """Images to judge by."""
    recipe: Recipe
    """How."""
    folder: Path
    """Where results, checkpoints and the teacher's logits are kept."""

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return max(len(self.train) // self.recipe.batch, 1)

    @property
    def fingerprint(self) -> str:
        """Tell this training from others: recipe, data, student, teacher."""
        digest = hashlib.sha256(f"{self.recipe} {len(self.train)}".encode())
        digest.update(self.train.images[:: max(len(self.train) // 64, 1)].tobytes())
        for network in (self.student, self.teacher.module):
            for value in network.state_dict().values():
                digest.update(value.numpy().tobytes())
        return digest.hexdigest()[:16]


def inner_layers(student: CifarResNet) -> list[str]:
    """Return the names of the convolutions but the first."""
    return [name for name, module in student.named_modules() if isinstance(module, nn.Conv2d)][1:]


def sizes(student: CifarResNet, resolution: int = 32) -> dict[str, tuple[int, int]]:
    """Return the number of weights and of input elements of one image, by name of inner layer; the
    student goes to evaluation mode.
    """
    found: dict[str, tuple[int, int]] = {}
    hooks = [
        student.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: found.update(
                {name: (module.weight.numel(), inputs[0].numel())}
            )
        )
        for name in inner_layers(student)
    ]
    with torch.no_grad():
        student.eval()(torch.zeros(1, 3, resolution, resolution))
    for hook in hooks:
        hook.remove()
    return found


def with_outer(inner: Mapping[str, Mapping[str, int]]) -> Bits:
    """Return an allocation of the inner layers with the first and the last layer added."""
    return {
        kind: {"conv1": OUTER_BITS, **widths, "linear": OUTER_BITS}
        for kind, widths in inner.items()
    }


def uniform(student: CifarResNet, bits: int) -> Bits:
    """Return the same width everywhere."""
    return with_outer(
        {kind: dict.fromkeys(inner_layers(student), bits) for kind in ("weights", "activations")}
    )


def random_bits(student: CifarResNet, mean: float, seed: int = 0) -> Bits:
    """Return the random widths, of ``DRAWS`` draws, whose means lie nearest below ``mean``."""
    names, size = inner_layers(student), np.array(list(sizes(student).values()), float)
    rng, inner = np.random.default_rng(seed), {}
    for kind, share in zip(("weights", "activations"), (size / size.sum(0)).T, strict=True):
        draws = rng.choice(OPTIONS, (DRAWS, len(names)))
        means = draws @ share
        best = draws[np.where(means <= mean, means, 0.0).argmax()]
        inner[kind] = dict(zip(names, best.tolist(), strict=True))
    return with_outer(inner)


def mean_bits(student: CifarResNet, bits: Bits) -> tuple[float, float]:
    """Return the mean widths of the inner layers: of weights by their number, of inputs by their
    elements.
    """
    counts = sizes(student)
    totals = np.sum(list(counts.values()), 0)
    weights, inputs = (
        sum(bits[kind][name] * counts[name][i] for name in counts) / totals[i]
        for i, kind in enumerate(bits)
    )
    return float(weights), float(inputs)


def read_bits(student: CifarResNet, entry: str) -> Bits:
    """Return ``uniform-B``, ``random-MEAN`` or what a JSON file holds.

    Raises:
        FileFormatError: Not a file of bits.
        InputError: Layers are missing.
    """
    if not entry.endswith(".json"):
        kind, _, number = entry.partition("-")
        if kind == "uniform" and number.isdigit():
            return uniform(student, int(number))
        if kind == "random" and number.replace(".", "", 1).isdigit():
            return random_bits(student, float(number))
        raise InputError(f"bits are '{entry}'; expected uniform-B, random-MEAN or a .json file")
    path = Path(entry)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        bits = {kind: dict(data[kind]) for kind in ("weights", "activations")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            path,
            f'cannot be read ({error}); expected {{"weights": {{layer: bits}}, "activations": '
            "...}",
        ) from error
    for kind, widths in bits.items():
        if missing := set(inner_layers(student)) - set(widths):
            raise InputError(
                f"{path}: '{kind}' lacks {sorted(missing)[0]}; expected every convolution but "
                "the first"
            )
    return bits


def batches(task: Task, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented images ``(n, 3, h, w)`` and labels of one epoch, the same for every
    allocation.
    """
    recipe = task.recipe
    order = random_of(recipe.seed, epoch).permutation(len(task.train))
    for step in range(task.steps):
        chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
        images = AUGMENTATION.batch(
            torch.from_numpy(task.train.images[chosen]), random_of(recipe.seed, epoch, step), 32
        )
        yield (
            scale_images(images).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(task.train.labels[chosen]),
        )


def soft_labels(task: Task, epoch: int) -> Tensor:
    """Return the teacher's logits on an epoch's batches, ``(steps, n, classes)``; kept in a file
    for the other allocations.
    """
    path = task.folder / f"teacher-{task.fingerprint}-{epoch}.npy"
    if not path.exists():
        with torch.autocast("cpu", torch.bfloat16):
            logits = torch.stack([task.teacher.logits(x).float() for x, _ in batches(task, epoch)])
        buffer = io.BytesIO()
        np.save(buffer, logits.numpy())
        write_atomically(path, buffer.getvalue())
    return torch.from_numpy(np.load(path))


@torch.no_grad()
def accuracy(network: nn.Module, split: Split) -> float:
    """Return the top-1 accuracy in percent, in float32."""
    training, parts = network.training, []
    network.eval()
    for i in range(0, len(split), EVALUATION_BATCH):
        x = scale_images(torch.tensor(split.images[i : i + EVALUATION_BATCH])).contiguous(
            memory_format=torch.channels_last
        )
        parts.append(network(x).argmax(1))
    network.train(training)
    return float(100.0 * np.mean(torch.cat(parts).numpy() == split.labels))


def quantised(task: Task, bits: Bits) -> CifarResNet:
    """Return a calibrated copy of the student."""
    network = copy.deepcopy(task.student).to(memory_format=torch.channels_last)
    quantise_layers(network, bits["weights"], bits["activations"])
    chosen = np.sort(random_of(task.recipe.seed).permutation(len(task.train))[:CALIBRATION_IMAGES])
    calibrate_layers(network, scale_images(torch.from_numpy(task.train.images[chosen])))
    return network


def optimiser_of(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return SGD with three groups: weights (decayed), norms and biases (not), quantisation steps
    (not, their own rate).
    """
    steps = list(step_parameters(network))
    others = [
        parameter
        for parameter in network.parameters()
        if all(parameter is not step for step in steps)
    ]
    groups = [
        {
            "params": [parameter for parameter in others if parameter.dim() > 1],
            "weight_decay": recipe.decay,
            "factor": 1.0,
        },
        {
            "params": [parameter for parameter in others if parameter.dim() == 1],
            "weight_decay": 0.0,
            "factor": 1.0,
        },
        {"params": steps, "weight_decay": 0.0, "factor": recipe.step_rate},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)


def train_epoch(task: Task, network: CifarResNet, optimiser: torch.optim.SGD, epoch: int) -> float:
    """Train one epoch and return the mean loss.

    Raises:
        FloatingPointError: The loss is no longer finite.
    """
    recipe, total, loss_sum = task.recipe, task.steps * task.recipe.epochs, 0.0
    targets = soft_labels(task, epoch)
    for step, (x, labels) in enumerate(batches(task, epoch)):
        done = epoch * task.steps + step
        for group in optimiser.param_groups:
            group["lr"] = (
                learning_rate(done, total, round(recipe.warmup * total), recipe.rate)
                * group["factor"]
            )
        network.train()
        if done >= total * (1.0 - FREEZE_SHARE):
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
            logits = network(x)
        logits = logits.float()
        loss = (1.0 - recipe.soft) * hard_loss(logits, labels, 0.0) + recipe.soft * soft_loss(
            logits, targets[step], recipe.temperature
        )
        value = float(loss.detach())
        if not np.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} in epoch {epoch + 1}, step {step + 1}; lower the "
                "learning rate"
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for parameter in step_parameters(network):
                parameter.clamp_(min=SMALLEST_STEP)
        loss_sum += value
    return loss_sum / task.steps


def trained(
    task: Task, name: str, bits: Bits, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train one allocation, or go on where it was left, and return its record: accuracies in
    percent, losses, seconds.
    """
    place = task.folder / name
    checkpoint, mark = place / "checkpoint.pt", {"fingerprint": task.fingerprint, "bits": bits}
    network = quantised(task, bits)
    optimiser = optimiser_of(network, task.recipe)
    record: dict[str, Any] = {"before": 0.0, "epochs": [], "losses": [], "seconds": 0.0}
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        if stored["mark"] != mark:
            raise FileFormatError(
                checkpoint,
                "is of another recipe, other data or other bits; give the same again, or "
                "another folder",
            )
        network.load_state_dict(stored["network"])
        optimiser.load_state_dict(stored["optimiser"])
        record = stored["record"]
    else:
        record["before"] = accuracy(network, task.test)
        say(f"{name}: {record['before']:.2f} % before training")
    for epoch in range(len(record["epochs"]), task.recipe.epochs):
        began = time.monotonic()
        record["losses"].append(train_epoch(task, network, optimiser, epoch))
        record["epochs"].append(accuracy(network, task.test))
        record["seconds"] += time.monotonic() - began
        say(
            f"{name}: epoch {epoch + 1}: {record['epochs'][-1]:.2f} %, loss "
            f"{record['losses'][-1]:.4f}, {record['seconds']:.0f} s"
        )
        buffer = io.BytesIO()
        torch.save(
            {
                "mark": mark,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "record": record,
            },
            buffer,
        )
        write_atomically(checkpoint, buffer.getvalue())
    return record


def run(
    data: str = "digits",
    student: str = "resnet20.th",
    teacher: str = "resnet32.th",
    bits: str = "uniform-4,random-3.6",
    epochs: int = 5,
    folder: str = "runs/resnet-qat",
    batch: int = 128,
    rate: float = 0.01,
    soft: float = 0.9,
    threads: int = 1,
    limit: int = 0,
) -> list[Row]:
    prepare_compute("cpu", threads)
    dataset = open_dataset(data, resolution=32, channels=3, limit=limit or None)
    small = load_teacher(Path(student), class_count=CLASSES).module
    if not isinstance(small, CifarResNet):
        raise InputError(f"student is {student}; expected the state dict of a CIFAR ResNet")
    task = Task(
        student=small.requires_grad_(True),
        teacher=load_teacher(Path(teacher), class_count=CLASSES),
        train=dataset.train,
        test=dataset.test,
        recipe=Recipe(epochs=epochs, batch=batch, rate=rate, soft=soft),
        folder=Path(folder),
    )
    task.teacher.module.to(memory_format=torch.channels_last)
    floating = accuracy(small, task.test)
    rows = []
    for entry in bits.split(","):
        name, widths = (
            Path(entry).stem if entry.endswith(".json") else entry,
            read_bits(small, entry),
        )
        weights, inputs = mean_bits(small, widths)
        record = trained(task, name, widths)
        final = record["epochs"][-1]
        counts = entry.endswith(".json") and max(weights, inputs) <= LARGEST_MEAN
        rows.append(
            Row(
                what=f"{name}, {weights:.2f} bits per weight, {inputs:.2f} per activation: top-1 "
                f"of ResNet-{small.depth} after "
                f"{epochs} epochs (float {floating:.2f} %, before training "
                f"{record['before']:.2f} %)",
                measured=f"{final:.2f} %",
                at_least=f"{floating - LARGEST_LOSS:.2f} %" if counts else "for comparison",
                reached=not counts or final >= floating - LARGEST_LOSS,
            )
        )
    return rows
