"""Export of a trained run: its integer model in every format, into ``export/``. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_profiles import DeviceProfile
from nas_engine.costs.plan import MemoryPlan
from nas_engine.errors import InputError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.evolution.config import SearchConfig, build_problem
from nas_engine.evolution.problem import SearchProblem
from nas_engine.exporters.bundle import export_files, formats_of, missing_for, subject_of
from nas_engine.exporters.exporter import ExportError
from nas_engine.exporters.settings import ExportSettings
from nas_engine.exporters.sizes import packed_bytes
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.store import SavedModel
from nas_engine.integer.store import load as load_integer
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.finished import finished_training


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """Result of an export."""

    folder: Path
    """Folder of the files."""
    files: tuple[tuple[str, int], ...]
    """Path in the folder and size in bytes of every file, in order."""
    arena_bytes: int
    """Size of the static arena."""
    packed_bytes: int
    """Size of weights, constants and layer table in Flash."""


def problem_of(directory: RunDirectory) -> tuple[SearchProblem, DeviceProfile]:
    """Return what a run was searched for, with the device, which has the run's own memory.

    Raises:
        RunDirectoryError: Not a run directory.
        InputError: A device profile that is not there any more.
    """
    config = SearchConfig.from_mapping(directory.read_config(), directory.path / "config.yaml")
    return build_problem(config)


def device_of(directory: RunDirectory) -> DeviceProfile:
    """Return the device that a run was searched for; errors as ``problem_of``."""
    return problem_of(directory)[1]


def load_trained(directory: RunDirectory) -> SavedModel:
    """Return the integer model of a run that has been trained to the end.

    Raises:
        RunDirectoryError: Not trained yet, or in float only.
        FileFormatError: A damaged or changed model.
    """
    if not finished_training(directory).quantised_epochs:
        path = directory.path
        again = command_line("nas-search", "train", path, "--force")
        raise RunDirectoryError(
            path, f"was trained in float only, so there are no integers; type: {again}"
        )
    return load_integer(directory.integer)


def export_run(
    path: Path,
    formats: Sequence[str] | None = None,
    *,
    prefix: str = "model",
    metadata: bool = True,
) -> ExportResult:
    """Write the exports of a trained run.

    Args:
        path: The run directory.
        formats: Names in ``EXPORTERS``; all if ``None``. The manifest is always written too.
        prefix: Start of every public name and file name of the C export.
        metadata: Whether the TFLite files carry the manifest.

    Raises:
        RunDirectoryError: A run without training.
        FileFormatError: A damaged or changed integer model.
        InputError: An unknown format, a prefix that C does not take, or a package that a format
            needs is missing.
        ExportError: A network that a format or the device cannot take.
        StorageError: The disk is full; an older export stays.
    """
    settings = ExportSettings(formats=formats_of(formats), prefix=prefix, metadata=metadata)
    directory = RunDirectory(path)
    saved = load_trained(directory)
    device = device_of(directory)
    if missing := missing_for(settings.formats):
        others = [name for name in settings.formats if name not in missing]
        line = next(iter(missing.values()))
        raise InputError(
            f"{line}; or leave that format out"
            + (f": --format {','.join(others)}" if others else "")
        )
    best = directory.read_best()
    subject = subject_of(
        saved, device.name, schedule=best.schedule, image=best.image, room=best.room
    )
    _check_pairs(subject.model, device)
    files = export_files(subject, settings, made_of=chain.made_of(directory, chain.EXPORT))
    with directory.locked():
        directory.write_export(files)
    sizes = tuple((name, len(content)) for name, content in files.items())
    plan: MemoryPlan = subject.plan
    return ExportResult(
        folder=directory.export,
        files=sizes,
        arena_bytes=plan.arena_bytes,
        packed_bytes=packed_bytes(subject.model),
    )


def _check_pairs(model: IntegerModel, device: DeviceProfile) -> None:
    """Refuse a layer whose pair of widths the device cannot run.

    Raises:
        ExportError: Names the layer, the pair and the device.
    """
    for step in model.nodes:
        if isinstance(step, IntegerConvolution) and not device.allowed(
            step.weight_bits, bits := model.tensor(step.input).bits
        ):
            pair = f"w{step.weight_bits}a{bits}"
            raise ExportError(
                device.name,
                f"layer {step.name} has {pair}, which the device forbids; search again for this "
                "device",
            )
