"""Tuning of the entropy window: an Optuna study with accuracy as the constraint.

It varies the window size and the thresholds.

The paper (Qin et al., "Mixed precision quantization based on information entropy", Scientific
Reports 2025) tunes these with Optuna under an accuracy constraint. Its ranges, sampler, objective
and number of trials are not known: those here are chosen here.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_engine.allocation.allocator import MissingEvidenceError
from nas_engine.allocation.entropy_window import (
    BATCHES,
    DEPTH,
    EntropyWindow,
    EntropyWindowAllocator,
    assign,
    critical_alphas,
    smooth,
)
from nas_engine.allocation.problem import ACTIVATIONS, TOLERANCE, WEIGHTS, AllocationProblem, Levels
from nas_engine.allocation.records import Evidence
from nas_engine.errors import InputError, NasEngineError
from nas_engine.training.study_file import (
    FORMAT,
    import_optuna,
    open_study,
    quiet,
    reading,
    writing,
)

BITS, ACCURACY = "bits", "accuracy"
"""Aims: fewest bits at an accuracy floor (the paper's), or the best accuracy within the problem's
limits."""

SPREADS = (0.0, 1.0)
"""Range of ``EntropyWindow.spread`` (chosen here)."""

ALPHAS = {WEIGHTS: "weight_alpha", ACTIVATIONS: "activation_alpha"}
"""Field of ``EntropyWindow`` for each kind."""

MARGIN = 0.01
"""Distance of the range of an alpha below the last step of any layer, in its unit (chosen here)."""

LEVELS = (2, 3)
"""How many neighbouring widths a set of widths has, beside all of them (chosen here)."""

DEPTH_WINDOWS = (1, 3, 5, 7)
"""Windows over neighbouring layers (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """Where a study stands, after each trial."""

    done: int
    """Finished trials, those of other processes included."""
    total: int
    """Trials asked for."""
    best: float | None
    """Objective of the best trial that meets everything; ``None`` before there is one."""
    accuracy: float | None
    """Its accuracy, or the highest so far where no trial meets everything; ``None`` before one was
    evaluated."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TunedWindow:
    """The best settings of a study."""

    settings: EntropyWindow
    """Of the best trial."""
    levels: Levels
    """The allocation they give, ``(variables,)``."""
    aim: str
    """``BITS`` or ``ACCURACY``."""
    objective: float
    """Mean bits (see ``mean_bits``) for ``BITS``, accuracy for ``ACCURACY``."""
    accuracy: float
    """Accuracy of the allocation, as returned by ``evaluate``."""
    floor: float | None
    """The accuracy that was asked for."""
    trials: int
    """Finished trials; fewer than asked for where the study was stopped."""
    evaluations: int
    """Allocations that were evaluated: different settings often give the same one."""
    feasible: int
    """Trials that keep the problem's limits and reach the floor."""
    met: bool
    """True if there is one. If not, this is the most accurate trial within the limits."""

    @property
    def summary(self) -> str:
        """One sentence: what was reached."""
        reached = (
            f"accuracy {self.accuracy:.2%} with {self.objective:.2f} bits"
            if self.aim == BITS
            else f"accuracy {self.accuracy:.2%}"
        )
        if self.met:
            return f"best of {self.trials} trials: {reached}"
        return (
            f"none of {self.trials} trials reached an accuracy of {self.floor:.2%}; the most "
            f"accurate has {reached}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """One finished trial, as the study file has it."""

    settings: dict[str, Any]
    levels: list[int]
    bits: float
    accuracy: float | None
    """``None`` where a limit is exceeded: nothing is spent on such an allocation."""
    violations: dict[str, float]
    """By how much each constraint is missed: limits relatively, the floor in accuracy; 0 where it
    is met."""

    @property
    def feasible(self) -> bool:
        return not any(self.violations.values())

    def rank(self, aim: str) -> tuple[bool, float, float]:
        """Return a key: smallest is best, infeasible ones last and by accuracy."""
        accuracy = -1.0 if self.accuracy is None else self.accuracy
        return (
            (False, self.bits, -accuracy)
            if self.feasible and aim == BITS
            else (not self.feasible, -accuracy, self.bits)
        )


def mean_bits(problem: AllocationProblem, levels: Levels) -> float:
    """Return the objective of ``BITS``, which is minimised.

    It is the mean width of all weights and that of all activations, averaged over the two (chosen
    here).
    """
    kinds = sorted({variable.kind for variable in problem.variables})
    return sum(problem.mean_bits(levels, kind) for kind in kinds) / len(kinds)


def tune_entropy_window(
    problem: AllocationProblem,
    evidence: Evidence,
    evaluate: Callable[[Levels], float],
    *,
    floor: float | None,
    aim: str = BITS,
    trials: int = 50,
    storage: Path | None = None,
    subject: str = "",
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[StudyProgress], None] = lambda progress: None,
) -> TunedWindow:
    """Return the best settings of the entropy window that a study of so many trials finds.

    A trial is free where its settings give an allocation that was evaluated before or that exceeds
    a limit. The first trials are the allocator without training, for each set of widths, and mean
    thresholds. In one process the result depends on the arguments only, also if the study is
    stopped between two trials and goes on later. Several processes may share a file; together they
    run at most one trial more each than asked for.

    Args:
        problem: Variables and limits.
        evidence: Entropies by one estimator or more.
        evaluate: Accuracy of the network with an allocation, 0 to 1; called once per allocation and
            process.
        floor: Accuracy that must be reached; ``None`` for none, which ``BITS`` does not allow.
        aim: ``BITS`` or ``ACCURACY``.
        trials: Finished trials that the study has in the end.
        storage: File of the study, which goes on where it ended; ``None`` keeps it in memory.
        subject: What ``evaluate`` measures with, such as a checksum of the network and its images;
            a file of another one is refused.
        seed: Of the sampler.
        stop: Asked before every trial; on True the best so far is returned.
        watch: Told the state before the first and after every trial.

    Raises:
        MissingOptunaError: Optuna is not installed.
        FileFormatError: The file is damaged, no study, or of another problem, evidence, aim, floor
            or subject.
        StorageError: The file cannot be written.
        InfeasibleAllocationError: No choice of widths keeps the limits.
        InputError: Other arguments that make no sense, or an accuracy that is no number.
        NasEngineError: Stopped before any trial ended, or no trial kept the limits.
    """
    _check(problem, evidence, floor, aim, trials)
    optuna = import_optuna()
    with quiet(optuna):
        study = open_study(
            optuna,
            storage,
            _identity(problem, evidence, floor, aim, subject),
            _first_trials(problem, evidence),
            seed,
        )
        while True:
            with reading(optuna, storage):
                done = _outcomes(optuna, study)
            best = min(done, key=lambda outcome: outcome.rank(aim), default=None)
            watch(_progress(best, len(done), trials, aim))
            if len(done) >= trials or stop():
                return _result(best, done, floor, aim)
            with reading(optuna, storage):
                trial = study.ask()
            try:
                with writing(storage):
                    settings = _suggest(trial, problem, evidence)
                known = {tuple(outcome.levels): outcome.accuracy for outcome in done}
                outcome = _try(problem, evidence, evaluate, settings, floor, known)
            except BaseException:
                with writing(storage):
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
            with reading(optuna, storage):
                _record(study, trial, outcome, aim)


def _check(
    problem: AllocationProblem, evidence: Evidence, floor: float | None, aim: str, trials: int
) -> None:
    if aim not in (BITS, ACCURACY):
        raise InputError(f"aim is {aim!r}; expected '{BITS}' or '{ACCURACY}'")
    if floor is None and aim == BITS:
        raise InputError("the fewest bits need an accuracy floor; give one from 0 to 1")
    if floor is not None and not 0 <= floor <= 1:
        raise InputError(f"the accuracy floor is {floor:g}; expected 0 to 1")
    if trials < 1:
        raise InputError(f"{trials} trials; expected at least 1")
    if not evidence.entropies:
        raise MissingEvidenceError(EntropyWindowAllocator.name, "entropies")
    for record in evidence.entropies:
        if (
            record.values.ndim != 2
            or record.values.shape[1] != len(problem.variables)
            or not record.values.size
        ):
            expected = f"(batches, {len(problem.variables)})"
            raise InputError(
                f"entropies ({record.estimator}) have shape {record.values.shape}; expected "
                f"{expected}: measure again"
            )
        if not np.isfinite(record.values).all():
            raise InputError(
                f"entropies ({record.estimator}) are not all finite; measure again, with another "
                "set of images"
            )


def _try(
    problem: AllocationProblem,
    evidence: Evidence,
    evaluate: Callable[[Levels], float],
    settings: EntropyWindow,
    floor: float | None,
    known: Mapping[tuple[int, ...], float | None],
) -> _Outcome:
    """Return the outcome of one trial."""
    levels = assign(problem, evidence, settings)
    key = tuple(int(level) for level in levels)
    violations = {
        resource: (cost - limit) / max(abs(limit), 1e-9) if cost > limit + TOLERANCE else 0.0
        for resource, (cost, limit) in problem.usage(levels).items()
    }
    accuracy = None
    if not any(violations.values()):
        accuracy = known[key] if key in known else float(evaluate(levels))
        if accuracy is None or not 0 <= accuracy <= 1:
            raise InputError(
                f"the accuracy of an allocation is {accuracy}; expected a number from 0 to 1"
            )
    if floor is not None:
        violations["accuracy"] = 0.0 if accuracy is None else max(0.0, floor - accuracy)
    bits = mean_bits(problem, levels)
    return _Outcome(
        settings=dataclasses.asdict(settings),
        levels=list(key),
        bits=bits,
        accuracy=accuracy,
        violations=violations,
    )


def _suggest(trial: Any, problem: AllocationProblem, evidence: Evidence) -> EntropyWindow:
    """Return the settings that the sampler proposes.

    A threshold goes from 0, where all have their widest choice, to 1, where all have the narrowest.
    So no part of its range is without effect, whatever window and spread are.
    """
    kinds = [variable.kind for variable in problem.variables]
    layers = max(map(kinds.count, kinds))
    estimator = trial.suggest_categorical(
        "estimator", [record.estimator for record in evidence.entropies]
    )
    axis = trial.suggest_categorical("axis", [BATCHES, DEPTH])
    if axis == BATCHES:
        window = trial.suggest_int("batches", 1, _batches(evidence))
    else:
        window = trial.suggest_categorical(
            "layers", [size for size in DEPTH_WINDOWS if size <= layers]
        )
    widths = trial.suggest_categorical("widths", list(width_sets(problem)))
    spread = trial.suggest_float("spread", *SPREADS)
    settings = EntropyWindow(
        estimator=estimator,
        axis=axis,
        window=window,
        spread=spread,
        widths=width_sets(problem)[widths],
    )
    for kind, name in ALPHAS.items():
        if kind in kinds:
            low, high = _alpha_range(problem, evidence, settings, kind)
            alpha = low + trial.suggest_float(f"{kind} threshold", 0.0, 1.0) * (high - low)
            settings = dataclasses.replace(settings, **{name: alpha})
    return settings


def _alpha_range(
    problem: AllocationProblem, evidence: Evidence, settings: EntropyWindow, kind: str
) -> tuple[float, float]:
    """Return the lower and the upper end of the range of alpha for the variables of a kind.

    The first gives all of them their widest choice; the second is the smallest that gives all of
    them the narrowest.
    """
    values = next(
        record.values for record in evidence.entropies if record.estimator == settings.estimator
    )
    mine = [index for index, variable in enumerate(problem.variables) if variable.kind == kind]
    places = critical_alphas(smooth(values[:, mine], settings.window, settings.axis), 1, 0.0)
    return float(places.min()) - settings.spread / 2 - MARGIN, float(
        places.max()
    ) + settings.spread / 2


def width_sets(problem: AllocationProblem) -> dict[str, tuple[int, ...]]:
    """Return the sets of widths that a trial may give, by name.

    A set has all widths of a variable, or two or three neighbours among those of the problem.

    One threshold and two widths is what the paper's words say; its set of widths is not known.
    """
    union = sorted({width for variable in problem.variables for width in variable.bits})
    runs = [tuple(union[i : i + count]) for count in LEVELS for i in range(len(union) - count + 1)]
    return {"all": ()} | {" ".join(map(str, run)): run for run in runs}


def _first_trials(problem: AllocationProblem, evidence: Evidence) -> tuple[dict[str, Any], ...]:
    """Return the parameters of the first trials.

    They are the allocator without training for each set of widths, and mean thresholds.

    The first shows early whether the floor can be reached, and no study of an accuracy gives less
    than it.
    """
    first, middle = _first_of(problem, evidence, "all")
    others = [
        _first_of(problem, evidence, name)[0] for name in width_sets(problem) if name != "all"
    ]
    return first, middle, *others


def _first_of(
    problem: AllocationProblem, evidence: Evidence, widths: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of two trials for a set of widths.

    They are the lowest thresholds that fit, and thresholds around the mean entropy.
    """
    names = [record.estimator for record in evidence.entropies]
    default = EntropyWindow()
    estimator = default.estimator if default.estimator in names else names[0]
    window, given = min(default.window, _batches(evidence)), width_sets(problem)[widths]
    settings = dataclasses.replace(
        default, estimator=estimator, axis=BATCHES, window=window, widths=given
    )
    kept = {
        "estimator": estimator,
        "axis": settings.axis,
        "batches": window,
        "spread": settings.spread,
        "widths": widths,
    }
    details = EntropyWindowAllocator(settings).allocate(problem, evidence).details
    lowest, middle = dict(kept), dict(kept)
    for kind, name in ALPHAS.items():
        if any(variable.kind == kind for variable in problem.variables):
            low, high = _alpha_range(problem, evidence, settings, kind)
            for parameters, alpha in (
                (lowest, details.get(f"{kind} alpha", high)),
                (middle, getattr(settings, name)),
            ):
                # The allocator's alpha is just high enough; rounding must not put it below.
                parameters[f"{kind} threshold"] = float(
                    np.clip((alpha - low) / (high - low) + 1e-9, 0.0, 1.0)
                )
    return lowest, middle


def _batches(evidence: Evidence) -> int:
    return min(len(record.values) for record in evidence.entropies)


def _record(study: Any, trial: Any, outcome: _Outcome, aim: str) -> None:
    trial.set_user_attr("outcome", dataclasses.asdict(outcome))
    if hasattr(
        trial, "set_constraint"
    ):  # since Optuna 5; before, the sampler has a constraints_func
        for name, violation in outcome.violations.items():
            trial.set_constraint(name, violation)
    # An outcome without an accuracy is infeasible, and those are ranked by their violations alone.
    study.tell(trial, outcome.bits if aim == BITS else 1 - (outcome.accuracy or 0.0))


def _outcomes(optuna: Any, study: Any) -> list[_Outcome]:
    """Return all finished trials, in their order."""
    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return [_Outcome(**trial.user_attrs["outcome"]) for trial in finished]


def _progress(best: _Outcome | None, done: int, total: int, aim: str) -> StudyProgress:
    objective = best.bits if best and aim == BITS else best.accuracy if best else None
    return StudyProgress(
        done=done,
        total=total,
        best=objective if best and best.feasible else None,
        accuracy=best.accuracy if best else None,
    )


def _result(
    best: _Outcome | None, done: list[_Outcome], floor: float | None, aim: str
) -> TunedWindow:
    if best is None:
        raise NasEngineError("the study was stopped before its first trial ended; start it again")
    if best.accuracy is None:
        excess, name = min(
            max((excess, name) for name, excess in outcome.violations.items()) for outcome in done
        )
        raise NasEngineError(
            f"none of {len(done)} trials keeps the limits: the nearest exceeds '{name}' by "
            f"{excess:.1%}; "
            "raise the limit, or ask for more trials"
        )
    return TunedWindow(
        settings=EntropyWindow(**{**best.settings, "widths": tuple(best.settings["widths"])}),
        levels=np.array(best.levels, np.intp),
        aim=aim,
        objective=best.bits if aim == BITS else best.accuracy,
        accuracy=best.accuracy,
        floor=floor,
        trials=len(done),
        evaluations=len(
            {tuple(outcome.levels) for outcome in done if outcome.accuracy is not None}
        ),
        feasible=sum(outcome.feasible for outcome in done),
        met=best.feasible,
    )


def _identity(
    problem: AllocationProblem, evidence: Evidence, floor: float | None, aim: str, subject: str
) -> dict[str, Any]:
    """Return the settings common to all trials of a study, by their names in messages."""
    limits, entropies = hashlib.sha256(), hashlib.sha256()
    for constraint in problem.constraints:
        limits.update(repr((constraint.name, constraint.limit, constraint.fixed)).encode())
        for array in (constraint.linear, constraint.quadratic):
            limits.update(b"" if array is None else array.tobytes())
    for record in evidence.entropies:
        entropies.update(
            repr((record.estimator, record.values.shape)).encode() + record.values.tobytes()
        )
    return {
        "format": FORMAT,
        "network or its widths": problem.fingerprint,
        "limits": limits.hexdigest(),
        "entropies": entropies.hexdigest(),
        "aim": aim,
        "accuracy floor": floor,
        "network or images to judge with": subject,
    }
