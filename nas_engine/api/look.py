"""Searching, whole runs, and looking at what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nas_engine.api.options import (
    Count,
    Run,
    RunOptions,
    Size,
    Watch,
    known,
    path_of,
    sink_of,
)
from nas_engine.foreign import refuse_foreign

if TYPE_CHECKING:
    from device_profiles import DeviceProfile
    from nas_engine.architecture import Architecture
    from nas_engine.names import ImageInput, Schedule
    from nas_engine.report.network import NetworkReport
    from nas_engine.report.search_record import SearchRecord
    from nas_engine.runs.run_record import RunRecord


def search(
    *,
    out: str | os.PathLike[str],
    device: str | os.PathLike[str] | None = None,
    sram: Size | None = None,
    flash: Size | None = None,
    resume: bool = False,
    force: bool = False,
    workers: int = 1,
    time_limit: Count | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> SearchRecord:
    """Search for the best network that fits a device, into a run directory, and return its record.

    Args:
        out: The run directory.
        device: Name or file of a device profile; ``cortex-m7`` if not given.
        sram: SRAM of the whole device; the profile's if not given.
        flash: Flash of the whole device; the profile's if not given.
        resume: Continue the run that is there, with its options, or start one.
        force: Replace the run that is there.
        workers: Processes; they do not change the result. More than one needs ``if __name__ ==
            "__main__":`` in a script.
        time_limit: Seconds, or a text such as ``"5m"``, after which the best so far is taken.
        watch: Told the progress at each tenth of the candidates.
        options: Options of the search, such as ``max_macs="2m"``; the rest comes from the device
            and the space.

    Raises:
        InputError: An unknown option, bad values, a budget that nothing fits, a directory that
            cannot be used.
        NasEngineError: Nothing was found, or the disk is full; the last checkpoint stays.

    Example:
        >>> import nas_engine as ne
        >>> found = ne.search(
        ...     sram="24k", flash="64k", space="mobilenet-32", resolution=16, candidates="2k",
        ...     out="runs/digits",
        ... )
        >>> found.best.peak_sram_bytes <= found.device.arena_bytes, found.complete
        (True, True)
    """
    from nas_engine.errors import InputError
    from nas_engine.escaping import command_line, terminal_line
    from nas_engine.options import arguments, rows_in
    from nas_engine.parts import COST, SCORE, check_named
    from nas_engine.pipeline import load_configs, resolve_config, run_search
    from nas_engine.units import parse_duration

    place = None if device is None else os.fspath(device)
    given = {"device": place, "sram": sram, "flash": flash, **options}
    fields = arguments("search", given, rows_in("search"))
    stored = load_configs(Path(out)) if resume else []
    if len(stored) > 1:
        again = command_line("nas-search", "--resume", "--out", Path(out))
        raise InputError(
            f"{terminal_line(str(out))}: holds one run per resolution; continue them with: {again}"
        )
    if stored:
        check_named(SCORE, stored[0].score, fields.get("score"))
        check_named(COST, stored[0].cost, fields.get("cost"))
    config = resolve_config({**(stored[0].as_options() if stored else {}), **fields})

    return run_search(
        config,
        Path(out),
        resume=resume,
        force=force,
        workers=workers,
        time_limit=None if time_limit is None else parse_duration(time_limit, "time_limit"),
        watch=sink_of(watch),
    )


def run(
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str],
    force: bool = False,
    workers: int = 1,
    accelerator: str = "auto",
    kernels: str = "auto",
    threads: int | None = None,
    teacher_code: bool = False,
    watch: Watch | None = None,
    **options: Unpack[RunOptions],
) -> RunRecord:
    """Do a whole run and return its record. Needs torch.

    The stages are search, shortlist, training, refinement, export, verification and report.

    What is done already is not done again; what was stopped goes on. Without ``config`` a run that
    is there goes on with its own.

    Args:
        config: A YAML file such as ``run.yaml`` of an earlier run, or its sections as a mapping.
        out: The folder of the run.
        force: Redo stages that take long too, where something they depend on has changed.
        workers: Processes of the search; they do not change the result.
        accelerator: ``auto`` (CUDA if there), ``cpu`` or ``cuda``.
        kernels: ``auto`` (in C where the CPU trains and a compiler is there) or ``torch``.
        threads: CPU threads of torch; its own choice if not given.
        teacher_code: Whether ``train.teacher`` may be a program (TorchScript); it runs here with
            your rights, and need not end.
        watch: Told stages, progress and notes.
        options: Sections that override those of ``config``, such as ``search={"sram": "24k"},
            train={"epochs": 4}, seed=1``.

    Raises:
        InputError: An unknown option, bad values, data or a folder that cannot be used.
        NasEngineError: A stage failed; what was done before stays, and the same call goes on.

    Example:
        >>> import nas_engine as ne  # doctest: +SKIP
        >>> record = ne.run(  # doctest: +SKIP
        ...     search={"sram": "24k", "flash": "64k"}, data={"source": "digits"}, out="runs/digits"
        ... )
        >>> record.stage("verify").figures["passed"]  # doctest: +SKIP
        True
    """
    from nas_engine.api.options import require_torch
    from nas_engine.runs.pipeline_directory import PipelineDirectory
    from nas_engine.runs.run_options import (
        check_options,
        continued,
        merged,
        over_file,
        read_options,
        stored_options,
    )

    known("run", options, RunOptions)
    require_torch("a whole run")
    from nas_engine.pipeline.run import run_pipeline
    from nas_engine.pipeline.run_config import resolve_run_config
    from nas_engine.training.compute import prepare_compute, prepare_kernels

    given, before = check_options(options, "run()"), PipelineDirectory(Path(out))
    if config is not None:
        layers = (
            merged(config, given)
            if isinstance(config, Mapping)
            else over_file(read_options(Path(config)), given)
        )
    else:
        layers = continued(stored_options(before), given) if before.started() else given
    device, sink = prepare_compute(accelerator, threads), sink_of(watch)
    return run_pipeline(
        resolve_run_config(layers),
        Path(out),
        force=force,
        workers=workers,
        accelerator=device,
        kernels=prepare_kernels(kernels, device, sink),
        teacher_code=teacher_code,
        watch=sink,
    )


def load(run: Run) -> SearchRecord:
    """Return the record of a run directory: the request, the winner and the result of its training.

    Args:
        run: The path.

    Raises:
        InputError: Not a run directory, of another version, without a winner yet, or with a damaged
            file.

    Example:
        >>> import nas_engine as ne
        >>> ne.load("runs/digits").best.architecture.resolution
        16
    """
    from nas_engine.errors import RunDirectoryError
    from nas_engine.report.search_record import load_runs
    from nas_engine.runs.pipeline_directory import PipelineDirectory

    path = path_of(run)
    whole = PipelineDirectory(path)
    if whole.started():
        raise RunDirectoryError(
            path,
            "is the folder of a whole run; give one of its run directories, such as "
            f"{whole.final.path}, or use load_run()",
        )
    records = load_runs(path)
    if len(records) > 1:
        names = ", ".join(str(record.directory.path) for record in records)
        raise RunDirectoryError(path, f"holds one run per resolution; give one of them: {names}")
    return records[0]


def load_run(path: str | os.PathLike[str]) -> RunRecord:
    """Return the record of a whole run: every stage with its figures.

    Raises:
        InputError: Not the folder of a whole run, or a damaged file.
    """
    from nas_engine.errors import RunDirectoryError
    from nas_engine.runs.pipeline_directory import PipelineDirectory
    from nas_engine.runs.run_record import read_record

    directory = PipelineDirectory(Path(path))
    if not directory.started():
        raise RunDirectoryError(
            path,
            "is not the folder of a whole run (no run.yaml); give the one that nas-search run "
            "wrote",
        )
    return read_record(directory.record)


def score(
    network: Architecture | str | os.PathLike[str],
    *,
    resolution: int | None = None,
    device: DeviceProfile | str | os.PathLike[str] | None = None,
    memory_model: str = "arena",
    schedule: Schedule | None = None,
    input: ImageInput | None = None,
    sigma_a: float | None = None,
    sigma_w: float | None = None,
    stage_weights: Sequence[float] | None = None,
) -> NetworkReport:
    """Return QE-Score and costs of a network.

    Args:
        network: An architecture, or the file of one: ``best.yaml`` of a run, or a structure as the
            authors of QE-Score publish it.
        resolution: Input pixels; the network's own if not given.
        device: Whose cycles are estimated; none if not given.
        memory_model: ``arena`` or ``paper``: what SRAM, Flash and BitOps count.
        schedule: How it runs, ``auto``, ``layers`` or ``rows``; as the network says if not given.
        input: How its image comes, ``whole`` or ``rows``; likewise.
        sigma_a: Standard deviation of activations; the paper's 5 if not given.
        sigma_w: Standard deviation of weights; the paper's 4 if not given.
        stage_weights: One per stage; see ``default_stage_weights``.

    Raises:
        InputError: A damaged file, or values that do not fit the network.

    Example:
        >>> import nas_engine as ne
        >>> ne.score("runs/digits/best.yaml").qe_score == ne.load("runs/digits").best.qe_score
        True
    """
    from dataclasses import replace

    from device_profiles import DeviceProfile, load_device
    from nas_engine.architecture import Architecture, read_architecture
    from nas_engine.costs.instruction_model import cycle_model
    from nas_engine.layers import KINDS
    from nas_engine.report.network import report_network
    from nas_engine.scoring.qe_score import ScoreSettings, default_stage_weights

    profile = (
        load_device(device)
        if device is not None and not isinstance(device, DeviceProfile)
        else device
    )
    if not isinstance(network, Architecture):
        refuse_foreign(network)
        network = read_architecture(network)
    if resolution is not None:
        network = network.at_resolution(resolution)
    network = replace(network, schedule=schedule or network.schedule, image=input or network.image)
    weights = default_stage_weights(network) if stage_weights is None else tuple(stage_weights)
    sigmas = {
        name: value
        for name, value in (("sigma_a", sigma_a), ("sigma_w", sigma_w))
        if value is not None
    }
    return report_network(
        network,
        memory_model=memory_model,
        score=ScoreSettings(stage_weights=weights, **sigmas),
        cycles_per_mac={kind: profile.cycles_table(kind) for kind in KINDS} if profile else None,
        cycle_model=cycle_model(profile) if profile else None,
        milliseconds_per_cycle=profile.milliseconds_per_cycle if profile else None,
    )


def bits(
    network: str | os.PathLike[str],
    *,
    device: str = "cortex-m7",
    sram: Size | None = None,
    flash: Size | None = None,
    schedule: Schedule | None = None,
    input: ImageInput | None = None,
    uniform: str | int | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> NetworkReport:
    """Return the report of a network of your own with bits for a budget.

    Args:
        network: An architecture file. Structure, and the bits of stem and classifier, stay.
        device: Device profile, by name or path.
        sram: SRAM of the device.
        flash: Flash of the device.
        schedule: How it runs, ``auto``, ``layers`` or ``rows``; as the file says if not given.
        input: How its image comes, ``whole`` or ``rows``; rows where a whole one does not fit if
            not given.
        uniform: The same bits for all other layers: ``5`` (weights; inputs 8) or ``"w5a6"``; if not
            given, bits are refined to the budgets, as in a search (QBR).
        out: The architecture file that is written; none if not given.
        force: Replace another file of that name.

    Raises:
        InputError: No architecture, bits that the device forbids, or budgets that it does not fit.

    Example:
        >>> import nas_engine as ne
        >>> fitted = ne.bits("runs/digits/best.yaml", sram="24k", flash="64k", uniform="w3a8")
        >>> str(fitted.bits[0]), str(fitted.bits[1])
        ('w8a8', 'w3a8')
    """
    from nas_engine.options import arguments, rows_of
    from nas_engine.pipeline.bits import parse_uniform, set_bits, write_network

    refuse_foreign(network)
    options = {"device": device, "sram": sram, "flash": flash, "schedule": schedule, "input": input}
    report, _ = set_bits(
        os.fspath(network),
        arguments("bits", options, rows_of("bits")),
        None if uniform is None else parse_uniform(str(uniform)),
    )
    if out is not None:
        write_network(out, report.architecture, force=force)
    return report
