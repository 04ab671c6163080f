"""Errors of the loaders."""

from __future__ import annotations

from nas_engine.errors import InputError, PathError


class DatasetError(PathError):
    """Data whose files can be read but that cannot be learnt from as they are.

    For example, a class is missing, or labels do not fit.
    """


class MissingPackageError(InputError):
    """An optional package that the data at hand need.

    Attributes:
        package: Its name, as pip knows it.
        purpose: What it is needed for.
    """

    def __init__(self, package: str, purpose: str) -> None:
        self.package = package
        self.purpose = purpose
        super().__init__(package, purpose)

    def __str__(self) -> str:
        return (
            f"{self.purpose} needs {self.package}, which is not installed; type: pip install "
            "'nas-search[train]'"
        )
