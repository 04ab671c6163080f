"""Work: one whole run, as its stages receive it. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nas_engine.events import SILENT, Sink
from nas_engine.kernels.functions import Kernels
from nas_engine.names import ALL, Method
from nas_engine.pipeline.refine_request import RefineRequest
from nas_engine.pipeline.run_config import RunConfig
from nas_engine.pipeline.rungs import Rung
from nas_engine.pipeline.training import AUTO, NONE, TrainingRequest
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.training.recipe import TrainingRecipe, load_recipe
from nas_engine.training.remedies import OF_A_RUN

Figures = Mapping[str, Any]
"""Figures of a stage, as plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One whole run: config, folder, machine and progress."""

    config: RunConfig
    """Config of the run."""
    recipe: TrainingRecipe
    """Recipe of the winner in both stages, every setting applied."""
    directory: PipelineDirectory
    """Folder of the run."""
    workers: int = 1
    """Processes of the search."""
    accelerator: str = "cpu"
    """A torch device."""
    kernels: Kernels | None = None
    """Kernels that trainings go through; ``None`` for torch's own way."""
    teacher_code: bool = False
    """True if a teacher's file may be a program; given with each call, stored nowhere."""
    watch: Sink = SILENT
    """Sink of progress and notes, and the answer whether to stop."""

    @property
    def float_recipe(self) -> TrainingRecipe:
        """Recipe of the float stage alone."""
        return replace(self.recipe, epochs=self.recipe.float_epochs, float_share=1.0)

    @property
    def quantised_recipe(self) -> TrainingRecipe:
        """Recipe of the quantised stage alone."""
        return replace(self.recipe, epochs=self.recipe.quantised_epochs, float_share=0.0)

    @property
    def rungs(self) -> tuple[Rung, ...] | None:
        """Rungs of the shortlist; ``None`` while they are still to be measured."""
        return self.config.shortlist.plan(self.recipe.epochs)

    def rung_recipe(self, rung: Rung, *, last: bool) -> TrainingRecipe:
        """Return the recipe of a rung: both stages on the last one, float alone before."""
        recipe = replace(self.recipe, epochs=rung.epochs)
        return recipe if last else replace(recipe, float_share=1.0)

    @property
    def teacher(self) -> str:
        """Teacher of the quantised stage: the one of the float stage again."""
        given = self.config.train.teacher
        return str(self.directory.network.training.teacher.network) if given == AUTO else given

    @property
    def refine_request(self) -> RefineRequest:
        """Request of the refinement: the given method and ``qbr``, the network's own bits."""
        settings, data = self.config.refine, self.config.data
        return RefineRequest(
            method=settings.method
            if settings.method == ALL
            else ",".join(dict.fromkeys((Method.QBR, settings.method))),
            data=data.source,
            images=settings.images,
            swaps=settings.swaps,
            trials=settings.trials,
            limit=data.limit,
            seed=self.config.seed,
            remedies=OF_A_RUN,
        )

    def request(
        self, recipe: TrainingRecipe, *, teacher: str = NONE, holdout: float = 0.0
    ) -> TrainingRequest:
        """Return the request of a training on the data of this run."""
        data, seed = self.config.data, self.config.seed
        return TrainingRequest(
            data=data.source,
            recipe=recipe,
            teacher=teacher,
            teacher_code=self.teacher_code,
            seed=seed,
            device=self.accelerator,
            kernels=self.kernels,
            limit=data.limit,
            holdout=holdout,
            remedies=OF_A_RUN,
        )


def recipe_of(config: RunConfig) -> TrainingRecipe:
    """Return the recipe of a run with every setting applied.

    Raises:
        InputError: An unknown recipe, a damaged file, or a value out of its range.
    """
    settings = config.train
    assert settings.recipe is not None
    recipe = load_recipe(settings.recipe)
    changes = {
        name: getattr(settings, name)
        for name in ("epochs", "float_share", "batch_size", "learning_rate")
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if "batch_size" in given:
        given["fewest_steps"] = 0
    if "learning_rate" in given:
        given["quantised_learning_rate"] = (
            recipe.quantised_learning_rate * given["learning_rate"] / recipe.learning_rate
        )
    return replace(recipe, **given)
