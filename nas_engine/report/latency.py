"""Remarks on time: how cycles were predicted, and what other engines published for the board."""

from __future__ import annotations

from collections import Counter

from device_profiles import DeviceProfile, PublishedCycles
from nas_engine.costs.instruction_model import instruction_model
from nas_engine.network.from_architecture import graph_of
from nas_engine.report.network import NetworkReport
from nas_engine.units import format_latency, format_milliseconds


def core_remark(device: DeviceProfile) -> str | None:
    """Return one line where nobody measured the instructions of a core; ``None`` elsewhere."""
    if not device.cycles_are_estimates or instruction_model(device.core) is not None:
        return None
    return (
        f"{device.core} was not measured: cycles and time are MACs times cycles_per_mac of "
        f"{device.name}, an estimate whose error is not known; nas-search verify counts them"
    )


def macs_by_kind(report: NetworkReport) -> Counter[str]:
    """Return multiply-accumulates by the kinds of ``PublishedCycles``."""
    found: Counter[str] = Counter()
    nodes = graph_of(report.architecture).layers
    for place, (node, macs) in enumerate(zip(nodes, report.macs, strict=True)):
        if place == 0:
            kind = "first"
        elif report.layer_names[place] == "classifier":
            kind = "dense"
        elif node.kind == "depthwise":
            kind = "depthwise"
        else:
            kind = "pointwise" if node.kernel_height == node.kernel_width == 1 else "convolution"
        found[kind] += int(macs)
    return found


def published_times(
    report: NetworkReport, device: DeviceProfile
) -> list[tuple[PublishedCycles, float]]:
    """Return what the published cycles of a device predict for a network, in milliseconds."""
    macs = macs_by_kind(report)
    times = []
    for one in device.published_cycles:
        cycles = one.cycles(macs)
        if cycles is not None:
            times.append((one, 1000 * cycles / device.clock_hz))
    return times


def published_remark(report: NetworkReport, device: DeviceProfile) -> str | None:
    """Return one line on other engines on the board; ``None`` where none is published."""
    times = published_times(report, device)
    if not times:
        return None
    if len(times) == 1:
        ((one, time),) = times
        text = f"{one.engine} {format_milliseconds(time)} (left-out error {one.left_out_error:.0%})"
    else:
        spent = [time for _, time in times]
        worst = max(one.left_out_error for one, _ in times)
        text = (
            f"{len(times)} of them {format_latency((min(spent), max(spent)))} "
            f"(left-out error up to {worst:.0%})"
        )
    return f"other engines at 8 bits, from what they published for this board: {text}"
