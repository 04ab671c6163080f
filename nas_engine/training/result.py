"""TrainingResult: figures of a training, kept in ``training/result.json``. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_engine.errors import GoalMissedError
from nas_engine.escaping import command_line
from nas_engine.files import write_atomically
from nas_engine.records import Count, Percent, check, plain, read_sealed, sealed
from nas_engine.training.by_class import ByClass

FORMAT = "nas-search/training-result/1"
"""First key of the file."""

CHANCE_ERRORS = 2.0
"""Standard errors above the share of the largest class up to which an accuracy is barely above
chance (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Top-1 accuracy of the three forms of one network on one split, in percent."""

    split: str
    """``"test"``, ``"validation"`` or ``"train"``."""
    images: Count
    """Images in it."""
    floating: Percent | None
    """Of the network as the float stage left it; ``None`` if there was none."""
    quantised: Percent | None
    """Of the fake-quantised network: float arithmetic on rounded values; ``None`` if training ended
    in float."""
    integer: Percent | None
    """Of the integer model, which is what runs on the device."""
    agreement: Percent | None
    """Share of images, in percent, for which the integer model predicts what the fake-quantised
    network does."""
    by_class: ByClass | None = None
    """The same by class; ``None`` in records that do not have it."""

    def __post_init__(self) -> None:
        check(self)
        if self.by_class is not None:
            self.by_class.check_images(self.images)

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

    def in_short(self) -> dict[str, Any]:
        """Return the fields by name, of the classes only the largest one's name and share."""
        largest = (
            {}
            if self.by_class is None
            else {"largest": self.by_class.largest, "share": self.by_class.share}
        )
        return plain(self) | {"by_class": largest or None}


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
    kernels: str | None = None
    """Names of the kernels that it went through, in order, or ``torch`` for torch's own way;
    ``None`` in records that do not have it."""
    teacher_form: str | None = None
    """Form in which the teacher answered; ``None`` without a teacher and in records that do not
    have it."""


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
    write_atomically(path, sealed(FORMAT, result, made_of))


def read_result(path: Path) -> TrainingResult:
    """Return a result; whether it is of the files beside it, ``nas_engine.runs.chain`` says.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, changed by hand, or of another version.
    """
    remedy = f"train again: {command_line('nas-search', 'train', path.parents[1], '--force')}"
    return read_sealed(TrainingResult, path, FORMAT, remedy)
