"""Feasibility: what the smallest network of a space needs, asked before a search starts so that a hopeless one ends with a clear line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas_engine.costs.flash import flash_per_layer
from nas_engine.costs.sram import sram_per_layer
from nas_engine.encoding import Genes, GeneView, decode
from nas_engine.errors import InfeasibleBudgetError
from nas_engine.evolution.limits import LIMITS, Limit
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import macs_per_layer, unroll


def smallest_network(problem: SearchProblem) -> Genes:
    """Return the genes of the smallest network, ``(genes, 1)``: fewest channels, smallest kernels, least depth, narrowest widths.

    Its weights and its inputs are as narrow as the device allows beside *any* other width. Flash,
    MACs and BitOps cannot be lower. Nor can SRAM in the spaces that ship (a test tries their small
    networks): only where the peak lies on maps a few pixels wide could a shortcut, which equal
    channels bring, cost more than it saves.
    """
    genes = sample(problem.space, problem.frame, 1, np.random.default_rng(0))
    _set_inner(problem, genes, (problem.weight_options[0], problem.activation_options[0]))
    return genes


def require_feasible(
    problem: SearchProblem, *, reserved_sram: int = 0, reserved_flash: int = 0
) -> None:
    """Check that the smallest network fits every budget and limit by itself.

    Args:
        problem: The problem.
        reserved_sram: Bytes the device reserves beside the SRAM budget, for the message.
        reserved_flash: Bytes the device reserves beside the Flash budget, for the message.

    Raises:
        InfeasibleBudgetError: It does not; names the resource, the layer that needs the most, the
            smallest possible and what to type.
    """
    genes = smallest_network(problem)
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    names = decode(problem.frame, genes[:, 0]).layer_names()
    rows = np.flatnonzero(view.w_bits[:, 0])

    sram = sram_per_layer(problem.model, table, view.a_bits)[rows, 0]
    if sram.max() > problem.sram_bytes:
        remedy = (
            f"give --sram {int(np.ceil(sram.max())) + reserved_sram} or more, a lower --resolution "
            "or another --space"
        )
        layer = names[int(sram.argmax())]
        raise InfeasibleBudgetError(
            "peak SRAM",
            float(sram.max()),
            problem.sram_bytes,
            layer=layer,
            is_sum=False,
            remedy=remedy,
        )

    flash = flash_per_layer(problem.memory_model, table, view.w_bits)[rows, 0]
    if flash.sum() > problem.flash_bytes:
        remedy = (
            f"give --flash {int(np.ceil(flash.sum())) + reserved_flash} or more, fewer --classes "
            "or another --space"
        )
        layer = names[int(flash.argmax())]
        raise InfeasibleBudgetError(
            "Flash",
            float(flash.sum()),
            problem.flash_bytes,
            layer=layer,
            is_sum=True,
            remedy=remedy,
        )

    macs = macs_per_layer(table)[rows, 0]
    for row in LIMITS:
        limit = problem.limit(row.name)
        if row.monotone and (smallest := _least(problem, row, genes)) > limit:
            remedy = (
                f"give {row.option} {np.ceil(smallest):.0f} or more, a lower --resolution or "
                "another --space"
            )
            layer = names[int(macs.argmax())]
            raise InfeasibleBudgetError(
                row.title, smallest, limit, layer=layer, is_sum=True, remedy=remedy, unit=""
            )


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
        costs.append(float(row.cost(counting, unroll(problem.frame, genes), view)[0]))
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
