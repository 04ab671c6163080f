"""Trainings of a report, the methods that chose bits, and where the integers lose accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.allocation.device_problem import FLASH, SRAM
from nas_engine.names import Method
from nas_engine.report.allocations import AllocationReport
from nas_engine.report.html.document import (
    Block,
    Cell,
    Items,
    Picture,
    Section,
    Sentence,
    Table,
    Tone,
)
from nas_engine.report.layer_errors import as_cells, in_words
from nas_engine.report.page.facts import Allocations, RunFacts, Training
from nas_engine.report.page.words import NONE, listed, number, percent, plural, seconds

CURVES, ALLOCATIONS, ERRORS = "training_curves", "allocations", "layer_error"
"""Names of pictures."""


def training(facts: RunFacts) -> Section | None:
    """Return curves and stages of training; ``None`` where no epoch was trained."""
    rows = [row for one in facts.trainings for row in _stages(one)]
    if not rows:
        return None
    table = Table(
        caption=(
            "Stages of training; accuracy after an epoch is on validation images, or on the test "
            "images where the data have none (nothing is chosen by it), the final one above on "
            "test images"
        ),
        columns=(
            "training",
            "stage",
            "epochs",
            "last loss",
            "last accuracy",
            "best accuracy",
            "data",
            "recipe",
            "seed",
        ),
        rows=tuple(rows),
        numbers=(2, 3, 4, 5, 8),
    )
    epochs = sum(len(one.epochs) for one in facts.trainings)
    picture = Picture(
        name=CURVES,
        text=(
            f"Loss and accuracy over {plural(epochs, 'epoch')}; the table below has where each "
            "stage ended."
        ),
        caption="Loss and accuracy by epoch.",
    )
    blocks: list[Block] = [picture, table]
    unfinished = [one.name for one in facts.trainings if one.result is None]
    if unfinished:
        blocks.append(Sentence(f"Not finished: {', '.join(unfinished)}.", Tone.FAINT))
    return Section(key="training", title="Training", blocks=tuple(blocks))


def _stages(one: Training) -> list[tuple[Cell | str, ...]]:
    rows: list[tuple[Cell | str, ...]] = []
    for stage in dict.fromkeys(str(row["stage"]) for row in one.epochs):
        part = [row for row in one.epochs if row["stage"] == stage]
        last, best = part[-1], max(row["accuracy"] for row in part)
        figures = (
            f"{len(part):,}",
            number(last["loss"], ".4f"),
            percent(last["accuracy"]),
            percent(best),
        )
        result = one.result
        how = (result.dataset, result.recipe, str(result.seed)) if result else (NONE, NONE, NONE)
        rows.append((one.name, stage, *figures, *how))
    return rows


def allocations(facts: RunFacts) -> Section | None:
    """Return the methods that chose bits; ``None`` where none did."""
    found = facts.allocations
    if found is None or not found.members:
        return None
    table = Table(
        caption=_caption(found),
        columns=(
            "method",
            "mean w",
            "mean a",
            "Flash",
            "peak SRAM",
            "loss",
            "accuracy",
            "after training",
            "time",
            "solver",
            "",
        ),
        rows=tuple(_method(found, one) for one in found.members),
        numbers=(1, 2, 3, 4, 5, 6, 7, 8),
        marked=tuple(i for i, one in enumerate(found.members) if one.method == found.chosen),
    )
    blocks: list[Block] = [*(Sentence(text, Tone.BAD) for text in found.setting.warnings), table]
    judged = found.members
    chosen = next((one for one in judged if one.method == found.chosen), None)
    if chosen is not None and len(judged) > 1:
        blocks.append(Sentence(_choice(chosen, judged)))
    if len(judged) > 1 and all(one.bits for one in judged):
        best = max(judged, key=lambda one: one.judged.accuracy)
        text = (
            f"Bits of {len(judged)} methods layer by layer; {best.method} keeps most accuracy, "
            f"{percent(best.judged.accuracy)}."
        )
        blocks.append(
            Picture(
                name=ALLOCATIONS,
                text=text,
                caption="Bits of each method and what they leave untrained.",
            )
        )
    notes = tuple(f"{one.method}: {note}" for one in found.members for note in one.notes)
    blocks += [Items(notes)] if notes else []
    return Section(key="allocation", title="How the bits were chosen", blocks=tuple(blocks))


def _choice(chosen: AllocationReport, judged: Sequence[AllocationReport]) -> str:
    """Return the bits that the run continued with, and by what they are best."""
    best = []
    if all(chosen.judged.loss <= one.judged.loss for one in judged):
        best.append("the lowest loss")
    if all(chosen.judged.accuracy >= one.judged.accuracy for one in judged):
        best.append("the highest accuracy")
    text = f"The run continued with the bits of {chosen.method}"
    if chosen.method == Method.QBR and len(judged) > 1:
        text += (
            ", those of the search: no other choice is ahead of them by more than the noise of "
            "these images"
        )
        return f"{text}. They have {listed(best)} before training." if best else f"{text}."
    return f"{text}, which have {listed(best)} before training." if best else f"{text}."


def _caption(found: Allocations) -> str:
    setting = found.setting
    return (
        f"Measured on {setting.images:,} training images, judged without training on "
        f"{setting.judged_images:,} others; float network {percent(setting.floating.accuracy)}; "
        "mean w and mean a are the bits of a weight and of a value on average, by how many there "
        "are, where the network's table has the mean of layers"
    )


def _method(found: Allocations, one: AllocationReport) -> tuple[Cell | str, ...]:
    used = (one.usage.get(name) for name in (FLASH, SRAM))
    return (
        one.method,
        number(one.mean_w_bits, ".2f"),
        number(one.mean_a_bits, ".2f"),
        *(number(each.used if each else None) for each in used),
        number(one.judged.loss, ".4f"),
        percent(one.judged.accuracy),
        percent(found.trained.get(one.method)),
        seconds(one.seconds),
        one.status or NONE,
        Cell("chosen", Tone.GOOD) if one.method == found.chosen else "",
    )


def errors(facts: RunFacts) -> Section | None:
    """Return the quantisation error of every layer; ``None`` if it was not measured."""
    found = facts.layer_errors
    if found is None:
        return None
    text = in_words(found)
    rows = tuple(tuple(row) for row in as_cells(found))
    table = Table(
        caption=(
            "Signal to quantisation noise: of the layer alone, and of the network up to it, "
            "decibels"
        ),
        columns=("layer", "w", "a", "out", "alone, dB", "up to here, dB"),
        rows=rows,
        numbers=(1, 2, 3, 4, 5),
        marked=found.worst(3),
    )
    picture = Picture(
        name=ERRORS,
        text=f"Quantisation error of each layer. {text}",
        caption="Where the integers are furthest from float.",
    )
    return Section(
        key="layer-errors",
        title="Quantisation error by layer",
        blocks=(Sentence(text), picture, table),
    )
