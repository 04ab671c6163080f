"""TrainingResult: what a training came to, as ``training/result.json`` keeps it. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nas_engine.errors import GoalMissedError, InputError
from nas_engine.escaping import command_line
from nas_engine.files import write_atomically
from nas_engine.sealed import read_sealed_json, seal_json
from nas_engine.strict_yaml import Fields
from nas_engine.training.by_class import ByClass, read_by_class

FORMAT = "nas-search/training-result/1"
"""First key of the file."""

FORMS = ("floating", "quantised", "integer", "agreement")
"""The percentages of an ``Accuracy``."""

CHANCE_ERRORS = 2.0
"""Standard errors above the share of the largest class up to which an accuracy is barely above
chance; ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Top-1 accuracy of the three forms of one network on one split, in percent."""

    split: str
    """``"test"``, ``"validation"`` or ``"train"``."""
    images: int
    """Images in it."""
    floating: float | None
    """Of the network as the float stage left it; ``None`` if there was none."""
    quantised: float | None
    """Of the fake-quantised network: float arithmetic on rounded values; ``None`` if training ended
    in float."""
    integer: float | None
    """Of the integer model, which is what runs on the device."""
    agreement: float | None
    """Share of images, in percent, for which the integer model predicts what the fake-quantised
    network does."""
    by_class: ByClass | None = None
    """The same by class; ``None`` in records that do not have it."""

    def __post_init__(self) -> None:
        for name in FORMS:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 <= value <= 100):
                raise InputError(f"{name} is {value!r}; expected a percentage")

    @property
    def judged(self) -> float | None:
        """The form that counts: the integers, else the float network."""
        return self.floating if self.integer is None else self.integer

    @property
    def beats_chance(self) -> bool | None:
        """True if the accuracy is significantly above that of a majority classifier.

        It has to be more than ``CHANCE_ERRORS`` standard errors above the accuracy of always naming
        the largest class; ``None`` where that is unknown.
        """
        if self.judged is None or self.by_class is None:
            return None
        return self.judged > self.by_class.share + CHANCE_ERRORS * math.sqrt(
            self.judged * (100.0 - self.judged) / self.images
        )

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"by_class": None if self.by_class is None else self.by_class.as_mapping()}

    def in_short(self) -> dict[str, Any]:
        """Return the fields by name, of the classes only the largest one's name and share."""
        largest = (
            {}
            if self.by_class is None
            else {"largest": self.by_class.largest, "share": self.by_class.share}
        )
        return self.as_mapping() | {"by_class": largest or None}


def chance_remark(accuracy: Accuracy) -> str | None:
    """Return the remark that an accuracy is barely above chance, as part of a sentence.

    ``None`` if it is not, or if that is not known.
    """
    found = accuracy.by_class
    if found is None or accuracy.judged is None or accuracy.beats_chance is not False:
        return None
    return (
        f"barely above chance: {accuracy.judged:.2f} % is not more than {CHANCE_ERRORS:g} standard "
        f"errors above {found.share:.2f} %, "
        f"which naming '{found.largest}' always would reach"
    )


def check_goal(integer: float | None, images: int, split: str, asked: float) -> None:
    """Compare the accuracy of the integers with the one that was asked for.

    Args:
        integer: In percent; ``None`` without an integer model.
        images: Images that it is of.
        split: Which part of the data they are.
        asked: In percent.

    Raises:
        GoalMissedError: It is less; the message says by how much.
    """
    if integer is None:
        raise GoalMissedError(
            "there are no integers to judge", f"at least {asked:g} % was asked for"
        )
    if (gap := asked - integer) > 0:
        missed = f"{gap:.2f}" if gap >= 0.01 else "less than 0.01"
        what = f"the integers reach {integer:.2f} % of {images:,} {split} images"
        raise GoalMissedError(
            what, f"at least {asked:g} % was asked for (--min-accuracy); missed by {missed} points"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A finished training."""

    data: str
    """Where the data came from: a path, or ``digits``."""
    dataset: str
    """Name of the data."""
    recipe: str
    """Name of the recipe."""
    teacher: str
    """Teacher the network was trained with; ``none`` without."""
    seed: int
    """Seed of weights, order and augmentation."""
    float_epochs: int
    """Epochs in float."""
    quantised_epochs: int
    """Epochs quantised."""
    elapsed_s: float
    """Seconds of training."""
    versions: Mapping[str, str]
    """Versions of nas-search, torch and NumPy."""
    accuracy: Accuracy
    """How well it does."""


def write_result(
    path: Path, result: TrainingResult, made_of: Mapping[str, str] | None = None
) -> None:
    """Write a result as JSON that carries its own digest.

    Args:
        path: The file.
        result: What to write.
        made_of: Digests of what it is of, by name.

    Raises:
        StorageError: The disk is full.
    """
    values = {f.name: getattr(result, f.name) for f in fields(result)}
    values |= {"versions": dict(result.versions), "accuracy": result.accuracy.as_mapping()}
    values |= {} if made_of is None else {"made_of": dict(made_of)}
    write_atomically(path, seal_json({"format": FORMAT, **values}))


def read_result(path: Path) -> TrainingResult:
    """Return a result; whether it is of the files beside it, ``nas_engine.runs.chain`` says.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, changed by hand, or of another version.
    """
    remedy = f"train again: {command_line('nas-search', 'train', path.parents[1], '--force')}"
    data, _ = read_sealed_json(path, remedy)
    top = Fields(data, path).only("format", *(f.name for f in fields(TrainingResult)), "made_of")
    if (found := top.take("format", None)) != FORMAT:
        raise top.error("format", f"is {found!r}; expected '{FORMAT}'; {remedy}")
    part = top.take_fields("accuracy").only(*(f.name for f in fields(Accuracy)))
    with part.located():
        accuracy = Accuracy(
            split=part.take_str("split"),
            images=part.take_int("images", low=1),
            **{
                name: part.take_number(name, high=100.0) if part.has(name) else None
                for name in FORMS
            },
            by_class=read_by_class(part.take_fields("by_class"), part.take_int("images"))
            if part.has("by_class")
            else None,
        )
    versions = top.take("versions")
    if not isinstance(versions, dict):
        raise top.error("versions", "is no mapping of names to versions")
    return TrainingResult(
        **{name: top.take_str(name) for name in ("data", "dataset", "recipe", "teacher")},
        **{name: top.take_int(name) for name in ("seed", "float_epochs", "quantised_epochs")},
        elapsed_s=top.take_number("elapsed_s"),
        versions={name: str(version) for name, version in versions.items()},
        accuracy=accuracy,
    )
