"""TrainingState: the changing state of a training, and its checkpoint.

There is no random state in it: every batch draws from a generator made of (seed, stage, epoch,
step), so that a resumed training sees what an uninterrupted one would have seen. A checkpoint is
what ``torch.save`` writes with its SHA-256 digest behind it (32 bytes): whatever is cut off or
changed is found out before anything is read.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from nas_engine.architecture import Architecture, dump_architecture
from nas_engine.errors import FileFormatError
from nas_engine.files import write_atomically
from nas_engine.kernels.functions import Kernels
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from nas_engine.quantization.prepare import insert_quantisers, is_quantised
from nas_engine.reading import LARGE_FILE, parsing, read_regular
from nas_engine.records import plain
from nas_engine.training.recipe import TrainingRecipe, dump_recipe
from nas_engine.training.teacher_forms import FORMS, GIVEN
from nas_engine.training.teachers import Teacher

FORMAT = "nas-search/training/1"
"""Version of a checkpoint."""

_DIGEST_BYTES = hashlib.sha256().digest_size
_REMEDY = "train again with --force"

FOREIGN = f"is no checkpoint of a training; put a copy back, or {_REMEDY}"
"""Said of a file with a fitting digest whose content no training has written."""

_KINDS: dict[str, Any] = {
    **dict.fromkeys(("format", "architecture", "recipe", "fingerprint", "stage"), str),
    **dict.fromkeys(("kernels", "teacher_form"), str),
    **dict.fromkeys(("network", "optimiser", "running"), Mapping),
    **dict.fromkeys(("average", "hint"), Mapping | None),
    **dict.fromkeys(("epoch", "step", "updates"), int),
    "elapsed_s": float,
}
"""Keys of a checkpoint, and the types of their values."""

STAGES = ("float", "quantised")
"""Stages of training, in order."""

TORCH = "torch"
"""Name of torch's own way among kernels."""

_THEN = ", then "


def name_of(kernels: Kernels | None) -> str:
    """Return the name of kernels, or ``TORCH``."""
    return TORCH if kernels is None else kernels.name


def gone_on(history: str, kernels: Kernels | None) -> str:
    """Return a history of kernels after these."""
    name = name_of(kernels)
    return history if history.split(_THEN)[-1] == name else f"{history}{_THEN}{name}"


@dataclass(kw_only=True)
class TrainingState:
    """A network in training."""

    network: GraphNetwork
    """Network to train."""
    average: GraphNetwork
    """Its moving average, which is evaluated and kept; the network itself without one."""
    optimiser: torch.optim.Optimizer
    """Of the present stage."""
    hint: nn.Module | None = None
    """Projection of the features, where these are distilled."""
    stage: str = STAGES[0]
    """One of ``STAGES``."""
    epoch: int = 0
    """Epochs done in this stage."""
    step: int = 0
    """Steps done in this epoch."""
    updates: int = 0
    """Steps done in this stage."""
    running: dict[str, float] = field(default_factory=dict)
    """Sums over this epoch: ``loss``, ``correct``, ``images``."""
    elapsed_s: float = 0.0
    """Seconds trained so far."""
    kernels: Kernels | None = None
    """Kernels that the network goes through; ``None`` for torch's own way."""
    history: str = TORCH
    """Names of the kernels so far, in order, or ``TORCH``."""
    teacher: Teacher | None = None
    """Teacher in the form of this training; ``None`` without."""
    teacher_form: str = GIVEN
    """One of ``FORMS``."""


def make_optimiser(
    network: GraphNetwork, hint: nn.Module | None, recipe: TrainingRecipe
) -> torch.optim.Optimizer:
    """Return the optimiser of a stage.

    It has three groups: weights (decayed), norms and biases (not), quantisation steps (own rate).
    """
    steps = [
        module.step
        for module in network.modules()
        if isinstance(module, ActivationQuantiser | WeightQuantiser)
    ]
    chosen = {id(parameter) for parameter in steps}
    others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    decayed = [parameter for parameter in others if parameter.dim() > 1] + (
        [] if hint is None else list(hint.parameters())
    )
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay, "factor": 1.0},
        {
            "params": [parameter for parameter in others if parameter.dim() == 1],
            "weight_decay": 0.0,
            "factor": 1.0,
        },
    ]
    if steps:
        groups.append({"params": steps, "weight_decay": 0.0, "factor": recipe.step_learning_rate})
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0)
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)


@torch.no_grad()
def update_average(
    average: GraphNetwork, network: GraphNetwork, decay: float, updates: int
) -> None:
    """Move the average towards the network.

    Early on it moves faster, ``min(decay, (1 + n) / (10 + n))``, so that the start is forgotten.
    """
    if average is network:
        return
    share = 1.0 - min(decay, (1 + updates) / (10 + updates))
    for mine, theirs in zip(_values(average), _values(network), strict=True):
        if mine.dtype.is_floating_point:
            mine.lerp_(theirs, share)
        else:
            mine.copy_(theirs)


def _values(network: nn.Module) -> Iterable[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


def copy_network(network: GraphNetwork) -> GraphNetwork:
    """Return a copy of a network, with quantisers if it has them.

    It is on the same device and in the same memory layout.
    """
    copy = GraphNetwork(network.architecture)
    if is_quantised(network):
        insert_quantisers(copy)
    copy.load_state_dict(network.state_dict())
    return placed(copy, network.stem.weight.device)


def placed(network: GraphNetwork, device: torch.device | str) -> GraphNetwork:
    """Return a network after moving it to a device, in the fastest layout for convolutions."""
    network.to(device)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def save_checkpoint(
    path: Path, state: TrainingState, recipe: TrainingRecipe, fingerprint: str
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file.
        state: What to keep.
        recipe: What it is trained by.
        fingerprint: What else must be the same on resuming: data, seed, teacher.

    Raises:
        StorageError: The disk is full; the older checkpoint stays.
    """
    content = {
        "format": FORMAT,
        "architecture": dump_architecture(state.network.architecture),
        "recipe": dump_recipe(recipe),
        "fingerprint": fingerprint,
        "stage": state.stage,
        "network": state.network.state_dict(),
        "average": None if state.average is state.network else state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "hint": None if state.hint is None else state.hint.state_dict(),
        "epoch": state.epoch,
        "step": state.step,
        "updates": state.updates,
        "running": state.running,
        "elapsed_s": state.elapsed_s,
        "kernels": state.history,
        "teacher_form": state.teacher_form,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    write_atomically(path, data + hashlib.sha256(data).digest())


def read_checkpoint(
    path: Path, architecture: Architecture, recipe: TrainingRecipe, fingerprint: str
) -> dict[str, Any]:
    """Return what a checkpoint holds, if it belongs to this training.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, of another version, architecture, recipe, or other data.
    """
    content = read_content(path)
    if content["format"] != FORMAT:
        raise FileFormatError(
            path,
            f"is a checkpoint of another version ({content['format']!r}, this is '{FORMAT}'); "
            f"{_REMEDY}",
        )
    if content["architecture"] != dump_architecture(architecture):
        raise FileFormatError(
            path, f"is of another architecture than best.yaml; put the older one back, or {_REMEDY}"
        )
    if differences := _recipe_differences(content["recipe"], recipe):
        raise FileFormatError(
            path,
            f"was begun with {differences}; the schedule depends on it, so give the same again, or "
            f"{_REMEDY}",
        )
    if content["fingerprint"] != fingerprint:
        began, given = (text.split("; ") for text in (content["fingerprint"], fingerprint))
        before, now = (
            "; ".join(part for part in mine if part not in theirs)
            for mine, theirs in ((began, given), (given, began))
        )
        raise FileFormatError(
            path,
            f"was begun with other data, seed or teacher ({before}; now {now}); give the same "
            f"again, or {_REMEDY}",
        )
    return content


def read_content(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint after comparing it with its digest.

    PyTorch itself does not notice changed bytes.
    """
    stored = read_regular(path, LARGE_FILE, f"put it back, or {_REMEDY}")
    data, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if not data or hashlib.sha256(data).digest() != digest:
        raise FileFormatError(
            path, f"is not a whole checkpoint (cut off or damaged); put a copy back, or {_REMEDY}"
        )
    with parsing(path, FOREIGN):
        content: dict[str, Any] = torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=True
        )
        for key, first in (("kernels", TORCH), ("teacher_form", GIVEN)):
            content.setdefault(key, first)  # of a version without others
        if content.keys() != _KINDS.keys() or not all(
            isinstance(content[key], kind) for key, kind in _KINDS.items()
        ):
            raise ValueError("keys are missing or of other types")
        if not isinstance(yaml.safe_load(content["recipe"]), Mapping):
            raise ValueError("no recipe")
        if content["teacher_form"] not in FORMS:
            raise ValueError("an unknown form of the teacher")
    return content


def _recipe_differences(stored: str, recipe: TrainingRecipe) -> str:
    """Return the differences of the stored recipe, as ``"epochs 20 (now 30)"``.

    It is empty if they are equal but for the name.
    """
    before, now = (_flat(mapping) for mapping in (yaml.safe_load(stored), plain(recipe)))
    different = [key for key in now if key != "name" and before.get(key) != now[key]]
    return ", ".join(f"{key} {before.get(key)} (now {now[key]})" for key in different)


def _flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with the keys of inner ones behind theirs, as ``augmentation.padding``."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        flat |= (
            {f"{key}.{inner}": each for inner, each in _flat(value).items()}
            if isinstance(value, Mapping)
            else {key: value}
        )
    return flat
