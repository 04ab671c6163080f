"""Feasibility: needs of the smallest network of a space, computed before a search starts.

A hopeless search ends with one clear line.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas_engine.costs.chains import fitting_sram
from nas_engine.costs.flash import flash_per_layer
from nas_engine.costs.rows import NO_ROWS_OF_STEM
from nas_engine.costs.sram import sram_per_layer
from nas_engine.encoding import Genes, GeneView, decode, layer_rows
from nas_engine.errors import FileFormatError, InfeasibleBudgetError, InputError
from nas_engine.evolution.evaluation import evaluate_given, exceeded
from nas_engine.evolution.limits import LIMITS, Limit
from nas_engine.evolution.operators import smallest_of_each
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import Floats, macs_per_layer, unroll


def smallest_networks(problem: SearchProblem) -> Genes:
    """Return the genes of the smallest network of each choice of kinds and strides.

    The shape is ``(genes, choices)``. Fewest channels, smallest kernels, least depth, narrowest
    widths: weights and inputs are as narrow as the device allows beside *any* other width. Flash,
    MACs and BitOps cannot be lower than the least of them. Nor can SRAM in the spaces that ship (a
    test tries their small networks): only where the peak lies on maps a few pixels wide could a
    shortcut, which equal channels bring, cost more than it saves.
    """
    genes = smallest_of_each(problem.space, problem.frame)
    _set_inner(problem, genes, (problem.weight_options[0], problem.activation_options[0]))
    return genes


def least_sram(problem: SearchProblem) -> float:
    """Return the least peak SRAM of the smallest networks, in bytes, in chains where it must be."""
    if problem.network is not None and not problem.qbr:
        return float(evaluate_given(problem).sram[0])
    genes = smallest_networks(problem)
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    return float(fitting_sram(problem.model, table, view.a_bits, problem.arena_bytes).min())


def require_feasible(
    problem: SearchProblem, *, reserved_sram: int = 0, reserved_flash: int = 0
) -> None:
    """Check that for every budget and limit there is a network that keeps it, the others apart.

    Args:
        problem: The problem.
        reserved_sram: Bytes the device reserves beside the SRAM budget, for the message.
        reserved_flash: Bytes the device reserves beside the Flash budget, for the message.

    Raises:
        InfeasibleBudgetError: There is none; names the resource, the layer that needs the most, the
            smallest possible and what to type.
        FileFormatError: The one network there is, with bits of its own, does not keep them all.
    """
    if problem.network is not None and not problem.qbr:
        _require_fit(problem)
        return
    genes = smallest_networks(problem)
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)

    def layer_with_most(costs: Floats, column: int) -> str:
        network = decode(problem.frame, genes[:, column])
        rows = layer_rows(problem.frame, network)
        return network.layer_names()[int(costs[rows, column].argmax())]

    peak = fitting_sram(problem.model, table, view.a_bits, problem.arena_bytes)
    at = int(peak.argmin())
    if np.isinf(peak[at]):
        raise InputError(NO_ROWS_OF_STEM)
    if (needed := float(peak[at])) > problem.arena_bytes:
        sram = sram_per_layer(problem.model, table, view.a_bits)
        remedy = (
            f"{_by_rows(problem)}give --sram {int(np.ceil(needed)) + reserved_sram} or more, "
            f"{_other(problem, 'a lower --resolution')}"
        )
        raise InfeasibleBudgetError(
            "peak SRAM",
            needed,
            problem.arena_bytes,
            layer=layer_with_most(sram, at),
            is_sum=False,
            remedy=remedy,
        )

    flash = flash_per_layer(problem.model, table, view.w_bits)
    at = int(flash.sum(axis=0).argmin())
    if (needed := float(flash[:, at].sum())) > problem.flash_bytes:
        remedy = (
            f"give --flash {int(np.ceil(needed)) + reserved_flash} or more, "
            f"{_other(problem, 'fewer --classes')}"
        )
        raise InfeasibleBudgetError(
            "Flash",
            needed,
            problem.flash_bytes,
            layer=layer_with_most(flash, at),
            is_sum=True,
            remedy=remedy,
        )

    macs = macs_per_layer(table)
    at = int(macs.sum(axis=0).argmin())
    for row in LIMITS:
        if row.name not in problem.limits:
            continue
        limit, spare = problem.limit(row.name), 1 + problem.margin(row.name)
        if row.monotone and (smallest := spare * _least(problem, row, genes)) > limit:
            remedy = (
                f"give {row.option} {np.ceil(smallest):.0f}{'ms' * row.timed} or more, "
                f"{_other(problem, 'a lower --resolution')}"
            )
            layer = layer_with_most(macs, at)
            raise InfeasibleBudgetError(
                row.label,
                smallest,
                limit,
                layer=layer,
                is_sum=True,
                remedy=remedy,
                unit="ms" if row.timed else "",
            )


def _require_fit(problem: SearchProblem) -> None:
    over = exceeded(problem, evaluate_given(problem))
    if over:
        needs = " and ".join(
            f"{cost:,.12g} where {option} leaves {limit:,.12g}"
            for option, (cost, limit) in over.items()
        )
        remedy = _by_rows(problem) if "--sram" in over else ""
        raise FileFormatError(
            problem.space.source,
            f"does not fit: it needs {needs}; {remedy}give more, or set its bits to the budgets "
            "with nas-search bits",
        )


def _other(problem: SearchProblem, option: str) -> str:
    """Return the end of a remedy: what else to change."""
    return "or a smaller network" if problem.network else f"{option} or another --space"


def _by_rows(problem: SearchProblem) -> str:
    """Return the beginning of a remedy where a network fits row by row, empty where none does."""
    frame = problem.frame
    asked = replace(frame, schedule="auto", image="rows")
    if problem.memory_model != "arena" or asked == frame:
        return ""
    rows = replace(problem, frame=asked)
    option = "--schedule auto" if frame.schedule == "layers" else "--input rows"
    return f"add {option}, or " if least_sram(rows) <= problem.arena_bytes else ""


def _least(problem: SearchProblem, row: Limit, genes: Genes) -> float:
    """Return a lower bound of a limited quantity: at the best of the allowed pairs of widths.

    Cycles are those of the pair that is the fastest for each layer kind.
    """
    ends, pairs = problem.space.end_bits, _allowed_pairs(problem)
    fastest = {
        kind: np.full((9, 9), min(table[pair] for pair in [*pairs, (ends, ends)]))
        for kind, table in problem.cycles_per_mac.items()
    }
    counting = replace(problem.counting, cycles_per_mac=fastest)
    costs = []
    for pair in pairs:
        genes = genes.copy()
        _set_inner(problem, genes, pair)
        view = GeneView(problem.frame, genes)
        costs.append(float(row.cost(counting, unroll(problem.frame, genes), view).min()))
    return min(costs)


def _allowed_pairs(problem: SearchProblem) -> list[tuple[int, int]]:
    return [
        (w, a)
        for w in problem.space.weight_bits
        for a in problem.space.activation_bits
        if problem.allowed[w, a]
    ]


def _set_inner(problem: SearchProblem, genes: Genes, pair: tuple[int, int]) -> None:
    """Give every layer but stem and classifier the same widths, in place."""
    view = GeneView(problem.frame, genes)
    for bits, width in zip((view.w_bits, view.a_bits), pair, strict=True):
        bits[1:-1] = np.where(bits[1:-1] > 0, width, 0)
