"""What can be checked before a whole run begins: a mistake should not show after hours of training. Needs torch."""

from __future__ import annotations

from pathlib import Path

from nas_engine.errors import InputError, UnknownNameError
from nas_engine.exporters.table import EXPORTERS
from nas_engine.pipeline.refine_request import check_request, methods_of
from nas_engine.pipeline.search_config import build_problem, check_config
from nas_engine.pipeline.training import AUTO, NONE
from nas_engine.pipeline.work import Work
from nas_engine.training.teachers import load_teacher
from nas_engine.verification.table import back_ends


def check_work(work: Work) -> None:
    """Check all that does not need the data: recipe, budgets, teacher, method, packages of the exports, names of back-ends.

    Raises:
        InputError: What is wrong, and what to do.
    """
    recipe, config = work.recipe, work.config
    if recipe.epochs < 2 or not recipe.float_epochs or not recipe.quantised_epochs:
        needed = "a run trains in float and then quantised; give 2 epochs or more and a float_share above 0 and below 1"
        raise InputError(f"recipe '{recipe.name}' has only one stage: {needed}")
    check_config(config.search)
    check_request(work.refine_request, methods_of(work.refine_request))
    if config.train.teacher not in (AUTO, NONE):
        load_teacher(Path(config.train.teacher), classes=config.search.classes, code=work.teacher_code)
    if missing := [line for exporter in EXPORTERS.values() if (line := exporter.missing())]:
        raise InputError(missing[0])
    device = build_problem(config.search)[1]
    names = tuple(row.name for row in back_ends(device, config.verify.images, config.verify.emulated_images))
    for name in config.verify.backends:
        if name not in names:
            raise UnknownNameError("back-end", name, names)
