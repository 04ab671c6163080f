"""The host back-end: compiles an export, runs it under sanitizers and optimised, and says what is
wrong where something is.
"""

from __future__ import annotations

import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from nas_engine import compilers
from nas_engine.compilers import find_compiler
from nas_engine.errors import InputError
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import run, trace
from nas_engine.network.graph import NetworkError
from nas_engine.testing.networks import RESIDUAL, Untrained, random_images, random_model
from nas_engine.verification.backend import BackendError
from nas_engine.verification.host_c import HostC
from tests.exporters.c_exports import export_c, host_compiler, small_network, subject_of


@pytest.fixture(scope="module")
def model() -> IntegerModel:
    host_compiler()
    return small_network()


@pytest.fixture(scope="module")
def export(model: IntegerModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_c(tmp_path_factory.mktemp("export"), subject_of(model)).parent


@pytest.fixture(scope="module")
def pool() -> IntegerModel:
    """A network of one average pool: what is about compiling and running needs no more, and this
    compiles in no time.
    """
    host_compiler()
    built = Untrained((5, 5, 3), np.random.default_rng(0))
    built.pool("pool", 5, 1)
    return lower(built.network(), {"seed": "0"})


@pytest.fixture(scope="module")
def pool_export(pool: IntegerModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_c(tmp_path_factory.mktemp("pool"), subject_of(pool)).parent


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def changed(export: Path, folder: Path, name: str, old: str, new: str) -> Path:
    """Return a copy of an export with a text replaced in one of its files."""
    copy = Path(shutil.copytree(export, folder))
    path = copy / "c" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return copy


class TestRun:
    def test_equals_the_reference(self, export: Path, model: IntegerModel, tmp_path: Path) -> None:
        images = random_images(model, 9, seed=4)
        result = HostC(sanitized_images=4).run(export, model, images, tmp_path)
        assert result.logits.dtype == np.int8
        assert np.array_equal(result.logits, run(model, images))
        tensors = trace(model, images[:1])
        assert result.checksums == {
            step.output: zlib.crc32(tensors[step.output].tobytes()) for step in model.nodes
        }
        assert result.seconds > 0
        assert "over 4 images" in result.version

    def test_one_image(self, export: Path, model: IntegerModel, tmp_path: Path) -> None:
        images = random_images(model, 1)
        result = HostC().run(export, model, images, tmp_path)
        assert np.array_equal(result.logits, run(model, images))
        assert "over 1 image;" in result.version

    @pytest.mark.parametrize("seed", [*range(2), *RESIDUAL[:2]])
    def test_random_networks(self, seed: int, tmp_path: Path) -> None:
        host_compiler()
        model = random_model(seed)
        try:
            subject = subject_of(model)
        except (
            NetworkError
        ):  # a pooled shortcut of one pixel, which the memory plan has no place for
            pytest.skip("the memory plan refuses this network")
        images = random_images(model, 5)
        (tmp_path / "work").mkdir()
        result = HostC(sanitized_images=5).run(
            export_c(tmp_path, subject).parent, model, images, tmp_path / "work"
        )
        assert np.array_equal(result.logits, run(model, images))


class TestFaults:
    """Every check must be able to fail."""

    def test_wrong_arithmetic_shows_in_logits_and_checksums(
        self, pool_export: Path, pool: IntegerModel, tmp_path: Path, work: Path
    ) -> None:
        wrong = changed(pool_export, tmp_path / "export", "nas_pool.c", "/ pool->count", "/ 26U")
        images = random_images(pool, 20)
        result = HostC(sanitized_images=1).run(wrong, pool, images, work)
        assert not np.array_equal(result.logits, run(pool, images))
        assert result.checksums != {"pool output": zlib.crc32(run(pool, images[:1]).tobytes())}

    def test_not_c(self, pool_export: Path, pool: IntegerModel, tmp_path: Path, work: Path) -> None:
        wrong = changed(
            pool_export,
            tmp_path / "export",
            "model.c",
            "static const nas_layer layers",
            "static constant nas_layer layers",
        )
        with pytest.raises(BackendError, match=r"does not compile: .*error") as caught:
            HostC().run(wrong, pool, random_images(pool, 1), work)
        assert "\n" not in str(caught.value)

    def test_no_export(self, pool: IntegerModel, tmp_path: Path, work: Path) -> None:
        with pytest.raises(BackendError, match="export the network to C first"):
            HostC().run(tmp_path / "nothing", pool, random_images(pool, 1), work)

    def test_access_outside_the_arena(
        self, pool_export: Path, pool: IntegerModel, tmp_path: Path, work: Path
    ) -> None:
        if "address" not in sanitizers(work):
            pytest.skip("needs a compiler with an address sanitizer")
        wrong = with_fault(
            pool_export, tmp_path, "((volatile uint8_t *)call->arena)[MODEL_ARENA_BYTES] = 1;"
        )
        with pytest.raises(
            BackendError, match=r"the checked program ended with status .*heap-buffer-overflow"
        ):
            HostC().run(wrong, pool, random_images(pool, 1), work)

    def test_undefined_behaviour(
        self, pool_export: Path, pool: IntegerModel, tmp_path: Path, work: Path
    ) -> None:
        if not sanitizers(work):
            pytest.skip("needs a compiler with sanitizers")
        wrong = with_fault(
            pool_export, tmp_path, "{ volatile int most = 0x7FFFFFFF; most = most + 1; }"
        )
        with pytest.raises(
            BackendError, match=r"the checked program ended with status .*signed integer overflow"
        ):
            HostC().run(wrong, pool, random_images(pool, 1), work)

    def test_value_read_before_it_is_written(
        self, pool_export: Path, pool: IntegerModel, tmp_path: Path, work: Path
    ) -> None:
        place = (
            "(uint8_t *)arena + "
            f"{next(t.offset for t in subject_of(pool).plan.tensors if t.name == pool.image)}"
        )
        # classifies what the arena held, not the image
        elsewhere = "static uint8_t elsewhere[75]; (void)arena; return elsewhere;"
        wrong = changed(pool_export, tmp_path / "export", "model.c", f"return {place};", elsewhere)
        with pytest.raises(
            BackendError,
            match=r"builds differ in the logits of \d of 4 images, first in step 'pool'",
        ):
            HostC().run(wrong, pool, random_images(pool, 4), work)

    def test_program_that_never_ends(
        self, pool_export: Path, pool: IntegerModel, tmp_path: Path, work: Path
    ) -> None:
        wrong = with_fault(pool_export, tmp_path, "{ volatile int one = 1; while (one) {} }")
        with pytest.raises(BackendError, match=r"checked.* took longer than 5 s"):
            HostC(timeout_seconds=5).run(wrong, pool, random_images(pool, 1), work)

    def test_export_of_another_network(
        self, pool_export: Path, model: IntegerModel, work: Path
    ) -> None:
        images = random_images(model, 1)[:, :5, :5]  # as many bytes as the program takes
        assert images.shape == (1, 5, 5, 3)
        other = small_network(classes=4, size=(5, 5))
        with pytest.raises(BackendError, match="another network"):
            HostC().run(pool_export, other, images, work)

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [((1, 5, 5, 3), np.int8), ((1, 5, 7, 3), np.uint8), ((0, 5, 5, 3), np.uint8)],
    )
    def test_images_of_another_form(
        self, shape: tuple[int, ...], dtype: type, pool_export: Path, pool: IntegerModel, work: Path
    ) -> None:
        with pytest.raises(BackendError, match=r"the images are .*; expected uint8 \[N, 5, 5, 3\]"):
            HostC().run(pool_export, pool, np.zeros(shape, dtype), work)


def with_fault(export: Path, folder: Path, fault: str) -> Path:
    """Return a copy of an export that does something else behind each step."""
    source = "        layer->run(layer, call->arena);"
    return changed(export, folder / "export", "model.c", source, f"{source}\n        {fault}")


def sanitizers(work: Path) -> str:
    return " ".join(HostC()._sanitizers(host_compiler(), work))


class TestCompiler:
    def test_chosen_by_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CC", "my-cc -m64")
        assert find_compiler() == ("my-cc", "-m64")

    @pytest.mark.parametrize("given", ["gcc '", 'gcc "-m64', "gcc \\", "'" * 5001])
    def test_that_is_no_command(self, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CC", given)
        with pytest.raises(
            InputError,
            match=r"^CC is .{3,104}, which cannot be taken apart into words \(No .*\); set it to ",
        ):
            HostC().missing()

    def test_that_does_not_exist(
        self, monkeypatch: pytest.MonkeyPatch, pool_export: Path, pool: IntegerModel, work: Path
    ) -> None:
        monkeypatch.setenv("CC", "no-such-compiler")
        with pytest.raises(BackendError, match="no-such-compiler cannot be started"):
            HostC().run(pool_export, pool, random_images(pool, 1), work)

    def test_none_at_all(
        self, monkeypatch: pytest.MonkeyPatch, pool_export: Path, pool: IntegerModel, work: Path
    ) -> None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
        monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
        line = HostC().missing()
        assert line is not None
        assert "pip install 'nas-search[mcu]'" in line
        assert "\n" not in line
        with pytest.raises(BackendError, match="no C compiler"):
            HostC().run(pool_export, pool, random_images(pool, 1), work)

    def test_ziglang_where_the_system_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
        monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: name)
        assert find_compiler() == (sys.executable, "-m", "ziglang", "cc")
        assert HostC().missing() is None

    @pytest.mark.skipif(sys.platform == "win32", reason="the stand-in compiler is a shell script")
    def test_without_sanitizers(
        self, monkeypatch: pytest.MonkeyPatch, pool_export: Path, pool: IntegerModel, work: Path
    ) -> None:
        script = work.parent / "plain-cc"
        real = " ".join(host_compiler())
        script.write_text(
            f'#!/bin/sh\ncase "$*" in *-fsanitize*) exit 1;; esac\nexec {real} "$@"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("CC", str(script))
        images = random_images(pool, 2)
        result = HostC().run(pool_export, pool, images, work)
        assert "no sanitizers" in result.version
        assert np.array_equal(result.logits, run(pool, images))
