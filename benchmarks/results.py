"""Results that a stranger may check: trained integer models, kept with every prediction they make.

python -m benchmarks.results                         table, and paired differences of models
python -m benchmarks.results --check --data DIR      evaluates them again on whole test sets

Every folder of ``winners/`` is one row: the integer model that runs on the device (tens of
kilobytes), and ``result.json`` with its figures, the command that made it (it goes on where it was
stopped), and which test images it predicts rightly. Of two models of the same images the paired
difference is told, with McNemar's test.

--check   predicts all test images again with the integers alone and compares every prediction; data
          that are not in DIR are named. Exit code 1 where anything differs
--data    folder that holds the data under the names of the rows
--add RUN --name NAME --title TEXT   makes a row of a finished run, whose data are DATA of --data
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.harness import Row, write
from nas_engine.architecture import read_architecture
from nas_engine.datasets import Split
from nas_engine.errors import InputError, NasEngineError
from nas_engine.files import write_atomically
from nas_engine.integer.reference import predict
from nas_engine.integer.store import load
from nas_engine.pipeline.data import read_data
from nas_engine.report.network import report_network
from nas_engine.report.page.words import interval
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_record import read_record
from nas_engine.scoring.qe_score import ScoreSettings, default_stage_weights
from nas_engine.training.finished import finished_training
from nas_engine.verification.result import read_verification

FOLDER = Path(__file__).with_name("winners")
"""Rows."""

NETWORK, MODEL, RESULT = "network.yaml", "integer", "result.json"
"""Parts of a row: architecture, integer model, figures."""

ANCHORS = {
    "cifar-10-batches-py": "MLPerf Tiny's ResNet-8: 87.2 % in float, int8 file of 98,496 B",
    "person96": "on the same images: MLPerf Tiny's vww_96 69.3 %, MCUNet-vww1 76 %",
}
"""Published networks of the same test images, by the name of the data."""

DIGITS = "digits"
"""Data that come with scikit-learn."""

Rights = npt.NDArray[np.bool_]
"""True for test images with the right prediction, ``(images,)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Figures of a trained network."""

    title: str
    """Title of the row in the table."""
    data: str
    """Name of its data: a file or folder, or ``digits``."""
    command: str
    """Command that trains it."""
    floating: float | None
    """Accuracy of the float network on the test images, percent."""
    flash_bytes: float
    """Flash of the network in the arena model."""
    arena_bytes: float
    """Peak SRAM in the arena model."""
    macs: float
    """Multiply-accumulates."""
    instructions: int | None
    """Instructions of an inference, ``None`` where they were not counted."""
    core: str
    """Core that they were counted on, or empty."""
    training_s: float
    """Seconds of its last training."""
    test_sha256: str
    """Digest of test images and labels."""
    images: int
    """Test images."""
    right: str
    """Test images that the integers predict rightly: packed bits in base64, 1 for a right one."""

    @property
    def rights(self) -> Rights:
        """True for test images with the right prediction, ``(images,)``."""
        packed = np.frombuffer(base64.b64decode(self.right), np.uint8)
        return np.unpackbits(packed, count=self.images).astype(bool)

    @property
    def accuracy(self) -> float:
        """Accuracy of the integers, percent."""
        return 100.0 * float(self.rights.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Comparison of two models on the same images."""

    difference: float
    """First less second, points."""
    error: float
    """Standard error of the difference, points."""
    chance: float
    """Probability of a difference as large where both are equal: McNemar's exact test."""

    @property
    def apart(self) -> bool:
        """True if the difference is more than two standard errors."""
        return abs(self.difference) > 2 * self.error


def paired(first: Rights, second: Rights) -> Paired:
    """Return McNemar's comparison of two models of the same images."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n, differ = first.size, only_first + only_second
    spread = differ - (only_first - only_second) ** 2 / n
    return Paired(
        difference=100.0 * (only_first - only_second) / n,
        error=100.0 * math.sqrt(spread) / n,
        chance=float(stats.binomtest(only_first, differ).pvalue) if differ else 1.0,
    )


def read_results(folder: Path = FOLDER) -> dict[str, Result]:
    """Return every row by name, sorted by data and name."""
    found = {
        path.parent.name: Result(**json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob(f"*/{RESULT}"))
    }
    return dict(sorted(found.items(), key=lambda item: (item[1].data, item[0])))


def rows_of(results: dict[str, Result]) -> list[Row]:
    """Return the rows of all results, then those that compare two of the same images."""
    rows = []
    for name, one in results.items():
        low, high = interval(one.accuracy, one.images)
        counted = f", {one.instructions / 1e6:.1f} M instructions ({one.core})"
        rows.append(
            Row(
                what=f"{name}: {one.title}; `{one.command}`",
                measured=f"**{one.accuracy:.2f} %** in integers [{low:.2f}, {high:.2f}]"
                + (f", {one.floating:.2f} % in float" if one.floating is not None else "")
                + f", {one.images:,} test images of {one.data}; Flash {one.flash_bytes:,.0f} B, "
                f"arena {one.arena_bytes:,.0f} B, {one.macs / 1e6:.2f} M MACs"
                + (counted if one.instructions is not None else "")
                + f"; trained in {one.training_s:,.0f} s",
                at_least=f"for comparison: {ANCHORS.get(one.data, 'none')}",
                reached=True,
            )
        )
    for (name, one), (other_name, other) in itertools.combinations(results.items(), 2):
        if one.test_sha256 == other.test_sha256:
            found = paired(one.rights, other.rights)
            rows.append(
                Row(
                    what=f"{name} less {other_name}, paired",
                    measured=f"{found.difference:+.2f} points, standard error {found.error:.2f} "
                    f"({'more' if found.apart else 'not more'} than two; McNemar's exact "
                    f"p = {found.chance:.2g})",
                    at_least="reported",
                    reached=True,
                )
            )
    return rows


def source_of(data: str, folder: Path | None) -> str | None:
    """Return where data lie, ``None`` where they are not."""
    if data == DIGITS:
        return data
    if folder is None:
        return None
    found = [folder] if folder.name == data else []
    found += [folder / data, *folder.glob(f"*/{data}")]
    return next((str(path) for path in found if path.exists()), None)


def digest_of(test: Split) -> str:
    """Return the digest of test images and labels."""
    digest = hashlib.sha256(np.ascontiguousarray(test.images).tobytes())
    digest.update(np.asarray(test.labels, np.int64).tobytes())
    return digest.hexdigest()


def evaluated(row: Path, source: str) -> tuple[str, Rights]:
    """Return the digest of the test images, and what the integers predict rightly."""
    test = read_data(source, read_architecture(row / NETWORK)).test
    return digest_of(test), predict(load(row / MODEL).model, test.images) == test.labels


def check(results: dict[str, Result], data: Path | None, folder: Path = FOLDER) -> int:
    """Evaluate rows again, print what comes of each, and return the exit code."""
    code = 0
    for name, one in results.items():
        source = source_of(one.data, data)
        if source is None:
            print(f"skipped {name}: no {one.data} in {data or '(no --data)'}")
            continue
        digest, rights = evaluated(folder / name, source)
        if digest != one.test_sha256:
            print(f"DIFFERS {name}: these are other test images than those of the record")
            code = 1
        elif differing := int((rights != one.rights).sum()):
            print(f"DIFFERS {name}: {differing} of {one.images:,} predictions")
            code = 1
        else:
            print(
                f"ok      {name}: {one.accuracy:.2f} % of {one.images:,} test images, as recorded"
            )
    return code


def add(run: Path, name: str, title: str, data: Path | None, folder: Path = FOLDER) -> Result:
    """Write the row of a finished run, from its own records and its integers on the test images.

    Raises:
        InputError: A run that is not finished, or data that are not there.
    """
    directory = PipelineDirectory(run)
    final = directory.final
    if not (directory.started() and final.integer.is_dir()):
        raise InputError(f"{run} holds no finished run; finish it: nas-search run --out {run}")
    named = Path(finished_training(final).data).name
    source = source_of(named, data)
    if source is None:
        raise InputError(f"no {named} in {data}; give --data the folder that holds it")
    row = folder / name
    row.mkdir(parents=True, exist_ok=True)
    shutil.copy(final.path / "best.yaml", row / NETWORK)
    shutil.copytree(final.integer, row / MODEL, dirs_exist_ok=True)
    digest, rights = evaluated(row, source)
    result = Result(
        title=title,
        data=named,
        test_sha256=digest,
        images=rights.size,
        right=base64.b64encode(np.packbits(rights).tobytes()).decode(),
        **_figures(directory),
    )
    write_atomically(row / RESULT, json.dumps(asdict(result), indent=1) + "\n")
    return result


def _figures(run: PipelineDirectory) -> dict[str, Any]:
    """Return what the records of a finished run say of it."""
    trainings = [
        finished_training(each)
        for each in (run.network, run.final)
        if each.training.result.exists()
    ]
    network = run.final.read_best()
    costs = report_network(
        network, score=ScoreSettings(stage_weights=default_stage_weights(network))
    )
    counted = {}
    if run.final.verification.exists():
        counted = read_verification(run.final.verification).instructions
    core, steps = next(iter(counted.items()), ("", None))
    floats = [each.accuracy.floating for each in trainings if each.accuracy.floating is not None]
    return {
        "command": _short(read_record(run.record).command or ""),
        "floating": floats[0] if floats else None,
        "flash_bytes": costs.total_flash_bytes,
        "arena_bytes": costs.peak_sram_bytes,
        "macs": costs.total_macs,
        "instructions": None if steps is None else sum(steps.values()),
        "core": core,
        "training_s": sum(each.elapsed_s for each in trainings),
    }


def _short(command: str) -> str:
    """Return a command without the folders of its paths: they are of no use elsewhere."""
    return " ".join(Path(part).name if os.sep in part else part for part in shlex.split(command))


def main(arguments: Sequence[str]) -> int:
    """Do what the options say and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results")
    parser.add_argument("--check", action="store_true", help="evaluate the models again")
    parser.add_argument("--data", type=Path, help="folder that holds the data")
    parser.add_argument("--add", type=Path, metavar="RUN", help="make a row of a finished run")
    parser.add_argument("--name", help="name of its row")
    parser.add_argument("--title", default="", help="what it is")
    given = parser.parse_args(arguments)
    if given.add is not None:
        if not given.name:
            parser.error("--add needs --name, such as cifar10-48k")
        try:
            add(given.add, given.name, given.title or given.name, given.data)
        except NasEngineError as error:
            parser.error(str(error))
    results = read_results()
    if given.check:
        return check(results, given.data)
    rows = rows_of(results)
    for row in rows:
        print(f"{row.what}: {row.measured} ({row.at_least})")
    write("results", "python -m benchmarks.results", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
