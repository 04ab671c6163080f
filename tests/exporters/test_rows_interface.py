"""Interface of a C export whose image comes by rows: what it asks for, and what it refuses."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_engine.costs.plan import plan_schedule
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.manifest import manifest
from nas_engine.integer.reference import run
from nas_engine.testing.networks import random_images, untrained
from tests.exporters.c_exports import arm_compilers, compile_c, export_c, host_compiler, subject_of
from tests.exporters.manifests import validator
from tests.training.networks import small_architecture


@pytest.fixture(scope="module")
def subject() -> ExportSubject:
    model = untrained(small_architecture())
    return replace(subject_of(model), plan=plan_schedule(model, "rows", "rows"))


@pytest.fixture(scope="module")
def folder(subject: ExportSubject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_c(tmp_path_factory.mktemp("rows"), subject)


@pytest.fixture(scope="module")
def library(folder: Path) -> ctypes.CDLL:
    target = folder / "model.so"
    sources = [path for path in folder.glob("*.c") if path.name != "main.c"]
    compile_c(host_compiler(), "-std=c99", "-O1", "-shared", "-fPIC", *sources, "-o", target)
    found = ctypes.CDLL(str(target))
    found.model_invoke_rows.restype = ctypes.POINTER(ctypes.c_int8)
    return found


ROW = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint)


def arena_of(subject: ExportSubject) -> Any:
    return (ctypes.c_uint32 * (subject.plan.arena_bytes // 4))()


def test_rows_are_asked_for_once_each_in_order(
    subject: ExportSubject, library: ctypes.CDLL
) -> None:
    images = random_images(subject.model, 3, seed=1)
    arena = arena_of(subject)
    size = ctypes.c_size_t(subject.plan.arena_bytes)
    assert library.model_init(arena, size) == 0
    for image, expected in zip(images, run(subject.model, images), strict=True):
        asked: list[int] = []
        line = np.empty(image[0].size, np.uint8)

        @ROW
        def row(
            context: int,
            y: int,
            asked: list[int] = asked,
            line: Any = line,
            image: Any = image,
        ) -> int:
            assert context == 5
            asked.append(y)
            line[:] = image[y].ravel()
            return int(line.ctypes.data)

        logits = library.model_invoke_rows(arena, row, ctypes.c_void_p(5))
        assert logits[: len(expected)] == expected.tolist()
        assert asked == list(range(image.shape[0]))


def test_misuse_is_refused(subject: ExportSubject, library: ctypes.CDLL) -> None:
    arena, asked = arena_of(subject), list[int]()

    @ROW
    def ends(context: int, y: int) -> int | None:
        asked.append(y)
        return None

    assert not library.model_invoke_rows(None, ends, None)
    assert not library.model_invoke_rows(arena, None, None)
    assert not asked
    assert not library.model_invoke_rows(arena, ends, None)
    assert asked == [0]
    small = ctypes.c_size_t(subject.plan.arena_bytes - 1)
    assert library.model_init(arena, small) == -1


def test_there_is_no_call_for_a_whole_image(folder: Path) -> None:
    header = (folder / "model.h").read_text()
    assert "#define MODEL_IMAGE_BY_ROWS 1" in header
    for name in ("model_input(", "model_invoke(", "model_invoke_observed("):
        assert name not in header + (folder / "model.c").read_text()


def test_the_manifest_says_so(subject: ExportSubject) -> None:
    model, plan = subject.model, subject.plan
    made = manifest(model, plan, device=None)
    validator().validate(made)
    assert made["schedule"]["image"] == "rows"
    assert made["schedule"]["by_rows"][0] == model.nodes[0].name
    tensors = {tensor["name"]: tensor for tensor in made["tensors"]}
    assert tensors[model.image]["arena"]["rows"] == model.nodes[0].kernel_height
    told = {name: "arena is that of the C" in row["why"] for name, row in made["formats"].items()}
    assert told == {name: name != "c" for name in told}
    by_layers = manifest(model, plan_schedule(model), device=None)
    assert by_layers["schedule"] == {"image": "whole", "by_rows": []}


def test_self_test_passes(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "test"
    compile_c(host_compiler(), "-std=c99", "-DMODEL_PRINTF", *folder.glob("*.c"), "-o", program)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout


def test_cycle_counter_compiles(folder: Path, tmp_path: Path) -> None:
    for compiler in arm_compilers() or pytest.skip("needs a compiler for Cortex-M"):
        for more in ((), ("-DMODEL_DWT",)):
            compile_c(
                compiler, "-std=c99", *more, "-c", folder / "main.c", "-o", tmp_path / "main.o"
            )
