"""Part of the report on verification and export."""

from __future__ import annotations

from nas_engine.report.html.document import (
    Block,
    Cell,
    Heading,
    Items,
    Section,
    Sentence,
    Table,
    Tone,
)
from nas_engine.report.page.facts import RunFacts
from nas_engine.report.page.words import NONE, format_count, number, plural, seconds, verdict
from nas_engine.verification.result import (
    Comparison,
    InstructionLine,
    MemoryLine,
    Verdict,
    VerificationReport,
)


def verification(facts: RunFacts) -> Section | None:
    """Return back-ends, memory and instructions; ``None`` without a verification."""
    found = facts.verification
    if found is None:
        return None
    when = f"on {found.date}" if found.date else "on a day that it does not name"
    state = (
        "the files beside it are those that were verified"
        if facts.checked
        else "nothing says that it is of the files beside it"
    )
    blocks: list[Block] = [
        Sentence(f"Recorded {when}; {state}.", Tone.PLAIN if facts.checked else Tone.WARN),
        Sentence(
            f"Every back-end ran {found.data} and was compared with the integer reference, output "
            "value by output value and for the first "
            "image tensor by tensor."
        ),
        Table(
            caption=(
                "Back-ends beside the integer reference: output values compared, those that "
                "differ, by how many levels at most"
            ),
            columns=(
                "back-end",
                "verdict",
                "images",
                "values",
                "differing",
                "largest",
                "other class",
                "tensors",
                "time",
                "what ran",
            ),
            rows=tuple(_comparison(one) for one in found.backends),
            numbers=(2, 3, 4, 5, 6, 7, 8),
        ),
    ]
    close = [one.backend for one in found.backends if one.verdict is Verdict.CLOSE]
    if close:
        text = f"Not exact by their nature, so that differences fail nothing: {'; '.join(close)}."
        blocks.append(Sentence(text, Tone.FAINT))
    wrong = [one for one in found.backends if one.differing_tensors]
    first = [
        f"{one.backend}: the first tensor that differs is {one.differing_tensors[0]}"
        for one in wrong
    ]
    blocks += [Items(tuple(first))] if first else []
    if found.memory:
        blocks += [
            Heading("Memory, predicted and measured"),
            Table(
                caption="What the search counted and what the linked firmware takes, bytes",
                columns=("memory", "on", "predicted", "measured", "may differ by", "verdict"),
                rows=tuple(_memory(line) for line in found.memory),
                numbers=(2, 3, 4),
            ),
        ]
    else:
        blocks.append(
            Sentence(
                "Memory was not measured: no firmware was built, for want of a compiler or an "
                "emulator.",
                Tone.FAINT,
            )
        )
    if found.instructions:
        blocks += [Heading("Instructions for one image"), _instructions(found)]
    if found.exceptions:
        blocks += [Heading("Widths that a format cannot carry"), Items(found.exceptions)]
    return Section(key="verification", title="Verification", blocks=tuple(blocks))


def _comparison(one: Comparison) -> tuple[Cell | str, ...]:
    if one.verdict in (Verdict.SKIPPED, Verdict.FAILED):
        return (
            one.backend,
            verdict(one.verdict),
            *[Cell(NONE, Tone.FAINT)] * 7,
            Cell(one.note or one.version, Tone.FAINT),
        )
    bad = Tone.BAD if one.verdict is Verdict.DIFFERS else Tone.PLAIN
    tensors = (
        f"{one.tensors - len(one.differing_tensors)} of {one.tensors}" if one.tensors else NONE
    )
    return (
        one.backend,
        verdict(one.verdict),
        f"{one.images:,}",
        f"{one.values:,}",
        Cell(f"{one.differing:,}", bad if one.differing else Tone.PLAIN),
        f"{one.largest:,}",
        f"{one.predictions:,}",
        Cell(tensors, bad if one.differing_tensors else Tone.PLAIN),
        seconds(one.seconds),
        "; ".join(part for part in (one.version, one.note) if part),
    )


def _memory(line: MemoryLine) -> tuple[Cell | str, ...]:
    result = (
        Cell("no code sizes to compare", Tone.FAINT)
        if line.predicted is None
        else verdict(line.verdict)
    )
    return (
        line.what,
        line.backend,
        number(line.predicted),
        f"{line.measured:,}",
        f"{line.tolerance:,}",
        result,
    )


def _instructions(found: VerificationReport) -> Table:
    names = tuple(found.instructions)
    macs = sum(found.macs.values())
    rows = []
    lines = {line.backend: line for line in found.predictions}
    for name in names:
        total = sum(found.instructions[name].values())
        line = lines.get(name)
        rows.append(
            (
                name,
                f"{total:,}",
                format_count(total),
                *_predicted(line),
                f"{macs:,}",
                f"{total / macs:.2f}" if macs else NONE,
            )
        )
    return Table(
        caption=(
            f"Counted by the emulator, over {plural(len(found.macs), 'step')}; instructions are "
            "not cycles"
        ),
        columns=("core", "instructions", "in short", "predicted", "off", "MACs", "per MAC"),
        rows=tuple(rows),
        numbers=(1, 2, 3, 4, 5, 6),
    )


def _predicted(line: InstructionLine | None) -> tuple[Cell | str, Cell | str]:
    """Return the predicted instructions of a core and how far they are off."""
    if line is None or line.off is None:
        return Cell("not measured", Tone.FAINT), Cell(NONE, Tone.FAINT)
    bad = line.verdict in (Verdict.DIFFERS, Verdict.FAILED)
    return number(line.total), Cell(f"{line.off:+.1%}", Tone.BAD if bad else Tone.PLAIN)
