"""Sensitivities: change of the loss when tensors are quantised, alone and in pairs.

The tensors are those of a trained network.

Forward passes alone give the matrix of CLADO (Deng et al., arXiv:2307.05657): ``Omega_ii = 2 dL_i``
and ``Omega_ij = dL_ij - dL_i - dL_j``. What stands before a change is computed once for each part
of the images: a pair runs from its later variable on only. ``measure_singles`` needs no pairs: from
the changes ``z`` of the logits by single choices it takes the Gauss-Newton form ``G = mean z' (diag
p - p p') z`` (new for this use; the matrix of second-order loss changes where logits are linear in
the perturbation, positive semi-definite by construction). The probabilities ``p`` of an image are
the mean of those that single choices give, not the reference's: a trained network is so sure of
most training images that these would count nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas_engine.allocation.problem import AllocationProblem, Floats
from nas_engine.allocation.records import Sensitivity
from nas_engine.datasets.records import Labels, Pixels
from nas_engine.errors import InputError, NasEngineError
from nas_engine.training.measurement_state import MeasurementState, Shapes
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.steps import Change, Values

LOSSES = ("labels", "kl")
"""Cross-entropy with the labels, or Kullback-Leibler divergence from the reference network."""

Stop = Callable[[], bool]
Progress = Callable[[int, int], None]


class MeasurementError(NasEngineError):
    """A measurement that gives no numbers.

    Attributes:
        choice: The variable and width, or two of them.
        loss: What the loss was.
    """

    def __init__(self, choice: str, loss: float) -> None:
        self.choice = choice
        self.loss = loss
        super().__init__(choice, loss)

    def __str__(self) -> str:
        return (
            f"the loss is {self.loss} with {self.choice}; what was measured before is kept; leave "
            "that width out, or train again"
        )


class MeasurementStoppedError(NasEngineError):
    """A measurement that was asked to stop.

    Attributes:
        done: Units of work that are kept.
        total: Units of all.
        path: The state file, if there is one.
    """

    def __init__(self, done: int, total: int, path: Path | None) -> None:
        self.done = done
        self.total = total
        self.path = path
        super().__init__(done, total, path)

    def __str__(self) -> str:
        after = (
            "nothing is kept"
            if self.path is None
            else f"the same measurement goes on from {self.path}"
        )
        return f"the measurement was stopped after {self.done:,} of {self.total:,} parts; {after}"


class _Chunk:
    """Part of the images, with the reference network's logits and values.

    The values are those alive in it at the start of every variable.
    """

    def __init__(
        self, perturbations: Perturbations, where: slice, x: Tensor, labels: Labels, loss: str
    ) -> None:
        self.perturbations, self.where = perturbations, where
        self.labels = torch.tensor(np.asarray(labels[where], np.int64), device=x.device)
        subject, self.kept = perturbations.subject, dict[int, Values]()
        logits = subject.run(
            subject.first_values(x),
            0,
            perturbations.reference,
            cuts=frozenset(perturbations.starts),
            kept=self.kept,
        )
        self.logits = logits.double()
        self.log_p = self.logits.log_softmax(1)
        self.by_label = loss == LOSSES[0]
        self.halves = np.arange(where.start, where.stop) % 2
        self.base = functional.cross_entropy(self.logits, self.labels, reduction="none")
        if not self.base.isfinite().all():
            raise MeasurementError("no change at all", float(self.base.mean()))
        if not self.by_label:
            self.base = torch.zeros_like(self.base)

    def changes_of_loss(self, logits: Tensor, choice: str) -> Floats:
        """Return the change of each image's loss, ``(images,)``, nats."""
        log_q = logits.double().log_softmax(1)
        if self.by_label:
            losses = functional.nll_loss(log_q, self.labels, reduction="none")
        else:
            losses = (self.log_p.exp() * (self.log_p - log_q)).sum(1)
        change = (losses - self.base).cpu().numpy()
        if not np.isfinite(change).all():
            raise MeasurementError(choice, float(losses.mean()))
        return np.asarray(change, np.float64)

    def by_half(self, values: Floats) -> Floats:
        """Return sums over the even and the odd images, ``(2, ...)`` for ``(images, ...)``."""
        return np.stack([values[self.halves == half].sum(0) for half in (0, 1)])

    def with_choice(
        self, changes: Mapping[int, Change], variable: int, level: int
    ) -> dict[int, Change]:
        """Return the changes with those of one choice more."""
        return {**changes, **self.perturbations.change(variable, level)}


def _begin(
    kind: str,
    perturbations: Perturbations,
    images: Pixels,
    labels: Labels,
    loss: str,
    path: Path | None,
    parts: int,
    shapes: Shapes,
) -> MeasurementState:
    if loss not in LOSSES:
        raise InputError(f"loss is {loss!r}; expected one of: {', '.join(LOSSES)}")
    if len(images) < 2 or len(images) != len(labels):
        raise InputError(
            f"{len(images)} images with {len(labels)} labels to measure on; expected at least 2, "
            "and as many labels"
        )
    fingerprint = perturbations.fingerprint(images, labels) | {
        "kind of measurement": kind,
        "loss": loss,
    }
    state = MeasurementState(
        path=path,
        fingerprint=fingerprint,
        total=parts,
        arrays={name: np.zeros(shape) for name, shape in shapes.items()},
    )
    state.read()
    return state


def _stopped(state: MeasurementState) -> MeasurementStoppedError:
    """Save, and return the error that tells so."""
    state.save()
    return MeasurementStoppedError(state.done, state.total, state.path)


def _choice(problem: AllocationProblem, variable: int, level: int) -> str:
    return f"{problem.variables[variable].name} at {problem.variables[variable].bits[level]} bits"


def _real_choices(perturbations: Perturbations) -> list[tuple[int, int]]:
    """Return variable and level of every choice that changes something.

    The variables are in the order they run.
    """
    order = np.argsort(perturbations.starts, kind="stable")
    variables = perturbations.problem.variables
    return [
        (int(i), b)
        for i in order
        for b in range(len(variables[i].bits))
        if not perturbations.is_reference(int(i), b)
    ]


def _finished(
    method: str, state: MeasurementState, images: int, halves: Floats, passes: float
) -> Sensitivity:
    """Return the record of a measurement.

    ``halves`` are the sums of the matrix over the even and over the odd images.
    """
    state.save()
    share = np.array([(images + 1) // 2, images // 2], np.float64)
    sums = state.arrays["sums"].sum(0)
    variance = np.maximum(state.arrays["squares"] - sums**2 / images, 0.0) / (images - 1)
    return Sensitivity(
        method=method,
        matrix=halves.sum(0) / images,
        losses=sums / images,
        standard_errors=np.sqrt(variance / images),
        halves=halves / share[:, None, None],
        images=images,
        base_loss=float(state.arrays["base"][0]) / images,
        passes=passes,
        seconds=state.seconds,
    )


@torch.no_grad()
def measure_singles(
    perturbations: Perturbations,
    images: Pixels,
    labels: Labels,
    *,
    loss: str = LOSSES[0],
    state: Path | None = None,
    stop: Stop = lambda: False,
    watch: Progress = lambda done, total: None,
) -> Sensitivity:
    """Return the loss change of every single choice, and the Gauss-Newton matrix of all of them.

    The diagonal of the matrix is the Gauss-Newton form too (``z' F z``, so that half of it predicts
    the loss change); ``losses`` are as measured. Entries between two choices of one variable are
    zero.

    Args:
        perturbations: The network and what choices do to it.
        images: Byte images, ``(N, H, W, c)``, at least 2.
        labels: Their classes, ``(N,)``.
        loss: One of ``LOSSES``, of ``losses``; the matrix does not depend on labels.
        state: File for sums so far; a measurement that was stopped goes on from it.
        stop: Asked before every pass.
        watch: Called with parts of the images done, and all.

    Raises:
        MeasurementError: A loss is not finite; the message names the choice.
        MeasurementStoppedError: ``stop`` said so.
        FileFormatError: The state file is damaged, or of another network, problem or data.
        InputError: Too few images, or an unknown loss.
    """
    problem, n = perturbations.problem, perturbations.problem.n
    choices = _real_choices(perturbations)
    parts = -(-len(images) // perturbations.chunk)
    shapes: Shapes = {"sums": (2, n), "squares": (n,), "matrix": (2, n, n), "base": (1,)}
    sums = _begin(
        "singles at mean probabilities", perturbations, images, labels, loss, state, parts, shapes
    )
    for number, (where, x) in enumerate(perturbations.chunks(images)):
        if number < sums.done:
            continue
        chunk = _Chunk(perturbations, where, x, labels, loss)
        changes_of_loss, z = (
            np.zeros((len(x), n)),
            torch.zeros((n, *chunk.logits.shape), dtype=torch.float64),
        )
        for variable, level in choices:
            if stop():
                raise _stopped(sums)
            at = int(problem.first[variable]) + level
            start = perturbations.starts[variable]
            changes = chunk.with_choice(perturbations.reference, variable, level)
            logits = perturbations.subject.run(chunk.kept[start], start, changes)
            try:
                changes_of_loss[:, at] = chunk.changes_of_loss(
                    logits, _choice(problem, variable, level)
                )
            except MeasurementError:
                sums.save()
                raise
            z[at] = (logits.double() - chunk.logits).cpu()
        rooted = _rooted(
            z,
            chunk.logits.cpu(),
            [int(problem.first[variable]) + level for variable, level in choices],
        )
        matrix = np.stack([_gram(rooted[:, chunk.halves == half]) for half in (0, 1)])
        sums.advance(
            sums=chunk.by_half(changes_of_loss),
            squares=(changes_of_loss**2).sum(0),
            matrix=matrix,
            base=chunk.base.sum().cpu().numpy(),
        )
        watch(sums.done, parts)
    within = problem.owner[:, None] == problem.owner[None]
    halves = np.where(within & ~np.eye(n, dtype=bool), 0.0, sums.arrays["matrix"])
    passes = 1.0 + sum(
        perturbations.subject.rest(perturbations.starts[variable]) for variable, _ in choices
    )
    return _finished("gauss-newton", sums, len(images), halves, passes)


def _rooted(z: Tensor, logits: Tensor, real: list[int]) -> Floats:
    """Return ``r`` with ``r_i . r_j = z_i' (diag p - p p') z_j`` per image.

    It is ``(n, images, classes)``, at the mean probabilities.

    Args:
        z: Changes of the logits, ``(n, images, classes)``.
        logits: Of the reference, ``(images, classes)``.
        real: Positions of the choices that change something; the mean is over these.
    """
    p = torch.zeros_like(logits)
    for at in real:
        p += (logits + z[at]).softmax(1) / len(real)
    return np.asarray((p.sqrt() * (z - (p * z).sum(2, keepdim=True))).numpy())


def _gram(rows: Floats) -> Floats:
    flat = rows.reshape(len(rows), -1)
    return flat @ flat.T


@torch.no_grad()
def measure_pairs(
    perturbations: Perturbations,
    images: Pixels,
    labels: Labels,
    *,
    loss: str = LOSSES[0],
    state: Path | None = None,
    stop: Stop = lambda: False,
    watch: Progress = lambda done, total: None,
) -> Sensitivity:
    """Return CLADO's matrix: loss changes of every choice and every pair of choices.

    A pair is of choices of two variables.

    For each choice of a variable the network runs once, and what is alive at the start of every
    later variable is kept; a pair runs from there. Arguments and errors are those of
    ``measure_singles``, ``watch`` is called with choices done, over all parts of the images, and
    all.
    """
    problem, n = perturbations.problem, perturbations.problem.n
    choices = _real_choices(perturbations)
    parts = -(-len(images) // perturbations.chunk) * len(choices)
    shapes: Shapes = {"sums": (2, n), "squares": (n,), "pairs": (2, n, n), "base": (1,)}
    sums = _begin("pairs", perturbations, images, labels, loss, state, parts, shapes)
    for number, (where, x) in enumerate(perturbations.chunks(images)):
        if sums.done >= (number + 1) * len(choices):
            continue
        chunk = _Chunk(perturbations, where, x, labels, loss)
        for index in range(sums.done - number * len(choices), len(choices)):
            try:
                row = _row(chunk, choices, index, stop)
            except MeasurementError:
                sums.save()
                raise
            if row is None:
                raise _stopped(sums)
            variable, level = choices[index]
            at = int(problem.first[variable]) + level
            more: dict[str, Floats] = {name: np.zeros(shape) for name, shape in shapes.items()}
            more["sums"][:, at], more["squares"][at] = (
                chunk.by_half(row[:, at]),
                (row[:, at] ** 2).sum(),
            )
            more["pairs"][:, at] = chunk.by_half(row)
            more["pairs"][:, at, at] = 0.0
            more["base"] += float(chunk.base.sum()) if index == 0 else 0.0
            sums.advance(**more)
            watch(sums.done, parts)
    single, pairs = sums.arrays["sums"], sums.arrays["pairs"]
    measured = np.zeros((n, n), bool)
    for (i, b), (j, c) in combinations(choices, 2):
        measured[problem.first[i] + b, problem.first[j] + c] = i != j
    cross = np.where(measured, pairs - single[:, :, None] - single[:, None], 0.0)
    halves = cross + cross.transpose(0, 2, 1)
    halves[:, np.arange(n), np.arange(n)] = 2.0 * single
    return _finished("measured", sums, len(images), halves, _pair_passes(perturbations, choices))


def _row(chunk: _Chunk, choices: list[tuple[int, int]], index: int, stop: Stop) -> Floats | None:
    """Return the loss changes of a choice alone and with every choice of later variables.

    They are ``(images, n)``; ``None`` if stopped.
    """
    perturbations = chunk.perturbations
    problem, (variable, level) = perturbations.problem, choices[index]
    later = [(j, c) for j, c in choices[index + 1 :] if j != variable]
    row = np.zeros((len(chunk.labels), problem.n))
    start, changes = (
        perturbations.starts[variable],
        chunk.with_choice(perturbations.reference, variable, level),
    )
    cuts, kept = frozenset(perturbations.starts[j] for j, _ in later), dict[int, Values]()
    logits = perturbations.subject.run(chunk.kept[start], start, changes, cuts=cuts, kept=kept)
    mine = _choice(problem, variable, level)
    row[:, problem.first[variable] + level] = chunk.changes_of_loss(logits, mine)
    for j, c in later:
        if stop():
            return None
        start = perturbations.starts[j]
        logits = perturbations.subject.run(kept[start], start, chunk.with_choice(changes, j, c))
        row[:, problem.first[j] + c] = chunk.changes_of_loss(
            logits, f"{mine} and {_choice(problem, j, c)}"
        )
    return row


def _pair_passes(perturbations: Perturbations, choices: list[tuple[int, int]]) -> float:
    """Return the cost of all pairs, in forward passes of the whole network.

    A part of a pass is counted by its share of multiply-accumulates.
    """
    rest = {
        variable: perturbations.subject.rest(perturbations.starts[variable])
        for variable, _ in choices
    }
    return (
        1.0
        + sum(rest[i] for i, _ in choices)
        + sum(rest[j] for (i, _), (j, _) in combinations(choices, 2) if i != j)
    )
