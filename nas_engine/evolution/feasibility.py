"""Feasibility: what the smallest network of a space needs, asked before a search starts so that a hopeless one ends with a clear line."""

from __future__ import annotations

import numpy as np

from nas_engine.costs import compute
from nas_engine.costs.flash import flash_per_layer
from nas_engine.costs.sram import sram_per_layer
from nas_engine.encoding import Genes, GeneView, decode
from nas_engine.errors import InfeasibleBudgetError
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import macs_per_layer, unroll


def smallest_network(problem: SearchProblem) -> Genes:
    """Return the genes of the smallest network at its narrowest widths, ``(genes, 1)``: fewest channels, smallest kernels, least depth."""
    genes = sample(problem.space, problem.frame, 1, np.random.default_rng(0))
    pairs = problem.allowed[np.ix_(problem.space.weight_bits, problem.space.activation_bits)]
    view = GeneView(problem.frame, genes)
    for bits, options, usable in (
        (view.w_bits, problem.space.weight_bits, pairs.any(axis=1)),
        (view.a_bits, problem.space.activation_bits, pairs.any(axis=0)),
    ):
        narrowest = options[int(np.argmax(usable))]
        bits[1:-1] = np.where(bits[1:-1] > 0, narrowest, 0)
    return genes


def require_feasible(problem: SearchProblem) -> None:
    """Check that the smallest network fits every budget and limit.

    Raises:
        InfeasibleBudgetError: It does not; names the resource, the layer that needs the most, the smallest possible and the budget.
    """
    genes = smallest_network(problem)
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    names = decode(problem.frame, genes[:, 0]).layer_names()
    rows = [row for row in range(problem.frame.n_layers) if view.w_bits[row, 0]]
    sram = sram_per_layer(problem.model, table, view.a_bits)[rows, 0]
    if sram.max() > problem.sram_bytes:
        raise InfeasibleBudgetError("peak SRAM", float(sram.max()), problem.sram_bytes, names[int(sram.argmax())])
    flash = flash_per_layer(problem.memory_model, table, view.w_bits)[rows, 0]
    if flash.sum() > problem.flash_bytes:
        raise InfeasibleBudgetError("Flash", float(flash.sum()), problem.flash_bytes, names[int(flash.argmax())])
    limits = problem.limits
    for name, smallest, limit in (
        ("MACs", macs_per_layer(table).sum(), limits.macs),
        ("BitOps", compute.bitops(problem.memory_model, table, view.w_bits, view.a_bits)[0], limits.bitops),
    ):
        if smallest > limit:
            raise InfeasibleBudgetError(name, float(smallest), limit, unit="")
