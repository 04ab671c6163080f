"""Pictures of networks, searches and memory plans. Compute, then draw.

Every picture is ``xxx_data(...)``, which returns a frozen record that can be compared and tested,
and ``draw_xxx(record)``, which returns a matplotlib ``Figure``. Nothing here opens a window or
keeps state; ``save_figure`` writes a picture as PNG and SVG.
"""

from nas_engine.report.plots.bit_map import BitMap, bit_map_data, draw_bit_map
from nas_engine.report.plots.budget_bars import (
    BudgetBar,
    BudgetBars,
    budget_bars_data,
    draw_budget_bars,
)
from nas_engine.report.plots.layer_axis import LayerAxis, Span, layer_axis
from nas_engine.report.plots.layer_bytes import (
    FlashBars,
    SramBars,
    draw_flash,
    draw_sram,
    flash_data,
    sram_data,
)
from nas_engine.report.plots.layer_error import LayerErrorBars, draw_layer_error, layer_error_data
from nas_engine.report.plots.pareto_front import FrontPoint, ParetoFront, draw_front, front_data
from nas_engine.report.plots.saving import save_figure
from nas_engine.report.plots.search_progress import Progress, draw_progress, progress_data
from nas_engine.report.plots.shortlist import (
    Shortlist,
    ShortlistMember,
    draw_shortlist,
    kendall_tau,
    shortlist_data,
)
from nas_engine.report.plots.timeline import Timeline, draw_timeline, timeline_data
from nas_engine.report.plots.training_curves import (
    Curve,
    TrainingCurves,
    draw_training_curves,
    training_curves_data,
)

__all__ = [
    "BitMap",
    "BudgetBar",
    "BudgetBars",
    "Curve",
    "FlashBars",
    "FrontPoint",
    "LayerAxis",
    "LayerErrorBars",
    "ParetoFront",
    "Progress",
    "Shortlist",
    "ShortlistMember",
    "Span",
    "SramBars",
    "Timeline",
    "TrainingCurves",
    "bit_map_data",
    "budget_bars_data",
    "draw_bit_map",
    "draw_budget_bars",
    "draw_flash",
    "draw_front",
    "draw_layer_error",
    "draw_progress",
    "draw_shortlist",
    "draw_sram",
    "draw_timeline",
    "draw_training_curves",
    "flash_data",
    "front_data",
    "kendall_tau",
    "layer_axis",
    "layer_error_data",
    "progress_data",
    "save_figure",
    "shortlist_data",
    "sram_data",
    "timeline_data",
    "training_curves_data",
]
