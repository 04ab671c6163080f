"""Allocation problem of the papers, for any network.

The budget is a mean width of weights and of activations.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from nas_engine.allocation.problem import (
    ACTIVATIONS,
    WEIGHTS,
    AllocationProblem,
    Constraint,
    Variable,
)
from nas_engine.errors import InputError
from nas_engine.training.subject import LayerSize


def network_problem(
    layers: Sequence[LayerSize],
    *,
    weight_bits: tuple[int, ...] = (),
    activation_bits: tuple[int, ...] = (),
    mean_weight_bits: float | None = None,
    mean_activation_bits: float | None = None,
    fixed: Collection[str] = (),
) -> AllocationProblem:
    """Return the problem of choosing widths under mean widths.

    A mean is over all numbers of the free layers: weights, and elements of input tensors. Weights
    come first, then activations, each in the order of ``layers``.

    Args:
        layers: The network.
        weight_bits: Widths that weights may have; empty leaves the weights out.
        activation_bits: Widths that layer inputs may have; empty leaves them out.
        mean_weight_bits: Largest mean width of weights; ``None`` for no limit.
        mean_activation_bits: Largest mean width of activations; ``None`` for no limit.
        fixed: Names of layers that are not free, such as the first and the last (CLADO's authors
            keep both at 8 bits).

    Raises:
        InputError: A name in ``fixed`` that is no layer, or nothing left to choose.
    """
    unknown = sorted(set(fixed) - {layer.name for layer in layers})
    if unknown:
        raise InputError(
            f"there is no layer '{unknown[0]}'; expected one of: "
            f"{', '.join(layer.name for layer in layers)}"
        )
    free = [layer for layer in layers if layer.name not in fixed]
    variables = [
        Variable(
            name=f"{layer.name} {kind}", kind=kind, layers=(layer.name,), bits=bits, elements=count
        )
        for kind, bits in ((WEIGHTS, weight_bits), (ACTIVATIONS, activation_bits))
        if bits
        for layer, count in (
            (layer, layer.weights if kind == WEIGHTS else layer.inputs) for layer in free
        )
    ]
    bare = AllocationProblem(variables)
    elements = np.array([variable.elements for variable in bare.variables], np.float64)[bare.owner]
    constraints = []
    for kind, mean in ((WEIGHTS, mean_weight_bits), (ACTIVATIONS, mean_activation_bits)):
        mine = np.array([variable.kind == kind for variable in bare.variables])[bare.owner]
        if mean is not None and mine.any():
            share = (
                elements
                * mine
                / sum(variable.elements for variable in bare.variables if variable.kind == kind)
            )
            name = f"mean {kind[:-1]} bits"
            constraints.append(
                Constraint(
                    name=name,
                    resource=name,
                    unit="bits",
                    limit=mean,
                    linear=share * bare.choice_bits,
                )
            )
    return AllocationProblem(
        bare.variables, constraints, remedy="raise the mean, or allow narrower widths"
    )
