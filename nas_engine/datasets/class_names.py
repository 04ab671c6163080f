"""Matching of the classes of data with those of a network.

Classes are matched by name, or by number where one of the two has no names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.records import Dataset, Judged, Split, listed

Data = TypeVar("Data", Dataset, Judged)

_SHOWN = 3


def composed(name: str) -> str:
    """Return a name with its accents composed (Unicode NFC): what is compared, sorted and kept."""
    return unicodedata.normalize("NFC", name)


def check_classes(dataset: Dataset | Judged, class_count: int) -> None:
    """Refuse data whose classes are not as many as the network's outputs.

    Raises:
        DatasetError: Both numbers, and what to type instead.
    """
    count = len(dataset.classes)
    if count != class_count:
        raise DatasetError(
            dataset.source,
            f"the data has {count} classes, the network {class_count}; search again with --classes "
            f"{count} or give other data",
        )


def matched_classes(data: Data, known: Sequence[str]) -> Data:
    """Return data with the class names of a trained network, in its order, and matching labels.

    Names are matched with their accents composed. Where either side has only the numbers 0, 1, ...
    for names (IDX files, arrays without ``classes``), labels are matched by number, with a note.

    Raises:
        DatasetError: Other names than the network's: which are missing, which are extra.
    """
    given, wanted = [composed(name) for name in data.classes], [composed(name) for name in known]
    if set(given) == set(wanted) and len(given) == len(wanted):
        return _relabelled(data, [wanted.index(name) for name in given], known, ())
    if len(given) == len(wanted) and (_are_numbers(given) or _are_numbers(wanted)):
        places = [int(name) for name in given] if _are_numbers(given) else list(range(len(given)))
        pairs = sorted(zip(places, given, strict=True))
        shown = ", ".join(f"'{name}' is '{wanted[place]}'" for place, name in pairs[:_SHOWN])
        more = ", ..." if len(pairs) > _SHOWN else ""
        side = "the data have" if _are_numbers(given) else "the network has"
        note = (
            f"{side} numbers in place of class names, so classes are matched by number: "
            f"{shown}{more}"
        )
        return _relabelled(data, places, known, (note,))
    if len(given) != len(wanted):
        remedy = f"search again with --classes {len(given)} or give other data"
        problem = f"the data has {len(given)} classes, the network {len(wanted)}; {remedy}"
    else:
        problem = (
            "the data has other classes than those that the network was trained on; give data with "
            "the same names, or train a new run"
        )
    for word, names in (("missing", set(wanted) - set(given)), ("extra", set(given) - set(wanted))):
        problem += f"; {word} {listed(sorted(names))}" if names else ""
    raise DatasetError(data.source, problem)


def _are_numbers(names: Sequence[str]) -> bool:
    return set(names) == {str(number) for number in range(len(names))}


def _relabelled(
    data: Data, places: Sequence[int], known: Sequence[str], notes: tuple[str, ...]
) -> Data:
    classes = tuple(composed(name) for name in known)
    table = np.array(places, np.int64)

    def moved(split: Split) -> Split:
        return Split(images=split.images, labels=table[split.labels])

    if isinstance(data, Judged):
        return replace(
            data, classes=classes, images=moved(data.images), notes=(*data.notes, *notes)
        )
    validation = None if data.validation is None else moved(data.validation)
    return replace(
        data,
        classes=classes,
        train=moved(data.train),
        test=moved(data.test),
        validation=validation,
        notes=(*data.notes, *notes),
    )
