"""Trackers: what ``--log`` writes the figures of trainings to, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from nas_engine.errors import InputError
from nas_engine.events import Epoch


class Writer(Protocol):
    """Log of one training, torch's ``SummaryWriter`` or alike."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a figure of an epoch."""

    def flush(self) -> None:
        """Write what was added."""

    def close(self) -> None:
        """End the log."""


class Tracker:
    """Logs of all trainings of a command, each in ``tensorboard/`` within its folder.

    Args:
        open_writer: Opens the log of a folder.
    """

    def __init__(self, open_writer: Callable[[str], Writer]) -> None:
        self._open, self._writers = open_writer, dict[str, Writer]()

    def __call__(self, epoch: Epoch) -> None:
        """Log an epoch."""
        folder = str(Path(epoch.folder) / "tensorboard")
        if folder not in self._writers:
            self._writers[folder] = self._open(folder)
        writer = self._writers[folder]
        for name, value in epoch.figures.items():
            writer.add_scalar(name, value, epoch.number)
        writer.flush()

    def close(self) -> None:
        """End all logs."""
        for writer in self._writers.values():
            writer.close()


def tensorboard() -> Tracker:
    """Return the tracker for TensorBoard.

    Raises:
        InputError: TensorBoard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise InputError(
            "--log tensorboard needs tensorboard, which is not installed; type: pip install "
            "'nas-search[tensorboard]'"
        )
    from torch.utils.tensorboard import SummaryWriter

    return Tracker(SummaryWriter)


TRACKERS: dict[str, Callable[[], Tracker]] = {"tensorboard": tensorboard}
"""Trackers by the name that ``--log`` takes."""
