"""Instructions of an exported network on a core, step by step, as its records have it run."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.costs.dense_work import channels_held
from nas_engine.costs.instructions import InstructionModel
from nas_engine.costs.layer_work import Layers
from nas_engine.costs.plan import MemoryPlan
from nas_engine.exporters.c_steps import CStep, c_steps
from nas_engine.exporters.row_stages import row_stages
from nas_engine.integer.model import IntegerModel


def predicted_instructions(
    model: InstructionModel, network: IntegerModel, plan: MemoryPlan
) -> dict[str, float]:
    """Return the instructions of each step of a network for one image, by name.

    Args:
        model: A core and a compiler.
        network: The network.
        plan: Its memory, which says how it runs.
    """
    steps = c_steps(network, plan, row_stages(network, plan))
    return {
        step.step.name: float(model.count(family, layer))
        for step, (family, layer) in ((step, work_of(step)) for step in steps)
    }


def work_of(step: CStep) -> tuple[str, Layers]:
    """Return the family of a step's kernel, and its shapes and widths."""
    source, target, window = step.source.tensor, step.target.tensor, step.step
    layer = Layers(
        height=source.height,
        width=source.width,
        out_height=target.height,
        out_width=target.width,
        inputs=source.channels,
        outputs=target.channels,
        kernel=window.kernel_height,
        stride=window.stride,
        w_bits=step.weight_bits,
        a_bits=source.bits,
        out_bits=target.bits,
        shortcut_bits=step.shortcut.bits if step.shortcut else 0,
        in_place=step.kernel.name == "nas_pointwise_rows",
    )
    if step.kind != "conv":
        return step.kind, layer
    doublings = ("NAS_TWICE_THE_TILE" in step.flags) + 2 * ("NAS_FOUR_TIMES_THE_TILE" in step.flags)
    tile = channels_held(layer, doublings)
    family = "convolution" if window.kernel_height > 1 else "pointwise"
    return family, replace(layer, tile=tile)
