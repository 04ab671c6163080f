"""Search part of the report: progress, front, and the score's order after the short trainings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from nas_engine.report.front import differing
from nas_engine.report.html.document import (
    Block,
    Cell,
    Facts,
    Picture,
    Section,
    Sentence,
    Table,
    Tone,
)
from nas_engine.report.page.facts import Candidate, RunFacts, Rung, Shortlist
from nas_engine.report.page.words import number, percent, plural, seconds, standard_error

PROGRESS, FRONT, SHORTLIST = "search_progress", "pareto_front", "shortlist"
"""Names of pictures."""

WHY = {
    "score": "for its score, untried",
    "accuracy": "for the best accuracy, which no other comes near by chance",
    "loss": (
        "for the smallest training loss: by accuracy several are alike, as far as so few images "
        "can tell"
    ),
    "failures": "because the training of all others failed",
}
"""Why a network was chosen, by what decided."""


def progress(facts: RunFacts) -> Section | None:
    """Return how the search went; ``None`` without its history."""
    if not facts.history:
        return None
    last = facts.history[-1]
    best = last["best_score"]
    pairs = (
        ("networks evaluated", f"{last['evaluated']:,} of {facts.asked.candidates:,}"),
        ("generations", f"{last['generation']:,}"),
        ("best QE-Score", number(best, ",.2f")),
        ("feasible in the last population", f"{100 * last['feasible']:.1f} %"),
        ("wall time", seconds(last["elapsed_s"])),
        ("seed", str(facts.asked.seed)),
    )
    text = f"Best QE-Score over {last['evaluated']:,} networks: {number(best, ',.2f')} at the end."
    blocks: list[Block] = [Facts(pairs)]
    if last["evaluated"] < facts.asked.candidates:
        blocks.append(
            Sentence("The search was stopped before all candidates were spent.", Tone.FAINT)
        )
    blocks.append(
        Picture(
            name=PROGRESS,
            text=text,
            caption="Best score and share of feasible networks over the networks evaluated.",
        )
    )
    return Section(key="search", title="Search", blocks=tuple(blocks))


def front(facts: RunFacts) -> Section | None:
    """Return the front; ``None`` if there is none, or only the one network of a refined run."""
    if len(facts.front) < 2:
        return None
    rows, numbers = facts.front, differing(facts.front)
    best = max(row["qe_score"] for row in rows)
    table = Table(
        caption=(
            f"{len(numbers)} networks that differ most of {len(rows):,} on the front; nas-search "
            "take makes a run of one by its number, all stand in pareto.csv"
        ),
        columns=("number", "QE-Score", "peak SRAM, bytes", "Flash, bytes", "MACs", "BitOps"),
        rows=tuple(
            (
                str(i),
                f"{row['qe_score']:,.2f}",
                number(row["peak_sram_bytes"]),
                number(row["flash_bytes"]),
                number(row["macs"]),
                number(row["bitops"]),
            )
            for i, row in ((number, rows[number - 1]) for number in numbers)
        ),
        numbers=(1, 2, 3, 4, 5),
    )
    picture = Picture(
        name=FRONT,
        text=(
            f"Front of {len(rows):,} networks: QE-Score against SRAM, Flash and MACs; the best "
            f"score is {best:,.2f}."
        ),
        caption=(
            "Networks that no other beats in score, SRAM, Flash and MACs at once; the star has the "
            "best score."
        ),
    )
    return Section(key="front", title="Front", blocks=(picture, table))


def shortlist(facts: RunFacts) -> Section | None:
    """Return the networks that got a short training; ``None`` if none did."""
    found = facts.shortlist
    if found is None or not found.members:
        return None
    rows = []
    for one in found.members:
        sizes = (
            number(one.peak_sram_bytes),
            number(one.flash_bytes),
            number(one.macs),
            str(one.layers),
        )
        error = "" if one.accuracy is None else f"{standard_error(one.accuracy, found.images):.2f}"
        last = (
            Cell("chosen", Tone.GOOD)
            if one.chosen
            else Cell("left out", Tone.BAD)
            if one.failure
            else ""
        )
        rows.append(
            (
                str(one.rank),
                f"{one.qe_score:,.2f}",
                percent(one.accuracy),
                error,
                number(one.loss, ".4g"),
                *sizes,
                last,
            )
        )
    table = Table(
        caption=(
            f"Networks of the front after {plural(found.epochs, 'epoch')} each; accuracy on "
            f"{found.images:,} held-out training images"
        ),
        columns=(
            "rank by score",
            "QE-Score",
            "accuracy",
            "standard error",
            "training loss",
            "peak SRAM",
            "Flash",
            "MACs",
            "layers",
            "",
        ),
        rows=tuple(rows),
        numbers=(1, 2, 3, 4, 5, 6, 7, 8),
        marked=tuple(i for i, one in enumerate(found.members) if one.chosen),
    )
    text = order_sentence(found)
    shown = f"QE-Score against accuracy of {len(rows)} networks. {text}"
    picture = Picture(
        name=SHORTLIST,
        text=shown,
        caption="QE-Score against the accuracy after the short training.",
    )
    failures = [
        Sentence(f"Network {one.rank} was left out: {one.failure}", Tone.BAD)
        for one in found.members
        if one.failure
    ]
    rungs = [_rung(number, rung) for number, rung in enumerate(found.rungs, 1)]
    drawn = [picture] if len(rows) > 1 else []
    blocks: list[Block] = [Sentence(text), *failures, *rungs, table, *drawn]
    return Section(key="shortlist", title="Shortlist", blocks=tuple(blocks))


def _rung(number_of_rung: int, rung: Rung) -> Table:
    """Return the table of a rung before the last."""
    return Table(
        caption=(
            f"Rung {number_of_rung}: {plural(len(rung.members), 'network')} after "
            f"{plural(rung.epochs, 'epoch')} in float each; the ranks of loss and path noise are "
            "added, and the least go on"
        ),
        columns=("rank by score", "QE-Score", "path noise", "training loss", "accuracy", ""),
        rows=tuple(
            (
                str(one.rank),
                f"{one.qe_score:,.2f}",
                f"{one.path_noise:.3g}",
                number(one.loss, ".4g"),
                percent(one.accuracy),
                Cell("goes on", Tone.GOOD)
                if one.goes_on
                else Cell("left out", Tone.BAD)
                if one.failure
                else "",
            )
            for one in rung.members
        ),
        numbers=(1, 2, 3, 4),
        marked=tuple(i for i, one in enumerate(rung.members) if one.goes_on),
    )


def order_sentence(found: Shortlist) -> str:
    """Return how many pairs training ordered as the QE-Score did, and how many are beyond doubt.

    Two networks are told apart where their accuracies differ by more than twice the root of the sum
    of their squared standard errors; they saw the same images, so that this asks for more than it
    must. Chosen here.
    """
    tried = [one for one in found.members if one.accuracy is not None]
    pairs = [pair for pair in combinations(tried, 2) if pair[0].qe_score != pair[1].qe_score]
    if not pairs:
        return "One network was trained: nothing shows whether the order of the QE-Score holds."
    sure = [pair for pair in pairs if _apart(*pair, found.images)]
    held, sure_held = (sum(_held(*pair) for pair in some) for some in (pairs, sure))
    tied = sum(first.accuracy == second.accuracy for first, second in pairs)
    text = (
        f"The order of the QE-Score held in {held} of {plural(len(pairs), 'pair')} of networks "
        "after the short training"
    )
    text += f" ({tied} equal)" if tied else ""
    if sure:
        text += (
            f"; {len(sure)} differ by more than their standard errors explain, and of these it "
            f"held in {sure_held}"
        )
    else:
        text += (
            f"; none of the pairs is further apart than noise on {found.images:,} images explains"
        )
    chosen = next((one for one in tried if one.chosen), None)
    if chosen is None:
        return f"{text}."
    why = WHY[found.decided_by or _decided(chosen, tried, found.images)]
    if chosen.rank == min(one.rank for one in tried):
        return f"{text}. The network with the best score was chosen {why}."
    gain = _accuracy(chosen) - _accuracy(min(tried, key=lambda one: one.rank))
    beside = f"{abs(gain):.2f} points {'above' if gain > 0 else 'below'}" if gain else "the same as"
    return (
        f"{text}. The network of rank {chosen.rank} was chosen {why}; its accuracy is {beside} "
        "that of the network with the best score."
    )


def _decided(chosen: Candidate, tried: Sequence[Candidate], images: int) -> str:
    """Return the deciding figure where none is recorded.

    The loss, if another accuracy is within the standard error of the difference.
    """
    best = max(map(_accuracy, tried))
    alike = [
        one
        for one in tried
        if (best - _accuracy(one)) ** 2
        <= _variance(best, images) + _variance(_accuracy(one), images)
    ]
    return "accuracy" if alike == [chosen] else "loss"


def _variance(accuracy: float, images: int) -> float:
    return standard_error(accuracy, images) ** 2


def _accuracy(one: Candidate) -> float:
    assert one.accuracy is not None
    return one.accuracy


def _held(first: Candidate, second: Candidate) -> bool:
    return (first.qe_score - second.qe_score) * (_accuracy(first) - _accuracy(second)) > 0


def _apart(first: Candidate, second: Candidate, images: int) -> bool:
    one, other = _accuracy(first), _accuracy(second)
    return (one - other) ** 2 > 4 * (_variance(one, images) + _variance(other, images))
