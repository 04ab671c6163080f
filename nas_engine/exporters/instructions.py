"""Instructions of an exported network on a core, step by step, as its records have it run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas_engine.costs.dense_work import channels_held
from nas_engine.costs.instruction_model import InstructionModel
from nas_engine.costs.layer_work import Layers
from nas_engine.costs.plan import MemoryPlan
from nas_engine.exporters.c_steps import CStep, c_steps
from nas_engine.exporters.row_stages import RowStage, row_stages
from nas_engine.integer.model import IntegerModel
from nas_engine.quantization.record import QuantisedTensor


def predicted_instructions(
    model: InstructionModel, network: IntegerModel, plan: MemoryPlan
) -> dict[str, float]:
    """Return the instructions of each step of a network for one image, by name.

    Args:
        model: A core and a compiler.
        network: The network.
        plan: Its memory, which says how it runs.
    """
    stages = row_stages(network, plan)
    work = {step.step.name: work_of(step, stages) for step in c_steps(network, plan, stages)}
    return {name: float(model.count(family, layer)) for name, (family, layer) in work.items()}


def work_of(step: CStep, stages: Sequence[RowStage] = ()) -> tuple[str, Layers]:
    """Return the family of a step's kernel, and its shapes and widths.

    Args:
        step: A step.
        stages: Units that run by rows.
    """
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
        same_scale="NAS_SAME_SCALE" in step.flags,
        in_place=step.kernel.name == "nas_pointwise_rows",
    )
    for stage in stages:
        for at, node in enumerate(stage.unit.nodes):
            if node.name == window.name:
                rows, moved = _rows_of(step, stage), _moved(step, stage)
                layer = replace(layer, rows=rows, kept=stage.unpacked[at], moved=moved)
    if step.kind != "conv":
        return step.kind, layer
    doublings = ("NAS_TWICE_THE_TILE" in step.flags) + 2 * ("NAS_FOUR_TIMES_THE_TILE" in step.flags)
    family = "convolution" if window.kernel_height > 1 else "pointwise"
    return family, replace(layer, tile=channels_held(layer, doublings))


def _rows_of(step: CStep, stage: RowStage) -> int:
    """Return the rows that one call makes: two where a depth-wise layer makes two at once."""
    roles, name = stage.roles, step.step.name
    if roles.project is None or stage.rows[1] <= roles.window.kernel_height:
        return 1
    alone = (name == roles.project.name and "NAS_ROWS_LAST" not in stage.flags) or (
        name != roles.project.name
        and name != roles.window.name
        and "NAS_ROWS_WHOLE" not in stage.flags
    )
    return 1 if alone else 2


def _moved(step: CStep, stage: RowStage) -> float:
    """Return the words, or bytes of rows that are no words, that ``nas_rows.c`` copies."""
    roles, name, flags = stage.roles, step.step.name, stage.flags
    waiting, slots = stage.rows
    found = 0.0
    whole = "NAS_ROWS_WHOLE" in flags or "NAS_ROWS_IMAGE" in flags
    if name == roles.window.name and roles.take is None and slots:
        lined = roles.project is None  # rows of the ring move by as many places as its stride
        stride = roles.window.stride
        found += _words(step.source.tensor) * (whole + lined * max(slots - stride, 0) / stride)
    if roles.takes_window and roles.take is not None and name == roles.take.name:
        found += _words(step.target.tensor) * (slots - 1)
        found += 0 if whole else _words(step.source.tensor) * (waiting - 1)
    if name == roles.last.name and roles.adds_source:
        over = "NAS_ROWS_OVER" in flags and step.shortcut is not None
        stays = over and step.shortcut is not None and step.shortcut.bits == step.target.tensor.bits
        found += 0 if stays else _words(step.target.tensor)
    return found


def _words(tensor: QuantisedTensor) -> int:
    """Return the words of a tensor's rows, or their bytes where rows are no whole words."""
    bits = tensor.width * tensor.channels * tensor.bits
    return tensor.height * (bits // 32 if bits % 32 == 0 else -(-bits // 8))
