"""Trained networks as files: architecture, whether it is quantised, and the state dict."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nas_engine.architecture import dump_architecture, parse_architecture
from nas_engine.arrays import stored_entries
from nas_engine.errors import FileFormatError, InputError, shortened
from nas_engine.files import write_atomically
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import insert_quantisers, is_quantised
from nas_engine.reading import LARGE_FILE, parsing, read_regular

FORMAT = "nas-search/network/1"
"""First value of a network file; the number changes when the meaning of a key does."""

_KEYS = ("format", "architecture", "quantised", "state", "digest")
_REFUSED = re.compile(r"unsupported (?:global|class):? (?:GLOBAL )?(\S+)", re.IGNORECASE)
"""How torch names what ``weights_only`` keeps it from making."""


def save_network(path: Path, network: GraphNetwork) -> None:
    """Write a network, whole or not at all; ``load_network`` reads it back bit for bit.

    Args:
        path: The file; what it held before is replaced.
        network: Float or quantised, on any device.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in network.state_dict().items()
    }
    values = (
        FORMAT,
        dump_architecture(network.architecture),
        is_quantised(network),
        state,
        _digest(state),
    )
    buffer = io.BytesIO()
    torch.save(dict(zip(_KEYS, values, strict=True)), buffer)
    write_atomically(path, buffer.getvalue())


def load_network(path: Path) -> GraphNetwork:
    """Return the network of a file on the CPU, in evaluation mode.

    It has quantisers if it was saved with them.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, cut off, of another version, or not a network file.
    """
    return network_from(load_tensors(path, f"a network file ({FORMAT})"), path)


def load_tensors(path: Path, expected: str) -> object:
    """Return the content of a file of ``torch.save``, on the CPU.

    Only tensors and plain values are read; no code in the file is ever run.

    Args:
        path: The file.
        expected: What the file should be, for messages.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, cut off, or with other objects.
    """
    return tensors_from(read_regular(path, LARGE_FILE, f"expected {expected}"), path, expected)


def tensors_from(content: bytes, path: Path, expected: str) -> object:
    """Return the result of ``load_tensors`` for the content of a file.

    ``path`` only serves the messages.
    """

    def problem(error: Exception) -> str:
        if found := _REFUSED.search(str(error)):
            came = (
                f"holds objects or code ({shortened(found[1])}), which are never loaded; expected "
                f"{expected}"
            )
            return f"{came}; save tensors alone: torch.save(network.state_dict(), PATH)"
        return f"is damaged, cut off or of another kind; expected {expected}"

    with parsing(path, problem, f"expected {expected}"):
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                stored_entries(archive, len(content))
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def network_from(data: object, path: object) -> GraphNetwork:
    """Return the network that the content of a network file describes.

    ``path`` only serves the messages.

    Raises:
        FileFormatError: Another version, a key or tensor missing, foreign or of another shape.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, Mapping) else None
        came = (
            f"format is {shortened(repr(found))}" if found is not None else "is not a network file"
        )
        raise FileFormatError(
            path, f"{came}; expected '{FORMAT}'; save it again with this version of nas-search"
        )
    if set(data) != set(_KEYS):
        came = shortened(", ".join(map(str, data)))
        raise FileFormatError(
            path,
            f"keys are {came}; expected {', '.join(_KEYS)}; save it again with this version of "
            "nas-search",
        )
    if (
        not isinstance(data["architecture"], str)
        or not isinstance(data["quantised"], bool)
        or not isinstance(data["state"], Mapping)
    ):
        raise FileFormatError(
            path,
            "is damaged: expected a text in architecture, true or false in quantised, tensors by "
            "name in state",
        )
    try:
        network = GraphNetwork(parse_architecture(data["architecture"], path))
    except FileFormatError:
        raise
    except InputError as error:
        raise FileFormatError(path, str(error)) from error
    if data["quantised"]:
        insert_quantisers(network)
    _check_state(network.state_dict(), data["state"], path)
    if data["digest"] != _digest(data["state"]):
        raise FileFormatError(
            path,
            "is damaged: its tensors are not those that were saved; put a copy back, or train "
            "again",
        )
    network.load_state_dict(data["state"])
    return network.eval()


def _digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all tensors; torch itself does not notice changed bytes."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check_state(expected: Mapping[str, Tensor], state: Mapping[str, object], path: object) -> None:
    """Refuse a state that is not that of the architecture, and say where they first differ."""
    for name in [*expected, *state]:
        if name not in state:
            raise FileFormatError(
                path,
                f"tensor '{name}' is missing; expected all {len(expected)} of the architecture; "
                "save it again",
            )
        if name not in expected:
            raise FileFormatError(
                path,
                f"tensor '{shortened(str(name))}' belongs to another network; expected those of "
                "its architecture",
            )
        if _kind(state[name]) != _kind(expected[name]):
            raise FileFormatError(
                path,
                f"tensor '{name}' is {_kind(state[name])}; expected {_kind(expected[name])}, as "
                "its architecture has",
            )


def _kind(value: object) -> str:
    return (
        f"{value.dtype} of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else type(value).__name__
    )
