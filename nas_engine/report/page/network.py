"""The network of a report: bits, layers, memory over its steps, Flash by layer and kind."""

from __future__ import annotations

from statistics import fmean

from nas_engine.costs.plan import MemoryPlan, bytes_in_use
from nas_engine.report.html.document import Block, Facts, Fold, Picture, Section, Sentence, Table
from nas_engine.report.network import NetworkReport
from nas_engine.report.page.facts import RunFacts
from nas_engine.report.page.words import format_count, format_size, number, plural, share
from nas_engine.report.tables import layer_shapes
from nas_engine.units import format_latency

BIT_MAP, SRAM, TIMELINE, FLASH = "bit_map", "sram_per_layer", "memory_plan", "flash_per_layer"
TIME = "time_per_layer"
"""Names of pictures."""


def network(facts: RunFacts) -> Section | None:
    """Return bits and layers; ``None`` without a network."""
    found = facts.network
    if found is None:
        return None
    weights, inputs = [bits.w for bits in found.bits], [bits.a for bits in found.bits]
    pairs = (
        ("network", facts.network_is),
        ("search space", facts.asked.space),
        (
            "input",
            (
                f"{facts.asked.resolution} x {facts.asked.resolution} x "
                f"{found.architecture.input_channels}"
            ),
        ),
        ("classes", str(facts.asked.class_count) if facts.asked.class_count else "none"),
        ("layers", str(len(found.layer_names))),
        ("QE-Score", f"{found.qe_score:,.2f}"),
        ("weight bits", f"{min(weights)} to {max(weights)}, mean of layers {fmean(weights):.2f}"),
        ("activation bits", f"{min(inputs)} to {max(inputs)}, mean of layers {fmean(inputs):.2f}"),
        ("MACs", f"{format_count(found.total_macs)} ({found.total_macs:,.0f})"),
        ("BitOps", f"{format_count(found.bitops)} ({found.bitops:,.0f})"),
    )
    low, high = min(weights), max(weights)
    text = (
        f"Weight bits from {low} to {high} and activation bits from {min(inputs)} to {max(inputs)} "
        "over "
        f"{plural(len(weights), 'layer')}; the table below has every number."
    )
    picture = Picture(
        name=BIT_MAP,
        text=f"Bit map: {text}",
        caption="Bits of weights and of the activations that enter, by layer.",
    )
    return Section(
        key="network", title="Network", blocks=(Facts(pairs), picture, _folded(_layers(found)))
    )


def _folded(table: Table) -> Fold:
    return Fold(title=table.caption, blocks=(table,))


def _layers(found: NetworkReport) -> Table:
    rows = []
    shapes = layer_shapes(found.architecture)
    peak = found.sram_bytes.index(found.peak_sram_bytes)
    for i, (name, shape, bits) in enumerate(
        zip(found.layer_names, shapes, found.bits, strict=True)
    ):
        operation, channels, output = (part.replace("->", "\N{RIGHTWARDS ARROW}") for part in shape)
        sizes = (number(found.sram_bytes[i]), number(found.flash_bytes[i]), number(found.macs[i]))
        rows.append(
            (
                name,
                operation,
                channels,
                output,
                str(bits.w),
                str(bits.a),
                *sizes,
                "peak SRAM" if i == peak else "",
            )
        )
    totals = (
        number(found.peak_sram_bytes),
        number(found.total_flash_bytes),
        number(found.total_macs),
    )
    rows.append(("peak or total", "", "", "", "", "", *totals, ""))
    return Table(
        caption=(
            "Layer by layer; bits of the weights (w) and of the input (a), SRAM live at the layer "
            "and Flash in bytes"
        ),
        columns=("layer", "operation", "channels", "output", "w", "a", "SRAM", "Flash", "MACs", ""),
        rows=tuple(rows),
        numbers=(4, 5, 6, 7, 8),
        marked=(peak, len(rows) - 1),
    )


def memory(facts: RunFacts) -> Section | None:
    """Return the arena over the steps with its peak; ``None`` without a network."""
    found, plan = facts.network, facts.plan
    if found is None or plan is None:
        return None
    step, size = peak_of(plan)
    live = ", ".join(
        f"{tensor.name} ({tensor.size:,} B)" for tensor in plan.live(plan.steps.index(step))
    )
    blocks: list[Block] = [
        Sentence(f"Most bytes are in use at {step}: {format_size(size)}. Live there: {live}."),
        Picture(
            name=TIMELINE,
            text=(
                f"Timeline of the arena of {format_size(plan.arena_bytes)} over "
                f"{plural(len(plan.steps), 'step')}; the peak is at {step}."
            ),
            caption=(
                "Where every tensor lies in the arena, and from which step to which; the peak step "
                "is framed."
            ),
        ),
        Picture(
            name=SRAM,
            text=(
                f"SRAM of each layer; the most, {format_size(found.peak_sram_bytes)}, at "
                f"{found.peak_layer}."
            ),
            caption="Bytes live at each layer, and the budget.",
        ),
    ]
    return Section(key="memory", title="Memory over time", blocks=tuple(blocks))


def peak_of(plan: MemoryPlan) -> tuple[str, int]:
    """Return the first step at which the most bytes are in use, and how many."""
    used = [bytes_in_use(plan.live(i)) for i in range(len(plan.steps))]
    return plan.steps[used.index(max(used))], max(used)


def time(facts: RunFacts) -> Section | None:
    """Return the time of each layer; ``None`` without a network or its plan."""
    found = facts.network
    if found is None or facts.plan is None:
        return None
    key, title = "time", "Time by layer"
    times = found.layer_latency
    if not times:
        text = "The device's profile has no cycles_per_instruction, so that no time is known."
        return Section(key=key, title=title, blocks=(Sentence(text),))
    most = [high for _, high in times]
    at = most.index(max(most))
    text = (
        f"{found.layer_names[at]} takes longest, {format_latency(times[at])}, "
        f"{share(most[at], sum(most))} of all."
    )
    picture = Picture(
        name=TIME,
        text=f"Time of each layer. {text}",
        caption="Predicted time of each layer, from the least to the most; no board was measured.",
    )
    return Section(key=key, title=title, blocks=(Sentence(text), picture))


def flash(facts: RunFacts) -> Section | None:
    """Return Flash by layer and by kind; ``None`` without a network."""
    found = facts.network
    if found is None:
        return None
    largest = found.flash_bytes.index(max(found.flash_bytes))
    kinds: dict[str, list[int]] = {}
    for i, (operation, _, _) in enumerate(layer_shapes(found.architecture)):
        kinds.setdefault(operation.partition("/")[0], []).append(i)
    rows = []
    for kind, layers in sorted(
        kinds.items(), key=lambda pair: -sum(found.flash_bytes[i] for i in pair[1])
    ):
        size, macs = sum(found.flash_bytes[i] for i in layers), sum(found.macs[i] for i in layers)
        widths = sorted({found.bits[i].w for i in layers})
        rows.append(
            (
                kind,
                str(len(layers)),
                number(size),
                share(size, found.total_flash_bytes),
                number(macs),
                share(macs, max(found.total_macs, 1)),
                ", ".join(map(str, widths)),
            )
        )
    table = Table(
        caption="Flash and MACs by kind of layer",
        columns=(
            "kind",
            "layers",
            "Flash, bytes",
            "of all Flash",
            "MACs",
            "of all MACs",
            "weight bits",
        ),
        rows=tuple(rows),
        numbers=(1, 2, 3, 4, 5),
    )
    text = (
        f"{found.layer_names[largest]} takes the most, {format_size(found.flash_bytes[largest])}."
    )
    picture = Picture(
        name=FLASH,
        text=f"Flash of each layer. {text}",
        caption="Flash of each layer, and of all layers up to it.",
    )
    return Section(
        key="flash", title="Flash by layer and kind", blocks=(Sentence(text), picture, table)
    )
