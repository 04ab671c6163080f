"""How much of each budget is used, and how accurate the three forms of the network are."""

from __future__ import annotations

from nas_engine.costs.instruction_model import prediction_margin
from nas_engine.errors import shortened
from nas_engine.evolution.limits import LIMITS
from nas_engine.names import Memory
from nas_engine.report.html.document import Bar, Bars, Block, Cell, Section, Sentence, Table, Tone
from nas_engine.report.page.facts import TEACHER, RunFacts
from nas_engine.report.page.words import (
    NONE,
    format_size,
    interval,
    listed,
    number,
    percent,
    plural,
    seconds,
    share,
    standard_error,
)
from nas_engine.training.result import Accuracy, chance_remark


def budgets(facts: RunFacts) -> Section | None:
    """Return the use of SRAM, Flash and every limited resource; ``None`` without a network."""
    network, device = facts.network, facts.asked.device
    if network is None:
        return None
    bars = [
        _memory_bar(
            "SRAM",
            network.peak_sram_bytes,
            device.arena_bytes,
            device.reserved_sram_bytes,
            "stack and static data",
        ),
        _memory_bar(
            "Flash",
            network.total_flash_bytes,
            device.storage_bytes,
            device.reserved_flash_bytes,
            "firmware and runtime code",
        ),
    ]
    notes, own = [], []
    for row in LIMITS:
        used, limit = network.limited.get(row.name), facts.asked.limits.get(row.name)
        if used is not None and limit is not None:
            text = f"{used:{row.form}} of {row.amount(limit)} ({share(used, limit)})"
            if row.estimate and (margin := prediction_margin(device)):
                text += f", {margin:.1%} of it kept for errors of the prediction"
            bars.append(Bar(name=row.label, used=used, limit=limit, reserved=0, text=text))
        elif used is not None:
            notes.append(row.shown(used))
        elif limit is not None and row.own:
            program = shortened(str(facts.asked.options[row.name]))
            own.append(
                f"At most {limit:{row.form}} by {program}, a program that the search ran; no "
                "report runs it."
            )
    blocks: list[Block] = [Bars(tuple(bars))]
    if notes:
        blocks.append(Sentence(f"Without a limit: {listed(notes)}.", Tone.FAINT))
    blocks += [Sentence(text, Tone.FAINT) for text in own]
    blocks.append(Sentence(_model_note(network.memory_model), Tone.FAINT))
    return Section(key="budgets", title="Budgets", blocks=tuple(blocks))


def _memory_bar(name: str, used: float, limit: int, reserved: int, purpose: str) -> Bar:
    text = f"{format_size(used)} of {format_size(limit)}, {share(used, limit)}"
    text += f"; over by {used - limit:,.0f} B" if used > limit else f"; {limit - used:,.0f} B free"
    text += (
        f"; {format_size(reserved)} of the device's {format_size(limit + reserved)} are reserved "
        f"for {purpose}"
        if reserved
        else ""
    )
    return Bar(name=name, used=used, limit=limit, reserved=reserved, text=text)


def _model_note(model: str) -> str:
    if model == Memory.ARENA:
        return (
            "SRAM is the static arena of the exported C, input image, scratch and padding "
            "included; Flash is weights, biases, scales and "
            "layer table as they are stored. Code, stack and static data come out of the reserved "
            "part."
        )
    return (
        f"Memory model '{model}': counted as the authors of the score do, without scratch and "
        "padding; firmware needs more."
    )


def accuracy(facts: RunFacts) -> Section | None:
    """Return the accuracy of the three forms; ``None`` without a finished training."""
    result = facts.result
    if result is None:
        return None
    found = result.accuracy
    rows: list[tuple[Cell | str, ...]] = []
    for name, value in (
        ("float network", found.floating),
        ("quantised in float arithmetic", found.quantised),
        ("integer model, what runs on the device", found.integer),
    ):
        if value is None:
            rows.append((name, *[Cell(NONE, Tone.FAINT)] * 4))
            continue
        low, high = interval(value, found.images)
        error = f"{standard_error(value, found.images):.2f}"
        rows.append(
            (
                name,
                percent(value),
                f"{value * found.images / 100:,.0f} of {found.images:,}",
                error,
                f"{low:.2f} to {high:.2f} %",
            )
        )
    if found.by_class is not None:
        largest = f"naming the largest class, '{found.by_class.largest}', always"
        right = f"{found.by_class.share * found.images / 100:,.0f} of {found.images:,}"
        rows.append((largest, percent(found.by_class.share), right, *[Cell(NONE, Tone.FAINT)] * 2))
    table = Table(
        caption=f"Top-1 accuracy on {found.images:,} {found.split} images of {result.dataset}",
        columns=("form", "accuracy", "right", "standard error, points", "95 % interval"),
        rows=tuple(rows),
        numbers=(1, 2, 3, 4),
        marked=(2,) if found.integer is not None else (),
    )
    blocks: list[Block] = [
        table,
        *(Sentence(text) for text in _accuracy_notes(found, result.quantised_epochs)),
    ]
    done = [one.result for one in facts.trainings if one.result and one.name != TEACHER]
    epochs = (sum(one.float_epochs for one in done), sum(one.quantised_epochs for one in done))
    how = (
        f"Trained for {plural(epochs[0], 'epoch')} in float and {epochs[1]:,} quantised, in "
        f"{seconds(sum(one.elapsed_s for one in done))}"
    )
    choice = "; no choice was made by test images" if found.split == "test" else ""
    blocks.append(Sentence(f"{how}{choice}.", Tone.FAINT))
    return Section(key="accuracy", title="Accuracy", blocks=tuple(blocks))


def _accuracy_notes(found: Accuracy, epochs: int) -> list[str]:
    notes = (
        [f"This is {remark}. Equal results on all back-ends make no network useful."]
        if (remark := chance_remark(found))
        else []
    )
    if found.agreement is not None:
        notes.append(
            "The integer model predicts the class of the quantised network for "
            f"{number(found.agreement, '.2f')} % of the images."
        )
    if found.floating is not None and found.integer is not None:
        change = found.integer - found.floating
        noise = standard_error(found.floating, found.images)
        size = "less than" if abs(change) <= noise else "more than"
        between = f", with {plural(epochs, 'epoch')} of training between them" if epochs else ""
        notes.append(
            f"From float to integers the accuracy changed by {change:+.2f} points{between}: {size} "
            f"the standard error of {noise:.2f}."
        )
    return notes
