"""Bits of a given network: by Quantization Bits Refinement to its budgets, or uniform. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from nas_engine.architecture import Architecture, Bits, Block, dump_architecture
from nas_engine.encoding import decode
from nas_engine.errors import InputError, PathError, shortened
from nas_engine.evolution.config import at_fitting_input, build_problem, resolve_config
from nas_engine.evolution.evaluation import evaluate_given
from nas_engine.evolution.feasibility import require_feasible
from nas_engine.files import write_atomically
from nas_engine.reading import read_regular_text
from nas_engine.report.network import NetworkReport
from nas_engine.report.search_record import report_member
from nas_engine.sealed import seal_yaml
from nas_engine.strict_yaml import MAX_FILE_BYTES

WIDEST = 8
"""Activation bits of ``--uniform 5``."""


def set_bits(
    path: str, options: Mapping[str, Any], uniform: Bits | None = None
) -> tuple[NetworkReport, DeviceProfile]:
    """Return the report of a network with bits for its budgets, and the device.

    Args:
        path: An architecture file; its own bits do not matter but at stem and classifier.
        options: Of the section ``search``: budgets, schedule and input.
        uniform: Bits of all layers but stem and classifier; ``None`` for refined ones.

    Raises:
        FileFormatError: No architecture, or one that does not fit with uniform bits.
        InfeasibleBudgetError: One that no bits fit.
        InputError: Bits that the device forbids.
    """
    config = resolve_config({**options, "space": path, "qbr": uniform is None})
    problem, device = build_problem(config)
    if problem.network is None:
        raise PathError(path, "is a search space; expected an architecture file")
    if uniform is not None:
        problem = replace(problem, network=with_uniform(problem.network, uniform))
        if options.get("input") is None:
            problem = at_fitting_input(problem)
    require_feasible(
        problem,
        reserved_sram=device.reserved_sram_bytes,
        reserved_flash=device.reserved_flash_bytes,
    )
    network = decode(problem.frame, evaluate_given(problem).genes[:, 0])
    return report_member(replace(network, room=problem.room), problem), device


def with_uniform(network: Architecture, bits: Bits) -> Architecture:
    """Return a network with the same bits in all layers but stem and classifier."""

    def block(one: Block) -> Block:
        return replace(one, bits=tuple((bits,) * len(row) for row in one.bits))

    return replace(
        network,
        blocks=tuple(map(block, network.blocks)),
        head=network.head and replace(network.head, bits=bits),
    )


def parse_uniform(text: str) -> Bits:
    """Return the bits of a text such as ``5`` (5-bit weights, 8-bit inputs) or ``w5a6``.

    Raises:
        InputError: Anything else.
    """
    try:
        return Bits.parse(text if text.startswith("w") else f"w{text}a{WIDEST}")
    except InputError:
        raise InputError(
            f"--uniform is '{shortened(text)}'; expected 2 to 8 (bits of weights; inputs have "
            f"{WIDEST}), or w2a2 to w8a8"
        ) from None


def write_network(path: str | os.PathLike[str], network: Architecture, *, force: bool) -> None:
    """Write an architecture file.

    Raises:
        PathError: There is another file of that name, and no ``force``.
        StorageError: The disk is full.
    """
    text, target = seal_yaml(dump_architecture(network)), Path(path)
    if target.exists() and not force and not _holds(target, text):
        raise PathError(path, "is there already; give --out another name, or add --force")
    write_atomically(target, text)


def _holds(path: Path, text: str) -> bool:
    try:
        return read_regular_text(path, MAX_FILE_BYTES) == text
    except PathError:
        return False
