"""Networks on which bit allocators are judged: a small ViT, ResNet-56, ResNets for CIFAR-100.

python -m benchmarks.subjects --subject vit --data cifar-10-batches-py --teacher
resnet20-12fca82f.th python -m benchmarks.subjects --subject resnet20-cifar100 --data
cifar-100-python --start resnet20-12fca82f.th python -m benchmarks.subjects --subject resnet56
--data cifar-10-batches-py --start resnet32-d509ac18.th

Ten to thirty minutes each on one core that multiplies bfloat16; stop it whenever you like, the same
command goes on after the last whole epoch. The result is a state dict, FOLDER/SUBJECT.pt, which
``load_subject`` reads. Sizes and rates are chosen here, for that time.

The ResNets are our shortcut for a CPU, not the training of He et al. 2016 (64,000 steps from random
weights). Those for CIFAR-100 start from the weights for CIFAR-10 with a new last layer. ResNet-56
is grown from ResNet-32: the blocks that exist are spread evenly, and those between them begin
small: their last batch norm has weight 0.25, where 0 would leave the network as it was, and a short
training leaves such blocks idle. How much they do is told by the weights of their last batch norms,
which are printed.
"""

from __future__ import annotations

import argparse
import functools
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.vision_transformer import (
    VisionTransformer,
    is_vision_transformer,
    load_vision_transformer,
    vision_transformer,
)
from nas_engine.datasets import Dataset, Split, open_dataset
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.files import write_atomically
from nas_engine.models.cifar_resnet import CifarResNet, cifar_resnet, load_cifar_resnet
from nas_engine.models.graph_network import scale_images
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.compute import prepare_compute
from nas_engine.training.distillation import hard_loss, soft_loss
from nas_engine.training.loop import prepared
from nas_engine.training.networks import load_tensors
from nas_engine.training.schedule import learning_rate
from nas_engine.training.teachers import Teacher, load_teacher

Network = CifarResNet | VisionTransformer

RESOLUTION = 32
EVALUATION_BATCH = 250
AWAKE = 0.25
"""Weight of the last batch norm of a block that was inserted, before training; trained blocks have
about 0.5."""
SOFT_WEIGHT, TEMPERATURE = 0.7, 3.0
"""Share of the teacher's labels in the loss, and their temperature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """How one network begins and is trained."""

    build: Callable[[int, Mapping[str, Tensor] | None], Network]
    """Makes it from the number of classes and the state dict to start from."""
    optimiser: Literal["adamw", "sgd"]
    peak: float
    """Largest learning rate."""
    decay: float
    """Weight decay of tensors with two dimensions or more."""
    epochs: int
    batch: int
    smoothing: float


def load_subject(path: Path | str) -> Network:
    """Return the network of a state dict, told apart by its keys: a CIFAR ResNet or our vision
    transformer. In evaluation mode.

    Raises:
        InputError: The state dict is of another network.
        FileFormatError: A file that cannot be read.
    """
    state = read_state(Path(path))
    return (
        load_vision_transformer(state) if is_vision_transformer(state) else load_cifar_resnet(state)
    ).eval()


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a file, also from below ``state_dict``, as in public
    files.
    """
    data = load_tensors(path, "a state dict")
    inner = data.get("state_dict", data) if isinstance(data, Mapping) else None
    if not isinstance(inner, Mapping):
        raise InputError(f"{path} holds {type(data).__name__}; expected a state dict")
    return {str(key): value for key, value in inner.items()}


def kept_places(before: int, after: int) -> list[int]:
    """Return the places of the blocks of a stage of ``before`` in one of ``after``, spread evenly,
    the first and the last in place.
    """
    return [round(i * (after - 1) / max(before - 1, 1)) for i in range(before)]


def grown(small: CifarResNet, depth: int) -> CifarResNet:
    """Return a deeper ResNet that computes the same: its new blocks are identities, as ``relu(x +
    0) = x`` behind a ReLU.

    Raises:
        InputError: The network is not less deep, or ``depth`` is none of a CIFAR ResNet.
    """
    if small.depth >= depth:
        raise InputError(
            f"a ResNet-{small.depth} cannot grow to ResNet-{depth}; expected a less deep one to "
            "start from"
        )
    network = cifar_resnet(depth, small.class_count)
    for name, module in small.named_children():
        if not name.startswith("layer"):
            getattr(network, name).load_state_dict(module.state_dict())
    for name in ("layer1", "layer2", "layer3"):
        old, new = (
            cast(nn.Sequential, getattr(small, name)),
            cast(nn.Sequential, getattr(network, name)),
        )
        places = kept_places(len(old), len(new))
        for place, block in enumerate(new):
            if place in places:
                block.load_state_dict(old[places.index(place)].state_dict())
            else:
                nn.init.zeros_(cast(Tensor, cast(nn.BatchNorm2d, block.bn2).weight))
    return network


def inserted_blocks(network: CifarResNet, start: CifarResNet) -> list[Any]:
    """Return the blocks that ``grown`` inserted."""
    found = []
    for name in ("layer1", "layer2", "layer3"):
        blocks = cast(nn.Sequential, getattr(network, name))
        places = kept_places(len(cast(nn.Sequential, getattr(start, name))), len(blocks))
        found += [block for place, block in enumerate(blocks) if place not in places]
    return found


def block_weights(network: CifarResNet, start: CifarResNet) -> tuple[float, float]:
    """Return the mean size of the last batch norms' weights, in the blocks that were inserted and
    in those that were kept.
    """
    blocks = [
        block
        for name in ("layer1", "layer2", "layer3")
        for block in cast(nn.Sequential, getattr(network, name))
    ]
    inserted = inserted_blocks(network, start)
    means = [
        [block.bn2.weight.detach().abs().mean() for block in part]
        for part in (inserted, [b for b in blocks if b not in inserted])
    ]
    return float(torch.stack(means[0]).mean()), float(torch.stack(means[1]).mean())


def _transferred(class_count: int, start: Mapping[str, Tensor] | None, *, depth: int) -> Network:
    network = cifar_resnet(depth, class_count)
    if start is not None:
        old = load_cifar_resnet(start)
        if old.depth != depth:
            raise InputError(
                f"the state dict to start from is a ResNet-{old.depth}; expected a ResNet-{depth}"
            )
        state = old.state_dict()
        if old.class_count != class_count:
            state |= {f"linear.{key}": value for key, value in network.linear.state_dict().items()}
        network.load_state_dict(state)
    return network


def _deepened(class_count: int, start: Mapping[str, Tensor] | None) -> Network:
    if start is None:
        return cifar_resnet(56, class_count)
    old = load_cifar_resnet(start)
    if old.class_count != class_count:
        raise InputError(
            f"the state dict to start from has {old.class_count} classes; expected {class_count}, "
            "those of the data"
        )
    network = grown(old, 56)
    for block in inserted_blocks(network, old):
        nn.init.constant_(block.bn2.weight, AWAKE)
    return network


def _transformer(class_count: int, start: Mapping[str, Tensor] | None) -> Network:
    return vision_transformer(class_count) if start is None else load_vision_transformer(start)


SUBJECTS = {
    "vit": Subject(
        build=_transformer,
        optimiser="adamw",
        peak=1.5e-3,
        decay=0.05,
        epochs=10,
        batch=64,
        smoothing=0.1,
    ),
    **{
        f"resnet{depth}-cifar100": Subject(
            build=functools.partial(_transferred, depth=depth),
            optimiser="sgd",
            peak=0.05,
            decay=5e-4,
            epochs=8,
            batch=128,
            smoothing=0.0,
        )
        for depth in (20, 32, 56)
    },
    "resnet56": Subject(
        build=_deepened, optimiser="sgd", peak=0.05, decay=5e-4, epochs=4, batch=128, smoothing=0.0
    ),
}


@torch.no_grad()
def accuracy(network: Network, split: Split) -> float:
    """Return the share of images predicted right, in percent, in float32."""
    network.eval()
    correct = 0
    for i in range(0, len(split), EVALUATION_BATCH):
        predicted = network(prepared(split.images[i : i + EVALUATION_BATCH], RESOLUTION)).argmax(1)
        correct += int((predicted == torch.tensor(split.labels[i : i + EVALUATION_BATCH])).sum())
    return 100.0 * correct / len(split)


def _batches(
    split: Split, subject: Subject, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng((seed, epoch))
    crop = Augmentation(kind="crop")
    order = rng.permutation(len(split))
    for step in range(steps_of_epoch(split, subject)):
        chosen = order[step * subject.batch : (step + 1) * subject.batch]
        images = crop.batch(torch.from_numpy(split.images[chosen]), rng, RESOLUTION)
        yield (
            scale_images(images).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(split.labels[chosen]),
        )


def steps_of_epoch(split: Split, subject: Subject) -> int:
    """Return the whole batches of an epoch, at least one."""
    return max(len(split) // subject.batch, 1)


def _optimiser(network: Network, subject: Subject) -> torch.optim.Optimizer:
    parameters = dict(network.named_parameters())
    decayed = [
        value for name, value in parameters.items() if value.dim() > 1 and name != "positions"
    ]
    others = [
        value for name, value in parameters.items() if value.dim() == 1 or name == "positions"
    ]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": subject.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if subject.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0)
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)


def _epoch(
    network: Network,
    optimiser: torch.optim.Optimizer,
    subject: Subject,
    teacher: Teacher | None,
    data: Split,
    plan: tuple[int, int, int],
) -> tuple[float, float]:
    """Train for one epoch in bfloat16; return the mean loss and the share of training images
    predicted right, in percent.
    """
    epoch, epochs, seed = plan
    network.train()
    steps, total, correct, seen = steps_of_epoch(data, subject), 0.0, 0, 0
    for step, (x, labels) in enumerate(_batches(data, subject, seed, epoch)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch * steps + step, epochs * steps, steps, subject.peak)
        with torch.autocast("cpu", torch.bfloat16):
            soft = None if teacher is None else teacher.logits(x).float()
            logits = network(x).float()
        loss = hard_loss(logits, labels, subject.smoothing)
        if soft is not None:
            loss = torch.lerp(loss, soft_loss(logits, soft, TEMPERATURE), SOFT_WEIGHT)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        total, correct, seen = (
            total + loss.item() * len(x),
            correct + int((logits.argmax(1) == labels).sum()),
            seen + len(x),
        )
    return total / seen, 100.0 * correct / seen


def _write(path: Path, value: object) -> None:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_atomically(path, buffer.getvalue())


def train(
    name: str,
    data: Dataset,
    folder: Path,
    *,
    epochs: int | None = None,
    start: Path | None = None,
    teacher: Path | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> Network:
    """Train a subject, write its state dict to ``folder/name.pt`` and return it; goes on after the
    last whole epoch of a stopped call.

    Args:
        name: A key of ``SUBJECTS``.
        data: Images of 32x32 pixels.
        folder: Where the checkpoint and the result go.
        epochs: Passes over the training images; the subject's own number without one.
        start: State dict of the network to begin with.
        teacher: State dict of a teacher for the same classes.
        seed: Of the random weights, the order of the images, and crops and flips.
        report: Takes lines of text.

    Raises:
        InputError: An unknown subject, a state dict that does not fit, or a checkpoint of another
            request.
    """
    if name not in SUBJECTS:
        raise UnknownNameError("subject", name, tuple(SUBJECTS))
    subject, class_count = SUBJECTS[name], len(data.classes)
    epochs = epochs or subject.epochs
    prepare_compute("cpu", 1)
    torch.manual_seed(seed)
    beginning = None if start is None else read_state(start)
    network = subject.build(class_count, beginning)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    optimiser = _optimiser(network, subject)
    guide = None if teacher is None else load_teacher(teacher, class_count=class_count)
    request = {
        "subject": name,
        "epochs": epochs,
        "seed": seed,
        "images": len(data.train),
        "start": str(start),
        "teacher": str(teacher),
    }
    checkpoint, done = folder / f"{name}.checkpoint.pt", 0
    if checkpoint.exists():
        saved = cast(dict[str, Any], load_tensors(checkpoint, "a checkpoint of this study"))
        if saved["request"] != request:
            raise InputError(
                f"{checkpoint} is of {saved['request']}; expected {request}; give another --folder"
            )
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        done = saved["done"]
    elif start is not None:
        report(
            f"{name}: {accuracy(network, data.test):.2f} % of {len(data.test):,} test images "
            "before training"
        )
    for epoch in range(done, epochs):
        began = time.perf_counter()
        loss, right = _epoch(network, optimiser, subject, guide, data.train, (epoch, epochs, seed))
        _write(
            checkpoint,
            {
                "request": request,
                "done": epoch + 1,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
            },
        )
        seconds = time.perf_counter() - began
        report(
            f"{name}: epoch {epoch + 1} of {epochs}, loss {loss:.4f}, {right:.2f} % of the "
            f"training images, {seconds:.0f} s"
        )
    _write(
        folder / f"{name}.pt",
        {
            key: value.clone(memory_format=torch.contiguous_format)
            for key, value in network.state_dict().items()
        },
    )
    report(
        f"{name}: {accuracy(network, data.test):.2f} % of {len(data.test):,} test images, float32"
    )
    if name == "resnet56" and beginning is not None:
        inserted, kept = block_weights(cast(CifarResNet, network), load_cifar_resnet(beginning))
        report(
            f"{name}: mean size of the last batch norms' weights: {inserted:.4f} in the blocks "
            f"inserted, {kept:.4f} in those kept"
        )
    return network


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subjects")
    parser.add_argument("--subject", required=True, choices=tuple(SUBJECTS))
    parser.add_argument(
        "--data", required=True, help="folder of CIFAR-10, or of CIFAR-100 for a resnetN-cifar100"
    )
    parser.add_argument("--epochs", type=int, help="passes over the training images")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/subjects"), help="where checkpoint and result go"
    )
    parser.add_argument("--start", type=Path, help="state dict to begin with")
    parser.add_argument("--teacher", type=Path, help="state dict of a teacher for the same classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use at most this many images of each split")
    given = parser.parse_args()
    images = open_dataset(given.data, resolution=RESOLUTION, channels=3, limit=given.limit)
    train(
        given.subject,
        images,
        given.folder,
        epochs=given.epochs,
        start=given.start,
        teacher=given.teacher,
        seed=given.seed,
        report=lambda line: print(line, flush=True),
    )
