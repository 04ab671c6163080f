"""A whole run in a few lines, for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nas_engine.report.tables import aligned
from nas_engine.runs.run_record import RunRecord, StageRecord
from nas_engine.training.by_class import ByClass
from nas_engine.training.result import Accuracy
from nas_engine.units import format_duration, format_latency, format_size


def run_table(record: RunRecord, kept: Collection[str] = ()) -> str:
    """Return one line per stage: its time and its result.

    Args:
        record: A run.
        kept: Names of stages that were not done this time, because their inputs and outputs
            is as it was.
    """
    rows = [["stage", "time", "result"]]
    for stage in record.stages:
        came = _SAID[stage.name](stage.figures or {}) if stage.done else "not done yet"
        if stage.name == "verify" and stage.name in kept:
            came = f"{recorded(stage)}: {came.removeprefix('verified: ')}"
        rows.append([stage.name, format_duration(stage.seconds), came])
    return "\n".join(aligned(rows, right=[1]))


def recorded(stage: StageRecord) -> str:
    """Return how a proof that was not run this time is called."""
    date = (stage.figures or {}).get("date")
    return f"recorded on {date}, digests fit" if date else "recorded, digests fit"


def _search(figures: Mapping[str, Any]) -> str:
    latency = figures.get("latency_ms")
    time = f", {format_latency((latency[0], latency[1]))} (predicted)" if latency else ""
    sizes = (
        f"peak SRAM {format_size(figures['peak_sram_bytes'])}, Flash "
        f"{format_size(figures['flash_bytes'])}"
    )
    return (
        f"QE-Score {figures['qe_score']:.2f} of {figures['candidates']:,} candidates, {sizes}, "
        f"{figures['macs'] / 1e6:.2f} M MACs{time}"
    )


def _shortlist(figures: Mapping[str, Any]) -> str:
    members = figures["members"]
    chosen = next(member for member in members if member["chosen"])
    if len(members) == 1:
        return "the best score, untried"
    accuracies, losses = (
        ", ".join(
            "failed" if member[name] is None else f"{member[name]:.{places}f}" for member in members
        )
        for name, places in (("accuracy", 2), ("loss", 3))
    )
    judged = f"{accuracies} % of {figures['images']:,} held-out images, training loss {losses}"
    by = {"loss": "has the smallest loss of those alike", "failures": "alone did not fail"}.get(
        str(figures.get("decided_by")), "does best"
    )
    before = "".join(f"{len(rung['members'])} to " for rung in figures.get("rungs", ()))
    return f"number {chosen['rank']} by score {by}, of {before}{len(members)}: {judged}"


def _train(figures: Mapping[str, Any]) -> str:
    accuracy = figures["accuracy"]
    return (
        f"float {accuracy['floating']:.2f} % of {accuracy['images']:,} test "
        f"images{_largest(accuracy)}"
    )


def _refine(figures: Mapping[str, Any]) -> str:
    judged = ", ".join(
        f"{name} {found['accuracy']:.2f}" for name, found in figures["methods"].items()
    )
    return f"the bits of '{figures['chosen']}' (without training, in %: {judged})"


def _quantise(figures: Mapping[str, Any]) -> str:
    accuracy = figures["accuracy"]
    return (
        f"integers {accuracy['integer']:.2f} % of {accuracy['images']:,} test "
        f"images{_largest(accuracy)}"
    )


def _largest(accuracy: Mapping[str, Any]) -> str:
    """Return the accuracy of always naming the largest class, and if the network beats it."""
    found = accuracy.get("by_class")
    if not found:
        return ""
    whole = Accuracy(**{**accuracy, "by_class": ByClass(**found)})
    return f" (always '{found['largest']}': {found['share']:.2f} %)" + (
        ", barely above chance" if whole.beats_chance is False else ""
    )


def _export(figures: Mapping[str, Any]) -> str:
    return (
        f"{len(figures['files'])} files; arena {format_size(figures['arena_bytes'])}, weights "
        f"{format_size(figures['packed_bytes'])}"
    )


def _verify(figures: Mapping[str, Any]) -> str:
    verdicts = list(figures["backends"].values())
    counts = {verdict: verdicts.count(verdict) for verdict in verdicts}
    said = {"equal": "equal in every value", "close": "close (cannot be exact)"}
    parts = ", ".join(f"{count} {said.get(verdict, verdict)}" for verdict, count in counts.items())
    core = figures.get("core") or {
        "ran_on": None,
        "says": "which core the device has is not recorded; verify again",
    }
    verdict = (
        "FAILED"
        if not figures["passed"]
        else "verified"
        if core["ran_on"]
        else "equal, but not verified for this device"
    )
    return f"{verdict}: of {len(verdicts)} back-ends {parts}" + (
        f"; {core['says']}" if figures["passed"] else ""
    )


def _report(figures: Mapping[str, Any]) -> str:
    return f"report.html, {figures['bytes'] / 1024:,.0f} KiB"


_SAID = {
    "search": _search,
    "shortlist": _shortlist,
    "train": _train,
    "refine": _refine,
    "quantise": _quantise,
    "export": _export,
    "verify": _verify,
    "report": _report,
}
