"""Top of the report: the result, how far it may be trusted, and the four main numbers."""

from __future__ import annotations

from pathlib import PurePath

from nas_engine.escaping import command_line
from nas_engine.evolution.limits import LIMITS
from nas_engine.report.html.document import (
    Block,
    Figure,
    Figures,
    Fold,
    Section,
    Sentence,
    Tone,
)
from nas_engine.report.network import NetworkReport
from nas_engine.report.page.cover import cover
from nas_engine.report.page.facts import RunFacts, Stale
from nas_engine.report.page.words import (
    NONE,
    format_count,
    listed,
    percent,
    plural,
    share,
    standard_error,
)
from nas_engine.training.result import Accuracy, chance_remark
from nas_engine.units import format_latency
from nas_engine.verification.claims import claim_of
from nas_engine.verification.result import Verdict, VerificationReport


def headline(facts: RunFacts) -> Section:
    """Return the first section: verdict and large numbers."""
    text, tone = verdict_sentence(facts)
    short = short_verdict(facts)
    blocks: list[Block] = [
        Sentence(short or text, tone),
        *(Sentence(problem, Tone.BAD) for problem in facts.problems),
    ]
    blocks += [Sentence(f"Stale: {_stale(one)}.", Tone.BAD) for one in facts.stale[1:]]
    if facts.unchecked:
        blocks.append(Sentence(_unchecked(facts), Tone.WARN))
    if facts.network:
        blocks.append(Figures(_figures(facts, facts.network)))
        if facts.plan:
            blocks.append(cover(facts.network, facts.plan, facts.asked.device.arena_bytes))
    if short:
        blocks.append(Fold(title="What was proven, and of what", blocks=(Sentence(text),)))
    return Section(key="verdict", title="Verdict", blocks=tuple(blocks))


def verdict_sentence(facts: RunFacts) -> tuple[str, Tone]:
    """Return what may be trusted, in one sentence, and how it is meant."""
    network, proof, result = facts.network, facts.verification, facts.result
    if network is None:
        again = (
            "the same nas-search run command"
            if facts.whole
            else command_line("nas-search", "--resume", "--out", PurePath(facts.path))
        )
        return (
            f"No network yet: the search has not come to its end; go on with {again}.",
            Tone.PLAIN,
        )
    if facts.stale:
        return f"Stale, so that nothing is proven: {_stale(facts.stale[0])}.", Tone.BAD
    over = _over_budget(facts, network)
    if over:
        return f"Do not deploy this network: {listed(over)}.", Tone.BAD
    if proof is not None and not proof.passed:
        return _refuted(proof), Tone.BAD
    if proof is not None:
        return _recorded(facts, proof), _tone(facts, proof)
    trained = result is not None and result.accuracy.integer is not None
    if trained or facts.exports:
        return (
            "Trained but not verified: the accuracy was measured with the integer model on "
            "this machine, "
            "while SRAM and Flash are predictions that no firmware has confirmed yet; prove "
            f"them with {_next(facts)}.",
            Tone.PLAIN,
        )
    if result is not None:
        known = "the accuracy is not that of the device, and SRAM and Flash are predictions"
        return f"Trained in float only: {known}; next: {_next(facts)}.", Tone.PLAIN
    return (
        "Searched only: SRAM and Flash are exact counts of a memory plan and fit the budget, "
        "but the QE-Score ranks networks "
        f"and is not an accuracy; next: {_next(facts)}.",
        Tone.PLAIN,
    )


def short_verdict(facts: RunFacts) -> str:
    """Return a proof that passed in one short line; empty where there is more to say."""
    proof, tone = facts.verification, verdict_sentence(facts)[1]
    if facts.network is None or proof is None or not proof.passed or tone is Tone.BAD:
        return ""
    exact = [one for one in proof.backends if one.verdict is Verdict.EQUAL]
    state = "digests fit" if facts.checked else "not checked"
    if not claim_of(proof.core, proof.backends).proven:
        state += ", not verified for this device"
    line = (
        f"Recorded{f' on {proof.date}' if proof.date else ''}, {state}: equal on "
        f"{plural(len(exact), 'back-end')}, {sum(one.values for one in exact):,} values, 0 differ"
    )
    result = facts.result
    if result is not None and result.accuracy.beats_chance is False:
        line += "; but the accuracy is barely above chance"
    return f"{line}."


def _stale(one: Stale) -> str:
    return (
        f"{one.record} is not of the files beside it ({one.problem}), and what it says is left "
        f"out; mend it with {one.command}"
    )


def _unchecked(facts: RunFacts) -> str:
    names = listed([one.record for one in facts.unchecked])
    commands = listed(list(dict.fromkeys(one.command for one in facts.unchecked)))
    return (
        f"Not checked: {names}: without digests, as nas-search 0.1.0 or a hand wrote it, "
        "nothing says whether it is of the files beside "
        f"it; mend it with {commands}."
    )


def _next(facts: RunFacts) -> str:
    if facts.whole:
        return "the same nas-search run command, which goes on where it stopped"
    result = facts.result
    if result is None or result.accuracy.integer is None:
        return command_line(
            "nas-search", "train" if result is None else "refine", PurePath(facts.folder)
        )
    command = command_line("nas-search", "verify", PurePath(facts.folder))
    return (
        command
        if facts.exports
        else f"{command_line('nas-search', 'export', PurePath(facts.folder))} and {command}"
    )


def _over_budget(facts: RunFacts, network: NetworkReport) -> list[str]:
    device = facts.asked.device
    pairs = (
        ("SRAM", network.peak_sram_bytes, device.arena_bytes),
        ("Flash", network.total_flash_bytes, device.storage_bytes),
    )
    found = [
        f"its {what} of {used:,.0f} B is over the budget of {limit:,} B"
        for what, used, limit in pairs
        if used > limit
    ]
    for row in LIMITS:
        amount, limit = network.limited.get(row.name, 0.0), facts.asked.limits.get(row.name)
        if limit is not None and amount > limit:
            found.append(f"{row.shown(amount)} is over the limit of {row.amount(limit)}")
    return found


def _tone(facts: RunFacts, proof: VerificationReport) -> Tone:
    """Return the tone of a proof that passed.

    Green only where all records fit, the device's own core ran it, and it beats chance.
    """
    if not facts.checked:
        return Tone.WARN
    useful = facts.result is None or facts.result.accuracy.beats_chance is not False
    return Tone.GOOD if useful and claim_of(proof.core, proof.backends).proven else Tone.PLAIN


def _recorded(facts: RunFacts, proof: VerificationReport) -> str:
    """Return the claim of a recorded verification that passed; back-ends not run are left out."""
    exact = [one for one in proof.backends if one.verdict is Verdict.EQUAL]
    images = sorted({one.images for one in exact})
    counts = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}"
    when = f"Recorded on {proof.date}" if proof.date else "Recorded"
    checked, known = facts.checked, claim_of(proof.core, proof.backends)
    state = "digests fit" if checked else "not checked"
    if not known.proven:
        state += ", not verified for this device"
    text = (
        f"{when}, {state}: {listed([_called(one.backend) for one in exact])} gave every "
        "output value of the integer reference "
        f"on {counts} images "
        f"({sum(one.values for one in exact):,} values, none different)"
    )
    trust = "may be trusted" if checked else "may be trusted only if it is of these files"
    measured = [line for line in proof.memory if line.verdict is Verdict.EQUAL]
    if measured:
        cores = list(dict.fromkeys(line.backend for line in measured))
        text += (
            ", and the linked firmware takes the memory that was predicted "
            f"({plural(len(measured), 'amount')} on {listed(cores)})"
        )
        claim = f"the accuracy of the integers, SRAM and Flash below {trust}"
    else:
        text += "; no firmware was linked, so that SRAM and Flash below are predictions"
        claim = f"the accuracy of the integers below {trust}"
    result = facts.result
    claim += f" for images like those of {result.dataset}" if result else ""
    if result and (remark := chance_remark(result.accuracy)):
        claim += (
            f", but this accuracy is {remark}; that all back-ends agree makes no network useful"
        )
    if proof.skipped:
        claim += (
            ", but nothing is known of "
            f"{listed([_called(one.backend) for one in proof.skipped])}, which did not run"
        )
    return f"{text}: {claim}. The device: {known.says}."


def _called(backend: str) -> str:
    """Return the name of a back-end as a sentence has it: ``ONNX Runtime (QCDQ)``."""
    name, comma, form = backend.partition(", ")
    return f"{name} ({form})" if comma else name


def _refuted(proof: VerificationReport) -> str:
    wrong = [
        f"{one.backend} {_wrong(one.verdict)}"
        for one in proof.backends
        if one.verdict in (Verdict.DIFFERS, Verdict.FAILED)
    ]
    wrong += [
        f"{line.what} on {line.backend} is {line.measured:,} B where {line.predicted:,} B "
        "were predicted"
        for line in proof.memory
        if line.verdict is Verdict.DIFFERS
    ]
    return (
        "Do not trust this firmware: "
        f"{listed(wrong) if wrong else 'no exact back-end could run, so that nothing is proven'}."
    )


def _wrong(verdict: Verdict) -> str:
    return (
        "differs from the integer reference"
        if verdict is Verdict.DIFFERS
        else "could not be built or run"
    )


def _figures(facts: RunFacts, network: NetworkReport) -> tuple[Figure, ...]:
    device, proof, result = facts.asked.device, facts.verification, facts.result
    items = []
    if result is not None:
        items.append(
            _accuracy_figure(
                result.accuracy,
                result.dataset,
                proof is not None and proof.passed and facts.checked,
            )
        )
    else:
        items.append(
            Figure(
                name="QE-Score",
                value=f"{network.qe_score:,.2f}",
                note="ranks networks of one resolution",
                source="a score, not an accuracy",
            )
        )
    for name, what, used, limit in (
        ("peak SRAM", "arena", network.peak_sram_bytes, device.arena_bytes),
        ("Flash", "weights", network.total_flash_bytes, device.storage_bytes),
    ):
        lines = [line for line in proof.memory if line.what.startswith(what)] if proof else []
        good = (
            facts.checked and bool(lines) and all(line.verdict is Verdict.EQUAL for line in lines)
        )
        wrong = any(line.verdict is Verdict.DIFFERS for line in lines) or used > limit
        source = (
            "predicted and measured alike"
            if good
            else "predicted, and measured otherwise"
            if lines and wrong
            else "predicted"
        )
        items.append(
            Figure(
                name=name,
                value=f"{used / 1024:,.1f} KiB",
                note=f"{used:,.0f} B, {share(used, limit)} of the budget",
                source=source,
                tone=Tone.BAD if wrong else Tone.GOOD if good else Tone.PLAIN,
            )
        )
    items.insert(1, _time_figure(facts, network))
    return tuple(items)


def _accuracy_figure(accuracy: Accuracy, dataset: str, proven: bool) -> Figure:
    value, form = (
        (accuracy.integer, "integer model")
        if accuracy.integer is not None
        else (accuracy.floating, "float network")
    )
    if value is None:
        return Figure(name="accuracy", value=NONE, note="not measured", source="")
    error = f"\N{PLUS-MINUS SIGN} {standard_error(value, accuracy.images):.2f} (standard error)"
    useful = accuracy.beats_chance is not False
    largest = (
        f"; always '{accuracy.by_class.largest}': {percent(accuracy.by_class.share)}"
        if accuracy.by_class
        else ""
    )
    note = f"{error}, {accuracy.images:,} {accuracy.split} images of {dataset}{largest}"
    return Figure(
        name=f"accuracy, {form}",
        value=percent(value),
        note=note if useful else f"{note}; barely above chance",
        source="measured, and equal on all exact back-ends"
        if proven and form == "integer model"
        else "measured on this machine",
        tone=Tone.GOOD if proven and useful and form == "integer model" else Tone.PLAIN,
    )


def _time_figure(facts: RunFacts, network: NetworkReport) -> Figure:
    """Return the time of one image as the device's table estimates it."""
    device, macs = facts.asked.device, f"{format_count(network.total_macs)} MACs"
    if network.cycles is None:
        note = f"the device has no table of cycles; {macs}"
        return Figure(name="time per image", value=NONE, note=note, source="not known")
    cycles = f"{format_count(network.cycles)} cycles at {device.clock_hz / 1e6:.0f} MHz"
    if network.latency is None:
        note = f"{cycles}, whose time the profile does not say (cycles_per_instruction); {macs}"
        return Figure(name="time per image", value=NONE, note=note, source="not known")
    counted = _counted_instructions(facts.verification)
    return Figure(
        name="time per image",
        value=format_latency(network.latency),
        note=f"{cycles}; {counted}{macs}",
        source="estimated, no board was measured",
    )


def _counted_instructions(proof: VerificationReport | None) -> str:
    """Return the instructions counted on the device's own core, empty where it did not run."""
    if proof is None:
        return ""
    for name, steps in proof.instructions.items():
        if name.lower() == proof.core.lower():
            return f"{format_count(sum(steps.values()))} instructions counted; "
    return ""
