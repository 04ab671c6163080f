"""TFLite back-ends: no difference where they are exact, and one line where something is wrong,
whatever the interpreter does.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from nas_engine.exporters.to_tflite import EXACT_NAME, INT4_NAME
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images, run
from nas_engine.integer.store import GoldenVectors
from nas_engine.testing.networks import RESIDUAL, Untrained, random_images, random_model
from nas_engine.verification import tflite, tflite_worker
from nas_engine.verification.backend import Backend, BackendError, BackendRun
from nas_engine.verification.tflite import LiteRT, LiteRTDefault, TfliteInt4, TfliteMicro
from tests.integer.tflite_runner import export_files

needs_micro = pytest.mark.skipif(
    TfliteMicro().missing() is not None, reason="tflite-micro is not installed"
)
EXACT = [
    pytest.param(LiteRT(), id="lite"),
    pytest.param(TfliteMicro(), id="micro", marks=needs_micro),
]


def written(model: IntegerModel, folder: Path) -> Path:
    for name, content in export_files(model).items():
        (folder / name).write_bytes(content)
    return folder


def started(backend: Backend, model: IntegerModel, images: Images, export: Path) -> BackendRun:
    work = export / "work"
    work.mkdir(exist_ok=True)
    return backend.run(export, model, images, work)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("seed", [*range(4), *RESIDUAL[:3]])
def test_no_difference(backend: Backend, seed: int, tmp_path: Path) -> None:
    """Of the logits of images shared by processes and batches, and of every tensor of the first."""
    model = random_model(seed)
    images = random_images(model, (1, 5, 37, 70)[seed % 4])
    found = started(backend, model, images, written(model, tmp_path))
    assert backend.exact
    np.testing.assert_array_equal(found.logits, run(model, images))
    assert found.checksums == GoldenVectors.of(model, images[:1]).checksums
    assert found.seconds > 0
    assert found.version.split()[0] in ("ai-edge-litert", "tflite-runtime", "tflite-micro")
    if backend.name == TfliteMicro.name:
        told = re.search(
            r"it takes an arena of about ([\d,]+) B here, with pointers of 8 B", found.version
        )
        assert told is not None
        assert images[0].size < int(told[1].replace(",", "")) < tflite.arena_bytes(model)


@pytest.mark.parametrize("backend", EXACT)
def test_a_changed_weight_is_noticed(backend: Backend, tmp_path: Path) -> None:
    model = random_model(1)
    images = random_images(model, 1)
    written(model, tmp_path)
    content = (tmp_path / EXACT_NAME).read_bytes()
    weights = model.nodes[0].weights << np.int8(model.nodes[0].weight_shift)  # type: ignore[union-attr]
    at = content.index(weights.tobytes())
    (tmp_path / EXACT_NAME).write_bytes(
        content[:at] + bytes([content[at] ^ 64]) + content[at + 1 :]
    )
    found = started(backend, model, images, tmp_path)
    assert found.checksums != GoldenVectors.of(model, images).checksums


def test_default_kernels_and_int4_are_reported(tmp_path: Path) -> None:
    """Neither is exact; both give logits that are near on a network of one narrow layer."""
    built = Untrained((8, 8, 3), np.random.default_rng(0))
    built.layer("stem", 8, 3, 1, 4, 8)
    built.pool("pool", 8, 1)
    built.layer("classifier", 5, 1, 1, 8, 8, signed=True)
    model = lower(built.network())
    images = random_images(model, 20)
    export = written(model, tmp_path)
    for backend in (LiteRTDefault(), TfliteInt4()):
        found = started(backend, model, images, export)
        assert not backend.exact
        assert found.logits.shape == (20, 5)
        assert np.abs(found.logits.astype(int) - run(model, images)).max() <= 4
    checksums = started(TfliteInt4(), model, images, export).checksums
    assert checksums.keys() == {"image", *(step.output for step in model.nodes)}
    assert not started(LiteRTDefault(), model, images, export).checksums


def assert_refused(
    backend: Backend, model: IntegerModel, export: Path, expected: str, images: Images | None = None
) -> None:
    with pytest.raises(BackendError, match=expected) as caught:
        started(backend, model, random_images(model, 2) if images is None else images, export)
    assert str(caught.value).startswith(f"{backend.name}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("backend", EXACT)
def test_a_cut_file_is_refused(backend: Backend, tmp_path: Path) -> None:
    model = random_model(2)
    whole = (written(model, tmp_path) / EXACT_NAME).read_bytes()
    for part in (0, 6):
        (tmp_path / EXACT_NAME).write_bytes(whole[:part])
        assert_refused(backend, model, tmp_path, "is no TFLite file")
    for part in (8, len(whole) // 3, len(whole) // 2):
        (tmp_path / EXACT_NAME).write_bytes(whole[:part])
        assert_refused(backend, model, tmp_path, EXACT_NAME)


@pytest.mark.parametrize("backend", EXACT)
def test_a_damaged_file_never_ends_this_process(backend: Backend, tmp_path: Path) -> None:
    model = random_model(2)
    whole = np.frombuffer((written(model, tmp_path) / EXACT_NAME).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    problems = []
    for share in (0.01, 0.02, 0.05, 0.5):
        damaged = whole.copy()
        places = 8 + rng.permutation(len(whole) - 8)[: int(share * len(whole))]
        damaged[places] ^= rng.integers(1, 256, len(places), np.uint8)
        (tmp_path / EXACT_NAME).write_bytes(damaged.tobytes())
        try:
            found = started(backend, model, random_images(model, 2), tmp_path)
        except BackendError as error:
            problems.append(str(error))
        else:
            assert found.logits.shape == (2, len(model.classes))
    assert problems
    assert not any("\n" in problem for problem in problems)


@pytest.mark.parametrize("backend", EXACT)
def test_another_networks_file_is_refused(backend: Backend, tmp_path: Path) -> None:
    written(random_model(2), tmp_path)
    assert_refused(
        backend, random_model(3), tmp_path, "model.tflite: the interpreter refuses the file: "
    )


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (
            "import os; os.abort()",
            (
                r"model.tflite: the interpreter's process ended by itself \(status -?\d+\): no "
                r"message; export"
            ),
        ),
        (
            "import sys; sys.exit('first\\nand last')",
            "model.tflite: the interpreter refuses the file: and last; export",
        ),
        ("import time; time.sleep(60)", "took more than 0.5 s for 2 images; give fewer"),
    ],
)
def test_a_crash_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, said: str
) -> None:
    model = random_model(2)
    written(model, tmp_path)
    worker = tmp_path / "worker.py"
    worker.write_text(program)
    monkeypatch.setattr(tflite, "WORKER", worker)
    monkeypatch.setattr(tflite, "SECONDS", 0.5)
    assert_refused(LiteRT(), model, tmp_path, said)


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    built = Untrained((4, 4, 3), np.random.default_rng(0))
    built.layer("stem", 4, 4, 4, 8, 8)
    built.layer("classifier", 5, 1, 1, 8, 8, signed=True)
    model = lower(built.network())
    assert_refused(LiteRT(), model, tmp_path, "cannot be read .*; export the network again")
    assert_refused(
        TfliteInt4(),
        model,
        tmp_path,
        f"no layer has weights of 4 bits or fewer, so that there is no {INT4_NAME}",
    )
    written(model, tmp_path)
    assert_refused(
        LiteRT(),
        model,
        tmp_path,
        r"the images are uint8 \[0, 4, 4, 3\]; expected",
        np.zeros((0, 4, 4, 3), np.uint8),
    )
    assert_refused(
        LiteRT(),
        model,
        tmp_path,
        r"the images are uint8 \[2, 4, 4, 1\]; expected",
        np.zeros((2, 4, 4, 1), np.uint8),
    )


@pytest.mark.parametrize(
    ("backend", "package", "extra"),
    [(LiteRT(), "ai-edge-litert", "export"), (TfliteMicro(), "tflite-micro", "verify")],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: Backend, package: str, extra: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None)
    assert (
        backend.missing() == f"needs {package}; install it with: pip install 'nas-search[{extra}]'"
    )
    assert_refused(backend, random_model(2), tmp_path, "pip install")


def test_the_older_package_does_where_the_newer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    newer, older = tflite_worker.INTERPRETERS
    stand_in = types.ModuleType(older)
    monkeypatch.setitem(sys.modules, older.split(".")[0], types.ModuleType(older.split(".")[0]))
    monkeypatch.setitem(sys.modules, older, stand_in)
    monkeypatch.setitem(sys.modules, newer, None)  # type: ignore[arg-type]
    assert tflite_worker._interpreter() is stand_in
