"""Evaluation: bits, costs, feasibility and score of a batch of candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas_engine.costs import compute
from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import Genes, GeneView
from nas_engine.evolution.problem import UNLIMITED, SearchProblem
from nas_engine.evolution.qbr import refine
from nas_engine.layers import Floats, macs_per_layer, unroll
from nas_engine.scoring.qe_score import bits_score, layer_coefficients, structure_score


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """``n`` evaluated networks, a struct of arrays."""

    genes: Genes
    """``(genes, n)``, bits included."""
    score: Floats
    """QE-Score, ``(n,)``."""
    violation: Floats
    """Sum over budgets and limits of the relative excess, 0 for a network that fits, ``(n,)``."""
    sram: Floats
    """Peak SRAM in bytes, ``(n,)``."""
    flash: Floats
    """Flash in bytes, ``(n,)``."""
    macs: Floats
    """Multiply-accumulates, ``(n,)``."""

    @property
    def n(self) -> int:
        """Number of networks."""
        return self.score.size

    def take(self, index: object) -> Candidates:
        """Return a selection, in the order of ``index``."""
        return Candidates(**{name: getattr(self, name)[..., index] for name in Candidates.__slots__})

    @staticmethod
    def concatenate(parts: list[Candidates]) -> Candidates:
        """Return all candidates of several batches, in order."""
        return Candidates(**{name: np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in Candidates.__slots__})


def evaluate(problem: SearchProblem, genes: Genes) -> Candidates:
    """Return the candidates of a gene matrix, ``(genes, n)``; with QBR on, their bits are written into the matrix first."""
    view, table, name = GeneView(problem.frame, genes), unroll(problem.frame, genes), problem.memory_model
    units = problem.model.units(table)
    coefficients = layer_coefficients(table, problem.score)
    if problem.qbr:
        view.w_bits[:], view.a_bits[:] = refine(problem, table, units=units, coefficients=coefficients)
    w_bits, a_bits = view.w_bits, view.a_bits
    score = structure_score(table, problem.score) + bits_score(coefficients, w_bits, a_bits, problem.score)
    sram, flash_bytes = peak_sram(problem.model, table, a_bits, units), flash(name, table, w_bits)
    macs = np.asarray(macs_per_layer(table).sum(axis=0))
    spent = [(sram, problem.sram_bytes), (flash_bytes, problem.flash_bytes), (macs, problem.limits.macs)]
    if problem.limits.bitops < UNLIMITED:
        spent.append((compute.bitops(name, table, w_bits, a_bits), problem.limits.bitops))
    if problem.limits.cycles < UNLIMITED:
        spent.append((compute.cycles(table, w_bits, a_bits, problem.cycles_per_mac), problem.limits.cycles))
    violation = np.zeros(table.n)
    for cost, budget in spent:
        if budget < UNLIMITED:
            violation += np.maximum(cost / budget - 1.0, 0.0)
    if not problem.qbr:
        violation += (~problem.allowed[w_bits, a_bits] & (w_bits > 0)).sum(axis=0)
    return Candidates(genes=genes, score=score, violation=violation, sram=sram, flash=flash_bytes, macs=macs)
