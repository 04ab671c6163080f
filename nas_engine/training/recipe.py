"""TrainingRecipe: everything that decides how a network is trained, read strictly from YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from nas_engine.errors import UnknownNameError
from nas_engine.quantization.prepare import STEP_RULES
from nas_engine.ranges import BATCH, EPOCHS, RATE, Range
from nas_engine.records import Share, check, plain, read
from nas_engine.strict_yaml import Fields, dump_mapping, parse_mapping, read_checked
from nas_engine.training.augmentation import Augmentation

SHIPPED = Path(__file__).parent / "recipes"
"""Where the shipped recipes lie."""

OPTIMISERS = ("sgd", "adamw")
"""Values of ``optimiser``: SGD with Nesterov momentum 0.9, or AdamW."""

SMALLEST_BATCH = 32
"""Least number of images of a halved batch (chosen here)."""

_Weight = Annotated[float, Range(0, 100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """How much a student listens to its teacher."""

    weight: Share = 0.7
    """Share of the soft loss in ``(1 - weight) * hard + weight * soft``."""
    temperature: Annotated[float, Range(0.1, 100)] = 4.0
    """Temperature of the soft labels (Hinton et al. 2015)."""
    features: Annotated[float, Range(0, 1000)] = 0.0
    """Weight of the loss between pooled features; 0 leaves it out."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """Two stages, float and then quantised, each with warm-up and cosine decay.

    The numbers of the shipped recipes were found here, on the data they are named after; a
    published recipe is cited in its file.

    Raises:
        InputError: A value out of its range.
    """

    name: str
    """Name of the recipe."""
    epochs: Annotated[int, EPOCHS]
    """Epochs of both stages together."""
    float_share: Share = 0.9
    """Share of the epochs trained in float first; 0 trains quantised from the start, 1 never
    quantises. Nearly all belong to the float stage: from its end a short quantised one at a low
    rate loses least at equal time (``benchmarks.studies.recipe``)."""
    batch_size: Annotated[int, BATCH] = 128
    """Images of one step."""
    fewest_steps: Annotated[int, Range(0, 10**6)] = 0
    """Least number of steps of an epoch: where images are too few, batches are halved, down to
    ``SMALLEST_BATCH``."""
    optimiser: str = "sgd"
    """One of ``OPTIMISERS``."""
    learning_rate: Annotated[float, RATE] = 0.1
    """Peak of the float stage."""
    quantised_learning_rate: _Weight = 0.01
    """Peak of the quantised stage."""
    step_learning_rate: _Weight = 0.1
    """Learning rate of quantisation steps as a share of the weights'."""
    weight_decay: Share = 5e-4
    """On convolution and dense weights only."""
    warmup_epochs: Annotated[float, Range(0, 1000)] = 1.0
    """Epochs from zero to the peak, at most a fifth of a stage."""
    label_smoothing: Share = 0.0
    """Probability spread over the other classes in the hard loss."""
    mixup: _Weight = 0.0
    """Alpha of mixup's Beta distribution; 0 leaves it out."""
    gradient_clip: _Weight = 0.0
    """Largest norm of the gradient; 0 leaves it out."""
    ema_decay: Share = 0.0
    """Decay of the averaged copy that is evaluated and kept; 0 keeps the weights themselves."""
    freeze_norm_share: Share = 1.0
    """Last share of the quantised stage in which batch norms keep their statistics, so that
    training sees what is folded; 1 from the start, which needs a low rate."""
    step_init: str = "least-error"
    """One of ``STEP_RULES``."""
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(kind="crop"))
    """Augmentation of the training images."""
    distillation: Distillation = field(default_factory=Distillation)
    """Used if there is a teacher."""

    def __post_init__(self) -> None:
        check(self)
        for name, options in (("optimiser", OPTIMISERS), ("step_init", STEP_RULES)):
            if getattr(self, name) not in options:
                raise UnknownNameError(f"value for {name}", str(getattr(self, name)), options)

    def for_images(self, images: int) -> TrainingRecipe:
        """Return the recipe with batches that give so many images enough steps."""
        batch = self.batch_size
        while batch >= 2 * SMALLEST_BATCH and images < batch * self.fewest_steps:
            batch //= 2
        return replace(self, batch_size=batch)

    @property
    def float_epochs(self) -> int:
        """Epochs of the float stage.

        Each stage that has a share gets at least one, the quantised stage first.
        """
        epochs = round(self.epochs * self.float_share)
        return min(max(epochs, 1), self.epochs - 1) if 0 < self.float_share < 1 else epochs

    @property
    def quantised_epochs(self) -> int:
        """Epochs of the quantised stage."""
        return self.epochs - self.float_epochs


def recipe_names() -> tuple[str, ...]:
    """Return the names of the shipped recipes."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def load_recipe(name: str) -> TrainingRecipe:
    """Return a shipped recipe by name, or the one in a YAML file.

    Raises:
        UnknownNameError: Neither a shipped recipe nor an existing file.
        FileFormatError: A damaged file, an unknown key or a value out of range.
    """
    path = Path(name)
    if name in recipe_names():
        path = SHIPPED / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml") and not os.path.exists(
        path
    ):  # unlike Path.exists, False for a name that cannot be
        raise UnknownNameError("recipe", name, recipe_names())
    return read_checked(
        path, None, lambda text: recipe_from_mapping(parse_mapping(text, path), path, path.stem)
    )


def dump_recipe(recipe: TrainingRecipe) -> str:
    """Return the YAML text of a recipe."""
    return dump_mapping(plain(recipe))


def recipe_from_mapping(
    mapping: Mapping[str, Any], path: object, name: str = "recipe"
) -> TrainingRecipe:
    """Return the recipe that a mapping describes.

    Keys that are missing have the defaults, except ``epochs``.

    Raises:
        FileFormatError: An unknown key, a wrong type, a value out of range.
    """
    part = Fields({"name": name, **mapping}, path)
    return read(TrainingRecipe, part, "title", "source", defaults=True)
