"""Comparison of runs: accuracy, or the score, over the memory that each takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas_engine.errors import InputError
from nas_engine.report.plots.style import BLUE, INK, KIB, add_panel, new_figure, picture_style


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One run of the picture."""

    number: int
    """Its row in the table, from 1."""
    value: float
    """Accuracy in percent, or QE-Score."""
    low: float
    """Lower end of the interval of ``value``; equal to it where there is none."""
    high: float
    """Upper end."""
    sram_bytes: float
    """Peak SRAM."""
    flash_bytes: float
    """Flash."""

    def kib(self, memory: str) -> float:
        """Return what it takes of ``Flash`` or ``SRAM``, in KiB."""
        return (self.flash_bytes if memory == "Flash" else self.sram_bytes) / KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs and what their values are."""

    what: str
    """Name of the value, with its unit."""
    runs: tuple[ComparedRun, ...]
    """The runs; at least one."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("no run of the comparison has a network; expected at least one")
        for run in self.runs:
            if not run.low <= run.value <= run.high:
                raise InputError(
                    f"run {run.number}: {run.value:g} is outside {run.low:g} to {run.high:g}"
                )


def comparison_data(what: str, runs: Sequence[ComparedRun]) -> Comparison:
    """Return the record of a comparison.

    Raises:
        InputError: No run, or a value outside of its interval.
    """
    return Comparison(what=what, runs=tuple(runs))


@picture_style()
def draw_comparison(record: Comparison) -> Figure:
    """Return the picture: two panels, over Flash and over SRAM, one numbered point per run."""
    left, bottom, width, height, gap = 0.8, 0.62, 3.6, 3.2, 0.35
    figure = new_figure(
        left + 2 * width + gap + 0.35, bottom + height + 0.6, f"{record.what} of runs", ""
    )
    for place, name in enumerate(("Flash", "SRAM")):
        axes = add_panel(figure, left + place * (width + gap), bottom, width, height)
        for run in record.runs:
            axes.errorbar(
                run.kib(name),
                run.value,
                yerr=[[run.value - run.low], [run.high - run.value]],
                color=BLUE,
                lw=1.2,
                capsize=3.0,
                marker="o",
                ms=5,
                zorder=3,
            )
        _write_numbers(axes, record.runs, name)
        axes.margins(0.14)
        axes.set_xlabel(f"{name} [KiB]")
        axes.grid(color="#EEEEEE", lw=0.8)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        if place:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(record.what)
    return figure


def _write_numbers(axes: Axes, runs: Sequence[ComparedRun], memory: str) -> None:
    """Write the numbers of runs beside their points, those of one point together."""
    alike: dict[tuple[float, float], list[int]] = {}
    for run in runs:
        alike.setdefault((run.kib(memory), run.value), []).append(run.number)
    for point, numbers in alike.items():
        axes.annotate(
            ", ".join(map(str, numbers)),
            point,
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
            zorder=4,
        )
