"""Training of a run's winner: data, teacher, both stages, lowering to integers, result.

Needs torch.

A run with ``start.pt`` (float weights of its network, as ``nas-search refine`` leaves them) has the
quantised stage alone.
"""

from __future__ import annotations

import os
import shutil
import zlib
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nas_engine import __version__
from nas_engine.architecture import Architecture, dump_architecture
from nas_engine.datasets import Dataset, Split
from nas_engine.datasets.digits import WORD as DIGITS
from nas_engine.datasets.holdout import held_out
from nas_engine.datasets.records import judged_split
from nas_engine.datasets.summary import summary_lines
from nas_engine.errors import InputError, NasEngineError, PathError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.events import SILENT, Finished, Note, Sink, Started
from nas_engine.files import storage_errors, write_atomically
from nas_engine.integer.lowering import lower
from nas_engine.integer.store import save as save_integer
from nas_engine.kernels.functions import Kernels
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.models.widen import widen
from nas_engine.network.graph import NetworkError
from nas_engine.pipeline.course import Course, few_steps
from nas_engine.pipeline.data import (
    read_data,
    recipe_for,
    trained_classes,
    write_classes,
)
from nas_engine.pipeline.evaluation import measure
from nas_engine.quantization.extract import extract
from nas_engine.reading import LARGE_FILE, regular_digest
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory, TrainingDirectory
from nas_engine.sealed import seal_yaml
from nas_engine.training.loop import (
    TrainingTask,
    first_state,
    is_done,
    prepared,
    resumed_state,
    train,
)
from nas_engine.training.networks import load_network, save_network
from nas_engine.training.pace import measured_pace
from nas_engine.training.recipe import TrainingRecipe, dump_recipe
from nas_engine.training.remedies import OF_COMMANDS, Remedies
from nas_engine.training.result import TrainingResult, write_result
from nas_engine.training.start import load_backbone, load_start
from nas_engine.training.state import STAGES, TORCH, TrainingState, name_of, read_checkpoint
from nas_engine.training.teachers import Teacher, check_teacher, load_teacher, teacher_from

GOLDEN_IMAGES = 8
"""Test images stored with the integer model (chosen here)."""

AUTO, NONE = "auto", "none"
"""Words for a teacher of its own, and for none."""


class LoweringError(NasEngineError):
    """Error about a trained network of which no integer model can be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """Settings of a training."""

    data: str
    """Path, or ``digits``."""
    recipe: TrainingRecipe
    """Recipe of the training."""
    teacher: str = NONE
    """``none``, ``auto`` (a float network of twice the channels, trained first) or the path of a
    teacher's file."""
    teacher_code: bool = False
    """True if that file may be a program (TorchScript), which then runs here."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    device: str = "cpu"
    """Torch device."""
    init_from: str | None = None
    """Trained run whose float weights but those of the classifier to begin with; ``None`` for
    random ones."""
    limit: int | None = None
    """Most images per split."""
    holdout: float = 0.0
    """Share of the training images that is set aside and takes the place of the test images, for a
    choice between networks; 0 for none."""
    remedies: Remedies = OF_COMMANDS
    """Advice in its error messages."""
    kernels: Kernels | None = None
    """Kernels that it goes through; ``None`` for torch's own way."""


def run_training(
    path: Path,
    request: TrainingRequest,
    *,
    resume: bool = False,
    force: bool = False,
    name: str = "network",
    watch: Sink = SILENT,
) -> TrainingResult | None:
    """Train the winner of a run (or continue), lower it to integers, and return the result.

    Where the run has float weights to start from, the float stage is left out: only the recipe's
    quantised epochs are trained.

    Args:
        path: The run directory.
        request: What to do.
        resume: Continue the training that is there, or start one.
        force: Replace the training that is there.
        name: Name of the network in the progress; its teacher is called ``teacher``.
        watch: Sink of progress after every step; where it says ``stop``, the state is saved and
            ``None`` returned. It is told the data once all has been checked, before anything is
            written.

    Raises:
        InputError: Data, teacher, weights, checkpoint or directory that do not fit; nothing has
            been changed then.
        DivergedError: Loss or weights are not finite; the last checkpoint stays.
        TrainingError: Out of memory, likewise.
        StorageError: The disk is full, likewise.
        LoweringError: The trained network cannot be lowered to integers.
    """
    directory = RunDirectory(path)
    architecture = trained_architecture(directory)
    folder = directory.training
    with directory.locked():
        if folder.path.exists() and not (resume or force):
            raise RunDirectoryError(
                folder.path,
                "holds a training already; add --resume to continue it or --force to replace it",
            )
        if resume and folder.result.exists():
            chain.require(directory, chain.RESULT)
        start = load_start(directory.start, architecture) if directory.start.exists() else None
        recipe = (
            request.recipe if start is None else _quantised_alone(request.recipe, directory.start)
        )
        backbone = _given_backbone(request, directory, architecture)
        teacher = _load_given_teacher(request, architecture)
        watch(Started(text=f"reading {request.data} ..."))
        known = (
            trained_classes(directory)
            if start is not None or (resume and folder.path.exists())
            else None
        )
        dataset = _dataset(request, architecture, known)
        if teacher is not None:
            _check_teacher(teacher, dataset, request.device)
        recipe = recipe.for_images(len(dataset.train))
        task = TrainingTask(
            architecture=architecture,
            recipe=recipe,
            dataset=dataset,
            teacher=teacher,
            seed=request.seed,
            device=request.device,
            fingerprint=_fingerprint(request, dataset, None if start is None else directory.start),
            start=start,
            backbone=backbone,
            remedies=request.remedies,
            kernels=request.kernels,
        )
        wide = replace(
            task,
            architecture=widen(architecture),
            recipe=replace(request.recipe, float_share=1.0).for_images(len(dataset.train)),
            teacher=None,
            start=None,
            backbone=None,
        )
        if resume:  # both looked at now, because a teacher may be trained for hours first
            _check_checkpoint(folder, task)
            _check_checkpoint(folder.teacher, wide)
        first, *further = summary_lines(dataset)
        watch(Finished(text=first, table=tuple(further)))
        if not (request.holdout or resume) and (told := few_steps(task)):
            watch(Note(text=told))
        _tidy(directory, resume=resume)
        if request.teacher == AUTO:
            teacher = _train_teacher(wide, folder.teacher, watch)
            if teacher is None:
                return None
            task = replace(task, teacher=teacher)
        state = _train(task, folder, name, watch)
        if not is_done(task, state):
            return None
        save_network(folder.network, state.average)
        judged = "held-out" if request.holdout else "test"
        watch(Started(text=f"evaluating on {len(dataset.test):,} {judged} images ..."))
        return _conclude(directory, task, request, state)


def measured_epoch(architecture: Architecture, request: TrainingRequest) -> tuple[float, int]:
    """Return the seconds of an epoch in float on this machine, and the steps of an epoch.

    Args:
        architecture: The network.
        request: How it would be trained.

    Raises:
        InputError: Data that do not fit.
        DivergedError: A loss is not finite.
    """
    dataset = _dataset(request, architecture)
    task = TrainingTask(
        architecture=architecture,
        recipe=replace(request.recipe, float_share=1.0).for_images(len(dataset.train)),
        dataset=dataset,
        device=request.device,
        kernels=request.kernels,
    )
    return measured_pace(task).epoch_s(task, STAGES[0]), task.steps


def _dataset(
    request: TrainingRequest, architecture: Architecture, known: tuple[str, ...] | None = None
) -> Dataset:
    """Return the data of a training, with the images that are set aside as test images."""
    dataset = read_data(
        request.data,
        architecture,
        known=known,
        limit=request.limit,
        seed=request.seed,
        for_training=True,
    )
    if not request.holdout:
        return dataset
    return _at_test_size(held_out(dataset, request.holdout, request.seed), architecture.resolution)


def _at_test_size(dataset: Dataset, resolution: int) -> Dataset:
    """Return data with test images cropped to their centres, as evaluation sees them."""
    start = (dataset.test.images.shape[1] - resolution) // 2
    inner = slice(start, start + resolution)
    return replace(
        dataset, test=Split(images=dataset.test.images[:, inner, inner], labels=dataset.test.labels)
    )


def _given_backbone(
    request: TrainingRequest, directory: RunDirectory, architecture: Architecture
) -> GraphNetwork | None:
    """Return the network that the float stage begins with; ``None`` for random weights.

    Raises:
        InputError: There is none, it does not fit, or there is no float stage.
    """
    if request.init_from is None:
        return None
    if directory.start.exists() or not request.recipe.float_epochs:
        why = (
            f"{directory.start} holds float weights already"
            if directory.start.exists()
            else f"recipe '{request.recipe.name}' has no float stage"
        )
        raise InputError(f"--init-from: {why}; leave it out")
    return load_backbone(_float_weights(request.init_from), architecture)


def _float_weights(run: str) -> Path:
    """Return the file of a run's float weights.

    Raises:
        PathError: There is none.
    """
    path = RunDirectory(Path(run)).training.float_network
    if not os.path.exists(path):
        train = command_line("nas-search", "train", run)
        raise PathError(run, f"has no float weights (training/float.pt); train it first: {train}")
    return path


def _load_given_teacher(request: TrainingRequest, architecture: Architecture) -> Teacher | None:
    if request.teacher in (AUTO, NONE):
        return None
    if not os.path.exists(request.teacher):
        raise PathError(
            request.teacher, f"does not exist; give the file of a teacher, '{AUTO}' or '{NONE}'"
        )
    assert architecture.classifier is not None
    return load_teacher(
        Path(request.teacher),
        class_count=architecture.classifier.class_count,
        code=request.teacher_code,
    ).to(request.device)


def _quantised_alone(recipe: TrainingRecipe, start: Path) -> TrainingRecipe:
    """Return a recipe without its float stage.

    Raises:
        InputError: Nothing is left.
    """
    if not recipe.quantised_epochs:
        problem = (
            f"recipe '{recipe.name}' trains in float only, but {start} holds float weights already"
        )
        raise InputError(f"{problem}; give a float_share below 1")
    return replace(recipe, epochs=recipe.quantised_epochs, float_share=0.0)


def _check_teacher(teacher: Teacher, dataset: Dataset, device: str) -> None:
    check_teacher(teacher, prepared(dataset.test.images[:2], dataset.test.images.shape[1], device))


def _check_checkpoint(folder: TrainingDirectory, task: TrainingTask) -> None:
    if folder.checkpoint.exists():
        read_checkpoint(folder.checkpoint, task.architecture, task.recipe, task.fingerprint)


def _tidy(directory: RunDirectory, *, resume: bool) -> None:
    """Remove an earlier training with its integer model, unless it goes on."""
    folder = directory.training
    if resume:
        return
    with storage_errors(
        folder.path
    ):  # first what would be gone on with if this were killed half-way
        for path in (folder.result, folder.checkpoint, folder.teacher.checkpoint):
            path.unlink(missing_ok=True)
    directory.remove_exports()
    with storage_errors(directory.integer):
        if directory.integer.exists():
            shutil.rmtree(directory.integer)
    folder.remove()


def trained_architecture(directory: RunDirectory) -> Architecture:
    """Return the winner of a run.

    Raises:
        RunDirectoryError: Not a run, several runs, or no winner yet.
        InputError: The winner has no classifier.
    """
    directory.check_single()
    architecture = directory.read_best()
    if architecture.classifier is None:
        raise InputError(
            f"{directory.path}: the network has no classifier, so it cannot be trained; search "
            "again with --classes N"
        )
    return architecture


def _fingerprint(request: TrainingRequest, dataset: Dataset, start: Path | None) -> str:
    """Return a text that identifies seed, teacher, data and start, in parts joined by ``; ``."""
    teacher = request.teacher
    if teacher not in (AUTO, NONE):
        teacher = regular_digest(teacher, LARGE_FILE)
    parts = [
        f"{name}: {len(split):,} images, crc {_crc(split):08x}" for name, split in dataset.splits()
    ]
    starts = [] if start is None else [f"start {regular_digest(start, LARGE_FILE)}"]
    if request.init_from is not None:
        starts.append(f"init from {regular_digest(_float_weights(request.init_from), LARGE_FILE)}")
    return "; ".join([f"seed {request.seed}", f"teacher {teacher}", *parts, *starts])


def _crc(split: Split) -> int:
    return zlib.crc32(split.labels.tobytes(), zlib.crc32(np.ascontiguousarray(split.images).data))


def _train_teacher(task: TrainingTask, folder: TrainingDirectory, watch: Sink) -> Teacher | None:
    """Return the trained network of a task as a teacher; ``None`` if it was stopped first."""
    state = _train(task, folder, "teacher", watch)
    if not is_done(task, state):
        return None
    save_network(folder.network, state.average)
    teacher = teacher_from(
        load_network(folder.network), "a float network of twice the channels"
    ).to(task.device)
    _check_teacher(teacher, task.dataset, task.device)
    return teacher


def _train(task: TrainingTask, folder: TrainingDirectory, name: str, watch: Sink) -> TrainingState:
    """Train from the checkpoint of a folder, or from the start, keeping its files."""
    if folder.checkpoint.exists():
        state = resumed_state(task, folder.checkpoint)
        if (told := _about_kernels(task, state)) and not is_done(task, state):
            watch(Note(text=told))
    else:
        state = first_state(task)
        write_atomically(folder.recipe, seal_yaml(dump_recipe(task.recipe)))
    if not folder.classes.exists():
        write_classes(folder.classes, task.dataset.classes)
    course = Course(name, task, folder.metrics, state, watch)
    if not is_done(task, state):
        course.expect(state)
    return train(
        task,
        state,
        checkpoint=folder.checkpoint,
        finished_float=folder.float_network,
        stop=watch.stop,
        watch=course.step,
        record=course.record,
    )


def _about_kernels(task: TrainingTask, state: TrainingState) -> str | None:
    """Return what to know of the kernels of a training that goes on; ``None`` if nothing."""
    if state.history == TORCH and task.kernels is not None:
        return "the training goes on torch's own way, as it began"
    if state.history.endswith(name_of(task.kernels)) and state.history != name_of(task.kernels):
        how = "its last bits may differ from those of a training that was never moved"
        return f"the training goes on by other kernels than it began with ({state.history}); {how}"
    return None


def _conclude(
    directory: RunDirectory, task: TrainingTask, request: TrainingRequest, state: TrainingState
) -> TrainingResult:
    """Lower the trained network, evaluate its forms and write the result."""
    folder = directory.training
    name = (
        task.dataset.name if task.dataset.name.strip() else repr(task.dataset.name)
    )  # a folder may be called " "
    quantised = model = None
    if task.recipe.quantised_epochs:
        quantised = load_network(folder.network)
        provenance = {"architecture": dump_architecture(task.architecture), "data": name}
        try:
            model = lower(extract(quantised, task.dataset.classes), provenance)
        except NetworkError as error:
            raise LoweringError(
                f"{folder.network}: trained, but no integer model can be made of it ({error}); "
                f"if the loss grew, {task.remedies.lower_rate}"
            ) from error
        save_integer(directory.integer, model, task.dataset.test.images[:GOLDEN_IMAGES])
    floating = load_network(folder.float_network) if task.recipe.float_epochs else task.start
    result = TrainingResult(
        data=DIGITS if request.data == DIGITS else str(Path(request.data).resolve()),
        dataset=name,
        recipe=task.recipe.name,
        teacher=task.teacher.description if task.teacher else NONE,
        seed=task.seed,
        float_epochs=task.recipe.float_epochs,
        quantised_epochs=task.recipe.quantised_epochs,
        elapsed_s=state.elapsed_s,
        versions={"nas-search": __version__, "torch": version("torch"), "numpy": version("numpy")},
        accuracy=measure(judged_split(task.dataset, "test"), floating, quantised, model),
        kernels=state.history,
        teacher_form=None if state.teacher is None else state.teacher_form,
    )
    data = chain.images_digest(
        *(array for _, split in task.dataset.splits() for array in (split.images, split.labels))
    )
    write_result(folder.result, result, chain.made_of(directory, chain.RESULT) | {chain.DATA: data})
    return result


def default_recipe(data: str, path: Path) -> str:
    """Return the name of the shipped recipe for data and a run."""
    return recipe_for(data, trained_architecture(RunDirectory(path)).resolution)
