"""QBR, Quantization Bits Refinement: bits of a population from its structures and budgets.

Activations first (SRAM, a maximum per layer), then weights (Flash, a sum), then, if there is one,
the BitOps limit. The result depends on the structure and the budgets only, not on the bits a
candidate came with; hence it is deterministic and idempotent, and by construction never over a
budget that can be met, maximal, and monotone up to one bit step (tests/evolution/test_qbr.py states
the six properties).

Source: Sun et al., NeurIPS 2022, section on Quantization Bits Refinement (idea); the algorithm was
never published, this one is chosen here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas_engine.costs.schedule import bit_costs
from nas_engine.costs.tensors import BitCosts
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.qbr_activations import gain_coefficients, refine_activations
from nas_engine.evolution.qbr_bitops import refine_bitops
from nas_engine.evolution.qbr_weights import refine_weights
from nas_engine.layers import Floats, LayerTable
from nas_engine.scoring.qe_score import layer_coefficients

_Widths = npt.NDArray[np.int16]


def refine(
    problem: SearchProblem,
    table: LayerTable,
    *,
    costs: BitCosts | None = None,
    coefficients: Floats | None = None,
) -> tuple[_Widths, _Widths]:
    """Return the refined widths of each layer, the smallest where a budget cannot be met.

    Args:
        problem: Budgets, device rules, space, score.
        table: ``n`` networks.
        costs: ``bit_costs(problem.model, table)`` if it is at hand.
        coefficients: ``layer_coefficients(table, problem.score)`` if they are at hand.

    Returns:
        Weight bits and activation bits, each ``(layers, n)``, 0 in rows that a network does not
        have.
    """
    costs = costs or bit_costs(problem.model, table)
    worth = gain_coefficients(
        layer_coefficients(table, problem.score) if coefficients is None else coefficients
    )
    a_bits = refine_activations(problem, table, costs, worth)
    w_bits = refine_weights(problem, table, worth)
    if "bitops" in problem.limits:
        w_bits, a_bits = refine_bitops(problem, table, worth, w_bits, a_bits)
    return w_bits, a_bits
