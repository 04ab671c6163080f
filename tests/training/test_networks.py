"""Network files: read back bit for bit, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_engine.architecture import dump_architecture
from nas_engine.errors import FileFormatError
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import calibrate, insert_quantisers, is_quantised
from nas_engine.reading import UnreadableError
from nas_engine.training.networks import load_network, save_network
from tests.training.networks import small_architecture

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def make_network(quantised: bool) -> GraphNetwork:
    torch.manual_seed(0)
    network = GraphNetwork(small_architecture())
    network(IMAGES)  # moves the statistics of the batch norms
    if quantised:
        insert_quantisers(network)
        calibrate(network, IMAGES)
    return network.eval()


@pytest.mark.parametrize("quantised", [False, True])
def test_a_network_is_read_back_bit_for_bit(tmp_path: Path, quantised: bool) -> None:
    network = make_network(quantised)
    path = tmp_path / "new folder" / "network.pt"
    save_network(path, network.to(memory_format=torch.channels_last))
    loaded = load_network(path)
    assert loaded.architecture == network.architecture
    assert is_quantised(loaded) == quantised
    assert not loaded.training
    state = loaded.state_dict()
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(loaded(IMAGES), network(IMAGES))
    content = path.read_bytes()
    save_network(path, loaded)
    assert path.read_bytes() == content


def refused(path: Path, read: Callable[[Path], object] = load_network) -> str:
    """The message for a file, less its path; it is one line."""
    with pytest.raises(FileFormatError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableError,
        match=r"\(No such file or directory\); expected a network file \(nas-search/network/1\)$",
    ):
        load_network(tmp_path / "no.pt")
    assert refused(tmp_path) == "is a folder; expected a regular file"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off(tmp_path: Path, share: float) -> None:
    path = tmp_path / "network.pt"
    save_network(path, make_network(True))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert (
        refused(path)
        == "is damaged, cut off or of another kind; expected a network file (nas-search/network/1)"
    )


def test_text_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(dump_architecture(small_architecture()), encoding="utf-8")
    assert refused(path).startswith("is damaged, cut off or of another kind")


class Hostile:
    """Leaves a trace if it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "network.pt", tmp_path / "trace"
    torch.save(
        {"format": "nas-search/network/1", "state": Hostile(trace)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    message = refused(path)
    assert message.startswith("holds objects or code (")
    assert message.endswith("save tensors alone: torch.save(network.state_dict(), PATH)")
    assert not trace.exists()


def test_a_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(make_network(False), path)
    assert refused(path).startswith(
        "holds objects or code (nas_engine.models.graph_network.GraphNetwork), which are never "
        "loaded"
    )


def without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: [data], "is not a network file; expected 'nas-search/network/1'"),
        (lambda data: data["state"], "is not a network file; expected"),
        (
            lambda data: data | {"format": "nas-search/network/2"},
            "format is 'nas-search/network/2'; expected 'nas-search/network/1'",
        ),
        (
            lambda data: without(data, "quantised"),
            (
                "keys are format, architecture, state, digest; expected format, architecture, "
                "quantised"
            ),
        ),
        (
            lambda data: data | {"epoch": 3},
            "keys are format, architecture, quantised, state, digest, epoch; expected",
        ),
        (
            lambda data: data | {"quantised": 1},
            "is damaged: expected a text in architecture, true or false in quantised",
        ),
        (
            lambda data: data | {"architecture": "format: 1"},
            "format: is 1; expected 'nas-search/architecture/1'",
        ),
        (
            lambda data: (
                data
                | {
                    "architecture": dump_architecture(
                        replace(small_architecture(), classifier=None)
                    )
                }
            ),
            "the architecture has no classifier",
        ),
        (
            lambda data: data | {"architecture": dump_architecture(small_architecture(7))},
            (
                "tensor 'classifier.weight' is torch.float32 of shape (4, 32, 1, 1); expected "
                "torch.float32 of shape (7, 32, 1, 1)"
            ),
        ),
        (
            lambda data: data | {"quantised": True},
            "tensor 'stem.weight_quantiser.step' is missing; expected all ",
        ),
        (
            lambda data: data | {"state": without(data["state"], "stem.weight")},
            "tensor 'stem.weight' is missing",
        ),
        (
            lambda data: data | {"state": data["state"] | {"x": torch.zeros(1)}},
            "tensor 'x' belongs to another network",
        ),
        (
            lambda data: (
                data
                | {"state": data["state"] | {"classifier.bias": torch.zeros(4, dtype=torch.int64)}}
            ),
            (
                "tensor 'classifier.bias' is torch.int64 of shape (4,); expected torch.float32 of "
                "shape (4,)"
            ),
        ),
        (
            lambda data: data | {"state": data["state"] | {"classifier.bias": torch.ones(4)}},
            "is damaged: its tensors are not those",
        ),
        (
            lambda data: data | {"state": data["state"] | {"classifier.bias": None}},
            "tensor 'classifier.bias' is NoneType; expected",
        ),
    ],
)
def test_content_that_is_no_network(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = tmp_path / "network.pt"
    save_network(path, make_network(False))
    torch.save(change(torch.load(path, weights_only=True)), path)
    assert refused(path).startswith(message)
