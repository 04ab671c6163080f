"""Run directory of a refined network, complete for train, export, verify and plot.

Needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.architecture import Architecture
from nas_engine.errors import NasEngineError
from nas_engine.evolution.problem import SearchProblem
from nas_engine.pipeline.base_network import BaseNetwork
from nas_engine.pipeline.data import write_classes
from nas_engine.pipeline.new_run import write_new_run
from nas_engine.report.allocations import AllocationReport, AllocationSetting, write_allocation
from nas_engine.report.search_record import report_member
from nas_engine.runs.chain import of_allocation
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.networks import save_network
from nas_engine.training.start import with_widths_of


def write_refined_run(
    origin: RunDirectory,
    search: SearchProblem,
    base: BaseNetwork,
    refined: Architecture,
    report: AllocationReport,
    setting: AllocationSetting,
    classes: Sequence[str],
) -> RunDirectory:
    """Write the run directory of a method, replacing an earlier one; random weights are not kept.

    Args:
        origin: The run that was refined.
        search: Its budgets.
        base: The float weights.
        refined: The network with the bits that were chosen.
        report: How they were chosen.
        setting: What the methods have in common.
        classes: Names of the classes, in the order of the weights' outputs.

    Raises:
        NasEngineError: The bits do not fit the budgets, which is an error of the method.
        StorageError: The disk is full.
    """
    member = report_member(refined, search)
    for what, used, budget in (
        ("peak SRAM", member.peak_sram_bytes, search.arena_bytes),
        ("Flash", member.total_flash_bytes, search.flash_bytes),
    ):
        if used > budget:
            need = f"{what} of {used:,.0f} B; the budget is {budget:,.0f} B"
            raise NasEngineError(
                f"internal error: method '{report.method}' chose bits with a {need}"
            )

    def beside(run: RunDirectory) -> None:
        if base.source is not None:
            save_network(run.start, with_widths_of(base.network, refined))
            write_classes(run.classes, classes)
        write_allocation(run.allocation, report, setting, of_allocation(refined, run))

    run = origin.refine.run(report.method)
    write_new_run(run, origin, search, refined, beside)
    return run
