"""ONNX exports in ONNX Runtime and onnx.reference: 0 differences of the integer graph to the
integer reference.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_engine.costs.plan import MemoryPlan
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.to_onnx import OnnxExporter
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images, run
from nas_engine.integer.store import GoldenVectors
from nas_engine.testing.networks import RESIDUAL, Untrained, random_images, random_model
from nas_engine.verification.backend import Backend, BackendError, BackendRun
from nas_engine.verification.onnx import BATCH, OnnxReference, OnnxRuntimeInteger, OnnxRuntimeQcdq

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

BACKENDS: tuple[Backend, ...] = (OnnxRuntimeInteger(), OnnxRuntimeQcdq(), OnnxReference())
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL")
WIDTHS = range(2, 9)


def write(folder: Path, model: IntegerModel) -> Path:
    golden = GoldenVectors.of(model, random_images(model, 1))
    plan = MemoryPlan(arena_bytes=0, steps=(), tensors=())
    for name, data in (
        OnnxExporter()
        .files(ExportSubject(model=model, golden=golden, plan=plan, manifest={}))
        .items()
    ):
        (folder / name).write_bytes(data)
    return folder


def assert_equal(found: BackendRun, model: IntegerModel, images: Images) -> None:
    np.testing.assert_array_equal(found.logits, run(model, images))
    assert found.logits.dtype == np.int8
    assert dict(found.checksums) == dict(GoldenVectors.of(model, images).checksums)
    assert found.seconds >= 0


def small(w_bits: int, a_bits: int, signed: bool) -> IntegerModel:
    """Return a network in which one width of weights meets one width of activations everywhere."""
    built = Untrained((6, 5, 3), np.random.default_rng(10 * w_bits + a_bits))
    stem = built.layer("stem", 4, 3, 2, w_bits, a_bits, signed=signed)
    built.layer("wide", 6, 1, 1, w_bits, a_bits)
    built.layer("depthwise", 6, 3, 1, w_bits, a_bits, kind="depthwise")
    built.layer("narrow", 4, 1, 1, w_bits, a_bits, signed=True, shortcut=stem)
    built.pool("pool", 3, 1)
    built.layer("classifier", 3, 1, 1, w_bits, 8, signed=True)
    return lower(built.network())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", [*range(8), *RESIDUAL])
def test_every_tensor_of_random_networks(seed: int, level: str, tmp_path: Path) -> None:
    model = random_model(seed)
    images = random_images(model, 5, seed)
    assert_equal(
        OnnxRuntimeInteger(level=level).run(write(tmp_path, model), model, images, tmp_path),
        model,
        images,
    )


@pytest.mark.parametrize("w_bits", WIDTHS)
def test_every_pair_of_widths(w_bits: int, tmp_path: Path) -> None:
    for a_bits in WIDTHS:
        model = small(w_bits, a_bits, signed=bool((w_bits + a_bits) % 2))
        images = random_images(model, 3, a_bits)
        assert_equal(
            OnnxRuntimeInteger().run(write(tmp_path, model), model, images, tmp_path), model, images
        )


@pytest.mark.parametrize("value", [0, 255])
def test_largest_products(value: int, tmp_path: Path) -> None:
    built = Untrained((4, 4, 8), np.random.default_rng(0))
    built.layer("stem", 8, 3, 1, 8, 8)
    layer = built.steps[0]
    built.steps[0] = replace(
        layer,
        weights=np.full_like(layer.weights, 127),
        gain=np.abs(layer.gain),
        weight_scale=layer.weight_scale / 4,
    )
    built.pool("pool", 4, 1)
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    model = lower(built.network())
    images = np.full((2, 4, 4, 8), value, np.uint8)
    assert_equal(
        OnnxRuntimeInteger().run(write(tmp_path, model), model, images, tmp_path), model, images
    )


def test_more_images_than_a_batch(tmp_path: Path) -> None:
    model = random_model(2)
    images = random_images(model, 2 * BATCH + 1)
    assert_equal(
        OnnxRuntimeInteger().run(write(tmp_path, model), model, images, tmp_path), model, images
    )


@pytest.mark.parametrize("seed", [3, 14])
def test_the_reference_evaluator(seed: int, tmp_path: Path) -> None:
    model = random_model(seed)
    images = random_images(model, 3, seed)
    found = OnnxReference(images_limit=2).run(write(tmp_path, model), model, images, tmp_path)
    assert_equal(found, model, images[:2])
    assert found.version == f"onnx {onnx.__version__}"


@pytest.mark.parametrize("level", LEVELS)
def test_float_operators_come_close(level: str, tmp_path: Path) -> None:
    """Roundings differ: most of an 8-bit network's logits are equal, the others are next to each
    other.
    """
    model = small(8, 8, signed=True)
    images = random_images(model, 50)
    found = OnnxRuntimeQcdq(level=level).run(write(tmp_path, model), model, images, tmp_path)
    away = np.abs(found.logits.astype(int) - run(model, images))
    assert found.logits.dtype == np.int8
    assert away.max() <= 2
    assert (away == 0).mean() > 0.7
    assert not found.checksums


def test_which_back_ends_are_exact() -> None:
    assert [backend.exact for backend in BACKENDS] == [True, False, True]
    assert len({backend.name for backend in BACKENDS}) == len(BACKENDS)


def test_without_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [backend.missing() for backend in BACKENDS] == [None, None, None]
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name)
    )
    line = "needs onnxruntime; install it with: pip install 'nas-search[verify]'"
    assert [backend.missing() for backend in BACKENDS] == [line, line, None]
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name)
    )
    line = "needs onnx; install it with: pip install 'nas-search[export]'"
    assert [backend.missing() for backend in BACKENDS] == [line, None, line]
    model = random_model(3)
    with pytest.raises(BackendError) as caught:
        OnnxReference().run(tmp_path, model, random_images(model, 1), tmp_path)
    assert str(caught.value) == f"onnx.reference, integer graph: {line}"


def refused(
    backend: Backend, folder: Path, model: IntegerModel, images: Images | None = None
) -> str:
    with pytest.raises(BackendError) as caught:
        backend.run(folder, model, random_images(model, 1) if images is None else images, folder)
    text = str(caught.value)
    assert text.startswith(f"{backend.name}: ")
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
class TestRefusals:
    def test_no_file(self, backend: Backend, tmp_path: Path) -> None:
        assert "cannot be read (No such file or directory); export the network again" in refused(
            backend, tmp_path, random_model(3)
        )

    def test_no_images(self, backend: Backend, tmp_path: Path) -> None:
        model = random_model(3)
        text = refused(backend, write(tmp_path, model), model, random_images(model, 1)[:0])
        assert text.endswith("there are no images; give at least one")

    @pytest.mark.parametrize("part", [0.0, 0.2, 0.7, 0.99])
    def test_cut_off(self, backend: Backend, part: float, tmp_path: Path) -> None:
        model = random_model(3)
        for path in write(tmp_path, model).iterdir():
            data = path.read_bytes()
            path.write_bytes(data[: int(part * len(data))])
        assert "export the network again" in refused(backend, tmp_path, model)

    def test_no_onnx_at_all(self, backend: Backend, tmp_path: Path) -> None:
        model = random_model(3)
        for path in write(tmp_path, model).iterdir():
            path.write_text("{}\n" * 1000)
        assert "export the network again" in refused(backend, tmp_path, model)

    def test_another_network(self, backend: Backend, tmp_path: Path) -> None:
        assert "export the network again" in refused(
            backend, write(tmp_path, random_model(3)), random_model(4)
        )

    @pytest.mark.parametrize("change", ["operator", "output", "weights"])
    def test_changed(self, backend: Backend, change: str, tmp_path: Path) -> None:
        def operator(graph: Any) -> None:
            graph.node[-1].op_type = "Flat"

        def output(graph: Any) -> None:
            graph.node[-1].output[0] = "elsewhere"

        def weights(graph: Any) -> None:
            tensor = next(tensor for tensor in graph.initializer if tensor.name == "stem.weights")
            tensor.raw_data = tensor.raw_data[:-1]

        changes: dict[str, Callable[[Any], None]] = {
            "operator": operator,
            "output": output,
            "weights": weights,
        }
        model = random_model(3)
        for path in write(tmp_path, model).iterdir():
            proto = onnx.load_model_from_string(path.read_bytes())
            changes[change](proto.graph)
            path.write_bytes(proto.SerializeToString())
        assert "export the network again" in refused(backend, tmp_path, model)
