"""Export, proof and report of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas_engine.api.options import Run, Watch, path_of, sink_of

if TYPE_CHECKING:
    from nas_engine.integer.model import IntegerModel
    from nas_engine.pipeline.export import ExportResult
    from nas_engine.report.compare import Compared
    from nas_engine.runs.run_directory import RunDirectory
    from nas_engine.verification.result import VerificationReport


def export(
    run: Run, formats: Sequence[str] | None = None, *, prefix: str = "model", metadata: bool = True
) -> ExportResult:
    """Write all firmware and model files of a trained run into its ``export/``, or none.

    Args:
        run: The run.
        formats: Of ``c``, ``tflite`` and ``onnx``, or ``FILE.py:NAME`` of your own; all if not
            given. The manifest is always written.
        prefix: Start of every symbol, macro, section and file name of the C, so that one program
            can hold several networks.
        metadata: Whether the TFLite files carry the manifest; without it they are smaller.

    Raises:
        InputError: An unknown format, a prefix that C does not take, a run without training, or a
            package that a format needs is missing.
        NasEngineError: A network that the device cannot take, or the disk is full; an older export
            stays.

    Example:
        >>> import nas_engine as ne
        >>> files = dict(ne.export("runs/digits", ["c"]).files)
        >>> files["c/model.c"] > 0
        True
    """
    from nas_engine.pipeline.export import export_run

    return export_run(path_of(run), formats, prefix=prefix, metadata=metadata)


def verify(
    run: Run,
    *,
    data: str | os.PathLike[str] | None = None,
    images: int = 200,
    emulated_images: int = 20,
    backends: Sequence[str] | None = None,
    formats: Sequence[str] = (),
    watch: Watch | None = None,
) -> VerificationReport:
    """Run the export of a run through every back-end and the integer reference.

    The result is also written to ``verification.json``.

    Args:
        run: The run.
        data: Whose test images are used; what the run was trained on if not given.
        images: Test images for back-ends of this machine, all at most.
        emulated_images: Test images for emulated cores.
        backends: Names of back-ends, or ``FILE.py:NAME`` of your own; all that are quick if not
            given.
        formats: Exporters of your own that the export was written with, ``FILE.py:NAME``.
        watch: Told the verdict of every back-end.

    Returns:
        Every comparison; ``passed`` says whether all is as it must be. A failed verification is a
        result, not an error.

    Raises:
        InputError: A run without training or export, a damaged file, data that do not fit, or an
            unknown back-end.
        NasEngineError: The report cannot be written.

    Example:
        >>> import nas_engine as ne
        >>> report = ne.verify("runs/digits", images=4, backends=["host-c"])
        >>> [str(one.verdict) for one in report.backends]
        ['equal']
    """
    from nas_engine.pipeline.verify import verify_run

    return verify_run(
        path_of(run),
        None if data is None else os.fspath(data),
        images=images,
        emulated_images=emulated_images,
        backends=backends,
        formats=formats,
        watch=sink_of(watch),
    )


def load_model(run: Run) -> IntegerModel:
    """Return the integer model of a trained run, which is what every export is measured against.

    Raises:
        InputError: Not trained to the end, trained in float only, or a damaged file.

    Example:
        >>> import nas_engine as ne
        >>> ne.load_model("runs/digits").nodes[0].name
        'stem'
    """
    from nas_engine.pipeline.export import load_trained
    from nas_engine.runs.run_directory import RunDirectory

    return load_trained(RunDirectory(path_of(run))).model


def compare(*runs: Run) -> list[Compared]:
    """Return one row per run: accuracy, memory, MACs, counted instructions, and what is proven.

    Args:
        runs: Runs of any device, resolution, space and seed, or folders of runs.

    Raises:
        InputError: Not a run and no folder of runs, a run of another version, or a damaged file.

    Example:
        >>> import nas_engine as ne
        >>> [(row.run, row.resolution) for row in ne.compare("runs")]
        [('runs/digits', 16)]
    """
    from nas_engine.report.compare import compare as rows_of

    return rows_of([path_of(run) for run in runs])


def take(
    run: Run, pick: int, out: str | os.PathLike[str] | None = None, *, force: bool = False
) -> RunDirectory:
    """Make a run of a network of a front, and return its directory.

    Args:
        run: A search, or a whole run.
        pick: Number of the network, from 1, as in ``pareto/``.
        out: The new directory; ``RUN-PICK`` if not given.
        force: Replace a run that is there.

    Raises:
        InputError: No such network, no front, or a run in the new directory already.
        NasEngineError: The disk is full.

    Example:
        >>> import nas_engine as ne
        >>> ne.take("runs/digits", 2, "taken").read_best().resolution
        16
    """
    from nas_engine.pipeline.take import take as taken

    return taken(path_of(run), pick, None if out is None else Path(out), force=force)


def write_report(run: Run) -> Path:
    """Write the page of a run, ``report.html``, with its pictures next to it, and return its path.

    The function is not named ``report``, which is a package of this project.

    Args:
        run: A whole run, or the run of single commands; what is not there yet is named with the
            command that makes it.

    Raises:
        InputError: Not a run, or a damaged file.
        NasEngineError: The disk is full.

    Example:
        >>> import nas_engine as ne
        >>> ne.write_report("runs/digits").as_posix()
        'runs/digits/report.html'
    """
    from nas_engine.report.write import write_report as write

    return write(path_of(run))
