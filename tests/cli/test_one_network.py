"""``nas-search bits FILE`` and ``train FILE``: networks of a user's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.api.look import load_run
from nas_engine.architecture import dump_architecture, read_architecture
from nas_engine.digests import file_digest
from nas_engine.pipeline.run_config import RunConfig
from tests.cli.command import Run
from tests.cli.test_run import record
from tests.training.tasks import digits_architecture

BUDGETS = ("--sram", "64k", "--flash", "48k")
TINY = ("--epochs", "2", "--limit", "100", "--batch-size", "16", "--threads", "1")


@pytest.fixture
def file(run: Run) -> str:
    Path("net.yaml").write_text(dump_architecture(digits_architecture()))
    return "net.yaml"


class TestBits:
    def test_refined_and_uniform(self, run: Run, file: str) -> None:
        outcome = run("bits", file, *BUDGETS)
        assert outcome.code == 0
        assert "Flash" in outcome.out
        assert "nas-search train net-bits.yaml" in outcome.out
        assert {str(bits) for bits in read_architecture("net-bits.yaml").layer_bits()} == {"w8a8"}
        assert run("bits", file, *BUDGETS, "--uniform", "5", "--out", "five.yaml").code == 0
        (first, *inner, last) = map(str, read_architecture("five.yaml").layer_bits())
        assert (first, {*inner}, last) == ("w8a8", {"w5a8"}, "w8a8")
        said = json.loads(
            run("bits", file, *BUDGETS, "--uniform", "w4a6", "--out", "a.yaml", "--json").out
        )
        assert said["file"] == "a.yaml"
        assert str(read_architecture("a.yaml").layer_bits()[1]) == "w4a6"

    def test_other_files_stay(self, run: Run, file: str) -> None:
        assert run("bits", file, *BUDGETS).code == 0
        assert run("bits", file, *BUDGETS).code == 0  # the very same
        before = Path("net-bits.yaml").read_bytes()
        refusal = run("bits", file, *BUDGETS, "--uniform", "3").refusal()
        assert "is there already" in refusal
        assert Path("net-bits.yaml").read_bytes() == before
        assert run("bits", file, *BUDGETS, "--uniform", "3", "--force").code == 0

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (("--sram", "4608", "--flash", "48k"), "smallest possible peak SRAM"),
            (("--sram", "64k", "--flash", "33k"), "smallest possible Flash"),
            (("--sram", "64k", "--flash", "36k", "--uniform", "8"), "where --flash leaves 4,096"),
            (("--uniform", "9"), "--uniform is '9'; expected"),
            (("--uniform", "none"), "--uniform is 'none'; expected"),
        ],
    )
    def test_what_does_not_fit(
        self, run: Run, file: str, options: tuple[str, ...], says: str
    ) -> None:
        assert says in run("bits", file, *options).refusal()
        assert not Path("net-bits.yaml").exists()

    def test_what_is_no_network(self, run: Run) -> None:
        assert "cannot be read" in run("bits", "none.yaml").refusal()
        Path("odd.yaml").write_text("format: nas-search/architecture/1\nresolution: 8\n")
        assert "odd.yaml" in run("bits", "odd.yaml").refusal()
        assert "is a search space" in run("bits", "mobilenet-32").refusal()


class TestTrain:
    def test_a_file_becomes_a_whole_run(
        self, run: Run, file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[tuple[RunConfig, Path, dict[str, Any]]] = []

        def pretend(config: RunConfig, path: Path, **given: Any) -> Any:
            calls.append((config, path, given))
            return record()

        monkeypatch.setattr("nas_engine.pipeline.run.run_pipeline", pretend)
        assert run("train", file, *BUDGETS, *TINY, "--seed", "3").code == 0
        more = ("--device", "stm32f746", "--method", "greedy", "--out", "there")
        assert run("train", file, *BUDGETS, *more).code == 0
        (first, path, _), (second, there, _) = calls
        assert (path, there) == (Path("runs/net-digits"), Path("there"))
        assert first.search.space == str(Path(file).resolve())
        assert (first.search.sram_bytes, first.search.flash_bytes) == (64 * 1024, 48 * 1024)
        assert (first.search.candidates, first.search.qbr, first.seed) == (1, False, 3)
        assert (first.shortlist.count, first.refine.method) == (1, "qbr")
        assert (first.train.epochs, first.data.limit) == (2, 100)
        assert (second.search.device, second.refine.method) == ("stm32f746", "greedy")

    def test_it_is_a_run_like_any_other(self, run: Run, file: str) -> None:
        typed = ("train", file, *BUDGETS, *TINY, "--out", "out")
        quick = (
            "--set",
            "verify.backends=[host-c]",
            "--set",
            "verify.images=4",
            "--set",
            "verify.emulated_images=1",
        )
        stopped = run(*typed, "--time-limit", "0.001s")
        assert "nas-search run --out out" in stopped.out
        assert run("run", "--out", "out", *quick).code == 0
        found = load_run("out")
        assert all(stage.done for stage in found.stages)
        assert Path("out/report.html").stat().st_size > 10_000
        taken = replace(digits_architecture(), schedule="auto", room=60 * 1024)
        for folder in ("search", "network", "final"):
            assert read_architecture(f"out/{folder}/best.yaml") == taken

        digest = file_digest(Path("out/final/integer/model.json"))
        Path(file).write_text(dump_architecture(digits_architecture().at_resolution(9)))
        assert "resolution 8 is outside" in run("run", "--out", "out").refusal()
        Path(file).unlink()
        assert "net.yaml" in run("run", "--out", "out").refusal()
        assert file_digest(Path("out/final/integer/model.json")) == digest

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("none.yaml", *BUDGETS), "none.yaml: cannot be read"),
            (("folder", "--sram", "64k"), "--sram is for an architecture file, and folder is none"),
            (("folder", "--out", "x"), "--out is for an architecture file"),
            (("net.yaml", "--sram", "4608"), "where --sram leaves 512"),
            (("net.yaml", "--epochs", "1"), "train.epochs: is 1"),
            (("net.yaml", "--data", "net.yaml"), "net.yaml"),
            (("space.yaml",), "expected 'nas-search/architecture/1'"),
            (("two.yaml",), "its classifier has 2 classes, asked for are 10"),
        ],
    )
    def test_bad_input(self, run: Run, file: str, words: tuple[str, ...], says: str) -> None:
        Path("folder").mkdir()
        Path("space.yaml").write_text("name: none\n")
        text = dump_architecture(digits_architecture())
        Path("two.yaml").write_text(text.replace("classes: 10", "classes: 2"))
        assert says in run("train", *words).refusal()
        assert not Path("runs").exists()
