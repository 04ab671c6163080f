"""QBR, first part: activation bits under the SRAM budget, by dynamic programming along the network.

SRAM is a per-layer *maximum*: every step of the schedule must fit by itself. Only the residual
stream couples one inverted residual to the next, so for each width of a residual's input the widest
bottleneck tensors that fit follow at once, and the best widths of the stream are a shortest path
over (width of this input) x (width of the next). The result is the exact optimum but for one
corner: in the arena model the ring of input rows grows with the width of the expanded tensor, and
the expanded tensor is served first.

The gain of a width b is ``coefficient * ln S(sigma_A, b)`` plus a tie-break of ours, since S
saturates above 5 bits: every bit is worth a little, and a low one more than a high one. An optimum
of a strictly growing gain cannot be raised anywhere: that is what makes the refinement maximal.

Source: the idea is Sun et al., NeurIPS 2022 ("scale the activation bits so that the peak memory
meets the SRAM budget"); the algorithm is ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.costs.memory import MemoryUnits
from nas_engine.costs.sram import classifier_live, head_live, stem_live
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import Floats, LayerTable
from nas_engine.scoring.quantised_gaussian import log_std_table

TIE_BREAK = 1e-6
"""Worth of a bit that the score cannot see, ``TIE_BREAK * (1 - 4^-bits)``: quantisation noise falls
by 4 with each bit (ours)."""

_Index = npt.NDArray[np.int8]


def width_gain(log_std: Any, bits: Any) -> Any:
    """Return the gain of a width for a layer of coefficient 1: ``ln S`` and the tie-break."""
    return log_std + TIE_BREAK * (1.0 - 0.25 ** np.asarray(bits, np.float64))


def gain_coefficients(coefficients: Floats) -> Floats:
    """Return score coefficients, at least a hundredth of the largest: bits that the stage weights leave out are worth something too."""
    return np.asarray(np.maximum(coefficients, 0.01 * coefficients.max(initial=0.0)))


def refine_activations(
    problem: SearchProblem, table: LayerTable, units: MemoryUnits, coefficients: Floats
) -> npt.NDArray[np.int16]:
    """Return the best activation widths that fit the SRAM budget.

    Args:
        problem: Budget, memory model, sigma.
        table: ``n`` networks.
        units: ``problem.model.units(table)``.
        coefficients: Worth of each layer, ``(layers, n)``, above 0.

    Returns:
        Input width of each layer, ``(layers, n)``, 0 in rows that a network does not have; the
        smallest widths where none fit.
    """
    model, n, tied = problem.model, table.n, problem.space.tie_block_bits
    room = np.floor(problem.sram_bytes / model.granule)
    options = np.array(problem.activation_options, np.int16)
    bits = options.astype(np.float64)[:, None]
    k, residuals = len(options), table.frame.max_residuals
    # gain of the option with index i - 1; index 0 stands for "none fits"
    gain = np.concatenate(
        [[-np.inf], width_gain(log_std_table(problem.score.sigma_a)[options], options)]
    )
    end = float(problem.space.end_bits)

    value = np.where(stem_live(model, table, bits) <= room, 0.0, -np.inf)
    before = np.empty((residuals, k, n), np.int8)
    expanded, filtered, follower = (np.empty((residuals, k, n), np.int8) for _ in range(3))
    for row in range(residuals):
        worth = coefficients[1 + 3 * row : 4 + 3 * row]
        wide_b, wide_c, wide_next = _widest(problem, units.residual(row), bits, room, tied)
        base = value + worth[0] * gain[1:, None] + worth[1] * gain.take(wide_b)
        by_input, by_output = worth[2] * gain.take(wide_c), worth[2] * gain.take(wide_next)
        best = np.full((k, n), -np.inf)
        origin = np.zeros((k, n), np.int8)
        for i in range(k):
            reached = (
                np.where(wide_next > i, by_input[i], -np.inf)
                if tied
                else np.minimum(by_input[i], by_output)
            )
            reached += base[i]
            better = reached > best
            np.copyto(best, reached, where=better)
            np.copyto(origin, np.int8(i), where=better)
        live = table.active[row]
        value = np.where(live, best, value)
        before[row] = np.where(live, origin, np.arange(k, dtype=np.int8)[:, None])
        expanded[row], filtered[row], follower[row] = wide_b, wide_c, wide_next

    out_bits = end if table.frame.classes else 8.0
    value = value + coefficients[-2] * gain[1:, None]
    value[head_live(model, table, bits, out_bits) > room] = -np.inf
    value[:, np.broadcast_to(classifier_live(model, table, end) > room, n)] = -np.inf
    at, column = value.argmax(axis=0), np.arange(n)
    fits = value[at, column] > -np.inf

    index = np.zeros((table.frame.n_layers, n), np.int8)
    index[-2] = at
    for row in range(residuals - 1, -1, -1):
        following, at = at, before[row][at, column]
        index[1 + 3 * row] = at
        index[2 + 3 * row] = expanded[row][at, column] - 1
        index[3 + 3 * row] = (
            at
            if tied
            else np.minimum(filtered[row][at, column], follower[row][following, column]) - 1
        )
    index *= fits
    a_bits = options[index]
    for part in range(3):
        a_bits[1 + part : -2 : 3] *= table.active
    a_bits[0] = problem.space.end_bits
    a_bits[-1] = problem.space.end_bits if table.frame.classes else 0
    return a_bits


def _widest(
    problem: SearchProblem, units: MemoryUnits, bits: Floats, room: float, tied: bool
) -> tuple[_Index, _Index, _Index]:
    """Return how many options fit at one inverted residual, each ``(options, n)``.

    Returns:
        For each width of its input: of the expanded tensor, and of the filtered tensor as far as
        the input bounds it (tied: either the same option as the input or none). For each width of
        its output: of the filtered tensor as far as the output bounds it.
    """
    model, smallest = problem.model, bits[0]
    stream, held = model.size(units.stream[0], bits), model.size(units.held, bits)
    filtered = model.size(units.filtered, bits)
    at_depthwise = (room - units.depthwise_scratch) - held
    wide_b = _count(model.size(units.expanded, bits), (room - units.expand_scratch) - stream)
    inputs = np.maximum(
        model.depthwise_input(units, bits),
        model.depthwise_beside(units, bits) + model.depthwise_output(units, smallest),
    )
    np.minimum(wide_b, _count(inputs, at_depthwise), out=wide_b)
    if tied:
        own = np.arange(1, len(bits) + 1, dtype=np.int8)[:, None]
        wide_b = np.where(wide_b >= own, own, np.int8(0))
    beside = model.depthwise_beside(units, bits[:, 0].take(wide_b - 1, mode="clip"))
    at_project = room - units.project_scratch
    wide_c = _count(model.depthwise_output(units, bits), at_depthwise - beside)
    np.minimum(wide_c, _count(filtered, at_project - model.merge(held, 0.0)), out=wide_c)
    if tied:
        wide_c = np.where(wide_c >= own, own, np.int8(0))
    wide_next = _count(filtered, at_project - model.merge(0.0, model.size(units.stream[1], bits)))
    return wide_b, wide_c, wide_next


def _count(sizes: Floats, limits: Floats) -> _Index:
    """Return how many of ascending sizes ``(options, n)`` are within each limit ``(limits, n)``: ``(limits, n)``."""
    count: _Index = (sizes[0] <= limits).view(np.int8)
    for size in sizes[1:]:
        count += (size <= limits).view(np.int8)
    return count
