"""Evaluation: bits, costs, feasibility and score of a batch of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nas_engine.costs.chains import fitting_sram
from nas_engine.costs.flash import flash
from nas_engine.costs.schedule import bit_costs
from nas_engine.encoding import Genes, GeneView, decode, encode
from nas_engine.errors import InputError
from nas_engine.evolution.classes import classes
from nas_engine.evolution.limits import LIMITS
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.qbr import refine
from nas_engine.layers import Floats, LayerTable, macs_per_layer, unroll
from nas_engine.scoring.objective import PATH_NOISE, QE_SCORE, objective_values
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise
from nas_engine.scoring.qe_score import bits_score, layer_coefficients, structure_score


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """``n`` evaluated networks, a struct of arrays."""

    genes: Genes
    """``(genes, n)``, bits included."""
    score: Floats
    """The objective of the problem, the QE-Score unless it names another, ``(n,)``."""
    violation: Floats
    """Sum over budgets and limits of the relative excess, 0 for a network that fits, ``(n,)``."""
    sram: Floats
    """Peak SRAM in bytes, ``(n,)``."""
    flash: Floats
    """Flash in bytes, ``(n,)``."""
    macs: Floats
    """Multiply-accumulates, ``(n,)``."""
    noise: Floats
    """Path noise of a network that has a class, else 0, ``(n,)``."""
    group: npt.NDArray[np.int64]
    """Class (``nas_engine.evolution.classes``), 0 where all networks compete, ``(n,)``."""

    @property
    def n(self) -> int:
        """Number of networks."""
        return self.score.size

    def take(self, index: object) -> Candidates:
        """Return a selection, in the order of ``index``."""
        return Candidates(
            **{name: getattr(self, name)[..., index] for name in Candidates.__slots__}
        )

    @staticmethod
    def concatenate(parts: list[Candidates]) -> Candidates:
        """Return all candidates of several batches, in order."""
        return Candidates(
            **{
                name: np.concatenate([getattr(part, name) for part in parts], axis=-1)
                for name in Candidates.__slots__
            }
        )


def nearest_allowed(
    problem: SearchProblem, w_bits: npt.NDArray[np.int16], a_bits: npt.NDArray[np.int16]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Return the nearest widths that the device allows: activations first, then weights.

    Args:
        problem: The device's rules and the space's widths.
        w_bits: Weight widths of free layers, 0 where there is no layer, any shape.
        a_bits: Activation widths, same shape.
    """
    nearest_w, nearest_a = np.zeros((9, 9), np.int16), np.zeros(9, np.int16)
    for width in range(1, 9):
        nearest_a[width] = _nearest(width, problem.activation_options)
        for a in problem.activation_options:
            nearest_w[width, a] = _nearest(
                width, [w for w in problem.weight_options if problem.allowed[w, a]]
            )
    a_bits = nearest_a[a_bits]
    return nearest_w[w_bits, a_bits], a_bits


def _nearest(width: int, options: Sequence[int]) -> int:
    return min(options, key=lambda option: (abs(option - width), option))


def evaluate(problem: SearchProblem, genes: Genes) -> Candidates:
    """Return the candidates of a gene matrix, ``(genes, n)``, writing their final bits into it."""
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    model = problem.model
    costs = bit_costs(model, table)
    coefficients = layer_coefficients(table, problem.score)
    if problem.qbr:
        view.w_bits[:], view.a_bits[:] = refine(
            problem, table, costs=costs, coefficients=coefficients
        )
    else:
        inner = slice(1, -1)
        view.w_bits[inner], view.a_bits[inner] = nearest_allowed(
            problem, view.w_bits[inner], view.a_bits[inner]
        )
    w_bits, a_bits = view.w_bits, view.a_bits
    if problem.objective == QE_SCORE:
        score = structure_score(table, problem.score)
        score += bits_score(coefficients, w_bits, a_bits, problem.score)
    else:
        score = objective_values(problem.objective, table, w_bits, a_bits)
    sram = fitting_sram(model, table, a_bits, problem.arena_bytes, costs)
    flash_bytes = flash(model, table, w_bits)
    macs = np.asarray(macs_per_layer(table).sum(axis=0))
    violation = np.zeros(table.n)
    known = {"sram": sram, "flash": flash_bytes, "macs": macs}
    for cost, budget in _spending(problem, table, view, known).values():
        violation += np.maximum(cost / budget - 1.0, 0.0)
    noise, group = np.zeros(table.n), np.zeros(table.n, np.int64)
    if problem.classed:
        noise = path_noise(table, w_bits, a_bits, PATH_NOISE_FORMS[PATH_NOISE])
        group = classes(problem.frame, view)
    return Candidates(
        genes=genes,
        score=score,
        violation=violation,
        sram=sram,
        flash=flash_bytes,
        macs=macs,
        noise=noise,
        group=group,
    )


def evaluate_given(problem: SearchProblem) -> Candidates:
    """Return the one network of a problem, with bits of its own or those of refinement.

    Raises:
        InputError: Its own bits, and the device forbids them.
    """
    frame, network = problem.frame, problem.network
    assert network is not None
    network = replace(network, schedule=frame.schedule, image=frame.image, room=frame.room)
    found = evaluate(problem, encode(frame, [network]))
    got = decode(frame, found.genes[:, 0])
    if not problem.qbr and got != network:
        layer, bits = next(
            (name, mine)
            for name, mine, others in zip(
                network.layer_names(), network.layer_bits(), got.layer_bits(), strict=True
            )
            if mine != others
        )
        raise InputError(
            f"{problem.space.source}: layer {layer} has {bits}, which the device forbids; change "
            "it, or choose another --device"
        )
    return found


def exceeded(problem: SearchProblem, candidates: Candidates) -> dict[str, tuple[float, float]]:
    """Return cost and limit of whatever the first candidate exceeds, by option.

    Args:
        problem: The budgets and limits.
        candidates: At least one evaluated network.
    """
    first = candidates.take(slice(0, 1))
    view, table = GeneView(problem.frame, first.genes), unroll(problem.frame, first.genes)
    known = {"sram": first.sram, "flash": first.flash, "macs": first.macs}
    spent = _spending(problem, table, view, known)
    return {
        option: (float(cost[0]), budget)
        for option, (cost, budget) in spent.items()
        if cost[0] > budget
    }


def _spending(
    problem: SearchProblem, table: LayerTable, view: GeneView, known: Mapping[str, Floats]
) -> dict[str, tuple[Floats, float]]:
    """Return the cost, ``(n,)``, of everything limited, and its limit, by the option that sets it.

    ``known`` holds costs that are at hand.
    """
    spent = {
        "--sram": (known["sram"], problem.arena_bytes),
        "--flash": (known["flash"], problem.flash_bytes),
    }
    for row in LIMITS:
        if row.name in problem.limits:
            cost = known.get(row.name)
            if cost is None:
                cost = row.cost(problem.counting, table, view)
            spent[row.option] = cost * (1 + problem.margin(row.name)), problem.limit(row.name)
    return spent
