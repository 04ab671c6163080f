"""Comparison of runs: one row each, of any device, resolution, space and seed. No torch.

A row says what ``report`` would say of the run, found by the same reading: a stale record counts
for nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_engine.errors import InputError, RunDirectoryError
from nas_engine.events import SILENT, Note, Sink
from nas_engine.files import write_atomically
from nas_engine.reading import LARGE_FILE, read_regular
from nas_engine.report.gather import gather
from nas_engine.report.html.document import Cell, Page, Picture, Section, Sentence, Table, Tone
from nas_engine.report.html.render import render_page
from nas_engine.report.page.facts import RunFacts
from nas_engine.report.page.headline import verdict_sentence
from nas_engine.report.page.words import NONE, interval, number, share, standard_error
from nas_engine.report.tables import aligned
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.units import format_count, format_latency
from nas_engine.verification.claims import claim_of, stand_in, title

if TYPE_CHECKING:
    from nas_engine.report.plots.comparison import ComparedRun

PICTURE = "compare"
"""Name of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One run of a comparison; ``None`` where a figure is not known."""

    run: str
    """Its folder, as it was given."""
    device: str
    """Device profile."""
    space: str
    """Search space."""
    resolution: int
    """Side of the input image, pixels."""
    seed: int
    """Seed of the search."""
    state: str
    """How far it came, and whether that is proven: one of ``STATES``."""
    accuracy: float | None = None
    """Top-1 accuracy in percent, of the integer model where there is one, else in float."""
    accuracy_of: str = ""
    """``integers``, ``float``, or empty."""
    images: int = 0
    """Images that the accuracy is of."""
    dataset: str = ""
    """Data that it is of."""
    qe_score: float | None = None
    """QE-Score."""
    macs: int | None = None
    """Multiply-accumulates."""
    cycles: int | None = None
    """Predicted cycles."""
    latency_ms: tuple[float, float] | None = None
    """Least and most milliseconds of one inference, predicted; ``None`` if not known."""
    instructions: int | None = None
    """Instructions counted on the emulated core that stands for the device's own."""
    sram_bytes: int | None = None
    """Peak SRAM."""
    sram_budget: int = 0
    """Bytes available for activations."""
    flash_bytes: int | None = None
    """Flash."""
    flash_budget: int = 0
    """Bytes available for weights."""
    layers: int | None = None
    """Layers."""
    weight_bits: float | None = None
    """Mean width of the weights, by layers."""


STATES = (
    "nothing yet",
    "stale",
    "over budget",
    "refuted",
    "verified",
    "equal, core not run",
    "trained",
    "trained in float",
    "searched",
)
"""Values of ``Compared.state``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table, for the terminal and the page."""

    title: str
    """Title."""
    text: Callable[[Compared], str]
    """Content."""
    is_number: bool = True
    """True if it is set flush right."""


def _budget(used: int | None, budget: int) -> str:
    return NONE if used is None else f"{number(used)} ({share(used, budget)})"


def _accuracy(row: Compared) -> str:
    if row.accuracy is None:
        return NONE
    error = standard_error(row.accuracy, row.images)
    return f"{row.accuracy:.2f} \N{PLUS-MINUS SIGN} {error:.2f}"


def _count(value: float | None) -> str:
    return NONE if value is None else format_count(value)


COLUMNS = (
    Column(title="run", text=lambda row: row.run, is_number=False),
    Column(title="device", text=lambda row: row.device, is_number=False),
    Column(title="px", text=lambda row: str(row.resolution)),
    Column(title="accuracy %", text=_accuracy),
    Column(title="of", text=lambda row: row.accuracy_of or NONE, is_number=False),
    Column(title="SRAM B", text=lambda row: _budget(row.sram_bytes, row.sram_budget)),
    Column(title="Flash B", text=lambda row: _budget(row.flash_bytes, row.flash_budget)),
    Column(title="MACs", text=lambda row: _count(row.macs)),
    Column(
        title="time", text=lambda row: format_latency(row.latency_ms) if row.latency_ms else NONE
    ),
    Column(title="instructions", text=lambda row: _count(row.instructions)),
    Column(title="QE-Score", text=lambda row: number(row.qe_score, ",.1f")),
    Column(title="state", text=lambda row: row.state, is_number=False),
)
"""Columns of a comparison, in their order."""


def runs_in(paths: Sequence[Path]) -> list[Path]:
    """Return the runs that paths name.

    A run names itself, a search at several resolutions each of its runs, and any other folder the
    runs right below it, by name.

    Raises:
        RunDirectoryError: A path that is no run and holds none.
    """
    found: list[Path] = []
    for path in paths:
        some = [path] if _is_run(path) else _below(path)
        if not some:
            raise RunDirectoryError(
                path, "holds no run; give directories that nas-search wrote, or a folder of them"
            )
        found += [one for one in some if one not in found]
    return found


def _is_run(path: Path) -> bool:
    if PipelineDirectory(path).started():
        return True
    run = RunDirectory(path)
    try:
        return run.started() and "resolutions" not in run.read_config()
    except InputError:  # a run, if a damaged one
        return True


def _below(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    if RunDirectory(path).started():
        return [path / f"r{size}" for size in RunDirectory(path).read_config()["resolutions"]]
    found: list[Path] = []
    for each in sorted(path.iterdir()):
        if _is_run(each):
            found.append(each)
        elif RunDirectory(each).started():
            found += _below(each)
    return found


def compare(paths: Sequence[Path], watch: Sink = SILENT) -> list[Compared]:
    """Return one row per run, in the order given.

    Args:
        paths: Runs, or folders of runs; see ``runs_in``.
        watch: Sink of a note on each run of a folder that cannot be read and is left out.

    Raises:
        RunDirectoryError: No run, or a run of another version that was named itself.
        InputError: A device or space that is no longer there, likewise.
        FileFormatError: A damaged config or network, likewise.
    """
    rows = []
    for path in runs_in(paths):
        try:
            rows.append(compared(gather(path)))
        except InputError as error:
            if path in paths:
                raise
            watch(Note(text=f"left out: {error}"))
    return rows


def compared(facts: RunFacts) -> Compared:
    """Return the row of a run."""
    asked, network, result = facts.asked, facts.network, facts.result
    accuracy = None if result is None else result.accuracy
    known: dict[str, Any] = {}
    if accuracy is not None and result is not None:
        exact = accuracy.integer is not None
        known = {
            "accuracy": accuracy.integer if exact else accuracy.floating,
            "accuracy_of": "integers" if exact else "float",
            "images": accuracy.images,
            "dataset": result.dataset,
        }
    if network is not None:
        widths = [bits.w for bits in network.bits]
        known |= {
            "qe_score": network.qe_score,
            "macs": round(network.total_macs),
            "cycles": None if network.cycles is None else round(network.cycles),
            "latency_ms": network.latency,
            "sram_bytes": round(network.peak_sram_bytes),
            "flash_bytes": round(network.total_flash_bytes),
            "layers": len(network.layer_names),
            "weight_bits": sum(widths) / len(widths),
        }
    proof = facts.verification
    own = title(stand_in(asked.device.core) or asked.device.core)
    counted = {} if proof is None else proof.instructions.get(own, {})
    return Compared(
        run=facts.path,
        device=asked.device.name,
        space=asked.space,
        resolution=asked.resolution,
        seed=asked.seed,
        state=state_of(facts),
        sram_budget=asked.device.arena_bytes,
        flash_budget=asked.device.storage_bytes,
        instructions=sum(counted.values()) or None,
        **known,
    )


def state_of(facts: RunFacts) -> str:
    """Return how far a run came, one of ``STATES``; the page of the run says it in a sentence."""
    proof, result = facts.verification, facts.result
    if facts.network is None:
        return "nothing yet"
    if facts.stale:
        return "stale"
    if proof is not None and not proof.passed:
        return "refuted"
    if verdict_sentence(facts)[1] is Tone.BAD:
        return "over budget"
    if proof is not None:
        proven = claim_of(proof.core, proof.backends).proven
        return "verified" if proven else "equal, core not run"
    if result is not None:
        return "trained in float" if result.accuracy.integer is None else "trained"
    return "searched"


def comparison_table(rows: Sequence[Compared]) -> str:
    """Return the rows as lines of text, ASCII but for the names of runs."""
    ascii_only = str.maketrans({NONE: "-", "\N{PLUS-MINUS SIGN}": "+-"})
    lines = [[column.title for column in COLUMNS]]
    lines += [[column.text(row).translate(ascii_only) for column in COLUMNS] for row in rows]
    return "\n".join(aligned(lines, [i for i, one in enumerate(COLUMNS) if one.is_number]))


def comparison_csv(rows: Sequence[Compared]) -> str:
    """Return the rows as CSV with a header; an unknown figure is an empty field."""
    text = io.StringIO()
    names = list(Compared.__dataclass_fields__)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue()


def comparison_page(rows: Sequence[Compared], version: str) -> Page:
    """Return the page of a comparison."""
    table = Table(
        caption="Accuracy with its standard error; memory in bytes and in percent of the budget",
        columns=tuple(column.title for column in COLUMNS),
        rows=tuple(
            (
                f"{place}: {row.run}",
                *(
                    Cell(column.text(row), _tone(row) if column.title == "state" else Tone.PLAIN)
                    for column in COLUMNS[1:]
                ),
            )
            for place, row in enumerate(rows, 1)
        ),
        numbers=tuple(i for i, column in enumerate(COLUMNS) if column.is_number),
    )
    notes = [Sentence(text, Tone.WARN) for text in remarks(rows)]
    judged = [row for row in rows if row.accuracy is not None]
    picture = Picture(
        name=PICTURE,
        text="Accuracy of each run over the Flash and the SRAM that it takes, with 95 % intervals"
        if judged
        else "QE-Score of each run over the Flash and the SRAM that it takes",
        caption="Numbers are those of the runs in the table.",
    )
    return Page(
        title=f"Comparison of {len(rows)} runs",
        subtitle=", ".join(dict.fromkeys(row.device for row in rows)),
        sections=(
            Section(key="runs", title="Runs", blocks=(table, *notes)),
            Section(key="costs", title="What they cost", blocks=(picture,)),
        ),
        footer=f"nas-search {version}",
    )


def remarks(rows: Sequence[Compared]) -> list[str]:
    """Return what a reader of the table should know before he ranks its rows."""
    found = []
    if len({row.dataset for row in rows if row.dataset}) > 1:
        found.append("The accuracies are of different data and cannot be compared.")
    if len({row.accuracy_of for row in rows if row.accuracy_of}) > 1:
        found.append("Some accuracies are of integers, others of the network in float.")
    if len({row.resolution for row in rows}) > 1:
        found.append("QE-Scores rank networks of one resolution, not resolutions.")
    judged = sorted((row for row in rows if row.accuracy is not None), key=_by_accuracy)
    if len(judged) > 1:
        best, next_best = judged[0], judged[1]
        assert best.accuracy is not None
        assert next_best.accuracy is not None
        low = interval(best.accuracy, best.images)[0]
        if low <= next_best.accuracy:
            found.append(
                f"The best accuracy ({best.accuracy:.2f} %, {best.run}) is within chance of the "
                f"next ({next_best.accuracy:.2f} %, {next_best.run})."
            )
    return found


def _by_accuracy(row: Compared) -> float:
    return -(row.accuracy or 0.0)


def _tone(row: Compared) -> Tone:
    if row.state in ("stale", "refuted", "over budget"):
        return Tone.BAD
    return Tone.GOOD if row.state == "verified" else Tone.PLAIN


def write_comparison(rows: Sequence[Compared], folder: Path, version: str) -> list[Path]:
    """Write page, table and picture of a comparison into a folder; return their paths.

    Args:
        rows: The runs; at least one has a network.
        folder: Where ``compare.html``, ``compare.csv``, ``compare.png`` and ``compare.svg`` go.
        version: Version of the program, for the foot of the page.

    Raises:
        InputError: No run has a network yet.
        StorageError: The disk is full.
    """
    from nas_engine.report.plots import (
        comparison_data,
        draw_comparison,
        save_figure,
    )  # half a second

    judged = all(row.accuracy is not None for row in rows if row.macs is not None)
    record = comparison_data(
        "accuracy [%]" if judged else "QE-Score",
        [_point(place, row, judged) for place, row in enumerate(rows, 1) if row.macs is not None],
    )
    pictures = save_figure(draw_comparison(record), folder, PICTURE)
    drawn = {PICTURE: read_regular(pictures[1], LARGE_FILE)}
    page, table = (folder / f"{PICTURE}.{kind}" for kind in ("html", "csv"))
    write_atomically(page, render_page(comparison_page(rows, version), drawn))
    write_atomically(table, comparison_csv(rows))
    return [page, table, *pictures]


def _point(place: int, row: Compared, judged: bool) -> ComparedRun:
    from nas_engine.report.plots import ComparedRun

    assert row.qe_score is not None
    value = low = high = row.qe_score
    if judged:
        assert row.accuracy is not None
        value, (low, high) = row.accuracy, interval(row.accuracy, row.images)
    return ComparedRun(
        number=place,
        value=value,
        low=min(low, value),
        high=max(high, value),
        sram_bytes=row.sram_bytes or 0,
        flash_bytes=row.flash_bytes or 0,
    )
