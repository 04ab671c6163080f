"""The float network of a run whose widths are to be chosen. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas_engine.architecture import Architecture
from nas_engine.errors import FileFormatError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.networks import load_network
from nas_engine.training.start import (
    network_of_checkpoint,
    random_network,
    same_structure,
    with_widths_of,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseNetwork:
    """Float weights of a run, and a warning about them."""

    network: GraphNetwork
    """Network in evaluation mode, with the widths of ``best.yaml``."""
    source: Path | None
    """File of the weights; ``None`` for random ones."""
    warning: str
    """Warning for the user; empty for none."""


def base_network(
    directory: RunDirectory, architecture: Architecture, *, force: bool, seed: int
) -> BaseNetwork:
    """Return the weights at the end of the float stage, or the trained ones without quantisers.

    Args:
        directory: A run.
        architecture: What ``best.yaml`` holds.
        force: Take what there is if the run is not trained to the end: weights of the checkpoint, a
            start, random ones.
        seed: Of random weights.

    Raises:
        RunDirectoryError: Not trained to the end, and no ``force``.
        FileFormatError: A damaged file, weights of another network, or files of a training that are
            not of each other.
    """
    folder, path = directory.training, directory.path
    finished = folder.result.exists()
    if not finished and not force:
        raise RunDirectoryError(
            path,
            f"is not trained to the end yet; type: {command_line('nas-search', 'train', path)} "
            "(with --resume if it has begun), "
            "or add --force to choose bits by the weights that there are",
        )
    if finished:
        chain.require(directory, chain.RESULT)
    files = (folder.float_network, folder.network, folder.checkpoint, directory.start)
    source = next((file for file in files if file.exists()), None)
    if source is None:
        warning = f"{path} was never trained: bits are chosen for random weights"
        return BaseNetwork(network=random_network(architecture, seed), source=None, warning=warning)
    network = network_of_checkpoint(source) if source == folder.checkpoint else load_network(source)
    if not same_structure(network.architecture, architecture):
        again = command_line("nas-search", "train", path, "--force")
        raise FileFormatError(
            source, f"holds another network than best.yaml; train it again: {again}"
        )
    warning = (
        ""
        if finished
        else f"{path} is not trained to the end: bits are chosen for the weights in {source}"
    )
    return BaseNetwork(
        network=with_widths_of(network, architecture), source=source, warning=warning
    )
