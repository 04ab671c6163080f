"""RefineRequest: settings of a refinement, and the methods they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_engine.allocation.table import ALLOCATORS
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.names import ALL, Method
from nas_engine.parts import ALLOCATOR, adopt
from nas_engine.pipeline.choice import TRIED, require_optuna
from nas_engine.pipeline.evidence import HESSIAN, PAIRS, SINGLES
from nas_engine.pipeline.judging import FEWEST_IMAGES
from nas_engine.training.remedies import OF_COMMANDS, Remedies


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineRequest:
    """Settings of a refinement."""

    method: str = Method.GAUSS_NEWTON
    """Key of ``ALLOCATORS``, several with commas between, or ``all``."""
    data: str | None = None
    """Path, or ``digits``; ``None`` for what the run was trained on."""
    images: int = 512
    """Training images that measure, an even number; where they are too few, half of them."""
    exact_pairs: bool = False
    """True if ``all`` measures pairs, which takes long."""
    swaps: int = 5
    """Rounds of swaps on the real loss; 0 for none."""
    trials: int = 50
    """Trials of the entropy window; 0 for none."""
    storage: Path | None = None
    """File of these trials; ``None`` for one in the run."""
    floor: float | None = None
    """Points of accuracy that the entropy window may lose for fewer bits; ``None``: the best
    accuracy in the budgets."""
    solver_time_s: float = 20.0
    """Seconds for proofs, per method."""
    limit: int | None = None
    """Most images per split."""
    seed: int = 0
    """Seed of images and methods."""
    remedies: Remedies = OF_COMMANDS
    """Advice in its error messages."""


def request_of(options: Mapping[str, Any]) -> RefineRequest:
    """Return the request of the options of ``nas-search refine``; ``None`` counts as not given."""
    given = {name: value for name, value in options.items() if value is not None}
    if "storage" in given:
        given["storage"] = Path(given["storage"])
    if "solver_time" in given:
        given["solver_time_s"] = given.pop("solver_time")
    return RefineRequest(**given)


def methods_of(request: RefineRequest) -> tuple[str, ...]:
    """Return the names of the methods that are asked for; a user's own are put into the table.

    Raises:
        UnknownNameError: There is no such method.
    """
    if request.method != ALL:
        given = dict.fromkeys(name.strip() for name in request.method.split(","))
        try:
            return tuple(dict.fromkeys(adopt(ALLOCATOR, name, ALLOCATORS) for name in given))
        except UnknownNameError as error:
            raise UnknownNameError("method", error.name, (*error.choices, ALL)) from error
    return tuple(
        name
        for name, allocator in ALLOCATORS.items()
        if request.exact_pairs or PAIRS not in allocator.needs
    )


def images_evaluated(
    request: RefineRequest, methods: Sequence[str], *, choices: int, measured: int, judged: int
) -> float:
    """Return how many images a refinement sends through the whole network, at most.

    A single choice runs from its layer on, a pair from the later of its two layers: half and a
    third of the network on average. A Hessian is not counted.

    Args:
        request: Settings.
        methods: Names of the methods.
        choices: Widths of all variables.
        measured: Images that measure.
        judged: Images that judge.
    """
    needs = [set(ALLOCATORS[method].needs) for method in methods]
    every = set().union(*needs)
    swapped = sum(not one.isdisjoint((SINGLES, PAIRS, HESSIAN)) for one in needs)
    return (
        measured * choices * (SINGLES in every) / 2
        + measured * choices**2 / 2 * (PAIRS in every) / 3
        + measured * swapped * request.swaps * TRIED
        + judged * request.trials * (Method.ENTROPY_WINDOW in methods)
        + judged * (1 + len(methods))
    )


def check_request(request: RefineRequest, methods: Sequence[str]) -> None:
    """Check what can be checked before a run is looked at.

    Raises:
        InputError: Options that do not go together, or Optuna is missing.
    """
    if request.exact_pairs and not any(PAIRS in ALLOCATORS[method].needs for method in methods):
        raise InputError(
            f"--exact-pairs: method '{request.method}' needs no pairs; give --method clado or all, "
            "or leave it out"
        )
    if request.images < FEWEST_IMAGES or request.images % 2:
        raise InputError(
            f"{request.remedies.images}: {request.images:,}; expected an even number from "
            f"{FEWEST_IMAGES}, such as 512"
        )
    if Method.ENTROPY_WINDOW in methods and request.trials:
        require_optuna()
