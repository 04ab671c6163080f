"""Use of every budget by a network, one bar each: memory in bytes, and limits on compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from device_profiles import DeviceProfile
from nas_engine.errors import InputError
from nas_engine.evolution.limits import LIMITS
from nas_engine.report.network import NetworkReport
from nas_engine.report.plots.layer_bytes import MEMORY_MODEL_NOTES, percent
from nas_engine.report.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILLION,
    add_panel,
    new_figure,
    picture_style,
    text_width,
)
from nas_engine.units import format_count, format_size

BYTES = "B"
"""Unit of memory; counts have none."""

_ROW, _BAR, _WIDTH = 0.62, 0.26, 7.6
"""Inches: height of a row with its text, height of a bar, width of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetBar:
    """One resource."""

    name: str
    """``"SRAM"``, ``"Flash"``, ``"MACs"``, ``"BitOps"`` or ``"cycles"``."""
    used: float
    """Amount used."""
    budget: float
    """Amount available: memory less the reserve, or a limit."""
    reserved: float
    """Reserve of the firmware, in addition to the budget; 0 for compute."""
    unit: str
    """``"B"`` or nothing."""
    remark: str = ""
    """Remark, such as the layer of the peak."""

    def __post_init__(self) -> None:
        if not (self.used >= 0 and self.budget > 0 and self.reserved >= 0):
            found = f"{self.used!r} of {self.budget!r} with {self.reserved!r} reserved"
            raise InputError(
                f"{self.name}: {found}; expected a use and a reserve of 0 or more and a positive "
                "budget"
            )

    @property
    def left(self) -> float:
        """Amount left of the budget; negative if the network does not fit."""
        return self.budget - self.used

    @property
    def text(self) -> str:
        """Percent of the budget, then amounts, as ``"97.3 %, 255,120/262,144 B (249.1 KiB)"``."""
        short = (
            format_size(self.used).rpartition("(")[2]
            if self.unit == BYTES
            else f"{format_count(self.used) if self.used >= 100 else _exact(self.used)})"
        )
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{percent(self.used, self.budget)}, {_exact(self.used)}/{_exact(self.budget)}{unit} "
            f"({short}"
        )

    @property
    def rest(self) -> str:
        """Amount left or missing, and the reserve, in words."""
        unit = f" {self.unit}" if self.unit else ""
        parts = [
            f"{_exact(self.left)}{unit} left"
            if self.left >= 0
            else f"over by {_exact(-self.left)}{unit}"
        ]
        if self.reserved:
            parts.append(f"{self.reserved:,.0f}{unit} reserved")
        return ", ".join([*parts, self.remark] if self.remark else parts)


def _exact(value: float) -> str:
    """Return a whole number, or two digits after the point of a small one."""
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetBars:
    """All resources of one network that have a budget."""

    device: str
    """Common name of the board or chip."""
    note: str
    """How memory is counted."""
    bars: tuple[BudgetBar, ...]
    """From top to bottom."""


def budget_bars_data(
    report: NetworkReport,
    device: DeviceProfile,
    *,
    limits: Mapping[str, float] | None = None,
) -> BudgetBars:
    """Return what a network uses of a device and of limits.

    Args:
        report: The network.
        device: Memory and what firmware takes of it.
        limits: Limits that are set, by name as in ``LIMITS``; each is a bar.

    Raises:
        InputError: A limit that is not positive, or a limit on cycles for a report without them.
    """
    bars = [
        BudgetBar(
            name="SRAM",
            used=report.peak_sram_bytes,
            budget=device.arena_bytes,
            reserved=device.reserved_sram_bytes,
            unit=BYTES,
            remark=f"peak at {report.peak_layer}",
        ),
        BudgetBar(
            name="Flash",
            used=report.total_flash_bytes,
            budget=device.storage_bytes,
            reserved=device.reserved_flash_bytes,
            unit=BYTES,
        ),
    ]
    for row in LIMITS:
        if limits is None or row.name not in limits or (row.own and row.name not in report.limited):
            continue
        if row.name not in report.limited:
            raise InputError(
                f"the report has no {row.title} to compare with their limit; make it with the "
                "cycle table of the device"
            )
        bars.append(
            BudgetBar(
                name=row.label,
                used=report.limited[row.name],
                budget=limits[row.name],
                reserved=0.0,
                unit="ms" if row.timed else "",
                remark="estimated" if row.estimate else "",
            )
        )
    note = MEMORY_MODEL_NOTES.get(report.memory_model, f"memory model '{report.memory_model}'")
    return BudgetBars(device=device.title, note=note, bars=tuple(bars))


@picture_style()
def draw_budget_bars(record: BudgetBars) -> Figure:
    """Return the picture of the budgets.

    Per resource the amount used (beyond the budget in another colour), the amount left, and the
    reserve hatched.
    """
    rows = len(record.bars)
    left = 0.35 + max(text_width(bar.name, 10) for bar in record.bars)
    width = max(
        _WIDTH - left,
        *(text_width(bar.text, 9) + text_width(bar.rest, 8) + 0.2 for bar in record.bars),
    )
    height, bottom = rows * _ROW, 0.42
    figure = new_figure(
        left + width + 0.35, bottom + height + 0.72, f"Budgets: {record.device}", record.note
    )
    axes = add_panel(figure, left, bottom, width, height)
    axes.set(xlim=(0, 1), ylim=(height, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row, bar in enumerate(record.bars):
        _draw_bar(axes, bar, row * _ROW)
    _draw_legend(
        axes, any(bar.reserved for bar in record.bars), any(bar.left < 0 for bar in record.bars)
    )
    return figure


def _draw_bar(axes: Axes, bar: BudgetBar, top: float) -> None:
    """Draw one resource below ``top`` (inches from the upper edge), its text above its bar.

    The bar is as long as the whole resource.
    """
    whole = max(bar.budget + bar.reserved, bar.used)
    used, budget, end = bar.used / whole, bar.budget / whole, (bar.budget + bar.reserved) / whole
    middle = top + _ROW - 0.06 - _BAR / 2
    over = bar.left < 0
    axes.barh(middle, end, height=_BAR, color=PALE, alpha=0.6, zorder=1)
    axes.barh(middle, used, height=_BAR, color=VERMILLION if over else BLUE, zorder=2)
    if bar.reserved:
        axes.barh(
            middle,
            end - budget,
            left=budget,
            height=_BAR,
            facecolor="none",
            edgecolor=GREY,
            hatch="/////",
            lw=0,
            zorder=3,
        )
    axes.plot(
        [budget, budget],
        [middle - _BAR / 2 - 0.03, middle + _BAR / 2 + 0.03],
        color=INK,
        lw=1.6,
        zorder=4,
        clip_on=False,
    )
    text = middle - _BAR / 2 - 0.06
    axes.annotate(
        bar.name,
        (0, middle),
        xytext=(-7, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=10,
        fontweight="bold",
        annotation_clip=False,
    )
    axes.text(
        0,
        text,
        bar.text,
        fontsize=9,
        va="bottom",
        color=VERMILLION if over else INK,
        fontweight="bold" if over else "normal",
    )
    axes.text(1, text, bar.rest, fontsize=8, ha="right", va="bottom", color=GREY)


def _draw_legend(axes: Axes, reserved: bool, over: bool) -> None:
    handles: list[Artist] = [Patch(color=BLUE, label="used by the network")]
    if over:
        handles.append(Patch(color=VERMILLION, label="over its budget"))
    handles.append(Patch(color=PALE, alpha=0.6, label="left"))
    if reserved:
        handles.append(
            Patch(
                facecolor=PALE, edgecolor=GREY, hatch="/////", lw=0, label="reserved for firmware"
            )
        )
    handles.append(Line2D([], [], color=INK, lw=1.6, label="budget"))
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, -0.02),
        ncols=len(handles),
        borderaxespad=0.1,
        handlelength=1.4,
    )
