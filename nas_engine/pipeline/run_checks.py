"""Checks before a whole run begins, so that no mistake shows only after hours of training.

Needs torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_engine.datasets import Dataset
from nas_engine.datasets.summary import overview_lines
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.events import Finished, Note
from nas_engine.evolution.config import build_problem, check_config
from nas_engine.exporters.table import EXPORTERS
from nas_engine.names import Method
from nas_engine.pipeline.data import COUNTED_IMAGES, is_grey, looked_at
from nas_engine.pipeline.judging import images_to_measure, shortage
from nas_engine.pipeline.refine_request import check_request, methods_of
from nas_engine.pipeline.training import AUTO, NONE
from nas_engine.pipeline.work import Work
from nas_engine.training.loop import prepared
from nas_engine.training.teachers import check_teacher, load_teacher
from nas_engine.verification.table import back_ends

MOST_ENLARGED = 2
"""Side of the network's input over that of the images above which a note is given (chosen here)."""


def check_work(work: Work) -> None:
    """Refuse whatever any stage would refuse, and note what may surprise to ``work.watch``.

    Recipe, budgets, data, teacher, method, packages of the exports and names of back-ends are
    checked. Of the data a sample is read, once (``pipeline.data.looked_at``), and summed up.

    Raises:
        InputError: What is wrong, and what to do.
    """
    recipe, config = work.recipe, work.config
    if recipe.epochs < 2 or not recipe.float_epochs or not recipe.quantised_epochs:
        needed = (
            "a run trains in float and then quantised; give 2 epochs or more and a float_share "
            "above 0 and below 1"
        )
        raise InputError(f"recipe '{recipe.name}' has only one stage: {needed}")
    check_config(config.search)
    check_request(work.refine_request, methods_of(work.refine_request))
    if missing := [line for exporter in EXPORTERS.values() if (line := exporter.missing())]:
        raise InputError(missing[0])
    problem, device = build_problem(config.search)
    names = tuple(
        row.name for row in back_ends(device, config.verify.images, config.verify.emulated_images)
    )
    for name in config.verify.backends:
        if name not in names:
            raise UnknownNameError("back-end", name, names)
    channels, size = problem.space.input_channels, config.search.resolution
    if channels not in (1, 3):
        raise InputError(
            f"space '{config.search.space}' takes images of {channels} channels, which no data "
            "have; expected input_channels 1 (grey) or 3"
        )
    if config.train.teacher not in (AUTO, NONE):
        teacher = load_teacher(
            Path(config.train.teacher),
            class_count=config.search.class_count,
            code=work.teacher_code,
        )
        check_teacher(teacher, prepared(np.zeros((2, size, size, channels), np.uint8), size))
    sample = looked_at(config.data.source, limit=config.data.limit, seed=config.seed)
    _check_counts(work, sample)
    first, *further = overview_lines(sample, COUNTED_IMAGES)
    work.watch(Finished(text=first, table=tuple(further)))
    for remark in _remarks(work, sample, channels):
        work.watch(Note(text=remark))


def _check_counts(work: Work, sample: Dataset) -> None:
    """Refuse another number of classes, or a class without an image to set aside."""
    count, asked = len(sample.classes), work.config.search.class_count
    if count != asked:
        problem = f"{sample.source}: the data have {count} classes, {asked} are asked for"
        raise InputError(f"{problem}; give --classes {count}, or leave it out")
    counts = sample.train.class_counts(count).tolist()
    if not work.config.shortlist.alone and sample.validation is None and min(counts) < 2:
        lone = sample.classes[counts.index(min(counts))]
        wanted = (
            "the shortlist sets one of each class aside to judge by; add images, or give "
            "--shortlist 1"
        )
        raise InputError(
            f"{sample.source}: class '{lone}' has a single training image, and {wanted}"
        )


def _remarks(work: Work, sample: Dataset, channels: int) -> list[str]:
    """Return remarks on these data under these settings."""
    config, images, found = work.config, len(sample.train), list[str]()
    grey = is_grey(sample)
    if grey and channels == 3:
        found.append(
            f"the images are grey; space '{config.search.space}' takes them in 3 equal channels "
            "(--channels 1 takes one)"
        )
    if sample.side is not None and config.search.resolution > MOST_ENLARGED * sample.side:
        sizes = " and the network's input ".join(
            f"{side} x {side} pixels" for side in (sample.side, config.search.resolution)
        )
        found.append(
            f"the images are {sizes}: enlarging shows nothing new and costs SRAM and time; "
            "--resolution asks for less"
        )
    if not grey and channels == 1:
        found.append(f"the images have colours; space '{config.search.space}' takes them in grey")
    if set(methods_of(work.refine_request)) != {Method.QBR} and (
        images < COUNTED_IMAGES or config.refine.images < COUNTED_IMAGES // 2
    ):
        few = shortage(config.refine.images, images, len(sample.classes))
        kept = few and images_to_measure(config.refine.images, images, len(sample.classes)) is None
        found += [f"{few}; the bits of the search will be kept" if kept else few] if few else []
    return found
