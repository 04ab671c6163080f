"""From a trained run to exported files and their proof, and the refusals on the way."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_engine.errors import FileFormatError, InputError, RunDirectoryError
from nas_engine.events import Kind
from nas_engine.evolution.config import resolve_config
from nas_engine.exporters.bundle import DIGESTS
from nas_engine.exporters.exporter import ExportError
from nas_engine.exporters.table import EXPORTERS
from nas_engine.files import StorageError
from nas_engine.integer.reference import run as run_integers
from nas_engine.integer.store import load
from nas_engine.names import Format
from nas_engine.pipeline.data import read_data
from nas_engine.pipeline.export import export_run, problem_of
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.pipeline.verify import verify_run, write_files
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.verification.claims import title
from nas_engine.verification.result import Verdict
from nas_engine.verification.table import FEW_CORES, FEW_IMAGES
from tests.cli.command import Run, runner
from tests.cli.test_bad_input import snapshot
from tests.cli.test_json import check_json
from tests.resealed import change, content, rewrite
from tests.sinks import Kept
from tests.test_layering import HEAVY
from tests.training.runs import small_run
from tests.training.tasks import IMAGES, small_recipe

PARTS = Path(__file__).parent / "parts" / "example_part" / "example_part" / "parts.py"

CONFIG: Mapping[str, Any] = {
    "device": "cortex-m7",
    "sram": 32 << 10,
    "flash": 128 << 10,
    "space": "mobilenet-32",
    "resolution": 8,
    "classes": 10,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and exported run, only to be read or copied."""
    path = small_run(tmp_path_factory.mktemp("exported") / "run")
    RunDirectory(path).write_config(resolve_config(CONFIG).as_mapping())
    assert (
        run_training(
            path,
            TrainingRequest(
                data="digits", recipe=small_recipe(epochs=2, ema_decay=0.5), limit=IMAGES
            ),
        )
        is not None
    )
    export_run(path)
    return path


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "run"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def weaken(folder: Path) -> None:
    """Change one weight of the first layer in the C of an export."""
    path = folder / "c" / "model.c"
    path.write_text(
        re.sub(
            r"0x([0-9a-fA-F]{8})",
            lambda m: f"0x{int(m[1], 16) ^ 0x40:08x}",
            path.read_text(),
            count=1,
        )
    )


class TestExport:
    def test_the_command_line_knows_the_formats(self) -> None:
        assert {"manifest", *Format} == set(EXPORTERS)

    def test_all_files_with_their_digests(self, exported: Path) -> None:
        files = snapshot(exported / "export")
        assert {
            "quant.json",
            "memory_plan.json",
            "model.tflite",
            "model_int.onnx",
            "model_qcdq.onnx",
            "c/model.c",
        } <= files.keys()
        rows = dict(reversed(line.split("  ")) for line in files.pop(DIGESTS).decode().splitlines())
        assert rows == {
            name: hashlib.sha256(content).hexdigest() for name, content in files.items()
        }

    def test_again_gives_the_same_bytes(self, exported: Path, copied: Path) -> None:
        (copied / "verification.json").write_text("{}")
        (copied / ".export.99999999.tmp").mkdir()
        result = export_run(copied)
        assert snapshot(copied) == snapshot(exported)
        assert dict(result.files) == {
            name: len(content) for name, content in snapshot(copied / "export").items()
        }

    def test_one_format(self, copied: Path) -> None:
        names = {name.split("/")[0] for name, _ in export_run(copied, ["c"]).files}
        assert names == {
            "quant.json",
            "quant.schema.json",
            "memory_plan.json",
            "settings.json",
            "c",
            DIGESTS,
        }

    def test_a_missing_package(self, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        line = "ONNX needs onnx; type: pip install 'nas-search[export]'"
        monkeypatch.setattr(type(EXPORTERS["onnx"]), "missing", lambda self: line)
        before = snapshot(copied)
        with pytest.raises(
            InputError, match=re.escape(f"{line}; or leave that format out: --format c,tflite")
        ):
            export_run(copied)
        assert snapshot(copied) == before
        assert export_run(copied, ["c", "tflite"]).files

    def test_a_pair_that_the_device_forbids(self, copied: Path, tmp_path: Path) -> None:
        import yaml

        source = Path(__file__).parents[1] / "device_profiles" / "data" / "cortex-m7.yaml"
        profile = yaml.safe_load(source.read_text(encoding="utf-8"))
        profile["bit_pairs"]["rows"][2] = "FFFFFFF"
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(profile | {"name": "mine"}))
        config = yaml.safe_load((copied / "config.yaml").read_text())
        (copied / "config.yaml").write_text(
            yaml.safe_dump(config | {"device": str(tmp_path / "mine.yaml")})
        )
        before = snapshot(copied)
        with pytest.raises(
            ExportError,
            match=r"^mine: layer s1\.b1\.expand has w4a4, which the device forbids; search again",
        ):
            export_run(copied)
        assert snapshot(copied) == before

    def test_a_full_disk_keeps_the_old_export(
        self, copied: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = snapshot(copied)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            export_run(copied)
        monkeypatch.undo()
        assert snapshot(copied) == before

    def test_a_refused_rename_keeps_the_old_export(
        self, copied: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, rename = snapshot(copied), Path.rename

        def refuse(self: Path, target: Path) -> Path:
            if self.name.startswith(".export.") and "old" not in self.name:
                raise OSError(13, "Permission denied")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(StorageError, match="Permission denied"):
            export_run(copied)
        monkeypatch.undo()
        assert snapshot(copied) == before

    def test_not_trained(self, tmp_path: Path, copied: Path) -> None:
        with pytest.raises(
            RunDirectoryError, match="is not trained to the end yet; type: nas-search train"
        ):
            export_run(small_run(tmp_path / "new"))
        change(copied / "training" / "result.json", quantised_epochs=0)
        with pytest.raises(
            RunDirectoryError, match="was trained in float only, so there are no integers"
        ):
            export_run(copied)

    @pytest.mark.parametrize("name", ["model.json", "model.npz"])
    def test_a_changed_or_cut_model(self, copied: Path, name: str) -> None:
        path = copied / "integer" / name
        whole = path.read_bytes()
        changed = (
            whole.replace(b'"bits": 4', b'"bits": 5', 1)
            if name == "model.json"
            else whole[:-9] + bytes(9)
        )
        for damaged in (whole[: len(whole) // 2], changed):
            path.write_bytes(damaged)
            with pytest.raises(
                FileFormatError,
                match=rf"is not of the files beside it \(integer/{name} is another one\)",
            ):
                export_run(copied)
        change(copied / "training" / "result.json", made_of=None)
        for damaged in (whole[: len(whole) // 2], changed):
            path.write_bytes(damaged)
            with pytest.raises(FileFormatError, match=re.escape(str(copied / "integer"))):
                export_run(copied)

    def test_a_new_training_removes_the_export(self, copied: Path) -> None:
        request = TrainingRequest(
            data="digits", recipe=small_recipe(epochs=2, ema_decay=0.5), limit=IMAGES, seed=1
        )
        run_training(copied, request, force=True)
        assert not (copied / "export").exists()


class TestOwnParts:
    def test_an_exporter_and_a_back_end_of_files(self, copied: Path, command: Run) -> None:
        before = dict(EXPORTERS)
        formats = f"{PARTS}:NamesExporter,onnx"
        check_json("export", command("export", copied, "--format", formats, "--json").out)
        assert "names.txt" in snapshot(copied / "export")
        verify = ("verify", copied, "--images", "1", "--backend", f"{PARTS}:ReferenceBackend")
        EXPORTERS.clear()  # as the next command has it
        EXPORTERS.update(before)
        told = command(*verify).refusal()
        assert "unknown format: 'names'" in told
        assert "--format FILE.py:NAME" in told
        found = command(*verify, "--format", f"{PARTS}:NamesExporter", "--json")
        EXPORTERS.clear()
        EXPORTERS.update(before)
        assert found.code == 0
        assert [one["verdict"] for one in check_json("verify", found.out)["backends"]] == ["equal"]


class TestVerify:
    def test_everything_agrees(self, copied: Path) -> None:
        kept = Kept()
        report = verify_run(copied, images=24, emulated_images=3, watch=kept)
        assert report.passed
        told = [event for event in kept.progress(Kind.VERIFYING) if event.whole]
        assert [event.at for event in told] == [
            f"{comparison.backend}: {comparison.verdict}" for comparison in report.backends
        ]
        assert [event.done for event in told] == list(range(1, len(told) + 1))
        exact = [
            comparison for comparison in report.backends if comparison.verdict is Verdict.EQUAL
        ]
        assert {"host C", "Cortex-M7", "Cortex-M4"} <= {
            comparison.backend for comparison in exact
        } | {comparison.backend for comparison in report.skipped}
        for comparison in exact:
            assert (comparison.differing, comparison.differing_tensors) == (0, ())
            few = FEW_IMAGES if comparison.backend in map(title, FEW_CORES) else 3
            assert comparison.images == (few if comparison.backend.startswith("Cortex") else 24)
            assert comparison.tensors >= len(load(copied / "integer").model.nodes)
        assert {line.verdict for line in report.memory} <= {Verdict.EQUAL, Verdict.SKIPPED}
        assert json.loads((copied / "verification.json").read_text())["passed"] is True

    def test_the_images_are_the_test_images(self, copied: Path) -> None:
        directory, model = RunDirectory(copied), load(copied / "integer").model
        expected = run_integers(model, read_data("digits", directory.read_best()).test.images[:24])
        report = verify_run(copied, "digits", images=24, backends=["onnx"])
        assert report.backends[0].values == expected.size
        assert np.unique(expected, axis=0).shape[0] > 1

    def test_a_wrong_weight_is_found_and_located(
        self, copied: Path, command: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def written_wrong(folder: Path, files: Mapping[str, bytes]) -> None:
            write_files(folder, files)
            weaken(folder)

        monkeypatch.setattr("nas_engine.pipeline.verify.write_files", written_wrong)
        outcome = command("verify", copied, "--backend", "host-c", "--images", "20")
        assert outcome.code == 1
        assert "the first tensor that differs is 'stem output'" in outcome.out
        assert outcome.out.splitlines()[-1] == "FAILED: host C"
        assert outcome.err == "1/1 host C: differs\n"
        assert json.loads((copied / "verification.json").read_text())["passed"] is False

    def test_only_what_was_exported(self, copied: Path, command: Run) -> None:
        export_run(copied, ["onnx"])
        report = verify_run(copied, images=2)
        assert {comparison.backend for comparison in report.backends} == {
            "ONNX Runtime, integer graph",
            "ONNX Runtime, QCDQ",
        }
        refusal = command("verify", copied, "--backend", "host-c").refusal()
        assert refusal == (
            "--backend host-c needs c/main.c, which was not exported; export again without --format"
        )

    def test_too_small_a_device(
        self, copied: Path, command: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        problem, device = problem_of(RunDirectory(copied))
        small = replace(device, sram_bytes=3000, reserved_sram_bytes=0)
        monkeypatch.setattr(
            "nas_engine.pipeline.verify.problem_of", lambda directory: (problem, small)
        )
        outcome = command("verify", copied, "--backend", "cortex-m7", "--json")
        assert outcome.code == 1
        assert re.search(
            r"SRAM over budget by [\d,]+ B", json.loads(outcome.out)["backends"][0]["note"]
        )

    def test_refusals(self, copied: Path, command: Run, tmp_path: Path) -> None:
        assert (
            command("verify", copied, "--backend", "host")
            .refusal()
            .startswith("--backend 'host' is unknown; expected one of: host-c,")
        )
        assert (
            "is not trained to the end yet"
            in command("verify", small_run(tmp_path / "new")).refusal()
        )
        (copied / "export" / "c" / "nas_runtime.h").unlink()
        assert (
            f"nas_runtime.h: is missing; type: nas-search export {copied}"
            in command("verify", copied).refusal()
        )
        shutil.rmtree(copied / "export")
        assert (
            command("verify", copied).refusal()
            == f"{copied}: has no export yet; type: nas-search export {copied}"
        )

    def test_the_export_of_another_training(self, copied: Path, tmp_path: Path) -> None:
        kept = Path(shutil.copytree(copied / "export", tmp_path / "kept"))
        request = TrainingRequest(
            data="digits", recipe=small_recipe(epochs=2, ema_decay=0.5), limit=IMAGES, seed=1
        )
        run_training(copied, request, force=True)
        shutil.copytree(kept, copied / "export")
        with pytest.raises(
            FileFormatError,
            match=(
                r"settings\.json: is not of the files beside it \(integer/model.json is another one"
            ),
        ):
            verify_run(copied)
        settings = content(copied / "export" / "settings.json")
        del settings["made_of"]
        rewrite(copied / "export" / "settings.json", settings)
        with pytest.raises(
            FileFormatError,
            match=r"quant\.json: is that of another training or device; type: nas-search export",
        ):
            verify_run(copied)

    def test_data_that_are_gone(self, copied: Path, command: Run) -> None:
        change(copied / "training" / "result.json", data="/nowhere/images")
        assert (
            "are not there any more; give their place with --data"
            in command("verify", copied).refusal()
        )
        assert (
            command("verify", copied, "--data", "digits", "--backend", "onnx", "--images", "2").code
            == 0
        )


def test_it_needs_no_torch_and_c_no_package_at_all(copied: Path) -> None:
    code = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {[name for name in HEAVY if name != "ziglang"]!r}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocked())
from pathlib import Path
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.verify import verify_run, write_files
run = Path({str(copied)!r})
export_run(run, ["c"])
report = verify_run(run, images=2, backends=["host-c"])
print(report.backends[0].verdict, report.backends[0].note)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("equal", "not run"))


class TestCommand:
    def test_export_prints_files_and_sizes(self, copied: Path, command: Run) -> None:
        outcome = command("export", copied)
        assert outcome.code == 0
        assert str(copied / "export" / "c" / "model.c") in outcome.out
        assert outcome.out.splitlines()[-1] == f"prove it: nas-search verify {copied}"
        values = json.loads(command("export", copied, "--json", "--format", "c").out)
        assert values["files"]["c/model.c"] == (copied / "export" / "c" / "model.c").stat().st_size

    def test_an_unknown_format(self, copied: Path, command: Run) -> None:
        assert command("export", copied, "--format", "c,tflit").refusal() == (
            "unknown format: 'tflit'; did you mean 'tflite'? expected one of: c, tflite, onnx"
        )

    def test_no_run(self, tmp_path: Path, command: Run) -> None:
        for name in ("export", "verify"):
            assert "is not a run directory (no config.yaml)" in command(name, tmp_path).refusal()
