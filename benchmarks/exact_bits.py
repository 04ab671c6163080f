"""The exact optimum of the bits of one structure: the yardstick for QBR. Slow and plain on purpose.

Activations: dynamic programming over the residual stream, at each residual all (input, expanded,
filtered, output) widths, no shortcut taken. Weights: multiple-choice knapsack by dynamic
programming over 4-byte words of Flash.
"""

from __future__ import annotations

import numpy as np

from nas_engine.architecture import Architecture
from nas_engine.costs.flash import fixed_flash, weight_bytes
from nas_engine.costs.sram import sram_per_layer
from nas_engine.encoding import Genes, GeneView, encode
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import unroll
from nas_engine.scoring.qe_score import layer_coefficients, structure_score
from nas_engine.scoring.quantised_gaussian import log_std_table


def exact_score(problem: SearchProblem, network: Architecture) -> float:
    """Return the best QE-Score any bits of this structure reach within SRAM and Flash; minus
    infinity if none fit.
    """
    genes = encode(problem.frame, [network])
    table = unroll(problem.frame, genes)
    coefficients = layer_coefficients(table, problem.score)[:, 0]
    ends = (
        sum(
            log_std_table(s)[problem.space.end_bits]
            for s in (problem.score.sigma_a, problem.score.sigma_w)
        )
        * coefficients[0]
    )
    return (
        float(structure_score(table, problem.score)[0] + ends)
        + activations(problem, network, genes)
        + weights(problem, genes)
    )


def activations(problem: SearchProblem, network: Architecture, genes: Genes) -> float:
    """Return the largest sum of coefficient * ln S over activation widths within SRAM (stem
    excluded: its input is the image).
    """
    frame, options = problem.frame, np.array(problem.space.activation_bits, np.int16)
    k, depth = len(options), sum(block.depth for block in network.blocks)
    # every combination of the four widths around one residual, the same at every residual, as one
    # population of k^4 columns
    combos = np.stack(np.meshgrid(*[options] * 4, indexing="ij")).reshape(4, -1)
    many = np.repeat(genes, combos.shape[1], axis=1)
    table, a_bits = unroll(frame, many), GeneView(frame, many).a_bits
    coefficients = layer_coefficients(unroll(frame, genes), problem.score)[:, 0]
    gain = log_std_table(problem.score.sigma_a)[options]
    value: np.ndarray | None = None
    for residual in range(depth):
        rows = slice(1 + 3 * residual, 4 + 3 * residual)
        following = 4 + 3 * residual if residual + 1 < depth else frame.n_layers - 2
        a_bits[rows], a_bits[following] = combos[:3], combos[3]
        live = sram_per_layer(problem.model, table, a_bits)
        fits = (live[rows] <= problem.arena_bytes).all(axis=0)
        if residual == 0:
            fits &= live[0] <= problem.arena_bytes
        if residual + 1 == depth:
            fits &= (live[-2:] <= problem.arena_bytes).all(axis=0)
        a, b, c = (coefficients[1 + 3 * residual + part] * gain for part in range(3))
        worth = np.where(
            fits.reshape((k,) * 4), (a[:, None, None] + b[:, None] + c)[..., None], -np.inf
        ).max(axis=(1, 2))
        value = worth.max(axis=0) if value is None else (value[:, None] + worth).max(axis=0)
    assert value is not None
    return float((value + coefficients[-2] * gain).max())


def weights(problem: SearchProblem, genes: Genes) -> float:
    """Return the largest sum of coefficient * ln S over weight widths within Flash (stem and
    classifier at their fixed width).
    """
    table = unroll(problem.frame, genes)
    model, options = problem.model, np.array(problem.space.weight_bits, float)
    room = problem.flash_bytes - fixed_flash(model, table)[0]
    room -= sum(
        weight_bytes(model, table.weights[end, 0], float(problem.space.end_bits)) for end in (0, -1)
    )
    coefficients = layer_coefficients(table, problem.score)[:, 0]
    gain = log_std_table(problem.score.sigma_w)[list(problem.space.weight_bits)]
    present = [row for row in range(1, problem.frame.n_layers - 1) if table.weights[row, 0]]
    words = [
        (weight_bytes(model, table.weights[row, 0], options) / 4).astype(int) for row in present
    ]
    room_words = min(
        int(room // 4), sum(int(costs[-1]) for costs in words)
    )  # beyond every layer at its widest, room is worth nothing
    if room_words < sum(int(costs[0]) for costs in words):
        return -np.inf
    best = np.zeros(room_words + 1)
    for row, costs in zip(present, words, strict=True):
        new = np.full_like(best, -np.inf)
        for cost, worth in zip(costs, coefficients[row] * gain, strict=True):
            if cost <= room_words:
                np.maximum(new[cost:], best[: best.size - cost] + worth, out=new[cost:])
        best = new
    return float(best.max())
