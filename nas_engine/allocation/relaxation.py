"""Continuous relaxations of the integer quadratic program, many at once.

With the convex form that makes their bound high.

Coordinates. Each variable's widest choice left is its *reference*; ``z``, one number for each other
choice, says how much of it is taken instead. ``z`` is feasible when it is not negative, sums to at
most 1 in each variable and meets the linear rows. On such ``z`` the objective is ``constant + slope
. z + z' cross z / 2``, where ``cross`` has zero blocks within variables.

Convexity. For 0/1 choices ``z_b z_c = 0`` within a variable and ``z_b^2 = z_b``. So any symmetric
block ``T`` of a variable may be added to ``cross`` if ``diag(T) / 2`` is taken off the slope:
integer points keep their objective, points between change theirs. ``convexify`` looks for the
blocks with the highest bound among those that make ``cross + T`` positive semidefinite. This is the
Lagrangian (SDP) bound of binary quadratic programs (Poljak, Rendl and Wolkowicz 1995; Billionnet,
Elloumi and Plateau 2009, "QCR"). An indefinite objective needs no other treatment.

Bound. For positive semidefinite ``H = cross + T``, any ``y`` and any ``lam >= 0``, convexity gives
the bound ``constant - y'Hy/2 - lam . rooms + sum over variables of min(0, smallest slope + Hy +
rows' lam)``. It is exact arithmetic on whatever the first-order method has reached, so a relaxation
solved badly gives a lower bound and never a wrong one.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from nas_engine.allocation.local_search import Program
from nas_engine.allocation.problem import TOLERANCE, Floats, Levels

Mask = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]

ROUNDS = 6
"""Times that ``convexify`` solves the relaxation and moves the blocks (chosen here). Its bound
changes little after that."""

NEWTON_STEPS = 4
"""Newton steps of a round (chosen here)."""

MOST_ENTRIES = 1500
"""Entries of blocks from which only diagonals are chosen: a Newton step solves as many equations
(chosen here)."""

SOFTEN = 0.02
"""Share of an even mixture in the point that the blocks are chosen for: without it whole choices
would have no say (chosen here)."""


class Form:
    """Program in the coordinates ``z``.

    It has ``variables`` free variables with up to ``width`` choices besides the reference.

    Args:
        program: What to minimise.
        allowed: Choices that may be taken, ``(n,)``, at least one of each variable.
        near: An allocation near which the linear estimates of quadratic constraints are tight.
    """

    def __init__(self, program: Program, allowed: Mask, near: Levels) -> None:
        problem = program.problem
        self.program = program
        counts = np.add.reduceat(allowed, problem.first)
        kept = [
            np.flatnonzero(allowed[first : first + count]) + first
            for first, count in zip(problem.first, problem.counts, strict=True)
        ]
        reference = np.array([choices[-1] for choices in kept])
        self.free: Levels = np.flatnonzero(counts > 1)
        """Variables that still have a choice, ``(variables,)``."""
        self.variables, self.width = len(self.free), int(counts.max()) - 1
        self.choices: Levels = np.repeat(reference[self.free, None], self.width + 1, axis=1)
        """Position of each choice, reference last, ``(variables, width + 1)``; unused places repeat
        the reference."""
        self.real: Mask = np.zeros((self.variables, self.width + 1), np.bool_)
        """Places that are used."""
        self.real[:, -1] = True
        for row, variable in enumerate(self.free):
            others = kept[variable][:-1]
            self.choices[row, : len(others)] = others
            self.real[row, : len(others)] = True
        self.base = reference
        """Positions of all references, ``(all variables,)``."""
        at, ref = self.choices[:, :-1].ravel(), np.repeat(self.choices[:, -1], self.width)
        gradient = program.linear.copy()
        self.constant = float(program.linear[reference].sum())
        size = len(at)
        self.cross: Floats = np.zeros((size, size))
        if program.pairs is not None:
            pull = program.pairs[reference].sum(axis=0)
            gradient += pull
            self.constant += 0.5 * float(pull[reference].sum())
            pairs = program.pairs
            self.cross = (
                pairs[np.ix_(at, at)]
                - pairs[np.ix_(ref, at)]
                - pairs[np.ix_(at, ref)]
                + pairs[np.ix_(ref, ref)]
            )
        self.slope: Floats = gradient[at] - gradient[ref]
        rows, rooms = _all_rows(program, near)
        scale = np.abs(rows[:, at] - rows[:, ref]).sum(axis=1)
        scale[scale == 0] = 1.0
        self.rows: Floats = (rows[:, at] - rows[:, ref]) / scale[:, None]
        """Linear constraints, each scaled to a sum of sizes of 1, ``(rows, size)``."""
        self.rooms: Floats = (rooms - rows[:, reference].sum(axis=1)) / scale
        self.slack: Floats = TOLERANCE / scale + 1e-12
        useful = self._can_bind()
        self.rows, self.rooms, self.slack = (
            self.rows[useful],
            self.rooms[useful],
            self.slack[useful],
        )

    def _can_bind(self) -> Mask:
        """Return the rows that some choice can exceed, ``(rows,)``."""
        most = np.maximum(
            self.rows.reshape(len(self.rows), self.variables, self.width).max(axis=2, initial=0.0),
            0,
        ).sum(axis=1)
        return np.asarray(most > self.rooms)

    def places(self, many: Floats) -> Floats:
        """Return vectors ``(many, size)`` by place, ``(many, variables, width + 1)``.

        The reference is 0.
        """
        shaped = many.reshape(len(many), self.variables, self.width)
        return np.concatenate([shaped, np.zeros((*shaped.shape[:2], 1))], axis=2)

    def own_blocks(self) -> Floats:
        """Return the blocks of the given quadratic as a block-diagonal matrix, ``(size, size)``."""
        size = self.variables * self.width
        blocks = self.program.blocks
        if blocks is None:
            return np.zeros((size, size))
        at, ref = self.choices[:, :-1].ravel(), np.repeat(self.choices[:, -1], self.width)
        found = (
            blocks[np.ix_(at, at)]
            - blocks[np.ix_(ref, at)]
            - blocks[np.ix_(at, ref)]
            + blocks[np.ix_(ref, ref)]
        )
        owner = np.repeat(np.arange(self.variables), self.width)
        return np.where(owner[:, None] == owner[None, :], found, 0.0)

    def point(self, levels: Levels) -> Floats:
        """Return ``z`` of an allocation, ``(size,)``.

        Choices that are not allowed count as the reference.
        """
        at = self.program.problem.positions(levels)[self.free]
        return np.asarray(((self.choices == at[:, None]) & self.real)[:, :-1].ravel(), np.float64)

    def levels(self, choices: Levels) -> Levels:
        """Return the allocation with place ``choices``, ``(variables,)``, of each free variable."""
        at = self.base.copy()
        at[self.free] = self.choices[np.arange(self.variables), choices]
        return np.asarray(at - self.program.problem.first)


def _all_rows(program: Program, near: Levels) -> tuple[Floats, Floats]:
    """Return linear constraints that every feasible allocation meets.

    The linear ones, and estimates of the quadratic ones.
    """
    rows, rooms = [*program.rows], [*program.rooms]
    problem = program.problem
    for linear, cross, room in zip(
        program.cross_rows, program.cross, program.cross_rooms, strict=True
    ):
        if room <= TOLERANCE:
            continue  # forbids pairs: seen to when a choice is made
        for levels in (near, problem.narrowest, problem.widest):
            rows.append(linear + lower_estimate(program, cross, levels))
            rooms.append(room)
    return np.array(rows).reshape(len(rows), problem.n), np.array(rooms)


def lower_estimate(program: Program, cross: Floats, levels: Levels) -> Floats:
    """Return ``e`` with ``e . x <= x' cross x / 2`` for every 0/1 choice.

    Equal at ``levels`` (generalises McCormick's envelope).
    """
    at, owner, first = program.problem.positions(levels), program.owner, program.problem.first
    estimate = np.zeros(len(owner))
    touches = np.add.reduceat(np.add.reduceat(cross, first, axis=0), first, axis=1)
    for one, other in zip(*np.nonzero(np.triu(touches, 1)), strict=True):
        mine, yours = np.flatnonzero(owner == one), np.flatnonzero(owner == other)
        block = cross[np.ix_(mine, yours)]
        alpha = cross[mine, at[other]]
        estimate[mine] += alpha
        estimate[yours] += (block - alpha[:, None]).min(axis=0)
    return estimate


class Relaxation:
    """A convex form, ready for batches of nodes.

    Args:
        form: Variables, objective and rows.
        blocks: Block-diagonal matrix that makes ``form.cross + blocks`` positive semidefinite,
            ``(size, size)``.
        weight: How large multipliers are expected to be, in units of the objective.
    """

    def __init__(self, form: Form, blocks: Floats, weight: float) -> None:
        self.form, self.blocks = form, blocks
        self.hessian = form.cross + blocks
        self.slope = form.slope - 0.5 * np.diagonal(blocks)
        diagonal = np.diagonal(self.hessian)
        size = np.sqrt(np.maximum(diagonal, 1e-9 * max(float(diagonal.max(initial=0.0)), 1e-300)))
        norm = (
            float(np.linalg.eigvalsh(self.hessian / np.outer(size, size))[-1])
            if self.hessian.any()
            else 0.0
        )
        lengths = np.abs(form.rows)
        # The steps of Chambolle and Pock (2011) with the diagonal scaling of Pock and Chambolle
        # (2011), plus the curvature (Condat 2013); all in units of ``weight``, for single
        # precision.
        self._unit = weight
        steps = norm / weight * size**2 + lengths.sum(axis=0) + 1e-6 / max(len(size), 1)
        self._inverse = (1.0 / steps).astype(np.float32)
        self._scale = steps.astype(np.float32).reshape(1, form.variables, form.width)
        self._dual_steps = (1.0 / np.maximum(lengths.sum(axis=1), 1e-30)).astype(np.float32)
        self._hessian, self._slope = (
            (self.hessian / weight).astype(np.float32),
            (self.slope / weight).astype(np.float32),
        )
        self._rows, self._rooms = form.rows.astype(np.float32), form.rooms.astype(np.float32)

    def improve(
        self, points: Floats, multipliers: Floats, allowed: Mask, iterations: int
    ) -> tuple[Floats, Floats]:
        """Take primal-dual steps for a batch of nodes, in single precision.

        Bounds are exact for any result of the steps.

        Args:
            points: ``(nodes, size)``.
            multipliers: Of the rows, ``(nodes, rows)``.
            allowed: Places that may be taken, ``(nodes, variables, width + 1)``.
            iterations: How many steps.
        """
        variables, width = self.form.variables, self.form.width
        hessian, rows, rooms = self._hessian, self._rows, self._rooms
        inverse = self._inverse.reshape(1, variables, width)
        at, prices = points.astype(np.float32), (multipliers / self._unit).astype(np.float32)
        closed = ~allowed[:, :, :-1]
        low = np.where(allowed[:, :, -1], 0.0, -np.inf).astype(np.float32)
        for _ in range(iterations):
            gradient = at @ hessian
            gradient += self._slope
            if len(rooms):
                gradient += prices @ rows
            wanted = (at - gradient * self._inverse).reshape(-1, variables, width)
            wanted[closed] = -1e6
            after = _project(wanted, self._scale, inverse, low).reshape(len(at), -1)
            if len(rooms):
                prices = np.maximum(
                    0, prices + self._dual_steps * ((2 * after - at) @ rows.T - rooms)
                )
            at = after
        return at.astype(np.float64), prices.astype(np.float64) * self._unit

    def bound(self, points: Floats, multipliers: Floats, allowed: Mask) -> tuple[Floats, Floats]:
        """Return the bound of each node, ``(nodes,)``, and the part of each place in it.

        The parts have shape ``(nodes, variables, width + 1)``.
        """
        form = self.form
        pull = points @ self.hessian
        costs = form.places(self.slope + pull + multipliers @ form.rows)
        costs[~allowed] = np.inf
        least = costs.min(axis=2)
        bounds = (
            form.constant
            - 0.5 * (points * pull).sum(axis=1)
            - multipliers @ form.rooms
            + least.sum(axis=1)
        )
        return bounds, costs - least[:, :, None]

    def polish(self, points: Floats, multipliers: Floats, allowed: Mask, steps: int = 24) -> Floats:
        """Return better multipliers, by bisection.

        For each row in turn the best one, the rest held (the bound is concave in it).
        """
        form = self.form
        multipliers = multipliers.copy()
        rows = form.places(form.rows)
        costs = form.places(self.slope + points @ self.hessian + multipliers @ form.rows)
        costs[~allowed] = np.inf
        for row, room in zip(range(len(form.rooms)), form.rooms, strict=True):
            if not ((multipliers[:, row] > 0).any()):
                continue
            rest = costs - multipliers[:, row, None, None] * rows[row]
            low, high = np.zeros(len(points)), 2 * multipliers[:, row] + 1e-12
            for _ in range(steps):
                middle = 0.5 * (low + high)
                taken = (rest + middle[:, None, None] * rows[row]).argmin(axis=2)
                used = rows[row][np.arange(form.variables), taken].sum(axis=1)
                over = used > room
                low, high = np.where(over, middle, low), np.where(over, high, middle)
            multipliers[:, row] = 0.5 * (low + high)
            costs = rest + multipliers[:, row, None, None] * rows[row]
        return multipliers


def _project(wanted: Singles, scale: Singles, inverse: Singles, low: Singles) -> Singles:
    """Project each variable onto ``z >= 0, sum <= 1`` in the metric ``scale``.

    The sum is equal to 1 where ``low`` is minus infinity.

    Newton's method on the multiplier of the sum, from below, where it ends after at most one step
    per choice (Michelot 1986).
    """
    shift = np.maximum((scale * (wanted - 1)).max(axis=2), low)
    for _ in range(wanted.shape[2] + 1):
        positive = wanted > shift[:, :, None] * inverse
        weight = (positive * inverse).sum(axis=2)
        excess = np.where(positive, wanted, 0).sum(axis=2) - 1
        after = np.maximum(
            shift, np.divide(excess, weight, out=np.full_like(excess, -np.inf), where=weight > 0)
        )
        if np.array_equal(after, shift):
            break
        shift = after
    return np.asarray(np.maximum(wanted - shift[:, :, None] * inverse, 0))


def convexify(
    form: Form,
    start: Floats,
    worth: float,
    weight: float,
    *,
    rounds: int = ROUNDS,
    deadline: float = float("inf"),
) -> Floats:
    """Return blocks that make the form convex with a high bound, ``(size, size)``.

    The bound is concave in the blocks and, at the solution ``y`` of the relaxation, rises with
    ``-<T_u, diag(y_u) - y_u y_u'> / 2``. So rounds of two steps: solve the relaxation; take Newton
    steps on that slope plus ``mu log det(cross + T)``, with ``mu`` falling.

    Args:
        form: Variables, objective and rows.
        start: Any block-diagonal matrix to start from; it is made definite first.
        worth: Size of the objective; sets ``mu``.
        weight: As in ``Relaxation``.
        rounds: How many rounds.
        deadline: When to stop, as ``time.perf_counter`` tells it; what is there then is as valid,
            with a lower bound.
    """
    real = np.flatnonzero(form.real[:, :-1].ravel())
    owner = np.repeat(np.arange(form.variables), form.width)[real]
    cross = form.cross[np.ix_(real, real)]
    blocks = _definite(cross, start[np.ix_(real, real)])
    upper = np.argwhere(np.triu(owner[:, None] == owner[None, :]))
    if len(upper) > MOST_ENTRIES:
        upper = np.argwhere(np.eye(len(real), dtype=np.bool_))
    pairs = (upper[:, 0], upper[:, 1])
    point, multipliers = np.zeros((1, form.slope.size)), np.zeros((1, len(form.rooms)))
    everything = form.real[None]
    mixed: Floats | None = None
    for turn in range(rounds):
        if time.perf_counter() > deadline:
            break
        whole = np.zeros_like(form.cross)
        whole[np.ix_(real, real)] = blocks
        relaxation = Relaxation(form, whole, weight)
        point, multipliers = relaxation.improve(point, multipliers, everything, 150)
        soft = (
            (1 - SOFTEN) * point.reshape(form.variables, form.width) + SOFTEN / (form.width + 1)
        ).ravel()[real]
        spread = np.where(
            owner[:, None] == owner[None, :], np.diag(soft) - np.outer(soft, soft), 0.0
        )
        mixed = spread if mixed is None else mixed + max(1 / (turn + 1), 0.3) * (spread - mixed)
        barrier = worth / len(real) * max(0.1 * 0.4**turn, 5e-4)
        blocks = _newton(cross, blocks, mixed, barrier, pairs, deadline)
    whole = np.zeros_like(form.cross)
    whole[np.ix_(real, real)] = blocks
    return whole


def _definite(cross: Floats, blocks: Floats) -> Floats:
    """Return the blocks with their diagonal raised until ``cross + blocks`` is definite."""
    total = cross + blocks
    diagonal, reach = np.diagonal(total), np.abs(total).sum(axis=1)
    floor = 1e-9 * max(float(reach.max()), 1e-300)
    size = np.where(diagonal > 1e-3 * reach, diagonal, reach) + floor
    least = float(np.linalg.eigvalsh(total / np.sqrt(np.outer(size, size)))[0])
    return np.asarray(blocks + np.diag((max(-least, 0.0) * 1.01 + 0.01) * size))


def _newton(
    cross: Floats,
    blocks: Floats,
    spread: Floats,
    barrier: float,
    pairs: tuple[Levels, Levels],
    deadline: float,
) -> Floats:
    """Maximise ``-<blocks, spread> / 2 + barrier log det(cross + blocks)``.

    The maximum is over the entries ``pairs`` of the blocks.
    """
    one, two = pairs
    twice = np.where(one == two, 1.0, 2.0)

    def value(candidate: Floats) -> float:
        try:
            factor = np.linalg.cholesky(cross + candidate)
        except np.linalg.LinAlgError:
            return float("-inf")
        return float(
            -0.5 * (candidate * spread).sum() + 2 * barrier * np.log(np.diagonal(factor)).sum()
        )

    now = value(blocks)
    for _ in range(NEWTON_STEPS):
        if time.perf_counter() > deadline:
            break
        inverse = np.linalg.inv(cross + blocks)
        inverse = 0.5 * (inverse + inverse.T)
        slope = twice * (barrier * inverse[one, two] - 0.5 * spread[one, two])
        curve = inverse[np.ix_(one, one)] * inverse[np.ix_(two, two)]
        curve += inverse[np.ix_(one, two)] * inverse[np.ix_(two, one)]
        curve *= 0.5 * barrier * np.outer(twice, twice)
        curve[np.diag_indices(len(one))] *= 1 + 1e-13
        try:
            way = np.linalg.solve(curve, slope)
        except np.linalg.LinAlgError:
            return blocks
        step = np.zeros_like(blocks)
        step[one, two] = step[two, one] = way
        promised, length, reached = float(slope @ way), 1.0, float("-inf")
        while length > 1e-6:
            reached = value(blocks + length * step)
            if reached >= now + 0.1 * length * promised:
                break
            length *= 0.5
        if reached < now:
            return blocks
        blocks, now = blocks + length * step, reached
        if promised < 1e-3 * barrier * len(cross):
            break
    return blocks
