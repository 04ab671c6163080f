"""Training result of a run directory, checked against the digests of its files. No torch."""

from __future__ import annotations

from nas_engine.errors import RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.result import TrainingResult, read_result


def finished_training(directory: RunDirectory) -> TrainingResult:
    """Return the result of the training of a run.

    Raises:
        RunDirectoryError: The run has not been trained to the end.
        FileFormatError: A damaged file, or a result that is not of the files beside it.
    """
    directory.check_single()
    if not directory.training.result.exists():
        path = directory.path
        command = command_line("nas-search", "train", path)
        raise RunDirectoryError(
            path, f"is not trained to the end yet; type: {command} (with --resume if it has begun)"
        )
    result = read_result(directory.training.result)
    chain.require(directory, chain.RESULT)
    return result
