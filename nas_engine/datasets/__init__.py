"""Labelled images from the formats people have: CIFAR archives, IDX files, image folders, ``.npz``, scikit-learn's digits. No torch."""

from nas_engine.datasets.errors import DatasetError, MissingPackageError
from nas_engine.datasets.formats import FORMATS, Format, format_name, open_dataset
from nas_engine.datasets.records import Dataset, SkippedFile, Split, check_classes
from nas_engine.datasets.summary import summary_lines

__all__ = [
    "FORMATS",
    "Dataset",
    "DatasetError",
    "Format",
    "MissingPackageError",
    "SkippedFile",
    "Split",
    "check_classes",
    "format_name",
    "open_dataset",
    "summary_lines",
]
