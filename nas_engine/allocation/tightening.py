"""Limits of a search kept as it counts them, by bits that a method chooses for a network.

The problem of a network has each limit as sums over widths and pairs of widths, exact near the
network's own (``device_problem``). Farther away time is no such sum: tiles grow with the memory
that other layers leave free. So chosen bits are counted as a search counts them. Where they exceed
a limit the problem is made anew around them, which excludes them; from the second time on the limit
falls too, by as much as it was exceeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nas_engine.allocation.allocator import allocation_of
from nas_engine.allocation.device_problem import device_problem, levels_of, with_levels
from nas_engine.allocation.problem import AllocationProblem
from nas_engine.allocation.records import BitAllocation
from nas_engine.architecture import Architecture
from nas_engine.encoding import GeneView, architecture_frame, encode
from nas_engine.errors import InputError
from nas_engine.evolution.limits import LIMITS
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import unroll

ROUNDS = 8
"""Most problems that a method is given (chosen here)."""

Choose = Callable[[AllocationProblem, int], BitAllocation]
"""Bits that a method chooses for a problem, and the number of that problem, from 0 on."""


def counted_limits(
    search: SearchProblem, architecture: Architecture
) -> dict[str, tuple[float, float]]:
    """Return what a search counts of a network and the most it allows, by title of ``LIMITS``.

    The margin of an estimate is taken off its limit.
    """
    frame = architecture_frame(architecture)
    genes = encode(frame, [architecture])
    view, table = GeneView(frame, genes), unroll(frame, genes)
    limits = search.most_predicted
    return {
        row.title: (float(row.cost(search.counting, table, view)[0]), limits[row.name])
        for row in LIMITS
        if row.name in limits
    }


def choose_within(
    search: SearchProblem, architecture: Architecture, choose: Choose
) -> BitAllocation:
    """Return bits that keep every limit as it is counted.

    Args:
        search: Limits that the network was searched with.
        architecture: The network.
        choose: Chooses bits for a problem of its.

    Raises:
        InputError: No bits keep the limits, or none were found.
    """
    problem = given = device_problem(search, architecture)
    resources = {constraint.resource for constraint in given.constraints}
    shares: dict[str, float] = {}
    for turn in range(ROUNDS):
        try:
            found = choose(problem, turn)
        except InputError:
            if turn == 0:
                raise
            break
        network = with_levels(given, architecture, found.levels)
        over = {
            title: limit / cost
            for title, (cost, limit) in counted_limits(search, network).items()
            if cost > limit and title in resources
        }
        if not over:
            return found
        if turn:
            shares |= {title: shares.get(title, 1.0) * share for title, share in over.items()}
        problem = tightened(device_problem(search, network), shares)
        if problem.fingerprint != given.fingerprint:  # its activations are no choice any more
            break
    own = levels_of(given, architecture)
    beyond = ", ".join(sorted(over))
    if not given.is_feasible(own):
        raise InputError(
            f"{found.method}: no choice keeps the limit on {beyond} as it is counted, nor do the "
            "bits of the search; give another --method"
        )
    note = f"no choice keeps the limit on {beyond} as it is counted: the bits of the search stay"
    return allocation_of(given, found.method, own, notes=(note,))


def tightened(problem: AllocationProblem, shares: dict[str, float]) -> AllocationProblem:
    """Return a problem with limits that are shares of its own.

    Args:
        problem: The problem.
        shares: Shares by resource; the other limits stay.
    """
    constraints = (
        replace(one, limit=one.limit * shares.get(one.resource, 1.0)) for one in problem.constraints
    )
    return AllocationProblem(problem.variables, constraints, remedy=problem.remedy)
