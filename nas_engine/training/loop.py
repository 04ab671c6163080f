"""Training loop: float, then quantised, from any state to the end.

A training that is killed and resumed equals an uninterrupted one, bit for bit.

Which images, crops and mixtures a step sees depends on (seed, stage, epoch, step) alone.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nas_engine.architecture import Architecture
from nas_engine.datasets import Dataset, Split
from nas_engine.datasets.records import Pixels
from nas_engine.errors import NasEngineError
from nas_engine.kernels.functions import Kernels
from nas_engine.models.graph_network import GraphNetwork, scale_images
from nas_engine.quantization.prepare import bound_steps, calibrate, insert_quantisers
from nas_engine.reading import is_out_of_memory, parsing
from nas_engine.training.augmentation import centre_crop, mixup
from nas_engine.training.distillation import FeatureHint, hard_loss, soft_loss
from nas_engine.training.networks import save_network
from nas_engine.training.recipe import TrainingRecipe
from nas_engine.training.remedies import OF_COMMANDS, Remedies
from nas_engine.training.schedule import learning_rate
from nas_engine.training.start import copy_backbone
from nas_engine.training.state import (
    FOREIGN,
    STAGES,
    TORCH,
    TrainingState,
    copy_network,
    gone_on,
    make_optimiser,
    name_of,
    placed,
    read_checkpoint,
    save_checkpoint,
    update_average,
)
from nas_engine.training.teacher_forms import GIVEN, fastest_form, in_form
from nas_engine.training.teachers import Teacher

CALIBRATION_IMAGES = 512
"""Training images that set the first quantisation steps; fewer of more than 64 x 64 pixels, as many
pixels in all (chosen here)."""

EVALUATION_BATCH = 256
"""Images of one batch at evaluation."""


class TrainingError(NasEngineError):
    """A training that cannot go on.

    Attributes:
        place: Stage, epoch and step.
        problem: What happened and what to do.
    """

    def __init__(self, place: str, problem: str) -> None:
        self.place = place
        self.problem = problem
        super().__init__(place, problem)

    def __str__(self) -> str:
        return f"training stopped at {self.place}: {self.problem}"


class DivergedError(TrainingError):
    """A training whose loss or weights are not finite: begun alike, it ends alike."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingTask:
    """Constants of the training of a network."""

    architecture: Architecture
    """Architecture of the network to train."""
    recipe: TrainingRecipe
    """How."""
    dataset: Dataset
    """On what; the training split may be larger than the network's resolution."""
    teacher: Teacher | None = None
    """Teacher for distillation; ``None`` without."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    device: str = "cpu"
    """A torch device."""
    fingerprint: str = ""
    """Text that names data, seed, teacher and start in the checkpoint."""
    start: GraphNetwork | None = None
    """Float network of this architecture whose weights the quantised stage begins with; the recipe
    has no float stage then."""
    backbone: GraphNetwork | None = None
    """Float network whose weights but those of the classifier the float stage begins with; ``None``
    for random ones."""
    remedies: Remedies = OF_COMMANDS
    """Advice in the messages of errors."""
    kernels: Kernels | None = None
    """Kernels of a training that begins; ``None`` for torch's own way."""

    def epochs(self, stage: str) -> int:
        """Return the epochs of a stage."""
        return self.recipe.float_epochs if stage == STAGES[0] else self.recipe.quantised_epochs

    @property
    def steps(self) -> int:
        """Steps of one epoch.

        A last batch with fewer than two images is dropped (batch norm needs two).
        """
        images, batch = len(self.dataset.train), self.recipe.batch_size
        return images // batch + (images % batch > 1)

    @property
    def held_out(self) -> Split:
        """The split that is evaluated after each epoch: validation if there is one, else test.

        Nothing is selected by it.
        """
        return self.dataset.validation or self.dataset.test


def random_of(*key: int) -> np.random.Generator:
    """Return the generator of a (seed, stage, epoch, step)."""
    return np.random.default_rng(np.random.SeedSequence(key))


def first_state(task: TrainingTask) -> TrainingState:
    """Return the state before the first step: random weights, or those that the task gives."""
    torch.manual_seed(task.seed)
    network = GraphNetwork(task.architecture) if task.start is None else copy_network(task.start)
    if task.backbone is not None:
        copy_backbone(task.backbone, network)
    return begin_stage(
        task,
        placed(network, task.device),
        STAGES[0] if task.recipe.float_epochs else STAGES[1],
        kernels=task.kernels,
        history=name_of(task.kernels),
        teacher_form=fastest_form(task.teacher, task.device),
    )


def begin_stage(
    task: TrainingTask, network: GraphNetwork, stage: str, **kept: Unpack[_Kept]
) -> TrainingState:
    """Return the state before the first step of a stage.

    Quantisers are inserted and calibrated for the second stage.

    Args:
        task: What stays the same.
        network: Float network to begin with; it is used up.
        stage: One of ``STAGES``.
        kept: What the state takes over.
    """
    if stage == STAGES[1]:
        insert_quantisers(network)
        count = min(
            CALIBRATION_IMAGES,
            max(CALIBRATION_IMAGES * 64**2 // task.architecture.resolution**2, 2),
        )
        chosen = random_of(task.seed, len(STAGES)).permutation(len(task.dataset.train))[:count]
        images = task.dataset.train.images[np.sort(chosen)]
        calibrate(
            network,
            prepared(images, task.architecture.resolution, task.device),
            task.recipe.step_init,
        )
    return assembled(task, network, stage, **kept)


class _Kept(TypedDict, total=False):
    elapsed_s: float
    kernels: Kernels | None
    history: str
    teacher_form: str


def assembled(
    task: TrainingTask, network: GraphNetwork, stage: str, **kept: Unpack[_Kept]
) -> TrainingState:
    """Return the state of a stage with a network as it is, which has its quantisers already."""
    hint = None
    if (
        task.teacher is not None
        and task.recipe.distillation.features
        and task.teacher.feature_channels
    ):
        torch.manual_seed(task.seed + 1)
        hint = FeatureHint(task.architecture.feature_channels, task.teacher.feature_channels).to(
            task.device
        )
    average = copy_network(network) if task.recipe.ema_decay else network
    network.kernels = kept.get("kernels")
    return TrainingState(
        network=network,
        average=average,
        optimiser=make_optimiser(network, hint, task.recipe),
        hint=hint,
        stage=stage,
        teacher=in_form(task.teacher, kept.get("teacher_form", GIVEN)),
        **kept,
    )


def resumed_state(task: TrainingTask, path: Path) -> TrainingState:
    """Return the state of a checkpoint.

    What began torch's own way goes on so, to the bit; other kernels than those of the checkpoint
    are noted in the state's history. The teacher has the form that it began with.

    Raises:
        FileFormatError: A checkpoint that is damaged or belongs to another training.
    """
    content = read_checkpoint(path, task.architecture, task.recipe, task.fingerprint)
    network = GraphNetwork(task.architecture)
    if content["stage"] == STAGES[1]:
        insert_quantisers(network)
    kernels = None if content["kernels"] == TORCH else task.kernels
    state = assembled(
        task,
        placed(network, task.device),
        content["stage"],
        elapsed_s=content["elapsed_s"],
        kernels=kernels,
        history=gone_on(content["kernels"], kernels),
        teacher_form=content["teacher_form"],
    )
    with parsing(path, FOREIGN):
        state.network.load_state_dict(content["network"])
        if state.average is not state.network:
            state.average.load_state_dict(content["average"])
        if state.hint is not None:
            state.hint.load_state_dict(content["hint"])
        state.optimiser.load_state_dict(content["optimiser"])
    state.epoch, state.step, state.updates = content["epoch"], content["step"], content["updates"]
    state.running = dict(content["running"])
    return state


def prepared(images: Pixels, resolution: int, device: str | torch.device = "cpu") -> Tensor:
    """Return byte images as network input at evaluation: the centre, scaled.

    From ``(n, H, W, c)`` to ``(n, c, h, w)``.
    """
    return scale_images(centre_crop(torch.from_numpy(np.array(images)), resolution).to(device))


@torch.no_grad()
def predict(network: GraphNetwork, images: Pixels) -> npt.NDArray[np.float32]:
    """Return the logits of byte images, ``(n, H, W, c)`` to ``(n, classes)``.

    The network stays in the mode it was in.
    """
    size, device, training = (
        network.architecture.resolution,
        network.stem.weight.device,
        network.training,
    )
    network.eval()
    parts = [
        network(prepared(images[i : i + EVALUATION_BATCH], size, device)).cpu()
        for i in range(0, len(images), EVALUATION_BATCH)
    ]
    network.train(training)
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def accuracy(network: GraphNetwork, split: Split) -> float:
    """Return the top-1 accuracy in percent."""
    return float(100.0 * np.mean(predict(network, split.images).argmax(1) == split.labels))


def train(
    task: TrainingTask,
    state: TrainingState,
    *,
    checkpoint: Path | None = None,
    checkpoint_every_s: float = 60.0,
    finished_float: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[TrainingState], None] = lambda state: None,
    record: Callable[[dict[str, Any]], None] = lambda row: None,
) -> TrainingState:
    """Train from a state until the end, or until ``stop`` says so, and return the state then.

    Args:
        task: What stays the same.
        state: Where to begin; it is used up.
        checkpoint: File that is written after every epoch, after ``checkpoint_every_s`` seconds
            within one, and on stopping.
        checkpoint_every_s: Seconds between checkpoints within an epoch.
        finished_float: File for the network at the end of the float stage.
        stop: Asked after every step.
        watch: Called after every step.
        record: Called after every epoch with its figures, before the checkpoint is written.

    Raises:
        DivergedError: Loss or weights are not finite; the last checkpoint stays.
        TrainingError: Out of memory, likewise.
        StorageError: The disk is full, likewise.
    """
    last_saved = last = time.monotonic()

    def save() -> None:
        nonlocal last_saved
        last_saved = time.monotonic()
        if checkpoint is not None:
            save_checkpoint(checkpoint, state, task.recipe, task.fingerprint)

    while not is_done(task, state):
        if state.epoch == task.epochs(state.stage):
            if finished_float is not None:
                save_network(finished_float, state.average)
            with _memory_errors(task, state):
                state = begin_stage(
                    task,
                    copy_network(state.average),
                    STAGES[1],
                    elapsed_s=state.elapsed_s,
                    kernels=state.kernels,
                    history=state.history,
                    teacher_form=state.teacher_form,
                )
        for images, labels, rng in batches(task, state):
            with _memory_errors(task, state):
                take_step(task, state, images, labels, rng)
            now = time.monotonic()
            state.elapsed_s, last = state.elapsed_s + now - last, now
            watch(state)
            if stop() and state.step < task.steps:
                save()
                return state
            if now - last_saved > checkpoint_every_s and state.step < task.steps:
                save()
        with _memory_errors(task, state):
            row = _end_epoch(task, state)
        state.elapsed_s, last = state.elapsed_s + time.monotonic() - last, time.monotonic()
        record(row | {"elapsed_s": round(state.elapsed_s, 3)})
        save()
        if stop():
            return state
    if finished_float is not None and state.stage == STAGES[0]:
        save_network(finished_float, state.average)
    return state


@contextlib.contextmanager
def _memory_errors(task: TrainingTask, state: TrainingState) -> Iterator[None]:
    """Turn what torch raises when memory runs out into one clear error."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        problem = (
            f"out of memory with batches of {task.recipe.batch_size}; close other programs and "
            f"{task.remedies.go_on}"
        )
        raise TrainingError(
            _place(task, state), f"{problem}, or {task.remedies.smaller_batch}"
        ) from error


def _place(task: TrainingTask, state: TrainingState) -> str:
    return f"{state.stage} epoch {state.epoch + 1}, step {min(state.step + 1, task.steps)}"


def _diverged(task: TrainingTask, state: TrainingState, what: str) -> DivergedError:
    another = "" if task.teacher is None else " or another teacher"
    return DivergedError(
        _place(task, state),
        f"{what}; the last checkpoint is kept; {task.remedies.lower_rate}{another}",
    )


def is_done(task: TrainingTask, state: TrainingState) -> bool:
    """Return whether both stages are over."""
    last = STAGES[1] if task.recipe.quantised_epochs else STAGES[0]
    return state.stage == last and state.epoch == task.epochs(last)


def batches(
    task: TrainingTask, state: TrainingState
) -> Iterator[tuple[Tensor, Tensor, np.random.Generator]]:
    """Yield the batch of each step left in this epoch.

    It is images ``(n, h, w, c)``, labels ``(n,)`` and the generator of the step.
    """
    train, size = task.dataset.train, task.recipe.batch_size
    key = (task.seed, STAGES.index(state.stage), state.epoch)
    order = random_of(*key).permutation(len(train))
    for step in range(state.step, task.steps):
        chosen = order[step * size : (step + 1) * size]
        rng = random_of(*key, step)
        images = torch.from_numpy(train.images[chosen])
        yield (
            task.recipe.augmentation.batch(images, rng, task.architecture.resolution),
            torch.from_numpy(train.labels[chosen]),
            rng,
        )


def take_step(
    task: TrainingTask,
    state: TrainingState,
    images: Tensor,
    labels: Tensor,
    rng: np.random.Generator,
) -> None:
    """Take one optimiser step, in place.

    Args:
        task: What stays the same.
        state: Moves on by a step.
        images: Bytes, ``(n, h, w, c)``, cropped.
        labels: ``(n,)``.
        rng: Generator of the step.

    Raises:
        DivergedError: The loss is not finite.
    """
    recipe, network = task.recipe, state.network
    total = task.steps * task.epochs(state.stage)
    peak = recipe.learning_rate if state.stage == STAGES[0] else recipe.quantised_learning_rate
    rate = learning_rate(state.updates, total, round(recipe.warmup_epochs * task.steps), peak)
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    network.train()
    if state.stage == STAGES[1] and state.updates >= total * (1.0 - recipe.freeze_norm_share):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    x, labels = scale_images(images.to(task.device)), labels.to(task.device)
    permutation, share = None, 1.0
    if recipe.mixup:
        x, permutation, share = mixup(x, rng, recipe.mixup)
    half = state.stage == STAGES[0] and task.device.startswith(
        "cuda"
    )  # slower than float32 on CPUs; quantised levels need more bits
    with torch.autocast("cuda", torch.bfloat16, enabled=half):
        loss, logits = _loss(task, state, x, labels, permutation, share)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise _diverged(task, state, f"the loss is {value}")
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if recipe.gradient_clip:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
    state.optimiser.step()
    bound_steps(network)
    state.step, state.updates = state.step + 1, state.updates + 1
    update_average(state.average, network, recipe.ema_decay, state.updates)
    if (
        state.average is not network
    ):  # the mean of bounded steps need not be within the bounds of the mean weights
        bound_steps(state.average)
    new = {
        "loss": value * len(labels),
        "correct": float((logits.argmax(1) == labels).sum()),
        "images": float(len(labels)),
    }
    state.running = {key: state.running.get(key, 0.0) + value for key, value in new.items()}


def _loss(
    task: TrainingTask,
    state: TrainingState,
    x: Tensor,
    labels: Tensor,
    permutation: Tensor | None,
    share: float,
) -> tuple[Tensor, Tensor]:
    distillation = task.recipe.distillation
    features = state.network.features(x)
    logits = state.network.classify(features)
    loss = hard_loss(logits, labels, task.recipe.label_smoothing, permutation, share)
    if state.teacher is not None:
        their_logits, their_features = state.teacher.outputs(x)
        loss = (1.0 - distillation.weight) * loss + distillation.weight * soft_loss(
            logits, their_logits, distillation.temperature
        )
        if state.hint is not None and their_features is not None:
            loss = loss + distillation.features * state.hint(features, their_features)
    return loss, logits.detach()


def _end_epoch(task: TrainingTask, state: TrainingState) -> dict[str, Any]:
    """Evaluate, move the state to the next epoch, and return the figures of this one."""
    if not all(tensor.isfinite().all() for tensor in state.network.state_dict().values()):
        raise _diverged(task, state, "the weights are not finite")
    images = state.running["images"]
    row = {
        "stage": state.stage,
        "epoch": state.epoch + 1,
        "updates": state.updates,
        "learning_rate": state.optimiser.param_groups[0]["lr"],
        "loss": state.running["loss"] / images,
        "train_accuracy": 100.0 * state.running["correct"] / images,
        "accuracy": accuracy(state.average, task.held_out),
    }
    state.epoch, state.step, state.running = state.epoch + 1, 0, {}
    return row
