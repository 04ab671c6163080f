"""Plain-text tables for the terminal, at most 120 columns wide and ASCII only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from device_profiles import DeviceProfile
from nas_engine.architecture import Architecture
from nas_engine.costs.instruction_model import cycle_model, prediction_margin
from nas_engine.costs.plan import segments_of
from nas_engine.costs.rows import units_of
from nas_engine.errors import InputError
from nas_engine.escaping import terminal_line
from nas_engine.evolution.limits import LIMITS
from nas_engine.network.from_architecture import graph_of
from nas_engine.report.network import LAYERS_WHOLE, NetworkReport
from nas_engine.units import format_count, format_latency, format_size

WIDTH = 120
"""Columns that no table exceeds."""

RESOLUTION_NOTE = (
    "QE-Score does not see the resolution: it ranks networks of one resolution, not resolutions. "
    "To choose between rows, train them or compare what they cost."
)
"""Note on how to read a table of several resolutions."""

DEEP = 1.0
"""Depth over width from which a remark is made. Our choice: limits of 1 and 0.7 were tried
(``benchmarks.studies.proxy``), and both helped."""

BINDS, FREE = 0.95, 0.8
"""Share of a budget from which it binds, and below which the rest is worth a remark (chosen
here)."""

COMPUTE = ("macs", "bitops", "cycles", "latency")
"""Limits on computation."""

OPERATIONS = {"conv": "conv", "depthwise": "dw"}
"""Names of layers in a table, by the kind of their node."""

_LABEL = 12


def budget_text(used: float, budget: float) -> str:
    """Return what is used of a budget, in per cent and bytes.

    Args:
        used: Bytes used.
        budget: Bytes available.

    Raises:
        InputError: A budget that is not positive, or a negative use.

    Example:
        >>> budget_text(255120, 262144)
        '97.3 %, 255,120/262,144 B'
    """
    if not budget > 0 or not used >= 0:
        raise InputError(
            f"{used!r} of a budget of {budget!r} B cannot be shown; expected a use of 0 or more "
            "and a positive budget"
        )
    return f"{100 * used / budget:,.1f} %, {_number(used)}/{_number(budget)} B"


def network_table(
    report: NetworkReport, sram_budget: float | None = None, flash_budget: float | None = None
) -> str:
    """Return a network layer by layer, and its totals below.

    Args:
        report: The network.
        sram_budget: Bytes available for activations, ``None`` where no budget is known.
        flash_budget: Bytes available for weights and parameters, ``None`` where no budget is known.

    Returns:
        Lines without a line break at the end. Bits are those of the weights and of the layer's
        input; SRAM is what is live at the layer.

    Raises:
        InputError: A budget that is not positive.
    """
    peak = report.sram_bytes.index(report.peak_sram_bytes)
    rows = [
        [
            "#",
            "layer",
            "operation",
            "channels",
            "output",
            "bits",
            "SRAM [B]",
            "Flash [B]",
            "MACs",
            "",
        ]
    ]
    columns = zip(
        report.layer_names,
        layer_shapes(report.architecture),
        report.bits,
        report.sram_bytes,
        report.flash_bytes,
        report.macs,
        strict=True,
    )
    for i, (name, shape, bits, sram, flash, macs) in enumerate(columns):
        mark = "<- peak SRAM" if i == peak else ""
        rows.append(
            [str(i), name, *shape, str(bits), _number(sram), _number(flash), _number(macs), mark]
        )
    return "\n".join(
        [*aligned(rows, right=(0, 6, 7, 8)), "", *_summary(report, sram_budget, flash_budget)]
    )


def winners_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the winners at several resolutions as a table, with a note on how to read it.

    Args:
        rows: One mapping per resolution with ``resolution`` (pixels), ``qe_score``,
            ``peak_sram_bytes``, ``flash_bytes``, ``macs`` and ``bitops``, and ``latency_ms``, least
            and most or ``None``; other keys are ignored.

    Raises:
        InputError: A row without one of the keys.
    """
    timed = any(row.get("latency_ms") for row in rows)
    lines = [["resolution", "QE-Score", "peak SRAM", "Flash", "MACs", "BitOps"]]
    lines[0] += ["latency"] if timed else []
    for i, row in enumerate(rows):
        try:
            size, score, sram, flash, macs, bitops = (
                row[key]
                for key in (
                    "resolution",
                    "qe_score",
                    "peak_sram_bytes",
                    "flash_bytes",
                    "macs",
                    "bitops",
                )
            )
        except KeyError as error:
            raise InputError(
                f"winner {i} has no key {error}; expected resolution, qe_score, peak_sram_bytes, "
                "flash_bytes, macs, bitops"
            ) from error
        score, sizes, counts = (
            f"{score:,.2f}",
            (format_size(sram), format_size(flash)),
            (format_count(macs), format_count(bitops)),
        )
        time = [format_latency(row["latency_ms"])] if timed else []
        lines.append([f"{size}x{size}", score, *sizes, *counts, *time])
    table = aligned(lines, right=range(7)) if rows else ["no feasible network at any resolution"]
    return "\n".join([*table, "", *textwrap.wrap(RESOLUTION_NOTE, WIDTH)])


def _number(value: float) -> str:
    """Return a number with thousands separated, and one decimal if it is not whole."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def front_table(rows: Sequence[Mapping[str, float]], numbers: Sequence[int]) -> str:
    """Return some members of a front as lines of text.

    Args:
        rows: The front, as ``pareto.csv`` has it.
        numbers: Which of them, from 1.
    """
    lines = [["pick", "QE-Score", "peak SRAM", "Flash", "MACs"]]
    for number in numbers:
        row = rows[number - 1]
        sizes = (format_size(row["peak_sram_bytes"]), format_size(row["flash_bytes"]))
        lines.append([str(number), f"{row['qe_score']:,.2f}", *sizes, format_count(row["macs"])])
    return "\n".join(aligned(lines, right=range(5)))


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] | range) -> list[str]:
    """Return one line per row, columns two blanks apart, a rule below the first row.

    Hidden characters in a cell become escapes.
    """
    rows = [[terminal_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [
        lines[0],
        "  ".join("-" * width for width, title in zip(widths, rows[0], strict=True) if title),
        *lines[1:],
    ]


def layer_shapes(architecture: Architecture) -> list[tuple[str, str, str]]:
    """Return operation, channels and output size of each layer, in the order of ``layer_names``."""
    graph = graph_of(architecture)
    pooled = {node.output for node in graph.nodes if node.kind == "average_pool"}
    shapes = []
    for node in graph.layers:
        source, target = graph.tensor(node.input), graph.tensor(node.output)
        operation = f"{OPERATIONS[node.kind]} {node.kernel_height}x{node.kernel_width}"
        if node.stride > 1:
            operation += f"/{node.stride}"
        channels = f"{source.channels}->{target.channels}"
        if node.kind == "depthwise":
            channels = str(target.channels)
        if node.input in pooled:
            operation = "pool, dense"
        shapes.append((operation, channels, f"{target.height}x{target.width}"))
    return shapes


def depth_remark(report: NetworkReport) -> str | None:
    """Return a remark on a network that is deep for its width, one line; ``None`` for others."""
    if report.effectiveness <= DEEP:
        return None
    return (
        f"deep for its width (depth/width {report.effectiveness:.2f}); on CIFAR-10, "
        "--max-effectiveness 0.7 gave better ones"
    )


def limit_shares(
    report: NetworkReport, device: DeviceProfile, limits: Mapping[str, float]
) -> dict[str, float]:
    """Return the share of each limit that a network takes, by its name.

    An estimate counts with the margin that the search keeps for it. Arguments as below.
    """
    return {
        row.name.replace("_", " "): report.limited[row.name]
        * (1 + prediction_margin(device) * row.estimate)
        / limits[row.name]
        for row in LIMITS
        if row.monotone and row.name in limits and row.name in report.limited
    }


def binding_remark(
    report: NetworkReport, device: DeviceProfile, limits: Mapping[str, float]
) -> str:
    """Return one line on what a network is limited by, and what it leaves free.

    Args:
        report: The network.
        device: Its memory.
        limits: Those of ``LIMITS`` that are set, by name.
    """
    memory = {
        "SRAM": report.peak_sram_bytes / device.arena_bytes,
        "Flash": report.total_flash_bytes / device.storage_bytes,
    }
    used = limit_shares(report, device, limits)
    binding = [f"{name} ({share:.1%})" for name, share in (memory | used).items() if share >= BINDS]
    free = [f"{1 - share:.0%} of {name}" for name, share in memory.items() if share < FREE]
    text = (
        f"what binds: {', '.join(binding)}"
        if binding
        else "nothing binds: more --candidates or another --space may find more"
    )
    timed = any(row.estimate and used.get(row.name, 0.0) >= BINDS for row in LIMITS)
    bits = {width for layer in report.architecture.layer_bits() for width in (layer.w, layer.a)}
    if timed and bits == {8} and cycle_model(device):
        text += "; all bits are the widest, as narrower ones take more instructions"
    if free:
        text += f"; free: {' and '.join(free)}"
    if any(name in COMPUTE for name in limits) and len(free) == len(memory) and binding:
        text += (
            ", so that another board as fast gets the same network; a larger --resolution or "
            "another --space may use it"
        )
    return text


def _by_rows(network: Architecture) -> str:
    """Return the units that run by rows, chains by their ends."""
    graph = graph_of(network)
    units, names, count = units_of(graph), [], 0
    for one in segments_of(graph, network.schedule, network.image, network.room):
        if one.stages:
            ends = (units[one.first_unit].name, units[one.last_unit].name)
            names.append("..".join(dict.fromkeys(ends)))
            count += len(one.stages)
    if not count:
        return f"none of {len(units)} units"
    return f"{count} of {len(units)} units: {', '.join(names)}; the others run by layers"


def _summary(
    report: NetworkReport, sram_budget: float | None, flash_budget: float | None
) -> list[str]:
    def against(used: float, budget: float | None, note: str) -> str:
        text = format_size(used) if budget is None else budget_text(used, budget)
        over = (
            f", OVER BUDGET by {_number(used - budget)} B"
            if budget is not None and used > budget
            else ""
        )
        return f"{text}{over}  ({note})"

    model = f"memory model '{report.memory_model}'"
    terms = " + ".join(f"{term:,.2f}" for term in report.stage_terms)
    facts = [
        ("QE-Score", f"{report.qe_score:,.2f}  (stage terms, stem to last: {terms})"),
        (
            "peak SRAM",
            against(report.peak_sram_bytes, sram_budget, f"at {report.peak_layer}, {model}"),
        ),
        (
            "Flash",
            against(report.total_flash_bytes, flash_budget, f"weights and parameters, {model}"),
        ),
        ("MACs", f"{format_count(report.total_macs)}  ({_number(report.total_macs)})"),
        ("BitOps", f"{format_count(report.bitops)}  ({_number(report.bitops)})"),
        (
            "depth/width",
            f"{report.effectiveness:.2f}  (DeepMAD's effectiveness; --max-effectiveness limits it)",
        ),
    ]
    if report.cycles is not None:
        facts.append(
            ("cycles", f"about {format_count(report.cycles)}  (predicted, not a measured latency)")
        )
    if report.latency is not None:
        facts.append(
            (
                "latency",
                (
                    f"{format_latency(report.latency)}  (predicted from cycles per instruction; no "
                    "board was measured)"
                ),
            )
        )
    if (cost := report.limited.get("cost")) is not None:
        facts.append(("cost", f"{cost:,.6g}  (by the function of --cost, in its unit)"))
    network = report.architecture
    if report.memory_model == "arena" and (network.schedule, network.image) != LAYERS_WHOLE:
        facts.append(("by rows", _by_rows(network)))
    wrapper = textwrap.TextWrapper(
        width=WIDTH, subsequent_indent=" " * _LABEL, break_long_words=False, drop_whitespace=True
    )
    return [line for label, text in facts for line in wrapper.wrap(f"{label:<{_LABEL}}{text}")]
