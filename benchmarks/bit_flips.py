"""One bit changed at random in the JSON, YAML, lines and tables of a finished run, read back by the
readers that commands use.

python -m benchmarks.bit_flips --seed 0 --count 1500

Each flip ends in one of five ways: refused in one line; the same content (the head alone was hit);
other content with a note (files given by their path); other content unsaid; another exception. The
last two are faults, and the exit code is 1 if there is one. What lies in ``export/`` is left out
but for its settings and manifest: ``nas-search verify`` compares every byte of it with what it
writes itself.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_engine.architecture import read_architecture
from nas_engine.errors import NasEngineError
from nas_engine.exporters.manifest import read_manifest
from nas_engine.exporters.settings import read_settings
from nas_engine.integer.store import load
from nas_engine.report.layer_errors import read_layer_errors
from nas_engine.report.page.reading import read_allocations
from nas_engine.report.pictures import _kept
from nas_engine.runs.epochs import read_epochs
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.runs.run_options import read_options, stored_options
from nas_engine.runs.run_record import read_record
from nas_engine.sealed import ChangedFileWarning, read_sealed_json
from nas_engine.strict_yaml import read_mapping
from nas_engine.training.result import read_result
from nas_engine.verification.result import read_verification

REFUSED, SAME, NOTED, UNSAID, CRASH = "refused", "same content", "noted", "UNSAID", "EXCEPTION"


def _model(path: Path) -> Any:
    saved = load(path.parent)
    model = saved.model
    steps = [
        (
            step.name,
            step.input,
            step.output,
            step.kernel_height,
            step.kernel_width,
            step.stride,
            step.padding,
        )
        for step in model.nodes
    ]
    return (
        model.image,
        model.logits,
        model.classes,
        dict(model.provenance),
        model.tensors,
        steps,
        dict(saved.golden.checksums),
    )


READERS: Mapping[str, Mapping[str, Callable[[Path], Any]]] = {
    "run.yaml": {
        "run": lambda path: stored_options(PipelineDirectory(path.parent)),
        "path": read_options,
    },
    "run.json": {"run": read_record},
    "config.yaml": {"run": lambda path: RunDirectory(path.parent).read_config()},
    "best.yaml": {
        "run": lambda path: RunDirectory(path.parent).read_best(),
        "path": read_architecture,
    },
    "pareto/*.yaml": {
        "run": lambda path: RunDirectory(path.parents[1]).read_member(int(path.stem)),
        "path": read_architecture,
    },
    "pareto.csv": {"run": lambda path: RunDirectory(path.parent).front.read()},
    "search.jsonl": {"run": lambda path: RunDirectory(path.parent).history.read()},
    "memory_plan.json": {"run": lambda path: _plan(path)},
    "metrics.jsonl": {"run": read_epochs},
    "recipe.yaml": {"run": lambda path: read_mapping(path, "train again")},
    "result.json": {"run": read_result},
    "integer/model.json": {"run": _model},
    "layer_errors.json": {"run": read_layer_errors},
    "allocation.json": {"run": lambda path: read_allocations([path], None, {})},
    "comparison.json": {"run": lambda path: read_allocations([path], None, {})},
    "verification.json": {"run": read_verification},
    "export/settings.json": {"run": lambda path: read_settings(path, "export again")},
    "export/quant.json": {"run": read_manifest},
    "pictures.json": {"run": lambda path: _kept(path.parent)},
}
"""How each kind of file is read: as one of a run directory, and by its path where commands take it
so."""


def _plan(path: Path) -> Any:
    """Return the plan of a file that no command reads; a key that took the place of the digest's is
    left out.
    """
    values = read_sealed_json(path, "search again")[0]
    return {
        key: value
        for key, value in values.items()
        if key in ("arena_bytes", "peak_step", "tensors", "steps")
    }


@dataclass(frozen=True, slots=True)
class Target:
    """One file and one way to read it."""

    kind: str
    path: Path
    read: Callable[[Path], Any]


def targets(run: Path) -> Iterator[Target]:
    """Yield every file of a run that has a reader, once for each way to read it."""
    for path in sorted(run.rglob("*")):
        for kind, readers in READERS.items():
            inside = "export" in path.parts
            if path.is_file() and path.match(kind) and inside == kind.startswith("export/"):
                yield from (Target(f"{kind} ({how})", path, read) for how, read in readers.items())


def flip(target: Target, generator: random.Random) -> str:
    """Change one bit of a file, read it, put it back, and return the outcome."""
    written, expected = target.path.read_bytes(), target.read(target.path)
    place = generator.randrange(8 * len(written))
    spoilt = bytearray(written)
    spoilt[place // 8] ^= 1 << place % 8
    try:
        target.path.write_bytes(spoilt)
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", ChangedFileWarning)
            found = target.read(target.path)
    except NasEngineError as error:
        return REFUSED if len(str(error).splitlines()) == 1 else CRASH
    except Exception as error:
        print(f"{target.path}, bit {place}: {error!r}", file=sys.stderr)
        return CRASH
    finally:
        target.path.write_bytes(written)
    if found == expected:
        return SAME
    if noted:
        return NOTED
    if target.kind.startswith("pictures") and not found:
        return REFUSED  # the pictures are drawn anew
    print(f"{target.path}, bit {place}: other content, unsaid", file=sys.stderr)
    return UNSAID


def flips(run: Path, seed: int, count: int) -> Counter[tuple[str, str]]:
    """Return the outcomes of ``count`` flips by kind of file; every kind comes
    equally often.
    """
    generator = random.Random(seed)
    kinds: dict[str, list[Target]] = {}
    for target in targets(run):
        kinds.setdefault(target.kind, []).append(target)
    names = sorted(kinds)
    found: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        kind = names[number % len(names)]
        found[kind, flip(generator.choice(kinds[kind]), generator)] += 1
    return found


def table(found: Counter[tuple[str, str]]) -> str:
    """Return the counts, a line for each kind of file."""
    ends = (REFUSED, SAME, NOTED, UNSAID, CRASH)
    kinds = sorted({kind for kind, _ in found})
    rows = [["file", *ends], *([kind, *(str(found[kind, end]) for end in ends)] for kind in kinds)]
    rows.append(["all", *(str(sum(found[kind, end] for kind in kinds)) for end in ends)])
    return "\n".join(
        "  ".join([row[0].ljust(28), *(cell.rjust(12) for cell in row[1:])]) for row in rows
    )


def main(arguments: list[str] | None = None) -> int:
    """Flip bits in a copy of a run, print the counts, and return 1 if one was taken unsaid."""
    parser = argparse.ArgumentParser(
        description="Change one bit at random in files of a run and read them back."
    )
    parser.add_argument("--run", type=Path, help="a finished run; by default a small one is made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1500)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        if given.run is None:
            _small_run(Path(folder), copy)
        else:
            shutil.copytree(given.run, copy)
        found = flips(copy, given.seed, given.count)
    print(table(found))
    return int(any(end in (UNSAID, CRASH) for _, end in found))


def _small_run(folder: Path, run: Path) -> None:
    from benchmarks import small
    from nas_engine.pipeline.run import run_pipeline
    from nas_engine.pipeline.run_config import resolve_run_config

    config = small.write_config(folder, small.write_data(folder)["npz"], "host-c")
    run_pipeline(resolve_run_config(read_options(config)), run)


if __name__ == "__main__":
    sys.exit(main())
