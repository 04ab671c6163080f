"""Records that notebooks show: what draws them is named, not imported, and found when asked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWS = "nas_engine.report.notebook"
"""Module with one function for each method, for every kind of record."""


class Shown:
    """Methods of records for notebooks."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        html: str = import_module(_DRAWS).html_of(self)
        return html

    def to_frame(self) -> Any:
        """Return a ``pandas.DataFrame``: the layers of a network, the front of a search.

        ``pick`` of a front is the number that ``take`` takes.

        Raises:
            InputError: pandas is not installed.
            FileFormatError: A damaged file.
        """
        return import_module(_DRAWS).frame_of(self)

    def figure(self, name: str = "bit_map") -> Figure:
        """Return a picture as a figure of matplotlib.

        Args:
            name: ``"bit_map"``, or of a search any of ``nas_engine.report.run_plots.PLOTS``.

        Raises:
            UnknownNameError: No such picture.
            FileFormatError: A damaged file in the run directory.
        """
        figure: Figure = import_module(_DRAWS).figure_of(self, name)
        return figure
