"""Refinement of a run: bits per layer from its float weights and some training images.

One run directory per method. Needs torch.

Images that measure and images that judge are training images that do not overlap; no test image is
ever looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nas_engine import __version__
from nas_engine.allocation.device_problem import device_problem, levels_of, with_levels
from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, AllocationProblem, Levels
from nas_engine.allocation.records import BitAllocation
from nas_engine.allocation.table import ALLOCATORS
from nas_engine.allocation.tightening import choose_within, counted_limits
from nas_engine.architecture import Architecture
from nas_engine.datasets import Split
from nas_engine.datasets.digits import WORD as DIGITS
from nas_engine.errors import InputError, NasEngineError, RunDirectoryError
from nas_engine.events import SILENT, Note, Sink, Started
from nas_engine.evolution.config import SearchConfig, build_problem
from nas_engine.evolution.limits import LIMITS
from nas_engine.evolution.problem import SearchProblem
from nas_engine.files import write_atomically
from nas_engine.names import ALL, Method
from nas_engine.pipeline.base_network import BaseNetwork, base_network
from nas_engine.pipeline.choice import Chooser
from nas_engine.pipeline.course import WORTH_TELLING_S
from nas_engine.pipeline.data import read_data, source_of_data, trained_classes
from nas_engine.pipeline.evidence import HESSIAN, measure
from nas_engine.pipeline.judging import Drawn, draw_images, is_ahead, judge, judge_float
from nas_engine.pipeline.refine_request import (
    RefineRequest,
    check_request,
    images_evaluated,
    methods_of,
)
from nas_engine.pipeline.refined_run import write_refined_run
from nas_engine.pipeline.training import trained_architecture
from nas_engine.report.allocations import (
    AllocationReport,
    AllocationSetting,
    Judged,
    JudgedChoice,
    Measurement,
    Usage,
    comparison,
)
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.sealed import seal_json
from nas_engine.training.finished import finished_training
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.sensitivities import MeasurementStoppedError
from nas_engine.training.subject import subject_of
from nas_engine.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refinement:
    """Result of a refinement."""

    reports: tuple[AllocationReport, ...]
    """Reports, one per method."""
    setting: AllocationSetting
    """Images, baselines and measurements that the methods share."""
    directory: RunDirectory
    """Run that was refined."""
    data: str
    """Data that were measured on."""

    @property
    def chosen(self) -> RunDirectory:
        """Refined run to train: smallest judged loss, but the run's own bits unless beaten clearly.

        Clearly is in accuracy, by more than the standard error of the difference. Without
        training the loss also falls where a network only becomes less confident, and training
        evens small differences out: the bits of the run, spread evenly, then often do better
        (measured here).
        """
        best = min(self.reports, key=lambda report: report.judged.loss)
        given = next((report for report in self.reports if report.method == Method.QBR), None)
        if given is not None and not is_ahead(
            best.judged.accuracy, given.judged.accuracy, self.setting.judged_images
        ):
            best = given
        return self.directory.refine.run(best.method)


def run_refinement(
    path: Path, request: RefineRequest, *, force: bool = False, watch: Sink = SILENT
) -> Refinement | None:
    """Measure, let each method choose bits, judge them and write a run directory per method.

    Args:
        path: A run directory.
        request: What to do.
        force: Go on with a run that is not trained to the end, and replace refined runs that were
            trained.
        watch: Sink of progress and notes, and the answer whether to stop.

    Returns:
        The result; ``None`` if ``watch.stop`` said so first: what was measured is kept.

    Raises:
        InputError: A run, data or options that cannot be used, or budgets that no bits fit.
        NasEngineError: A loss that is not finite; what was measured before is kept.
        StorageError: The disk is full.
    """
    methods = methods_of(request)
    check_request(request, methods)
    directory = RunDirectory(path)
    architecture = trained_architecture(directory)
    config = SearchConfig.from_mapping(directory.read_config(), directory.path / "config.yaml")
    search, _ = build_problem(config)
    with directory.locked():
        base = base_network(directory, architecture, force=force, seed=request.seed)
        _check_replaceable(directory, methods, force)
        data = _data_of(directory, request)
        problem = device_problem(search, architecture)
        problem.require_feasible()
        watch(Started(text=f"reading {data} ..."))
        known = trained_classes(directory)
        dataset = read_data(data, architecture, known=known, limit=request.limit, seed=request.seed)
        drawn = draw_images(dataset, request.images, request.seed)
        work = _Work(
            directory=directory,
            request=request,
            search=search,
            architecture=architecture,
            problem=problem,
            base=base,
            data=data,
            drawn=drawn,
            classes=dataset.classes,
        )
        try:
            return work.run(methods, watch)
        except MeasurementStoppedError:
            return None


def _check_replaceable(directory: RunDirectory, methods: Sequence[str], force: bool) -> None:
    for method in methods:
        run = directory.refine.run(method)
        if run.training.path.exists() and not force:
            raise RunDirectoryError(
                run.path, "was trained already; add --force to replace it, or move it elsewhere"
            )


def _data_of(directory: RunDirectory, request: RefineRequest) -> str:
    """Return the data given, or those of the training."""
    if request.data is None and not directory.training.result.exists():
        raise InputError(
            f"{directory.path}: it is not known what this run is trained on; give --data PATH, or "
            f"--data {DIGITS}"
        )
    return (
        request.data
        if request.data is not None
        else source_of_data(None, finished_training(directory))
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    """One refinement, all of whose inputs have been checked."""

    directory: RunDirectory
    request: RefineRequest
    search: SearchProblem
    architecture: Architecture
    problem: AllocationProblem
    base: BaseNetwork
    data: str
    drawn: Drawn
    classes: tuple[str, ...]

    def run(self, methods: Sequence[str], watch: Sink) -> Refinement:
        request, folder = self.request, self.directory.refine
        measured, judged = self.drawn.measured, self.drawn.judged
        methods, given, warnings = self._given(self._possible(methods, watch))
        perturbations = Perturbations(
            subject_of(self.base.network), self.problem, measured.images, fixed=self._fixed()
        )
        floating = judge_float(self.base.network, judged)
        needs = {field for method in methods for field in ALLOCATORS[method].needs}
        began = time.monotonic()
        reference = judge(perturbations, self.problem.widest, judged)
        self._expect(methods, needs, time.monotonic() - began, watch)
        evidence, measurements = measure(
            needs, perturbations, measured, folder, watch, given=given, seed=request.seed
        )
        setting = self._setting(
            measured, judged, floating, reference, measurements, warnings, methods
        )
        chooser = Chooser(
            problem=self.problem,
            evidence=evidence,
            perturbations=perturbations,
            measured=measured,
            judged=judged,
            swaps=request.swaps,
            trials=request.trials,
            floor=None
            if request.floor is None
            else max(0.0, floating.accuracy - request.floor) / 100.0,
            study=request.storage or folder.study,
            own_study=request.storage is None,
            solver_time_s=request.solver_time_s,
            seed=request.seed,
            watch=watch,
        )
        own = self._own(perturbations, judged)
        reports: list[AllocationReport] = []
        for method in methods:
            watch(Started(text=f"{method} ..."))
            began = time.monotonic()
            found = choose_within(self.search, self.architecture, chooser.of(method))
            if watch.stop():
                raise MeasurementStoppedError(len(reports), len(methods), folder.path)
            reports.append(
                self._report(found, time.monotonic() - began, perturbations, judged, reference, own)
            )
            refined = with_levels(self.problem, self.architecture, found.levels)
            write_refined_run(
                self.directory, self.search, self.base, refined, reports[-1], setting, self.classes
            )
        if len(reports) > 1:
            named = {"made_of": chain.made_of(self.directory, chain.COMPARISON)}
            write_atomically(folder.comparison, seal_json(comparison(reports, setting) | named))
            _draw(self.directory, reports, setting)
        return Refinement(
            reports=tuple(reports), setting=setting, directory=self.directory, data=self.data
        )

    def _expect(
        self, methods: Sequence[str], needs: Collection[str], seconds: float, watch: Sink
    ) -> None:
        """Tell how long it takes at most, by the time of one look at the images that judge."""
        judged = len(self.drawn.judged)
        images = images_evaluated(
            self.request,
            methods,
            choices=len(self.problem.owner),
            measured=len(self.drawn.measured),
            judged=judged,
        )
        if (expected := seconds * images / judged) >= WORTH_TELLING_S:
            beside = ", beside the Hessian" if HESSIAN in needs else ""
            watch(Note(text=f"refinement: about {format_duration(expected)} left at most{beside}"))

    def _possible(self, methods: Sequence[str], watch: Sink) -> Sequence[str]:
        """Return the methods; where images are too few, the one alone that keeps the bits.

        Raises:
            InputError: That one is not among them.
        """
        if set(methods) == {Method.QBR} or not self.drawn.note:
            return methods
        if self.drawn.enough:
            watch(Note(text=self.drawn.note))
            return methods
        if Method.QBR not in methods:
            raise InputError(
                f"{self.data}: {self.drawn.note}; give more data, or --method {Method.QBR}, "
                "which keeps the bits of the search"
            )
        watch(Note(text=f"{self.drawn.note}; the bits of the search are kept"))
        return (Method.QBR,)

    def _given(
        self, methods: Sequence[str]
    ) -> tuple[Sequence[str], Levels | None, tuple[str, ...]]:
        """Return methods, own widths and warnings; ``all`` skips widths that do not fit."""
        warnings = (self.base.warning,) if self.base.warning else ()
        if Method.QBR not in methods:
            return methods, None, warnings
        try:
            levels = levels_of(self.problem, self.architecture)
            if self.request.method != ALL or self.problem.is_feasible(levels):
                return methods, levels, warnings
            problem = "the widths of best.yaml do not fit the budgets"
        except InputError as error:
            if self.request.method != ALL:
                raise
            problem = str(error)
        others = [method for method in methods if method != Method.QBR]
        if not others:
            raise InputError(f"{self.data}: {self.drawn.note}; give more data: {problem}")
        return others, None, (*warnings, f"{Method.QBR} is left out: {problem}")

    def _own(self, perturbations: Perturbations, judged: Split) -> Judged | None:
        """Return the judgement of the run's own widths; ``None`` where they cannot be used."""
        try:
            levels = levels_of(self.problem, self.architecture)
        except InputError:
            return None
        return judge(perturbations, levels, judged) if self.problem.is_feasible(levels) else None

    def _fixed(self) -> dict[str, tuple[int, int]]:
        """Return the widths of the layers that are not free."""
        free = {layer for variable in self.problem.variables for layer in variable.layers}
        widths = zip(self.architecture.layer_names(), self.architecture.layer_bits(), strict=True)
        return {name: (bits.w, bits.a) for name, bits in widths if name not in free}

    def _setting(
        self,
        measured: Split,
        judged: Split,
        floating: Judged,
        reference: Judged,
        measurements: tuple[Measurement, ...],
        warnings: tuple[str, ...],
        methods: Sequence[str],
    ) -> AllocationSetting:
        packages = [
            "torch",
            "numpy",
            *(["optuna"] if Method.ENTROPY_WINDOW in methods and self.request.trials else []),
        ]
        return AllocationSetting(
            network=str(self.base.source) if self.base.source else "random weights",
            data=self.data,
            seed=self.request.seed,
            images=len(measured),
            judged_images=len(judged),
            floating=floating,
            reference=reference,
            measurements=measurements,
            versions={"nas-search": __version__, **{name: version(name) for name in packages}},
            warnings=warnings,
        )

    def _report(
        self,
        found: BitAllocation,
        seconds: float,
        perturbations: Perturbations,
        judged: Split,
        reference: Judged,
        own: Judged | None,
    ) -> AllocationReport:
        problem = self.problem
        refined = with_levels(problem, self.architecture, found.levels)
        counted = counted_limits(self.search, refined)
        fractions = {row.title for row in LIMITS if not row.counted}
        spent = {
            name: counted.get(name, predicted)
            for name, predicted in problem.usage(found.levels).items()
        }
        result = judge(perturbations, found.levels, judged)
        if not np.isfinite(result.loss):
            broken = f"the loss is {result.loss} at the widths of '{found.method}'"
            raise NasEngineError(f"{broken}; measurements are kept; try another --method")
        notes = found.notes
        if own is not None and own.accuracy > result.accuracy:
            better = (
                f"the bits of the search reach {own.accuracy:.2f} % on the same images, more than "
                "these"
            )
            notes = (*notes, f"{better}: keep those (--method {Method.QBR})")
        return AllocationReport(
            method=found.method,
            bits=dict(zip(refined.layer_names(), refined.layer_bits(), strict=True)),
            mean_w_bits=problem.mean_bits(found.levels, WEIGHTS),
            mean_a_bits=problem.mean_bits(found.levels, ACTIVATIONS),
            usage={
                name: Usage(used=used, limit=limit)
                if name in fractions
                else Usage(used=math.ceil(used), limit=math.floor(limit))
                for name, (used, limit) in spent.items()
            },
            objective=found.objective,
            bound=found.bound,
            gap=found.gap,
            status=found.status,
            predicted=float("nan")
            if found.method == Method.HAWQ
            else found.objective,  # HAWQ's costs are no losses
            judged=JudgedChoice(
                loss=result.loss,
                loss_change=result.loss - reference.loss,
                accuracy=result.accuracy,
            ),
            seconds=round(seconds, 3),
            notes=notes,
            details=found.details,
        )


def _draw(
    directory: RunDirectory, reports: Sequence[AllocationReport], setting: AllocationSetting
) -> None:
    from nas_engine.report import plots  # matplotlib takes half a second to import
    from nas_engine.report.plots.allocations import allocation_maps, draw_allocations

    record = allocation_maps(reports, setting)
    plots.save_figure(draw_allocations(record), directory.refine.path, "allocations")
