"""Verification of an export: back-ends against the integer reference, memory against prediction.

No torch.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture
from nas_engine.costs.flash import flash
from nas_engine.costs.instruction_model import instruction_model
from nas_engine.costs.memory import Arena
from nas_engine.costs.plan import live_per_layer
from nas_engine.digests import FILE, contents
from nas_engine.encoding import GeneView, architecture_frame, encode
from nas_engine.errors import FileFormatError, InputError, RunDirectoryError, UnknownNameError
from nas_engine.escaping import command_line
from nas_engine.events import SILENT, Kind, Progress, Sink
from nas_engine.exporters.bundle import check_export, formats_of, missing_for, subject_of
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.instructions import predicted_instructions
from nas_engine.exporters.row_stages import ROWS_RECORD_BYTES, row_stages
from nas_engine.exporters.settings import FILE as SETTINGS
from nas_engine.exporters.settings import read_settings
from nas_engine.exporters.sizes import step_macs
from nas_engine.exporters.to_tflite import exceptions as tflite_exceptions
from nas_engine.files import storage_errors, sweep, write_atomically
from nas_engine.integer.reference import Images, run
from nas_engine.layers import unroll
from nas_engine.parts import BACK_END, blamed
from nas_engine.pipeline.data import read_judged, source_of_data
from nas_engine.pipeline.export import load_trained, problem_of
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.finished import finished_training
from nas_engine.verification.backend import BackendRun
from nas_engine.verification.code_size import predict
from nas_engine.verification.compare import checksums, memory_lines, run_backend
from nas_engine.verification.result import (
    Comparison,
    InstructionLine,
    MemoryLine,
    VerificationReport,
)
from nas_engine.verification.table import Row, back_ends, foreign_row
from nas_engine.verification.toolchain import find_toolchain


def verify_run(
    path: Path,
    data: str | None = None,
    *,
    images: int = 200,
    emulated_images: int = 20,
    backends: Sequence[str] | None = None,
    formats: Sequence[str] = (),
    watch: Sink = SILENT,
) -> VerificationReport:
    """Verify the export of a run, and write ``verification.json``.

    The export is written anew from the integer model into a folder of this process, and compared
    with ``export/``; what is compiled, linked and loaded is that copy alone.

    Args:
        path: The run directory.
        data: A path or ``digits``; those it was trained on if ``None``.
        images: Test images for back-ends of this machine, all at most.
        emulated_images: Test images for emulated cores.
        backends: Names in the table, or parts of the user's own; all if ``None``.
        formats: Exporters of the user's own that the export was written with.
        watch: Sink of progress before and after every back-end.

    Raises:
        RunDirectoryError: A run without training or export.
        FileFormatError: A model or an export that is damaged, changed, or of another training.
        InputError: Data that do not fit, or a back-end that does not exist.
        StorageError: The report cannot be written.
    """
    formats_of(formats)
    directory = RunDirectory(path)
    result = finished_training(directory)
    saved, (problem, device) = load_trained(directory), problem_of(directory)
    best = directory.read_best()
    subject = subject_of(
        saved, device.name, schedule=best.schedule, image=best.image, room=best.room
    )
    files = written_anew(directory, subject)
    shipped = back_ends(device, images, emulated_images)
    rows = _chosen(shipped, backends, files, lambda name: foreign_row(name, images))
    watch(_progress(f"reading {source_of_data(data, result)} ...", 0, rows))
    judged = read_judged(data, directory, best, result)
    chosen = judged.images.images[: max(row.images for row in rows)]
    told = judged.what.removeprefix("the ")
    with tempfile.TemporaryDirectory(prefix="nas-search-") as copy:
        write_files(Path(copy), files)
        report = verify(
            subject,
            promised(best),
            Path(copy),
            rows,
            chosen,
            told,
            watch,
            core=device.core,
            limit=problem.most_instructions,
        )
    report = replace(report, date=datetime.now(UTC).date().isoformat())
    exported = {
        f"export/{name}": hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    named = (
        chain.made_of(directory, chain.VERIFICATION)
        | exported
        | {chain.DATA: chain.images_digest(chosen)}
    )
    sweep(path)
    write_atomically(directory.verification, report.as_json(named))
    return report


def written_anew(directory: RunDirectory, subject: ExportSubject) -> dict[str, bytes]:
    """Return the files of an export, made anew from the integers and equal to those in ``export/``.

    Nothing that lies in a run directory is ever compiled, linked or loaded: these bytes are.

    Raises:
        RunDirectoryError: There is no export, or one without settings, of nas-search 0.1.0.
        FileFormatError: A file that is changed, missing, or not one of the export; another network,
            or other versions.
        InputError: A package that a format needs is missing.
    """
    path, remedy = directory.export, f"type: {command_line('nas-search', 'export', directory.path)}"
    if not os.path.lexists(path):
        raise RunDirectoryError(directory.path, f"has no export yet; {remedy}")
    if path.is_symlink() or not path.is_dir():
        raise RunDirectoryError(path, f"is no folder of its own, as an export is; {remedy}")
    kind = contents(path).get(SETTINGS)
    if kind is None:
        raise RunDirectoryError(
            path, f"has no {SETTINGS}, as exports of nas-search 0.1.0 have none; {remedy}"
        )
    if kind != FILE:
        raise FileFormatError(path / SETTINGS, f"is {kind} that the export did not write; {remedy}")
    settings, versions = read_settings(path / SETTINGS, remedy)
    try:
        formats_of(settings.formats)
    except InputError as error:
        own = "name an exporter of your own as it was exported with, --format FILE.py:NAME"
        raise FileFormatError(path / SETTINGS, f"{error}; {own}, or {remedy}") from error
    remedy = (
        "type: "
        f"{command_line('nas-search', 'export', directory.path, *settings.options(formats_of()))}"
    )
    if missing := missing_for(settings.formats):
        raise InputError(
            f"{next(iter(missing.values()))}; without it the export cannot be written anew and "
            "compared"
        )
    chain.require(directory, chain.EXPORT)
    return check_export(
        path, subject, settings, versions, chain.made_of(directory, chain.EXPORT), remedy
    )


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of an export into a new folder.

    Raises:
        StorageError: The disk is full.
    """
    with storage_errors(folder):
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _chosen(
    rows: Sequence[Row],
    names: Sequence[str] | None,
    files: Container[str],
    foreign: Callable[[str], Row],
) -> list[Row]:
    """Return the rows of the given names; by default the quick ones whose file was exported.

    ``foreign`` returns the row of a name that is none of them.
    """
    if names is None:
        return [row for row in rows if row.by_default and row.file in files]
    known, chosen = {row.name: row for row in rows}, set()
    for name in names:
        try:
            row = known[name] if name in known else foreign(name)
        except UnknownNameError as error:
            choices = ", ".join((*known, *error.choices))
            raise InputError(
                f"--backend '{name}' is unknown; expected one of: {choices}"
            ) from error
        if row.file not in files:
            raise InputError(
                f"--backend {name} needs {row.file}, which was not exported; export again "
                "without --format"
            )
        known[row.name] = row
        chosen.add(row.name)
    return [row for row in known.values() if row.name in chosen]


def promised(network: Architecture) -> tuple[int, int]:
    """Return the predicted bytes of the arena, and of weights, constants and layer table."""
    frame = architecture_frame(network)
    genes = encode(frame, [network])
    stored = flash(Arena(), unroll(frame, genes), GeneView(frame, genes).w_bits)
    return max(live_per_layer(network)), int(stored[0])


def verify(
    subject: ExportSubject,
    predicted: tuple[int, int],
    export: Path,
    rows: Sequence[Row],
    images: Images,
    data: str,
    watch: Sink = SILENT,
    *,
    core: str = "",
    limit: float = math.inf,
) -> VerificationReport:
    """Run images through back-ends and return their comparisons with the integer reference.

    Args:
        subject: The network that was exported.
        predicted: Bytes of the arena and of packed data that were promised.
        export: The export directory.
        rows: Back-ends with their number of images.
        images: Images as uint8, ``[N, height, width, channels]``.
        data: Where they came from, for the report.
        watch: Sink of progress before and after every back-end.
        core: Core of the device, as its profile names it.
        limit: Most instructions that the limits of the search leave on it.
    """
    model = subject.model
    watch(_progress(f"integer reference on {len(images):,} images ...", 0, rows))
    expected: npt.NDArray[np.int8] = run(model, images)
    tensors = checksums(model, images[:1])
    comparisons: list[Comparison] = []
    memory: list[MemoryLine] = []
    instructions, predictions = {}, []
    for done, row in enumerate(rows):
        count = min(row.images, len(images))
        watch(_progress(f"{row.backend.name} on {count:,} images ...", done, rows))
        with (
            tempfile.TemporaryDirectory(prefix="nas-search-") as work,
            blamed(BACK_END, row.name, row.backend),
        ):
            comparison, ran = run_backend(
                row.backend, export, model, images[:count], Path(work), expected, tensors
            )
        comparisons.append(comparison)
        verdict = f"{comparison.backend}: {comparison.verdict}"
        watch(_progress(verdict, done + 1, rows, whole=True))
        if ran is not None and ran.instructions:
            instructions[row.backend.name] = ran.instructions
            own = limit if row.core == core and math.isfinite(limit) else None
            predictions.append(_instructions(subject, row, ran, own))
        if ran is not None and ran.footprint is not None:
            memory += _memory(subject, predicted, row, ran)
    return VerificationReport(
        data=data,
        backends=tuple(comparisons),
        memory=tuple(memory),
        instructions=instructions,
        predictions=tuple(predictions),
        macs={step.name: step_macs(model, step) for step in model.nodes},
        core=core,
        exceptions=(
            *tflite_exceptions(model),
            f"ONNX QCDQ: {subject.manifest['formats']['onnx-qcdq']['why']}",
        ),
    )


def _progress(text: str, done: int, rows: Sequence[Row], *, whole: bool = False) -> Progress:
    return Progress(kind=Kind.VERIFYING, at=text, done=done, total=len(rows), whole=whole)


def _instructions(
    subject: ExportSubject, row: Row, ran: BackendRun, limit: float | None
) -> InstructionLine:
    model = instruction_model(row.core or "", find_toolchain().key)
    predicted = None
    if model is not None:
        steps = predicted_instructions(model, subject.model, subject.plan)
        predicted = {name: round(count) for name, count in steps.items()}
    return InstructionLine(
        backend=row.backend.name,
        predicted=predicted,
        counted=sum(ran.instructions.values()),
        limit=None if limit is None else math.floor(limit),
    )


def _memory(
    subject: ExportSubject, promise: tuple[int, int], row: Row, ran: BackendRun
) -> tuple[MemoryLine, ...]:
    assert ran.footprint is not None
    kernels = {layer["storage"]["function"] for layer in subject.manifest["layers"]}
    stages = row_stages(subject.model, subject.plan)
    for stage in stages:
        kernels |= set(stage.parts)
    predicted = predict(row.core or "", find_toolchain().key, kernels)
    return memory_lines(
        row.backend.name,
        ran.footprint,
        arena=promise[0],
        packed=promise[1],
        code=None if predicted is None else predicted.code + ROWS_RECORD_BYTES * len(stages),
        static_ram=None if predicted is None else predicted.static_ram,
        stack=None if predicted is None else predicted.stack,
    )
