"""Published cycles of the device profiles: coefficients, and errors of networks left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.latency.fit import (
    FEW,
    MANY,
    Model,
    Published,
    fitted,
    known_networks,
    model_of,
    scaled,
)
from benchmarks.latency.networks import KINDS
from device_profiles import PublishedCycles

OWN = ("first", "pointwise", "depthwise", "dense")
"""Kinds that a fit of its own is about; the only networks with others are ResNets."""

PROFILES = {
    "STM32H747I-DISCO": "stm32h747",
    "DISCO-F746NG": "stm32f746",
    "B-U585I-IOT02A": "stm32u585",
}
"""Device profiles of boards with ``FEW`` networks or more."""

Pairs = Mapping[tuple[str, str], Sequence[Published]]


def has(row: Published, kinds: Sequence[str]) -> bool:
    """Return whether all multiply-accumulates of a row are of some kinds."""
    return row.macs is not None and all(
        not macs or kind in kinds for kind, macs in zip(KINDS, row.macs, strict=True)
    )


def own_rows(rows: Sequence[Published]) -> list[Published]:
    """Return the rows of a fit of its own."""
    return [row for row in rows if has(row, OWN)]


def convolutional(rows: Sequence[Published]) -> list[Published]:
    """Return the rows of a factor: the autoencoder is dense alone and tells nothing of others."""
    return [row for row in rows if row.macs is not None and row.macs[KINDS.index("pointwise")]]


def base_of(rows: Sequence[Published]) -> tuple[Model, Model]:
    """Return the fit of the board with most networks, and with k x k convolutions.

    Their coefficient comes from the ResNets of the board.
    """
    plain = own_rows(rows)
    model = model_of(plain, fitted)
    residual = [row for row in rows if row.macs is not None and row not in plain]
    macs = np.array([row.macs for row in residual], np.float64)
    cycles = np.array([row.cycles for row in residual])
    place = KINDS.index("convolution")
    found = model.coefficients.copy()
    found[place] = np.mean((cycles - macs @ found) / macs[:, place])
    return model, Model(coefficients=found, errors=macs @ found / cycles - 1, left_out=model.errors)


def factor_model(base: Model, rows: Sequence[Published]) -> Model:
    """Return the fit of a board with few networks: one factor on the coefficients of another."""
    return model_of(convolutional(rows), partial(scaled, base.coefficients))


def published_cycles(pairs: Pairs) -> dict[str, tuple[PublishedCycles, ...]]:
    """Return what each profile of ``PROFILES`` holds, as rounded there."""
    first, *others = pairs
    own, base = base_of(pairs[first])
    found = {first: (own, base, len({row.network for row in own_rows(pairs[first])}))}
    for pair in others:
        if FEW <= known_networks(pairs[pair]) < MANY:
            model = factor_model(base, pairs[pair])
            count = len({row.network for row in convolutional(pairs[pair])})
            found[pair] = model, model, count
    profiles: dict[str, tuple[PublishedCycles, ...]] = {}
    for (board, engine), (errors, model, networks) in found.items():
        if board not in PROFILES:
            continue
        values = dict(zip(KINDS, model.coefficients.tolist(), strict=True))
        one = PublishedCycles(
            board=board,
            engine=engine,
            networks=networks,
            **{kind: round(value, 2) for kind, value in values.items()},
            mean_error=round(float(np.abs(errors.errors).mean()), 3),
            left_out_error=round(float(np.abs(errors.left_out).mean()), 3),
            source=f"{pairs[board, engine][0].source}; python -m benchmarks.latency",
        )
        name = PROFILES[board]
        profiles[name] = (*profiles.get(name, ()), one)
    return profiles
