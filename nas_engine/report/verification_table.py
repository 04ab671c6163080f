"""The table of a verification, for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from nas_engine.escaping import terminal_line
from nas_engine.report.tables import WIDTH, aligned
from nas_engine.verification.claims import claim_of
from nas_engine.verification.result import (
    MOST_OFF,
    Comparison,
    InstructionLine,
    MemoryLine,
    Verdict,
    VerificationReport,
)

INSTRUCTIONS = {
    Verdict.EQUAL: f"within {MOST_OFF:.0%}",
    Verdict.DIFFERS: f"off by more than {MOST_OFF:.0%}",
    Verdict.SKIPPED: "core or compiler not measured",
    Verdict.FAILED: "beyond the limit",
}
"""Results of predicted instructions in words."""


def verification_table(report: VerificationReport, *, layers: bool = False) -> str:
    """Return back-ends, memory, instructions, exceptions and the verdict, at most 120 columns wide.

    Args:
        report: What was found.
        layers: Whether instructions are shown layer by layer.
    """
    parts = [[terminal_line(f"images: {report.data}")], _comparisons(report.backends)]
    if report.memory:
        parts.append(_memory(report.memory))
    if report.instructions:
        parts.append(_instructions(report, layers))
    if report.predictions:
        parts.append(_predictions(report.predictions))
    if report.exceptions:
        parts.append(
            [
                "not carried exactly, or in a wider container:",
                *(line for text in report.exceptions for line in _wrapped(text)),
            ]
        )
    said = (
        _wrapped(f"the device: {claim_of(report.core, report.backends).says}")
        if report.passed
        else []
    )
    parts.append([*(line.removeprefix("  ") for line in said), _verdict(report)])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _comparisons(comparisons: Iterable[Comparison]) -> list[str]:
    rows = [
        [
            "back-end",
            "images",
            "values",
            "differing",
            "largest",
            "predictions",
            "tensors",
            "time",
            "result",
        ]
    ]
    notes: list[str] = []
    for one in comparisons:
        if one.verdict in (Verdict.SKIPPED, Verdict.FAILED):
            rows.append([one.backend, *["-"] * 7, one.verdict])
        else:
            figures = (one.images, one.values, one.differing, one.largest, one.predictions)
            tensors = (
                f"{one.tensors - len(one.differing_tensors)}/{one.tensors}" if one.tensors else "-"
            )
            rows.append(
                [
                    one.backend,
                    *(f"{figure:,}" for figure in figures),
                    tensors,
                    f"{one.seconds:.1f} s",
                    one.verdict,
                ]
            )
        if one.differing_tensors:
            notes += _wrapped(
                f"{one.backend}: the first tensor that differs is {one.differing_tensors[0]!r}"
            )
        notes += _wrapped(f"{one.backend}: {one.note or one.version}")
    return [*aligned(rows, right=range(1, 8)), *notes]


def _memory(lines: Iterable[MemoryLine]) -> list[str]:
    rows = [["memory", "on", "predicted", "measured", "may differ by", "result"]]
    for line in lines:
        predicted = "-" if line.predicted is None else f"{line.predicted:,} B"
        verdict = "no code sizes to compare" if line.predicted is None else line.verdict
        rows.append(
            [
                line.what,
                line.backend,
                predicted,
                f"{line.measured:,} B",
                f"{line.tolerance:,} B",
                verdict,
            ]
        )
    return aligned(rows, right=range(2, 5))


def _instructions(report: VerificationReport, layers: bool) -> list[str]:
    names = list(report.instructions)
    rows = [["instructions per image", *names, "MACs", "per MAC"]]
    first = report.instructions[names[0]]
    known = next((line for line in report.predictions if line.predicted), None)
    if layers and known:
        rows[0].insert(1, f"predicted, {known.backend}")
    for step, macs in report.macs.items() if layers else ():
        counts = [f"{report.instructions[name].get(step, 0):,}" for name in names]
        if known and known.predicted:
            counts.insert(0, f"{known.predicted.get(step, 0):,}")
        rows.append(
            [step, *counts, f"{macs:,}", f"{first.get(step, 0) / macs:.2f}" if macs else "-"]
        )
    totals = [sum(report.instructions[name].values()) for name in names]
    macs = sum(report.macs.values())
    rows.append(
        [
            "total",
            *([f"{known.total:,}"] if layers and known else []),
            *(f"{total:,}" for total in totals),
            f"{macs:,}",
            f"{totals[0] / max(macs, 1):.2f}",
        ]
    )
    return aligned(rows, right=range(1, len(rows[0])))


def _predictions(lines: Iterable[InstructionLine]) -> list[str]:
    rows = [["instructions per image", "predicted", "counted", "off", "limit", "result"]]
    for line in lines:
        predicted = "-" if line.total is None else f"{line.total:,}"
        off = "-" if line.off is None else f"{line.off:+.1%}"
        limit = "-" if line.limit is None else f"{line.limit:,}"
        rows.append(
            [line.backend, predicted, f"{line.counted:,}", off, limit, INSTRUCTIONS[line.verdict]]
        )
    return aligned(rows, right=range(1, 5))


def _verdict(report: VerificationReport) -> str:
    if not report.passed:
        failed = [
            line.backend
            for line in report.backends
            if line.verdict in (Verdict.DIFFERS, Verdict.FAILED)
        ]
        failed += [
            f"{line.what} on {line.backend}"
            for line in report.memory
            if line.verdict is Verdict.DIFFERS
        ]
        failed += [
            f"instructions on {line.backend}"
            for line in report.predictions
            if line.verdict is Verdict.FAILED
        ]
        return f"FAILED: {', '.join(failed) or 'no exact back-end could run'}"
    left = ", ".join(comparison.backend for comparison in report.skipped)
    proven = claim_of(report.core, report.backends).proven
    said = (
        "verified: what runs is what was promised"
        if proven
        else "equal wherever it ran, but not verified for this device"
    )
    return said + (f"; not run: {left}" if left else "")
