"""Origin of a result: stages, times, versions, seeds, digests, and commands to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from nas_engine.escaping import command_line, is_command
from nas_engine.options import Kind, rows_in
from nas_engine.report.html.document import (
    Block,
    Cell,
    Commands,
    Facts,
    Heading,
    Section,
    Sentence,
    Table,
    Tone,
)
from nas_engine.report.page.facts import TEACHER, RunFacts
from nas_engine.report.page.words import NONE, format_size, percent, seconds
from nas_engine.runs.run_record import DONE, STAGES, RunRecord, StageRecord

DIGEST = 16
"""Digits of a digest in a table (chosen here)."""


def stages(facts: RunFacts) -> Section | None:
    """Return stages with wall times; ``None`` where nothing says how long anything took."""
    if facts.record is not None and facts.record.stages:
        table = _whole_run(facts.record)
    else:
        rows = [("search", seconds(facts.history[-1]["elapsed_s"]))] if facts.history else []
        rows += [
            (f"training: {one.name}", seconds(one.result.elapsed_s))
            for one in facts.trainings
            if one.result
        ]
        if facts.verification:
            rows.append(
                (
                    "verification, without building",
                    seconds(sum(one.seconds for one in facts.verification.backends)),
                )
            )
        if not rows:
            return None
        table = Table(
            caption="Wall times that the run recorded",
            columns=("stage", "wall time"),
            rows=tuple(rows),
            numbers=(1,),
        )
    return Section(key="stages", title="Stages", blocks=(table,))


def _whole_run(record: RunRecord) -> Table:
    rows: list[tuple[Cell | str, ...]] = []
    for name in STAGES[:-1]:  # the last one is this page
        stage = record.stage(name)
        if stage is None:
            rows.append((name, Cell("not begun", Tone.FAINT), NONE, ""))
        else:
            state = (
                Cell("done", Tone.GOOD)
                if stage.state == DONE
                else Cell("running or stopped", Tone.FAINT)
            )
            rows.append((name, state, seconds(stage.seconds), _outcome(stage)))
    total = seconds(sum(stage.seconds for stage in record.stages if stage.name in STAGES[:-1]))
    return Table(
        caption=f"Wall time of every stage over all attempts; together {total}",
        columns=("stage", "state", "wall time", "result"),
        rows=tuple(rows),
        numbers=(2,),
    )


def _outcome(stage: StageRecord) -> str:
    """Return the figures of a stage in a few words; empty for figures of another shape."""
    figures: Mapping[str, Any] = stage.figures or {}
    try:
        match stage.name:
            case "search":
                return f"{figures['candidates']:,} networks, QE-Score {figures['qe_score']:,.2f}"
            case "shortlist":
                return f"{len(figures['members'])} networks, {figures['epochs']} epochs each"
            case "train" | "quantise":
                found = figures["accuracy"]
                form = "floating" if stage.name == "train" else "integer"
                return (
                    f"{'float' if form == 'floating' else 'integer'} accuracy "
                    f"{percent(found[form])}"
                )
            case "refine":
                return f"bits of {figures['chosen']}, of {len(figures['methods'])} methods"
            case "export":
                return f"{len(figures['files'])} files, arena {format_size(figures['arena_bytes'])}"
            case "verify":
                return "passed" if figures["passed"] else "failed"
            case _:
                return ""
    except (KeyError, TypeError, ValueError):
        return ""


def provenance(facts: RunFacts) -> Section:
    """Return versions, seeds, digests and commands."""
    versions = {"nas-search (this report)": facts.version}
    if facts.record:
        versions |= {name: str(value) for name, value in facts.record.versions.items()} | {
            "machine": facts.record.machine
        }
    elif facts.result:
        versions |= {f"{name} (training)": value for name, value in facts.result.versions.items()}
    seeds = {"seed of the search": str(facts.asked.seed)}
    seeds |= {
        f"seed of training, {one.name}": str(one.result.seed)
        for one in facts.trainings
        if one.result
    }
    settings = {
        "networks to evaluate": f"{facts.asked.candidates:,}",
        "memory model": str(facts.asked.options.get("memory_model", NONE)),
    }
    settings |= {"data": facts.result.data} if facts.result else {}
    blocks: list[Block] = [Facts((*versions.items(), *seeds.items(), *settings.items()))]
    digests = dict(facts.digests or {})
    if digests:
        blocks += [
            Heading("Digests"),
            Table(
                caption=(
                    f"SHA-256 of the files that matter, the first {DIGEST} digits; "
                    "export/SHA256SUMS has the exported files in full"
                ),
                columns=("file", "SHA-256"),
                rows=tuple((name, digest[:DIGEST]) for name, digest in digests.items()),
            ),
        ]
    blocks += [Heading("To get the same again"), Commands(commands(facts))]
    if facts.record:
        blocks.append(
            Sentence(
                "One command does all of it again; the lines below it do single stages.", Tone.FAINT
            )
        )
    else:
        blocks.append(
            Sentence(
                "Options that are not listed were at their defaults or stand in config.yaml and "
                "training/recipe.yaml.",
                Tone.FAINT,
            )
        )
    return Section(key="provenance", title="Versions, digests, commands", blocks=tuple(blocks))


def commands(facts: RunFacts) -> tuple[str, ...]:
    """Return the lines that make the run again, from its record or from its config."""
    record = facts.record
    if record is not None:
        again = command_line(
            "nas-search", "run", PurePath(facts.path) / "run.yaml", "--out", PurePath(facts.path)
        )
        typed, stages = record.command or "", (stage.command or "" for stage in record.stages)
        return (typed if is_command(typed) else again, *filter(is_command, stages))
    lines = []
    if facts.history:
        lines.append(search_command(facts.asked.options, facts.path))
    for one in facts.trainings:
        if one.result is None or one.name == TEACHER:
            continue
        result = one.result
        words: list[str | PurePath] = [
            "nas-search",
            "train",
            PurePath(one.folder),
            "--data",
            result.data,
        ]
        words += ["--recipe", result.recipe, "--seed", str(result.seed)]
        epochs = result.float_epochs + result.quantised_epochs
        words += (
            ["--epochs", str(epochs), "--float-share", f"{result.float_epochs / epochs:.6g}"]
            if epochs
            else []
        )
        for name, option in (("batch_size", "--batch-size"), ("learning_rate", "--learning-rate")):
            words += [option, _plain(one.recipe[name])] if name in one.recipe else []
        lines.append(command_line(*words))
    if facts.exports:
        lines.append(command_line("nas-search", "export", PurePath(facts.folder)))
    if facts.verification:
        lines.append(command_line("nas-search", "verify", PurePath(facts.folder)))
    return (*lines, command_line("nas-search", "report", PurePath(facts.path)))


def search_command(options: Mapping[str, Any], path: str) -> str:
    """Return the command of a search from its options."""
    words = ["nas-search"]
    for key, row in rows_in("search").items():
        value = options.get(key)
        if row.kind is Kind.SWITCH:
            words += [f"--no-{row.option[2:]}"] if value is False else []
        elif value is not None:
            words += [row.option, _plain(value)]
    return command_line(*words, "--out", PurePath(path))


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_plain(part) for part in value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
