"""The chain of digests: whatever of one run is put into another is stale for everyone who reads it,
and never green.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas_engine import api
from nas_engine.architecture import dump_architecture, read_architecture
from tests.architectures import small
from nas_engine.errors import InputError
from nas_engine.evolution.config import resolve_config
from nas_engine.pipeline.evaluation import evaluate_run
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.layer_errors import measure_layer_errors
from nas_engine.pipeline.refine import run_refinement
from nas_engine.pipeline.refine_request import RefineRequest
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.pipeline.verify import verify_run
from nas_engine.reading import UnreadableError
from nas_engine.report.gather import gather
from nas_engine.report.html.document import Sentence, Tone
from nas_engine.report.page.headline import headline, verdict_sentence
from nas_engine.report.search_record import load_runs
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.verification.result import VerificationReport
from tests.cli.test_bad_input import snapshot
from tests.refine_runs import SPACE
from tests.resealed import change, content
from tests.test_export_pipeline import CONFIG
from tests.training.runs import small_run
from tests.training.tasks import IMAGES, digits_architecture, small_recipe


def request(seed: int) -> TrainingRequest:
    return TrainingRequest(
        data="digits", recipe=small_recipe(epochs=2, ema_decay=0.5), limit=IMAGES, seed=seed
    )


def made(path: Path, seed: int) -> Path:
    """A run with everything: trained, exported, verified, errors of layers measured."""
    small_run(path, digits_architecture(9) if seed else None)
    directory, space = RunDirectory(path), path.parent / "space.yaml"
    space.write_text(SPACE)
    directory.write_config(resolve_config({**CONFIG, "space": str(space)}).as_mapping())
    assert run_training(path, request(seed)) is not None
    measure_layer_errors(path, images=2)
    export_run(path, ["c", "onnx"])
    assert verify_run(path, images=3, backends=["host-c", "onnx"]).passed
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of different structure and seed, only to be copied."""
    folder = tmp_path_factory.mktemp("runs")
    return made(folder / "first", 0), made(folder / "second", 1)


@pytest.fixture
def run(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[0], tmp_path / "run"))


def put(source: Path, target: Path) -> None:
    """Put a file or folder in the place of another."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


TRAINED = (
    "training/float.pt",
    "training/network.pt",
    "training/recipe.yaml",
    "training/metrics.jsonl",
    "training/result.json",
    "best.yaml",
)
MODEL = ("integer/model.json", "integer/model.npz", "integer")
EXPORTED = (
    "export",
    "export/c/model.c",
    "export/model_int.onnx",
    "export/quant.json",
    "export/settings.json",
    "export/SHA256SUMS",
)
RECORDS = ("verification.json", "layer_errors.json")
MIXTURES = (
    *((name,) for name in (*TRAINED, *MODEL, *EXPORTED, *RECORDS, "training")),
    ("integer", "export"),
    ("integer", "export", "verification.json"),
    ("export", "verification.json"),
    ("training", "integer"),
    ("training", "best.yaml"),
    ("training", "integer", "best.yaml"),
)
"""Parts of the second run that are put into the first one."""

SAME = {"training/recipe.yaml"}
"""Files that are alike in both runs, so that nothing is mixed."""


def stale_for_the_training(names: tuple[str, ...]) -> bool:
    return bool({*TRAINED, *MODEL, "training"} & {*names} - SAME) and not {
        "training",
        "integer",
        "best.yaml",
    } <= {*names}


@pytest.mark.parametrize("names", MIXTURES, ids="+".join)
def test_a_mixture_is_never_green(
    names: tuple[str, ...], runs: tuple[Path, Path], run: Path
) -> None:
    for name in names:
        put(runs[1] / name, run / name)
    facts = gather(run)
    text, tone = verdict_sentence(facts)
    blocks = headline(facts).blocks
    if {*names} <= SAME:
        assert tone is not Tone.BAD
        return
    assert facts.stale
    assert tone is Tone.BAD
    assert text.startswith("Stale, so that nothing is proven: ")
    assert facts.verification is None
    assert not any(isinstance(block, Sentence) and block.tone is Tone.GOOD for block in blocks)
    assert all(
        one.command in " ".join(block.text for block in blocks if isinstance(block, Sentence))
        for one in facts.stale
    )
    assert (facts.result is None) == stale_for_the_training(names)


READERS: dict[str, Callable[[Path], object]] = {
    "evaluate": lambda run: evaluate_run(run, None, limit=20),
    "layers": lambda run: measure_layer_errors(run, images=1),
    "export": lambda run: export_run(run, ["c"]),
    "verify": lambda run: verify_run(run, images=1, backends=["onnx"]),
    "refine": lambda run: run_refinement(run, RefineRequest(method="qbr", images=64), force=True),
    "resume": lambda run: run_training(run, request(0), resume=True),
    "load": load_runs,
    "api.load_model": api.load_model,
}


@pytest.mark.parametrize(
    "names", [names for names in MIXTURES if stale_for_the_training(names)], ids="+".join
)
def test_every_reader_of_a_training_refuses_a_mixed_one(
    names: tuple[str, ...], runs: tuple[Path, Path], run: Path
) -> None:
    for name in names:
        put(runs[1] / name, run / name)
    before = snapshot(run)
    for read in READERS.values():
        with pytest.raises(InputError) as caught:
            read(run)
        message = str(caught.value)
        assert message.startswith(f"{run}/training/result.json: is not of the files beside it (")
        assert message.endswith(
            f"put them back, or type: nas-search train {run} --force --data digits"
        )
        assert len(message.splitlines()) == 1
    assert snapshot(run) == before


def test_what_fits_is_told_as_recorded_with_its_date(run: Path) -> None:
    facts = gather(run)
    assert facts.checked
    assert facts.verification is not None
    assert verdict_sentence(facts)[0].startswith(
        f"Recorded on {facts.verification.date}, digests fit"
    )
    assert chain.check(RunDirectory(run), chain.LAYER_ERRORS).standing is chain.Standing.FITS


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: (run / "export" / "c" / "model.c").write_text(
            (run / "export" / "c" / "model.c").read_text() + "\n"
        ),
        lambda run: (run / "export" / "c" / "model.c").write_text("half"),
        lambda run: (run / "export" / "c" / "nas_zz.c").write_text("int more;\n"),
        lambda run: (run / "export" / "c" / "nas_zz.c").symlink_to("/dev/zero"),
        lambda run: (run / "export" / "c" / "model.h").unlink(),
        lambda run: shutil.rmtree(run / "export"),
        lambda run: shutil.rmtree(run / "integer"),
        lambda run: (run / "start.pt").write_bytes(b"new"),
        lambda run: (run / "training" / "network.pt").unlink(),
    ],
)
def test_what_was_changed_since_is_stale(spoil: Callable[[Path], object], run: Path) -> None:
    spoil(run)
    facts = gather(run)
    assert facts.stale
    assert verdict_sentence(facts)[1] is Tone.BAD


def test_edited_figures_are_no_longer_what_was_written(run: Path) -> None:
    for name in ("verification.json", "training/result.json", "layer_errors.json"):
        path = run / name
        path.write_text(path.read_text().replace('"images": ', '"images": 1', 1))
    facts = gather(run)
    assert len(facts.problems) == 3
    assert all("does not fit the digest that it carries" in problem for problem in facts.problems)
    assert (facts.verification, facts.result, facts.layer_errors) == (None, None, None)
    assert verdict_sentence(facts)[1] is not Tone.GOOD


@pytest.mark.parametrize("name", ["verification.json", "training/result.json"])
def test_a_record_without_digests_is_amber(name: str, run: Path) -> None:
    change(run / name, made_of=None)
    facts = gather(run)
    assert [one.record for one in facts.unchecked] == [name]
    assert not facts.stale
    text, tone = verdict_sentence(facts)
    assert tone is Tone.WARN
    assert ", not checked" in text
    assert any(
        isinstance(block, Sentence) and block.text.startswith(f"Not checked: {name}")
        for block in headline(facts).blocks
    )
    assert evaluate_run(run, None, limit=20)


def test_the_export_of_0_1_0_is_amber(run: Path) -> None:
    (run / "export" / "settings.json").unlink()
    (run / "export" / "SHA256SUMS").write_text(
        "".join(
            line
            for line in (run / "export" / "SHA256SUMS").read_text().splitlines(keepends=True)
            if "settings.json" not in line
        )
    )
    change(run / "verification.json", made_of=None)
    facts = gather(run)
    assert {one.record for one in facts.unchecked} == {"export/settings.json", "verification.json"}
    assert verdict_sentence(facts)[1] is Tone.WARN


def test_the_command_that_it_names_mends_it(runs: tuple[Path, Path], run: Path) -> None:
    put(runs[1] / "verification.json", run / "verification.json")
    (stale,) = gather(run).stale
    assert shlex.split(stale.command) == ["nas-search", "verify", str(run)]
    verify_run(run, images=1, backends=["onnx"])
    assert gather(run).checked


def test_every_digest_that_a_verification_names_is_of_a_file(run: Path) -> None:
    named = content(run / "verification.json")["made_of"]
    assert {name for name in named if not (run / name).is_file()} == {"data"}
    exported = {
        f"export/{path.relative_to(run / 'export').as_posix()}"
        for path in (run / "export").rglob("*")
        if path.is_file()
    }
    assert exported == {name for name in named if name.startswith("export/")}


def test_a_verification_says_on_which_day(run: Path) -> None:
    report: VerificationReport = verify_run(run, images=1, backends=["onnx"])
    assert content(run / "verification.json")["date"] == report.date
    assert len(report.date) == 10


@pytest.mark.parametrize("name", ["best.yaml", "training/metrics.jsonl", "training/network.pt"])
def test_a_failing_disk_makes_nothing_stale(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def failing(path: str | os.PathLike[str], *more: Any, **options: Any) -> int:
        if Path(path) == run / name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return opened(path, *more, **options)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(UnreadableError, match=f"{name}: cannot be read .Input/output error"):
        chain.check(RunDirectory(run), chain.RESULT)
    try:
        facts = gather(run)
    except UnreadableError:
        return  # no page at all, and that one line
    assert not facts.stale
    assert any("Input/output error" in problem for problem in facts.problems)
    assert verdict_sentence(facts)[1] is not Tone.GOOD


def test_the_digest_of_a_network_is_of_what_its_file_says(tmp_path: Path) -> None:
    network = small()
    path = tmp_path / "best.yaml"
    path.write_text("# another comment\n" + dump_architecture(network))
    assert chain.network_digest(read_architecture(path)) == chain.network_digest(network)
    assert chain.network_digest(network) == (
        "374701418ddba71536ca40a3a75f7d6b10939ef08ebfc9b315670310c0e60095"
    )
    assert chain.network_digest(network.at_resolution(9)) != chain.network_digest(network)
