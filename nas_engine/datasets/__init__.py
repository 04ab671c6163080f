"""Labelled images from common formats. No torch.

The formats are CIFAR archives, IDX files, image folders, ``.npz`` and scikit-learn's digits.
"""

from nas_engine.datasets.class_names import check_classes, matched_classes
from nas_engine.datasets.errors import DatasetError, MissingPackageError
from nas_engine.datasets.formats import (
    FORMATS,
    Format,
    format_name,
    open_dataset,
    open_judged,
    place_of,
)
from nas_engine.datasets.records import Dataset, Judged, SkippedFile, Split
from nas_engine.datasets.summary import summary_lines

__all__ = [
    "FORMATS",
    "Dataset",
    "DatasetError",
    "Format",
    "Judged",
    "MissingPackageError",
    "SkippedFile",
    "Split",
    "check_classes",
    "format_name",
    "matched_classes",
    "open_dataset",
    "open_judged",
    "place_of",
    "summary_lines",
]
