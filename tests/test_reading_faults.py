"""Every reader, while memory runs out or the operating system refuses at its n-th call: never
damage, nothing moved, nothing lost.
"""

from __future__ import annotations

import errno
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from device_profiles import load_device
from nas_engine import reading
from nas_engine.architecture import dump_architecture, read_architecture
from nas_engine.datasets import open_dataset
from nas_engine.errors import FileFormatError
from nas_engine.evolution.checkpoint import load_state, save_state
from nas_engine.evolution.evaluation import Candidates
from nas_engine.evolution.search import SearchState
from nas_engine.integer.store import load as load_integer
from nas_engine.integer.store import save as save_integer
from nas_engine.models.cifar_resnet import cifar_resnet
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.reading import UnreadableError
from nas_engine.runs.search_history import SearchHistory
from nas_engine.testing.networks import random_images, random_model
from nas_engine.training.loop import first_state
from nas_engine.training.measurement_state import MeasurementState
from nas_engine.training.networks import load_network, save_network
from nas_engine.training.recipe import load_recipe
from nas_engine.training.state import read_checkpoint, save_checkpoint
from nas_engine.training.teachers import load_teacher
from nas_engine.verification.backend import read_exported
from tests.training.networks import small_architecture
from tests.training.tasks import small_task

ALLOCATING: tuple[tuple[Any, str], ...] = (
    (zipfile.ZipFile, "read"),
    (np.lib.format, "read_array"),
    (json, "loads"),
    (torch, "load"),
    (torch.jit, "load"),
    (yaml, "load"),
)
"""Calls in which parsers take memory, beside the reading itself."""

Read = Callable[[], object]
Make = Callable[[Path], Read]


def network(folder: Path) -> Read:
    save_network(folder / "network.pt", GraphNetwork(small_architecture()))
    return lambda: load_network(folder / "network.pt")


def checkpoint_of_a_training(folder: Path) -> Read:
    task = small_task()
    save_checkpoint(folder / "state.pt", first_state(task), task.recipe, task.fingerprint)
    return lambda: read_checkpoint(
        folder / "state.pt", task.architecture, task.recipe, task.fingerprint
    )


def teacher(folder: Path) -> Read:
    torch.save(cifar_resnet(20, class_count=4).state_dict(), folder / "teacher.th")
    return lambda: load_teacher(folder / "teacher.th", class_count=4)


def program(folder: Path) -> Read:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.13 deprecates TorchScript
        torch.jit.script(torch.nn.Flatten()).save(str(folder / "teacher.pt"))
    return lambda: load_teacher(folder / "teacher.pt", class_count=4, code=True)


def measurement(folder: Path) -> Read:
    def state() -> MeasurementState:
        return MeasurementState(
            path=folder / "singles.npz",
            fingerprint={"network": "a"},
            total=2,
            arrays={"sums": np.zeros(3)},
        )

    state().save()
    return lambda: state().read()


def checkpoint_of_a_search(folder: Path) -> Read:
    found = Candidates(
        genes=np.zeros((3, 2), np.int16),
        group=np.zeros(2, np.int64),
        **{name: np.zeros(2) for name in ("score", "violation", "sram", "flash", "macs", "noise")},
    )
    save_state(
        folder / "checkpoint.npz",
        SearchState(generation=1, evaluated=2, population=found, front=found),
        "a",
    )
    return lambda: load_state(folder / "checkpoint.npz", "a")


def integer_model(folder: Path) -> Read:
    model = random_model(1)
    save_integer(folder, model, random_images(model, 1))
    return lambda: load_integer(folder)


def architecture(folder: Path) -> Read:
    (folder / "best.yaml").write_text(dump_architecture(small_architecture()), encoding="utf-8")
    return lambda: read_architecture(folder / "best.yaml")


def recipe(folder: Path) -> Read:
    (folder / "mine.yaml").write_text("epochs: 4\n", encoding="utf-8")
    return lambda: load_recipe(str(folder / "mine.yaml"))


def device(folder: Path) -> Read:
    shipped = Path(__file__).resolve().parents[1] / "device_profiles" / "data" / "cortex-m7.yaml"
    (folder / "board.yaml").write_bytes(shipped.read_bytes())
    return lambda: load_device(str(folder / "board.yaml"))


def history(folder: Path) -> Read:
    (folder / "history.jsonl").write_text(
        '{"generation": 1, "evaluated": 2, "feasible": 1.0, "elapsed_s": 1.0, "best_score": 3.0}\n',
        encoding="utf-8",
    )
    return lambda: SearchHistory(folder / "history.jsonl").read()


def exported(folder: Path) -> Read:
    (folder / "model.tflite").write_bytes(b"1" * 100)
    return lambda: read_exported("tflite", folder / "model.tflite")


def data(folder: Path) -> Read:
    images, labels = np.arange(8 * 64, dtype=np.uint8).reshape(8, 8, 8), np.arange(8) % 2
    np.savez(folder / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return lambda: open_dataset(folder / "data.npz", resolution=8, channels=1)


READERS: tuple[Make, ...] = (
    network,
    checkpoint_of_a_training,
    teacher,
    program,
    measurement,
    checkpoint_of_a_search,
    integer_model,
    architecture,
    recipe,
    device,
    history,
    exported,
    data,
)


class Failing:
    """Counts calls and fails the n-th."""

    def __init__(self, number: int, error: BaseException) -> None:
        self.number, self.error, self.calls = number, error, 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            self.calls += 1
            if self.calls == self.number:
                raise self.error
            return function(*args, **keywords)

        return call


class System:
    """The module ``os`` as the door sees it."""

    def __init__(self, failing: Failing) -> None:
        self.failing = failing

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        return self.failing.wrap(found) if name in ("stat", "open", "fstat", "fdopen") else found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def outcome(read: Read) -> BaseException | None:
    """Return what a reader raises, if anything."""
    try:
        read()
    except BaseException as error:
        return error
    return None


def swept(
    make: Make,
    folder: Path,
    error: BaseException,
    told: Callable[[BaseException], bool],
    *,
    memory: bool,
) -> int:
    """Fail call 1, 2, ... of a reader until one attempt passes; return how many failed."""
    read = make(folder)
    before = content(folder)
    assert outcome(read) is None
    for number in range(1, 200):
        failing = Failing(number, error)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reading, "os", System(failing))
            for owner, name in ALLOCATING if memory else ():
                patch.setattr(owner, name, failing.wrap(getattr(owner, name)))
            found = outcome(read)
        assert content(folder) == before
        if found is None:
            assert failing.calls < number, f"failure {number} was passed over"
            return number - 1
        assert not isinstance(found, FileFormatError)
        assert told(found), (number, repr(found))
    raise AssertionError("no end")


@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_what_the_system_refuses_is_told_as_that(make: Make, number: int, tmp_path: Path) -> None:
    def told(error: BaseException) -> bool:
        return (
            isinstance(error, UnreadableError)
            and error.errno == number
            and any(error.path == str(path) for path in tmp_path.iterdir())
        )

    assert swept(make, tmp_path, OSError(number, os.strerror(number)), told, memory=False) >= 4


@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
def test_out_of_memory_is_told_as_that(make: Make, tmp_path: Path) -> None:
    def told(error: BaseException) -> bool:
        return isinstance(error, MemoryError) or (
            make is data and "does not fit into memory at 8 x 8 pixels" in str(error)
        )

    assert swept(make, tmp_path, MemoryError("no memory"), told, memory=True) >= 4


@pytest.mark.parametrize(
    "make", [network, checkpoint_of_a_training, teacher], ids=lambda make: make.__name__
)
def test_so_is_what_torch_says_then(make: Make, tmp_path: Path) -> None:
    read, error = (
        make(tmp_path),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory"
        ),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", Failing(1, error).wrap(torch.load))
        with pytest.raises(MemoryError, match="DefaultCPUAllocator"):
            read()
