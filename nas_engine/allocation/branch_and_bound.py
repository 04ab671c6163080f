"""Branch and bound for the integer quadratic program.

Proves how good an allocation is, and finds a better one if there is.

Best-first, many nodes at a time, so that one matrix product serves them all. Each node allows some
choices of each variable; its relaxation starts from its parent's. Choices that would lift the bound
over the best objective are dropped, everywhere in the tree and first at the root, where the program
shrinks before the tree grows.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass

import numpy as np

from nas_engine.allocation.local_search import Program, descend
from nas_engine.allocation.problem import TOLERANCE, Floats, Levels
from nas_engine.allocation.relaxation import Form, Mask, Relaxation, convexify

BATCH = 64
"""Nodes branched on at a time (chosen here)."""

STEPS = (15, 20)
"""Primal-dual steps of a node between looks at its bound: few, since children go on where it
stopped (chosen here)."""

ROUNDS = (0, 4, 6)
"""Rounds of ``convexify`` in each round of the root (chosen here)."""

WEIGHT = 10.0
"""Expected size of the multipliers of scaled rows at first, relative to the objective; after that
twice what they are (chosen here)."""

SETTLED = 1e-4
"""Rise of the root's bound, relative to the objective, below which its relaxation counts as solved
(chosen here)."""

CLOSE = 1e-7
"""Objectives this near, relative to the best, count as equal: nodes whose bound is so near are
dropped (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proof:
    """Result of branch and bound."""

    levels: Levels
    """The best allocation known."""
    objective: float
    """Its objective."""
    bound: float
    """No feasible allocation is lower."""
    nodes: int
    """Nodes whose relaxation was solved."""


@dataclass(frozen=True, slots=True, eq=False)
class _Root:
    """Where the tree starts: a relaxation, its solution, and the places still allowed."""

    relaxation: Relaxation
    bound: float
    point: Floats
    multipliers: Floats
    places: Mask


class _Search:
    """The best allocation so far, and what nodes share."""

    def __init__(self, program: Program, levels: Levels, objective: float, deadline: float) -> None:
        self.program, self.deadline = program, deadline
        self.levels, self.objective = levels, objective
        self.nodes = 0
        self.tried: set[bytes] = set()
        self.size = _size_of(program, objective)
        self.weight = WEIGHT * self.size
        self.conflicts = _conflicts(program)
        """Pairs of choices that no feasible allocation has, ``(n, n)``."""

    @property
    def cut(self) -> float:
        """Bound from which a node cannot matter."""
        return self.objective - CLOSE * max(abs(self.objective), 0.01 * self.size)

    def late(self) -> bool:
        return time.perf_counter() > self.deadline

    def offer(self, levels: Levels) -> None:
        """Take an allocation if it is feasible and lower than the best."""
        value = self.program.objective(levels)
        if value < self.objective - 1e-12 * self.size and self.program.problem.is_feasible(levels):
            self.levels, self.objective = levels, value

    def descend(self, levels: Levels) -> None:
        """Offer where a local search leads from an allocation that a relaxation suggests."""
        if self.program.pairs is not None and levels.tobytes() not in self.tried:
            self.tried.add(levels.tobytes())
            reached = descend(self.program, levels, 1e-12 * self.size)
            if reached is not None:
                self.offer(reached)


def prove(program: Program, levels: Levels, objective: float, *, deadline: float) -> Proof:
    """Return a bound on the objective, and a better allocation if one turns up.

    Args:
        program: What to minimise.
        levels: A feasible allocation.
        objective: Its objective.
        deadline: When to stop, as ``time.perf_counter`` tells it; the bound is then that of the
            nodes still open.
    """
    search = _Search(program, levels, objective, deadline)
    allowed = np.ones(program.problem.n, np.bool_)
    allowed[np.diagonal(search.conflicts)] = False
    bound, root = _root(search, allowed)
    if root is not None:
        bound = max(bound, _tree(search, root))
    return Proof(
        levels=search.levels,
        objective=search.objective,
        bound=min(bound, search.objective),
        nodes=max(search.nodes, 1),
    )


def _size_of(program: Program, objective: float) -> float:
    """Return how large objectives are, to scale tolerances and steps."""
    spread = [
        np.ptp(program.linear[f : f + c])
        for f, c in zip(program.problem.first, program.problem.counts, strict=True)
    ]
    typical = float(np.sum(spread))
    if program.pairs is not None:
        typical = max(typical, float(np.abs(program.pairs).max()))
    return max(min(abs(objective), typical) if objective else typical, 1e-6 * typical, 1e-300)


def _conflicts(program: Program) -> Mask:
    """Return the pairs of choices that break a constraint whatever the rest is.

    The diagonal says which choices break one alone.
    """
    n = len(program.owner)
    found = np.zeros((n, n), np.bool_)
    for row, room in zip(program.rows, program.rooms, strict=True):
        found[np.diag_indices(n)] |= row > room + TOLERANCE
    for row, cross, room in zip(
        program.cross_rows, program.cross, program.cross_rooms, strict=True
    ):
        found |= (row[:, None] + row[None, :] + cross > room + TOLERANCE) & ~program.same
        found[np.diag_indices(n)] |= row > room + TOLERANCE
    return found


def _root(search: _Search, allowed: Mask) -> tuple[float, _Root | None]:
    """Bound the whole program and drop choices; ``None`` if nothing is left to search.

    Each round works on what the last one left.
    """
    program = search.program
    best, root = float("-inf"), None
    for turn in range(3):
        if not np.logical_or.reduceat(allowed, program.problem.first).all():
            return max(best, search.cut), None
        form = Form(program, allowed, search.levels)
        if not form.variables:
            search.offer(form.levels(np.zeros(0, np.intp)))
            return max(best, search.cut), None
        blocks = _blocks(search, form, turn)
        if blocks is None:
            continue
        relaxation = Relaxation(form, blocks, search.weight)
        point, multipliers = form.point(search.levels)[None], np.zeros((1, len(form.rooms)))
        places = form.real.copy()
        for steps in (0, 100, 150, 200, 250):
            before = best
            point, multipliers = relaxation.improve(point, multipliers, form.real[None], steps)
            for trial in (multipliers, relaxation.polish(point, multipliers, form.real[None])):
                bounds, extra = relaxation.bound(point, trial, form.real[None])
                best = max(best, float(bounds[0]))
                places &= bounds[0] + extra[0] < search.cut
            if best >= search.cut:
                return best, None
            if steps and best < before + SETTLED * search.size:
                break
        search.nodes = 1
        if multipliers.any():
            search.weight = max(2 * float(multipliers.sum()), search.size)
        allowed = allowed.copy()
        allowed[form.choices[form.real & ~places]] = False
        root = _Root(relaxation, best, point[0], multipliers[0], places)
        if search.late() or (program.pairs is None and turn == 1):
            break
    return best, root


def _blocks(search: _Search, form: Form, turn: int) -> Floats | None:
    """Return blocks for a round of the root.

    First the quadratic's own blocks where they are convex, then the best ones.
    """
    own = form.own_blocks()
    if turn == 0 and search.program.pairs is not None:
        total = form.cross + own
        least = float(np.linalg.eigvalsh(total)[0])
        if least < -1e-9 * float(np.abs(total).max(initial=0.0)):
            return convexify(form, own, search.size, search.weight, rounds=0)
        # Rounding may leave eigenvalues a hair below zero.
        return np.asarray(own + np.eye(len(own)) * max(-least, 0.0) * 1.01)
    if not form.cross.any():
        return np.zeros_like(own)
    now = time.perf_counter()
    if now > search.deadline:
        return None
    half = now + 0.5 * (search.deadline - now)
    return convexify(form, own, search.size, search.weight, rounds=ROUNDS[turn], deadline=half)


def _tree(search: _Search, root: _Root) -> float:
    """Branch until no node is left below the best objective or time is over; return the bound."""
    relaxation, form = root.relaxation, root.relaxation.form
    propagate = _Propagation(search, form)
    heap: list[tuple[float, int, Floats, Floats, Mask]] = [
        (root.bound, 0, root.point, root.multipliers, root.places)
    ]
    count = 1
    while heap and heap[0][0] < search.cut and not search.late():
        taken = [heapq.heappop(heap) for _ in range(min(BATCH, len(heap)))]
        floor = np.array([node[0] for node in taken])
        points, multipliers, allowed = (np.array([node[i] for node in taken]) for i in (2, 3, 4))
        search.descend(form.levels(_shares(form, points[:1], allowed[:1]).argmax(axis=2)[0]))
        variable = _branch_on(relaxation, points, allowed, propagate)
        allowed = _split(form, points, allowed, variable)
        floor, points, multipliers = (
            np.tile(floor, 2),
            np.tile(points, (2, 1)),
            np.tile(multipliers, (2, 1)),
        )
        allowed = propagate(allowed)
        alive = _possible(allowed)
        search.nodes += int(alive.sum())
        for steps in STEPS:
            floor, points, multipliers, allowed = (
                floor[alive],
                points[alive],
                multipliers[alive],
                allowed[alive],
            )
            if not len(floor):
                break
            points, multipliers = relaxation.improve(points, multipliers, allowed, steps)
            bounds, extra = relaxation.bound(points, multipliers, allowed)
            if search.program.pairs is None:
                multipliers = relaxation.polish(points, multipliers, allowed)
                bounds, extra = relaxation.bound(points, multipliers, allowed)
            floor = np.maximum(floor, bounds)
            _offer_rounded(search, form, points, allowed)
            allowed &= bounds[:, None, None] + extra < search.cut
            undecided = np.any(allowed.sum(axis=2) > 1, axis=1)
            alive = _possible(allowed) & undecided & (floor < search.cut)
            _offer_leaves(search, form, allowed)
        for node in np.flatnonzero(alive) if len(floor) else ():
            heapq.heappush(
                heap, (float(floor[node]), count, points[node], multipliers[node], allowed[node])
            )
            count += 1
    return min(heap[0][0], search.cut) if heap else search.cut


def _possible(allowed: Mask) -> Mask:
    """Return which nodes have a choice left for every variable, ``(nodes,)``."""
    return np.asarray(np.all(np.any(allowed, axis=2), axis=1))


class _Propagation:
    """Drops choices that cannot stand beside those already made."""

    def __init__(self, search: _Search, form: Form) -> None:
        self.form = form
        self.rows = form.places(form.rows)
        among = search.conflicts[np.ix_(form.choices.ravel(), form.choices.ravel())]
        self.conflicts = among.astype(np.float32) if among.any() else None
        taken = np.setdiff1d(np.arange(len(form.base)), form.free)
        self.blocked = (
            search.conflicts[form.base[taken]][:, form.choices.ravel()]
            .any(axis=0)
            .reshape(form.choices.shape)
        )

    def __call__(self, allowed: Mask) -> Mask:
        allowed = allowed & ~self.blocked
        if self.conflicts is not None:
            made = (
                (allowed & (allowed.sum(axis=2, keepdims=True) == 1))
                .reshape(len(allowed), -1)
                .astype(np.float32)
            )
            allowed &= ~(made @ self.conflicts > 0).reshape(allowed.shape)
        for row, room, slack in zip(self.rows, self.form.rooms, self.form.slack, strict=True):
            with np.errstate(
                invalid="ignore"
            ):  # a variable without choices: infinite, and so all its choices go
                least = np.where(allowed, row, np.inf).min(axis=2)
                rest = least.sum(axis=1, keepdims=True) - least
                allowed &= rest[:, :, None] + row <= room + slack
        return allowed

    def clashes(self, allowed: Mask, chosen: Levels) -> Floats:
        """Return the number of clashes of each rounded choice, ``(nodes, variables)``.

        Counted for each variable: the other variables that its rounded choice clashes with.
        """
        if self.conflicts is None:
            return np.zeros(chosen.shape)
        taken = (
            (np.arange(allowed.shape[2]) == chosen[:, :, None])
            .reshape(len(chosen), -1)
            .astype(np.float32)
        )
        return np.asarray(
            ((taken @ self.conflicts) * taken).reshape(allowed.shape).sum(axis=2), np.float64
        )


def _shares(form: Form, points: Floats, allowed: Mask) -> Floats:
    """Return the fraction of each place in a point, ``(nodes, variables, width + 1)``.

    The reference is last; -1 where not allowed.
    """
    z = points.reshape(-1, form.variables, form.width)
    return np.where(allowed, np.concatenate([z, 1 - z.sum(axis=2, keepdims=True)], axis=2), -1.0)


def _branch_on(
    relaxation: Relaxation, points: Floats, allowed: Mask, propagate: _Propagation
) -> Levels:
    """Return the variable of each node whose fractions hide most of the gap, ``(nodes,)``.

    The measure is ``<T_u, diag(y_u) - y_u y_u'> / 2``.
    """
    form = relaxation.form
    z = points.reshape(-1, form.variables, form.width)
    index = np.arange(form.variables)
    blocks = relaxation.blocks.reshape(form.variables, form.width, form.variables, form.width)[
        index, :, index, :
    ]
    linear = np.einsum("vaa,nva->nv", blocks, z)
    gap = 0.5 * (linear - np.einsum("nva,vab,nvb->nv", z, blocks, z, optimize=True))
    fractions = (z * (1 - z)).sum(axis=2)
    shares = _shares(form, points, allowed)
    clashes = propagate.clashes(allowed, shares.argmax(axis=2))
    unit = 1e-6 * (float(np.abs(relaxation.slope).max()) + 1e-300)
    score = np.maximum(gap, 0) + unit * (fractions + 0.1 * clashes) + 1e-9 * unit
    return np.asarray(np.where(allowed.sum(axis=2) > 1, score, -1.0).argmax(axis=1))


def _split(form: Form, points: Floats, allowed: Mask, variable: Levels) -> Mask:
    """Return the children's places: the narrower choices of the variable, then the wider ones.

    They are split where the point has its middle.
    """
    nodes = np.arange(len(points))
    mine = allowed[nodes, variable]
    share = np.maximum(_shares(form, points, allowed)[nodes, variable], 0.0)
    inside = mine & (np.cumsum(mine, axis=1) < mine.sum(axis=1, keepdims=True))
    at = np.where(inside, np.abs(np.cumsum(share, axis=1) - 0.5), np.inf).argmin(axis=1)
    narrow = np.arange(mine.shape[1])[None, :] <= at[:, None]
    children = np.concatenate([allowed, allowed])
    children[nodes, variable] = mine & narrow
    children[nodes + len(nodes), variable] = mine & ~narrow
    return children


def _offer_rounded(search: _Search, form: Form, points: Floats, allowed: Mask) -> None:
    """Offer each point rounded to whole choices, where that is lower than the best."""
    chosen = _shares(form, points, allowed).argmax(axis=2)
    z = (np.arange(form.width) == chosen[:, :, None]).reshape(len(points), -1).astype(np.float64)
    values = form.constant + z @ form.slope + 0.5 * ((z @ form.cross) * z).sum(axis=1)
    for node in np.flatnonzero(values < search.objective - 1e-12 * search.size):
        search.offer(form.levels(chosen[node]))


def _offer_leaves(search: _Search, form: Form, allowed: Mask) -> None:
    """Offer nodes that have one choice for each variable."""
    for node in np.flatnonzero((allowed.sum(axis=2) == 1).all(axis=1)):
        search.offer(form.levels(allowed[node].argmax(axis=1)))
