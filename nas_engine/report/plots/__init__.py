"""Pictures of networks, searches and memory plans. Compute, then draw.

Every picture is ``xxx_data(...)``, which returns a frozen record that can be compared and tested, and ``draw_xxx(record)``, which
returns a matplotlib ``Figure``. Nothing here opens a window or keeps state; ``save_figure`` writes a picture as PNG and SVG.
"""

from nas_engine.report.plots.bit_map import BitMap, bit_map_data, draw_bit_map
from nas_engine.report.plots.layer_axis import LayerAxis, Span, layer_axis
from nas_engine.report.plots.layer_bytes import FlashBars, SramBars, draw_flash, draw_sram, flash_data, sram_data
from nas_engine.report.plots.pareto_front import FrontPoint, ParetoFront, draw_front, front_data
from nas_engine.report.plots.saving import save_figure
from nas_engine.report.plots.search_progress import Progress, draw_progress, progress_data
from nas_engine.report.plots.timeline import Timeline, draw_timeline, timeline_data

__all__ = [
    "BitMap",
    "FlashBars",
    "FrontPoint",
    "LayerAxis",
    "ParetoFront",
    "Progress",
    "Span",
    "SramBars",
    "Timeline",
    "bit_map_data",
    "draw_bit_map",
    "draw_flash",
    "draw_front",
    "draw_progress",
    "draw_sram",
    "draw_timeline",
    "flash_data",
    "front_data",
    "layer_axis",
    "progress_data",
    "save_figure",
    "sram_data",
    "timeline_data",
]
