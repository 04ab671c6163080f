"""Training, evaluation and refinement of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_engine.api.options import (
    Run,
    Size,
    Stop,
    Watch,
    path_of,
    require_torch,
    sink_of,
)

if TYPE_CHECKING:
    from nas_engine.architecture import Architecture
    from nas_engine.pipeline.refine import Refinement
    from nas_engine.training.recipe import TrainingRecipe
    from nas_engine.training.result import Accuracy, TrainingResult


def train(
    run: Run | Architecture,
    *,
    data: str | os.PathLike[str] = "digits",
    out: str | os.PathLike[str] | None = None,
    device: str | os.PathLike[str] | None = None,
    sram: Size | None = None,
    flash: Size | None = None,
    recipe: TrainingRecipe | str | None = None,
    teacher: str | os.PathLike[str] = "none",
    teacher_code: bool = False,
    init_from: Run | None = None,
    seed: int = 0,
    accelerator: str = "auto",
    kernels: str = "auto",
    threads: int | None = None,
    limit: int | None = None,
    resume: bool = False,
    force: bool = False,
    stop: Stop | None = None,
    watch: Watch | None = None,
    **changes: Any,
) -> TrainingResult:
    """Train the winner of a run, quantise it to its own bits and lower it to integers.

    Return the result of the training. Needs torch.

    A refined run starts from the float weights of its origin: it trains quantised alone, ``epochs``
    long.

    Args:
        run: The run; or an architecture, which becomes the run ``out``.
        data: A path (CIFAR archive, IDX, ``.npz``, image folder), or ``digits``.
        out: Run directory of an architecture; its file is written beside it, as ``OUT.yaml``.
        device: Device of an architecture.
        sram: SRAM of that device; all it has if not given.
        flash: Flash likewise.
        recipe: How to train: a name, a file or a recipe; by the data if not given.
        teacher: A file, ``auto`` (a wider network, trained first) or ``none``.
        teacher_code: Whether that file may be a program (TorchScript); it runs here with your
            rights, and need not end.
        init_from: A trained run of the same network but for its classes, whose float weights the
            training begins with; random ones if not given.
        seed: Seed of weights, order and augmentation.
        accelerator: ``auto`` (CUDA if there), ``cpu`` or ``cuda``.
        kernels: ``auto`` (in C where the CPU trains and a compiler is there) or ``torch``.
        threads: CPU threads; torch's own choice if not given. Results differ in the last bits
            between numbers of threads.
        limit: Most images per split.
        resume: Continue the training that is there, or start one.
        force: Replace the training that is there.
        stop: Asked after every step.
        watch: Told the data, and the figures of every epoch.
        changes: What differs from the recipe.

    Raises:
        InputError: An unknown option, or data, teacher or directory that do not fit; nothing has
            been changed then.
        StoppedError: ``stop`` said so; call again with ``resume=True``.
        NasEngineError: The loss is not finite, or the disk is full; the last checkpoint stays.

    Example:
        >>> import nas_engine as ne
        >>> result = ne.train("runs/digits", data="digits", epochs=2, limit=100, threads=1)
        >>> result.accuracy.images, result.float_epochs, result.quantised_epochs
        (100, 1, 1)
    """
    from nas_engine.options import OF_RECIPES, arguments, rows_of

    every = rows_of("train")
    changes = arguments("train", changes, {name: every[name] for name in OF_RECIPES})
    require_torch("training")
    from nas_engine.architecture import Architecture
    from nas_engine.errors import InputError, StoppedError
    from nas_engine.pipeline.training import TrainingRequest, run_training
    from nas_engine.training.compute import prepare_compute, prepare_kernels

    if isinstance(run, Architecture):
        run = _run_of(run, out, {"device": device, "sram": sram, "flash": flash}, resume, force)
    elif given := [
        name
        for name, value in (("out", out), ("device", device), ("sram", sram), ("flash", flash))
        if value is not None
    ]:
        raise InputError(f"{given[0]} is for an architecture, and {path_of(run)} is a run")
    path, source, sink = path_of(run), os.fspath(data), sink_of(watch, stop)
    place = prepare_compute(accelerator, threads)
    request = TrainingRequest(
        data=source,
        recipe=chosen_recipe(path, source, recipe, changes),
        teacher=os.fspath(teacher),
        teacher_code=teacher_code,
        seed=seed,
        device=place,
        init_from=None if init_from is None else str(path_of(init_from)),
        limit=limit,
        kernels=prepare_kernels(kernels, place, sink),
    )

    result = run_training(path, request, resume=resume, force=force, watch=sink)
    if result is None:
        raise StoppedError(str(path), "call train() again with resume=True")
    return result


def _run_of(
    network: Architecture,
    out: str | os.PathLike[str] | None,
    budgets: Mapping[str, Any],
    resume: bool,
    force: bool,
) -> Path:
    """Return the run directory of an architecture, written unless it is resumed."""
    from nas_engine.architecture import dump_architecture
    from nas_engine.errors import InputError
    from nas_engine.files import write_atomically
    from nas_engine.options import arguments, rows_in
    from nas_engine.pipeline import resolve_config, run_search
    from nas_engine.runs.run_directory import RunDirectory

    if out is None:
        raise InputError('an architecture needs a folder for its run; give out="runs/NAME"')
    path = Path(out)
    if resume and RunDirectory(path).started():
        return path
    if RunDirectory(path).started() and not force:
        raise InputError(f"{path} holds a run already; give another out, or force=True")
    given = {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in budgets.items()}
    file = path.with_name(f"{path.name}.yaml")
    write_atomically(file, dump_architecture(network))
    fields = arguments("train", {**given, "space": str(file)}, rows_in("search"))
    run_search(resolve_config(fields), path, force=force)
    return path


def chosen_recipe(
    path: Path, data: str, recipe: TrainingRecipe | str | None, changes: Mapping[str, Any]
) -> TrainingRecipe:
    """Return a recipe with changes applied; the one that fits the data if none is given.

    Needs torch.

    Args:
        path: The run directory; one with float weights to start from has no float stage.
        data: A path, or ``digits``.
        recipe: A recipe, or the name or file of one.
        changes: Fields of a recipe; ``None`` counts as not given. A changed learning rate scales
            that of the quantised stage along.

    Raises:
        InputError: An unknown recipe, or a value out of its range.
    """
    from dataclasses import replace

    from nas_engine.errors import InputError
    from nas_engine.pipeline.training import default_recipe
    from nas_engine.runs.run_directory import RunDirectory
    from nas_engine.training.recipe import TrainingRecipe, load_recipe

    if not isinstance(recipe, TrainingRecipe):
        recipe = load_recipe(default_recipe(data, path) if recipe is None else recipe)
    given = {key: value for key, value in changes.items() if value is not None}
    start = RunDirectory(path).start
    if os.path.exists(start):  # unlike Path.exists, False for a name that cannot be
        if "float_share" in given:
            raise InputError(
                f"--float-share: {start} holds float weights already, so there is no float stage; "
                "leave it out"
            )
        if "epochs" in given:
            given["float_share"] = 0.0
    if "batch_size" in given:
        given["fewest_steps"] = 0
    if "learning_rate" in given:
        given["quantised_learning_rate"] = (
            recipe.quantised_learning_rate * given["learning_rate"] / recipe.learning_rate
        )
    return replace(recipe, **given)


def evaluate(
    run: Run,
    *,
    data: str | os.PathLike[str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    threads: int | None = None,
    watch: Watch | None = None,
) -> Accuracy:
    """Return the accuracy of a trained run in percent: in float, fake-quantised, and in integers.

    Needs torch.

    Args:
        run: The run.
        data: A path, or ``digits``; what it was trained on if not given.
        split: ``test``, ``validation`` or ``train``; if not given, ``test``, or all images of a
            folder without splits that is not the one that the run was trained on.
        limit: Most images.
        threads: CPU threads; torch's own choice if not given.
        watch: Told what takes a while.

    Raises:
        InputError: The run has not been trained to the end, or data that do not fit.

    Example:
        >>> import nas_engine as ne
        >>> evaluated = ne.evaluate("runs/digits", limit=100, threads=1)
        >>> evaluated.integer == ne.load("runs/digits").training.accuracy.integer
        True
    """
    require_torch("evaluation")
    from nas_engine.pipeline.evaluation import evaluate_run
    from nas_engine.training.compute import prepare_compute

    prepare_compute("cpu", threads)
    source = None if data is None else os.fspath(data)
    return evaluate_run(path_of(run), source, split=split, limit=limit, watch=sink_of(watch))[1]


def refine(
    run: Run,
    *,
    method: str = "gauss-newton",
    data: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    force: bool = False,
    stop: Stop | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Refinement:
    """Choose the bits of a trained run anew within the same budgets.

    Write a run directory for each method. Needs torch.

    Args:
        run: The run.
        method: One of the allocators or ``FILE.py:NAME`` of your own, several with commas between,
            or ``all``.
        data: Whose training images are used; what the run was trained on if not given.
        threads: CPU threads; torch's own choice if not given.
        force: Take a run that is not trained, and replace refined runs that are.
        stop: Asked often.
        watch: Told what is measured, and notes.
        options: As ``nas-search refine`` has them; ``solver_time`` in seconds, or a text such as
            ``"20s"``.

    Returns:
        The result; ``chosen`` is the run directory to be given to ``train``: the smallest
        loss, unless the search's own bits (method ``qbr``) are as good within the noise.

    Raises:
        InputError: An unknown option, a run or data that cannot be used, or budgets that no bits
            fit.
        StoppedError: ``stop`` said so; the same call goes on.
        NasEngineError: A loss that is not finite, or the disk is full; what was measured is kept.

    Example:
        >>> import nas_engine as ne
        >>> refined = ne.refine("runs/digits", method="uniform", images=64, swaps=0, threads=1)
        >>> refined.chosen.path.as_posix(), refined.reports[0].method
        ('runs/digits/refine/uniform', 'uniform')
    """
    from nas_engine.options import OF_REFINEMENTS, arguments, rows_of

    every = rows_of("refine")
    given = arguments("refine", options, {name: every[name] for name in OF_REFINEMENTS})
    require_torch("refinement")
    from nas_engine.errors import StoppedError
    from nas_engine.pipeline.refine import run_refinement
    from nas_engine.pipeline.refine_request import request_of
    from nas_engine.training.compute import prepare_compute

    place = None if data is None else os.fspath(data)
    request = request_of({"method": method, "data": place, **given})
    prepare_compute("cpu", threads)
    path = path_of(run)
    result = run_refinement(path, request, force=force, watch=sink_of(watch, stop))
    if result is None:
        raise StoppedError(str(path), "call refine() again in the same way")
    return result
