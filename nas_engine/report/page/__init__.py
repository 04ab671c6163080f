"""The report of a run: ``RunFacts``, read from its files, in; a ``Page`` of plain records out.

Drawing is ``nas_engine.report.html``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath

from nas_engine.escaping import command_line
from nas_engine.report.html.document import Page, Section, Sentence, Table, Tone
from nas_engine.report.page import (
    budgets,
    headline,
    mistakes,
    network,
    proof,
    provenance,
    search,
    training,
)
from nas_engine.report.page.facts import RunFacts
from nas_engine.units import format_size

__all__ = ["PARTS", "build_page"]

Part = Callable[[RunFacts], Section | None]

PARTS: tuple[tuple[str, Part, str, bool], ...] = (
    ("Accuracy", budgets.accuracy, "train", False),
    ("Mistakes", mistakes.mistakes, "train", False),
    ("Budgets", budgets.budgets, "search", False),
    ("Verification", proof.verification, "verify", False),
    ("Network", network.network, "search", False),
    ("Memory over time", network.memory, "search", True),
    ("Flash by layer and kind", network.flash, "search", True),
    ("Time by layer", network.time, "search", True),
    ("Search", search.progress, "search", True),
    ("Front", search.front, "search", True),
    ("Shortlist", search.shortlist, "run", True),
    ("Training", training.training, "train", True),
    ("How the bits were chosen", training.allocations, "refine", True),
    ("Quantisation error by layer", training.errors, "errors", True),
    ("Stages", provenance.stages, "search", True),
    ("Versions, digests, commands", provenance.provenance, "search", True),
)
"""Titles and makers of the parts below the headline, in their order, what makes their data, and
whether they are folded at first."""


def build_page(facts: RunFacts) -> Page:
    """Return the page of a run.

    Parts whose data are missing are named at the end with the command that makes them.
    """
    sections, missing = [headline.headline(facts)], []
    for title, make, maker, folded in PARTS:
        section = make(facts)
        if section is None:
            missing.append((title, _maker(maker, facts)))
        else:
            sections.append(replace(section, folded=folded))
    if missing:
        sections.append(_missing(missing, facts))
    device, asked = facts.asked.device, facts.asked
    subtitle = (
        f"{device.title}: {format_size(device.sram_bytes)} SRAM, {format_size(device.flash_bytes)} "
        f"Flash; search space {asked.space}, "
        f"{asked.resolution} x {asked.resolution} pixels"
    )
    return Page(
        title=f"{facts.name}: {facts.network_is}" if facts.network_is else facts.name,
        subtitle=f"{subtitle}, {asked.class_count} classes" if asked.class_count else subtitle,
        sections=tuple(sections),
        footer=(
            f"Made by nas-search {facts.version} from the files of this run; the page is one file "
            "and fetches nothing."
        ),
    )


def _maker(maker: str, facts: RunFacts) -> str:
    """Return the command that makes the data of a part."""
    if facts.whole:
        return "nas-search run, the same command again"
    commands: dict[str, list[str | PurePath]] = {
        "search": ["nas-search", "--resume", "--out", PurePath(facts.path)],
        "run": ["nas-search", "run"],
        "train": ["nas-search", "train", PurePath(facts.folder)],
        "export": ["nas-search", "export", PurePath(facts.folder)],
        "verify": ["nas-search", "verify", PurePath(facts.folder)],
        "refine": ["nas-search", "refine", PurePath(facts.folder)],
        "errors": ["nas-search", "evaluate", PurePath(facts.folder), "--layers"],
    }
    words = [commands[maker]]
    if maker == "verify":
        result = facts.result
        if result is not None and result.accuracy.integer is None:
            return command_line(
                *commands["refine"]
            )  # a network in float only: what is verified is what refinement makes of it
        words = [
            *([] if result else [commands["train"]]),
            *([] if facts.exports else [commands["export"]]),
            *words,
        ]
    return " && ".join(command_line(*part) for part in words)


def _missing(parts: list[tuple[str, str]], facts: RunFacts) -> Section:
    table = Table(
        caption="Parts whose data are not there, and the command that makes them",
        columns=("part", "command"),
        rows=tuple(parts),
    )
    note = Sentence("Once they are there, nas-search report draws them too.", Tone.FAINT)
    return Section(key="missing", title="Not in this report", blocks=(table, note))
