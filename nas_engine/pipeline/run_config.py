"""RunConfig: config of a whole run, from a YAML file and options; ``run.yaml`` once resolved.

No torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas_engine import __version__
from nas_engine.datasets.digits import WORD as DIGITS
from nas_engine.errors import InputError
from nas_engine.evolution.config import DEFAULT_SPACE, SearchConfig, resolve_config
from nas_engine.evolution.one_network import is_network
from nas_engine.files import write_atomically
from nas_engine.names import Method
from nas_engine.pipeline.data import is_grey, looked_at, recipe_for
from nas_engine.pipeline.rungs import FEWEST_EPOCHS, SHARE, Rung, by_epochs, parsed
from nas_engine.records import plain
from nas_engine.runs.run_options import FORMAT, Options, check_options, merged
from nas_engine.sealed import seal_yaml
from nas_engine.strict_yaml import dump_mapping
from search_spaces import load_space

DIGITS_SEARCH = {"space": "mobilenet-32", "resolution": 16, "max_macs": 2e6}
"""Search defaults of a run on the digits, whose 8 x 8 pixels need no more (chosen here)."""

SMALL_SPACE = "mobilenet-32"
"""Space of runs on small images that are given none."""

DIGITS_MEMORY = {"sram": 24 * 1024, "flash": 64 * 1024}
"""Its budgets if neither a device nor a size is given, small enough to bind (chosen here)."""


OF_ONE_NETWORK = {"shortlist": {"count": 1}, "refine": {"method": Method.QBR}}
"""Defaults of a run whose space is an architecture file: nothing to try, and its bits stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Images to train on and to judge by."""

    source: str = DIGITS
    """Path, absolute once resolved, or ``digits``."""
    limit: int | None = None
    """Most images per split; ``None`` for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortlistSettings:
    """Settings of the shortlist: networks of the front that get a short training."""

    count: int = 3
    """Networks; 1 takes the best score without training (default chosen here; ``MOST`` of
    ``nas_engine.pipeline.rungs`` where minutes are given)."""
    epochs: int | None = None
    """Epochs of each on the last rung, of both stages; ``None`` for a quarter of the whole
    training, at least 2 (chosen here)."""
    minutes: float | None = None
    """Time for all of them, which the stage turns into ``rungs`` once; ``None`` for by epochs."""
    rungs: str | None = None
    """Networks x epochs of each rung, as ``nas_engine.pipeline.rungs.parsed`` reads it; ``None``
    for by the others."""

    def __post_init__(self) -> None:
        if self.rungs is not None:
            parsed(self.rungs)

    @property
    def alone(self) -> bool:
        """True if one network is taken without training."""
        return self.rungs is None and self.count == 1

    @property
    def planned(self) -> bool:
        """True if the rungs come from a measured time."""
        return self.minutes is not None and self.count > 1

    def plan(self, epochs: int) -> tuple[Rung, ...] | None:
        """Return the rungs; ``None`` while they are still to be measured.

        Args:
            epochs: Epochs of the whole training.
        """
        if self.rungs is not None:
            return parsed(self.rungs)
        if self.planned:
            return None
        last = max(FEWEST_EPOCHS, round(epochs * SHARE)) if self.epochs is None else self.epochs
        return by_epochs(self.count, last)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Settings of the training of the winner; ``None`` leaves a value to the recipe."""

    recipe: str | None = None
    """Name or path; ``None`` only until resolved: by the data."""
    epochs: int | None = None
    """Epochs of both stages."""
    float_share: float | None = None
    """Share of them in float, first."""
    batch_size: int | None = None
    """Images of one step."""
    learning_rate: float | None = None
    """Peak of the float stage; that of the other stage scales along."""
    teacher: str = "none"
    """``none``, ``auto`` or the path of a teacher's file."""
    min_accuracy: float | None = None
    """Accuracy of the integers on the test images, in percent, that the run must reach; judged at
    its end, no stage depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineSettings:
    """Settings of the refinement; the search's bits stay unless others are clearly better."""

    method: str = Method.GAUSS_NEWTON
    """Allocator, or ``all``; ``qbr`` keeps the bits of the search."""
    images: int = 512
    """Training images that measure, an even number; where they are too few, half of them, or none:
    the search's bits stay."""
    swaps: int = 5
    """Rounds of swaps on the real loss."""
    trials: int = 50
    """Trials of the entropy window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """Settings of the verification."""

    images: int = 200
    """Test images on this machine."""
    emulated_images: int = 20
    """Test images on emulated cores."""
    backends: tuple[str, ...] = ()
    """Back-ends by name, as ``nas-search verify --backend`` takes them; none for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Config of a whole run."""

    search: SearchConfig
    """Search, every value resolved."""
    data: DataSettings = field(default_factory=DataSettings)
    """Images."""
    shortlist: ShortlistSettings = field(default_factory=ShortlistSettings)
    """Networks that are tried."""
    train: TrainSettings = field(default_factory=TrainSettings)
    """Training of the winner."""
    refine: RefineSettings = field(default_factory=RefineSettings)
    """Choice of its bits."""
    verify: VerifySettings = field(default_factory=VerifySettings)
    """Verification of the export."""
    seed: int = 0
    """Seed of everything; the search's own unless it is given one."""

    def as_mapping(self) -> dict[str, Any]:
        """Return the plain values of ``run.yaml``; ``resolve_run_config`` reads them back equal."""
        parts = {name: plain(getattr(self, name)) for name in SECTIONS}
        return {
            "format": FORMAT,
            "version": __version__,
            "seed": self.seed,
            "search": plain(self.search.as_options()),
            **parts,
        }


SECTIONS: Mapping[str, type] = {
    "data": DataSettings,
    "shortlist": ShortlistSettings,
    "train": TrainSettings,
    "refine": RefineSettings,
    "verify": VerifySettings,
}
"""Sections of the file other than ``search``, and their records."""


def resolve_run_config(options: Options) -> RunConfig:
    """Return the config of what a user gave, everything else from device, space and data.

    Args:
        options: As in the file; see ``check_options``.

    Raises:
        InputError: An unknown key, device, space, method or recipe, or data that are not there.
    """
    checked = check_options(options)
    if is_network(checked.get("search", {}).get("space", "")):
        checked = merged(OF_ONE_NETWORK, checked)
    sections = {name: record(**checked.get(name, {})) for name, record in SECTIONS.items()}
    data = DataSettings(
        source=_place(sections["data"].source, (DIGITS,)), limit=sections["data"].limit
    )
    seed = checked.get("seed", 0)
    search = _resolve_search({"seed": seed, **checked.get("search", {})}, data, seed)
    train = sections["train"]
    recipe = train.recipe or recipe_for(data.source, search.resolution)
    verify = sections["verify"]
    sections |= {"verify": replace(verify, backends=tuple(verify.backends))}
    sections |= {
        "data": data,
        "train": replace(
            train, recipe=_path(recipe), teacher=_place(train.teacher, ("none", "auto"))
        ),
    }
    if train.float_share is not None and not 0 < train.float_share < 1:
        raise InputError(
            f"train.float_share is {train.float_share:g}; a run trains in float and then "
            "quantised; expected for example 0.5"
        )
    return RunConfig(search=search, seed=seed, **sections)


def _resolve_search(given: dict[str, Any], data: DataSettings, seed: int) -> SearchConfig:
    if data.source == DIGITS and not is_network(given.get("space", "")):
        memory = {} if given.keys() & {"device", *DIGITS_MEMORY} else DIGITS_MEMORY
        given = {**DIGITS_SEARCH, **memory, **given}
    if not is_network(given.get("space", "")):
        given = {**of_data(given, data, seed), **given}
    if "classes" not in given:
        given["classes"] = len(looked_at(data.source, limit=data.limit, seed=seed).classes)
    config = resolve_config(given)
    if not config.class_count:
        raise InputError(
            "search.classes is 0; a network without a classifier cannot be trained; leave it out "
            "to take that of the data"
        )
    return config


def of_data(given: Mapping[str, Any], data: DataSettings, seed: int) -> dict[str, Any]:
    """Return space, resolution and channels that suit the images of a run (chosen here).

    Images of one size up to the largest of ``SMALL_SPACE`` get that space and their own size;
    others get the default space at its default resolution, or at their own if that is less. Grey
    images are taken in one channel. The digits have defaults of their own.

    Args:
        given: Options of the search that were given; what is given decides what is not.
        data: The images.
        seed: That of their sample.
    """
    missing = {"space", "resolution", "channels"} - given.keys()
    if data.source == DIGITS or not missing:
        return {}
    sample = looked_at(data.source, limit=data.limit, seed=seed)
    small, found, side = load_space(SMALL_SPACE), dict[str, Any](), sample.side
    if "space" in missing and side is not None and side <= small.max_resolution:
        found["space"] = SMALL_SPACE
    name = found.get("space", given.get("space"))
    space = load_space(DEFAULT_SPACE if name is None else name)
    if "resolution" in missing and side is not None:
        most = space.resolution if side > small.max_resolution else side
        found["resolution"] = max(space.min_resolution, min(side, most, space.max_resolution))
    if "channels" in missing and "space" in missing and is_grey(sample):
        found["channels"] = 1
    return found


def write_run_config(path: Path, config: RunConfig) -> None:
    """Write ``run.yaml``.

    Raises:
        StorageError: The disk is full.
    """
    write_atomically(path, seal_yaml(dump_mapping(config.as_mapping())))


def _place(given: str, words: tuple[str, ...]) -> str:
    """Return one of the words, or the absolute path of something that exists.

    Raises:
        InputError: Nothing is there.
    """
    if given in words:
        return given
    if not os.path.exists(given):
        choices = " or ".join(f"'{word}'" for word in words)
        raise InputError(f"'{given}' does not exist; expected a path, or {choices}")
    return os.path.abspath(given)


def _path(recipe: str) -> str:
    return os.path.abspath(recipe) if recipe.endswith((".yaml", ".yml")) else recipe
