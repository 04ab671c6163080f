"""``import nas_engine as ne``: what it holds, that its examples run, and what it refuses."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nas_engine as ne
from nas_engine.api.options import path_of
from nas_engine.events import Kind, Note, Progress, Sink, Started
from nas_engine.evolution.config import SearchConfig
from nas_engine.exporters.table import EXPORTERS
from nas_engine.names import BackEnd, Format
from nas_engine.pipeline.run_config import write_run_config
from nas_engine.verification.result import Comparison, Verdict, VerificationReport
from nas_engine.verification.table import back_ends
from tests.generations import ENVIRONMENT, SMALL_SETTINGS

ROOT = Path(__file__).resolve().parents[1]
TINY: dict[str, Any] = {
    "sram": "24k",
    "flash": "64k",
    "space": "mobilenet-32",
    "resolution": 16,
    "candidates": "2k",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the examples have worked in: a digits run that is searched, trained, refined,
    exported and verified.
    """
    folder = tmp_path_factory.mktemp("examples")
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)
        os.chdir(folder)
        try:
            runner, finder = (
                doctest.DocTestRunner(verbose=False),
                doctest.DocTestFinder(recurse=False),
            )
            texts: list[str] = []
            trained = (
                ne.train,
                ne.evaluate,
                ne.refine,
                ne.export,
                ne.verify,
                ne.load_model,
                ne.write_report,
                ne.compare,
                ne.take,
            )
            for function in (ne.search, ne.load, ne.score, ne.bits, *trained):
                (test,) = finder.find(function, function.__name__)
                assert test.examples, f"{function.__name__}() has no example"
                runner.run(test, out=texts.append)
            assert not runner.failures, "".join(texts)
        finally:
            os.chdir(before)
    return folder


class TestNames:
    def test_each_is_in_the_docs(self) -> None:
        page = (ROOT / "docs" / "how_to" / "python_api.md").read_text(encoding="utf-8")
        table = [line for line in page.splitlines() if line.startswith("| `")]
        told = {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])}
        assert told == set(ne.__all__) - {"__version__"}

    def test_listed_and_unknown(self) -> None:
        assert set(ne.__all__) <= set(dir(ne))
        with pytest.raises(AttributeError, match="module 'nas_engine' has no attribute 'serach'"):
            _ = ne.serach  # type: ignore[attr-defined]
        assert not hasattr(ne, "__path_of__")

    def test_no_name_is_a_package_of_the_project(self) -> None:
        """Importing ``nas_engine.report`` would put that package in the place of a function of this
        name.
        """
        inside = {
            path.stem
            for path in (ROOT / "nas_engine").iterdir()
            if path.suffix == ".py" or path.is_dir()
        }
        assert not inside & set(ne.__all__)

    def test_importing_it_loads_nothing_heavy(self) -> None:
        code = (
            "import sys; before = set(sys.modules)\n"
            "import nas_engine as ne\n"
            "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
            "loaded -= sys.stdlib_module_names\n"
            "assert loaded <= {'nas_engine'}, loaded\n"
            "ne.search; ne.train; ne.InputError\n"
            "heavy = {'numpy', 'torch', 'yaml', 'matplotlib'} & set(sys.modules)\n"
            "sys.exit(f'loaded: {heavy}' if heavy else 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def test_lists_for_completion_are_the_real_ones(self) -> None:
        assert set(Format) == set(EXPORTERS) - {"manifest"}
        assert [row.name for row in back_ends(ne.load_device("cortex-m7"), 1, 1)] == list(BackEnd)


class TestExamples:
    def test_leave_what_the_commands_leave(self, place: Path) -> None:
        run = place / "runs" / "digits"
        names = {path.name for path in run.iterdir()}
        assert {
            "best.yaml",
            "training",
            "integer",
            "refine",
            "export",
            "verification.json",
        } <= names
        record = ne.load(run)
        assert record.training is not None
        assert record.training.accuracy.integer is not None
        assert isinstance(ne.load_model(record), ne.IntegerModel)

    def test_search_is_the_one_of_the_command_line(self, place: Path) -> None:
        config = ne.load(place / "runs" / "digits").config
        assert (config.sram_bytes, config.flash_bytes, config.candidates) == (
            24 * 1024,
            64 * 1024,
            2000,
        )
        assert isinstance(config, SearchConfig)

    def test_watchers_are_told_and_nothing_is_printed(
        self,
        place: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)
        lines: list[str] = []
        found = ne.search(
            **TINY, stage_weights=[0, 1, 1, 6], out=tmp_path / "run", watch=lines.append
        )
        assert lines[0] == "16 px: the first networks ..."
        assert re.fullmatch(
            r"16 px: [\d,]+/2,000 networks.*; score \d+\.\d\d, SRAM .*/.* B, Flash .*/.* B",
            lines[-1],
        )
        assert 2 <= len(lines) <= 12
        again = ne.search(out=tmp_path / "run", resume=True, candidates=2000)
        assert again.best == found.best
        lines.clear()
        ne.train(found, epochs=2, limit=40, threads=1, watch=lines.append)
        assert lines[0] == "reading digits ..."
        assert any(line.startswith("network, quantised epoch 1/1: loss ") for line in lines)
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "")

    def test_verification_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = Comparison(backend="host C", verdict=Verdict.EQUAL)

        def fake(path: Path, data: str | None, *, watch: Sink, **_: object) -> VerificationReport:
            part = Progress(kind=Kind.VERIFYING, at="host C on 2 images ...", done=0, total=1)
            watch(part)
            watch(replace(part, at="host C: equal", done=1, whole=True))
            return VerificationReport(data="noise", backends=(one,), memory=())

        monkeypatch.setattr("nas_engine.pipeline.verify.verify_run", fake)
        lines: list[str] = []
        assert ne.verify("runs/x", watch=lines.append).passed
        assert lines == ["1/1 host C: equal"]

    def test_whole_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: dict[str, Any] = {}
        record = ne.RunRecord(command="", versions={}, machine="")

        def fake(config: ne.RunConfig, path: Path, *, watch: Sink, **given: Any) -> ne.RunRecord:
            seen.update(given, config=config, path=path)
            watch(Started(text="searching ..."))
            watch(Note(text="a note"))
            return record

        monkeypatch.setattr("nas_engine.pipeline.run.run_pipeline", fake)
        (tmp_path / "mine.yaml").write_text("search: {sram: 32k, seed: 3}\ntrain: {epochs: 9}\n")
        lines: list[str] = []
        found = ne.run(
            tmp_path / "mine.yaml",
            out=tmp_path / "run",
            train={"epochs": 4},
            accelerator="cpu",
            threads=1,
            watch=lines.append,
        )
        assert found is record
        config = seen["config"]
        assert (
            config.search.sram_bytes,
            config.search.seed,
            config.train.epochs,
            config.data.source,
        ) == (32 * 1024, 3, 4, "digits")
        assert (seen["path"], seen["force"], seen["workers"], seen["accelerator"]) == (
            tmp_path / "run",
            False,
            1,
            "cpu",
        )
        assert lines == ["searching ...", "note: a note"]
        assert (
            ne.run({"search": {"sram": "32k"}}, out=tmp_path / "run", watch=lines.append) is record
        )
        (tmp_path / "run").mkdir()
        write_run_config(tmp_path / "run" / "run.yaml", config)
        ne.run(out=tmp_path / "run", train={"epochs": 6}, watch=lines.append)
        again = seen["config"]
        assert (again.search, again.train.epochs) == (config.search, 6)
        with pytest.raises(ne.InputError, match="epochs: is 'many'"):
            ne.run(out=tmp_path / "run", train={"epochs": "many"})

    def test_stop(self, place: Path, tmp_path: Path) -> None:
        run = Path(shutil.copytree(place / "runs" / "digits", tmp_path / "run"))
        with pytest.raises(
            ne.StoppedError,
            match=r"stopped; what was done is kept; call train\(\) again with resume=True",
        ):
            ne.train(run, epochs=2, limit=40, threads=1, force=True, stop=lambda: True)
        assert ne.train(run, epochs=2, limit=40, threads=1, resume=True).quantised_epochs == 1
        with pytest.raises(ne.StoppedError, match=r"call refine\(\) again"):
            ne.refine(run, method="greedy", images=64, force=True, threads=1, stop=lambda: True)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (
                {"candidats": 5},
                "unknown option of search(): 'candidats'; did you mean 'candidates'?",
            ),
            ({"sram": "12x"}, "'12x' is not a size"),
            ({"sram": 0}, "'0' is 0 B"),
            ({"candidates": "many"}, "'many' is not a whole number from 1 to"),
            ({"resolution": "16"}, "resolution: is '16'; expected"),
            ({"qbr": 1}, "qbr: is 1; expected"),
            ({"stage_weights": 5}, "stage_weights: is 5; expected"),
            ({"device": "cortex-m8"}, "did you mean 'cortex-m7'?"),
            ({"space": "mobilnet"}, "did you mean 'mobilenet'?"),
            ({"time_limit": "soon"}, "time_limit: 'soon' is not a duration"),
            ({"sram": "6k", "resolution": 64}, "smallest possible peak SRAM"),
        ],
    )
    def test_search(self, tmp_path: Path, options: dict[str, Any], says: str) -> None:
        with pytest.raises(ne.InputError) as caught:
            ne.search(**{**TINY, **options}, out=tmp_path / "run")
        assert says in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert not (tmp_path / "run").exists()

    def test_other_functions(self, place: Path, tmp_path: Path) -> None:
        run = place / "runs" / "digits"
        for call, says in (
            (
                lambda: ne.train(run, epoch=3),
                "unknown option of train(): 'epoch'; did you mean 'epochs'?",
            ),  # type: ignore[call-arg]
            (lambda: ne.train(run), "holds a training already"),
            (
                lambda: ne.refine(run, swap=3),
                "unknown option of refine(): 'swap'; did you mean 'swaps'?",
            ),  # type: ignore[call-arg]
            (
                lambda: ne.refine(run, images="some"),
                "images: 'some' is not a whole number from 2 to",
            ),  # type: ignore[arg-type]
            (lambda: ne.refine(run, method="clado-x"), "did you mean 'clado'?"),
            (
                lambda: ne.run(out=tmp_path / "x", serch={}),
                "unknown option of run(): 'serch'; did you mean 'search'?",
            ),  # type: ignore[call-arg]
            (lambda: ne.export(run, ["tflit"]), "unknown format: 'tflit'; did you mean 'tflite'?"),
            (lambda: ne.verify(run, backends=["host"]), "--backend 'host' is unknown"),
            (lambda: ne.load(tmp_path), "is not a run directory"),
            (lambda: ne.load_run(run), "is not the folder of a whole run"),
            (lambda: ne.load_model(tmp_path), "is not a run directory"),
            (lambda: ne.score(run / "none.yaml"), "cannot be read"),
            (lambda: ne.train("m.onnx"), "m.onnx: models of other programs are not taken"),
            (lambda: ne.score("m.tflite"), "m.tflite: models of other programs are not taken"),
            (lambda: ne.bits("m.h5"), "m.h5: models of other programs are not taken"),
            (lambda: ne.score(5), "got 5 of type int; expected the path of a file"),  # type: ignore[arg-type]
            (lambda: ne.bits(5), "got 5 of type int; expected the path of a file"),  # type: ignore[arg-type]
            (lambda: path_of(5), ("run is of type int; expected the path of a run directory")),  # type: ignore[arg-type]
        ):
            with pytest.raises(ne.InputError) as caught:
                call()
            assert says in str(caught.value)

    def test_folder_of_a_whole_run(self, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text("")
        with pytest.raises(
            ne.InputError, match="is the folder of a whole run; give one of its run directories"
        ):
            ne.load(tmp_path)

    def test_without_torch(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        for call in (ne.train, ne.evaluate, ne.refine):
            with pytest.raises(ne.InputError, match="needs torch, which is not installed"):
                call(place / "runs" / "digits")
