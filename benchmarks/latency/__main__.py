"""Published latencies of boards against cycles per multiply-accumulate of each kind of layer.

python -m benchmarks.latency

Prints the coefficients of each board and engine and the error of every row of ``rows.csv``; rows of
networks whose kinds are not known stand without a claim. Takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.latency.fit import (
    FEW,
    MANY,
    Model,
    Published,
    by_pair,
    fitted,
    known_networks,
    model_of,
    read_rows,
    scaled,
)
from benchmarks.latency.networks import KINDS

LEFT_OUT = 0.05
"""Largest mean error of networks left out of a fit with coefficients of its own."""

AIM = 0.10
"""Aim for a factor on another board's coefficients."""

OWN = ("first", "pointwise", "depthwise", "dense")
"""Kinds that a fit of its own is about; the only networks with others are ResNets."""


def _has(row: Published, kinds: Sequence[str]) -> bool:
    """Return whether all multiply-accumulates of a row are of some kinds."""
    return row.macs is not None and all(
        not macs or kind in kinds for kind, macs in zip(KINDS, row.macs, strict=True)
    )


def _print(rows: Sequence[Published], model: Model) -> None:
    for row, error, left_out in zip(rows, model.errors, model.left_out, strict=True):
        print(
            f"  {row.network:64s} {row.milliseconds:9.2f} ms  fit {error:+7.1%}  left out "
            f"{left_out:+7.1%}"
        )


def _named(coefficients: Sequence[float]) -> str:
    return ", ".join(
        f"{kind} {value:.2f}"
        for kind, value in zip(KINDS, coefficients, strict=True)
        if value and kind in OWN
    )


def _own(pair: tuple[str, str], rows: Sequence[Published]) -> tuple[Model, Row]:
    model = model_of(rows, fitted)
    print(f"{' with '.join(pair)}: cycles per MAC {_named(model.coefficients.tolist())}")
    _print(rows, model)
    error, left_out = np.abs(model.errors), np.abs(model.left_out)
    return model, Row(
        what=f"{' with '.join(pair)}: cycles of {known_networks(rows)} networks from MACs by kind",
        measured=f"{_named(model.coefficients.tolist())} cycles per MAC; mean error "
        f"{error.mean():.1%}; left out: mean {left_out.mean():.1%}, worst {left_out.max():.1%}",
        at_least=f"left out: {LEFT_OUT:.0%}",
        reached=bool(left_out.mean() <= LEFT_OUT),
    )


def _with_convolution(model: Model, rows: Sequence[Published]) -> Model:
    """Return a model with the coefficient of k x k convolutions, from the ResNets of its board."""
    macs = np.array([row.macs for row in rows], np.float64)
    cycles = np.array([row.cycles for row in rows])
    place = KINDS.index("convolution")
    found = model.coefficients.copy()
    found[place] = np.mean((cycles - macs @ found) / macs[:, place])
    return Model(coefficients=found, errors=macs @ found / cycles - 1, left_out=model.left_out)


def run() -> list[Row]:
    pairs = by_pair(read_rows())
    first, *others = pairs
    plain = [row for row in pairs[first] if _has(row, OWN)]
    model, row = _own(first, plain)
    residual = [row for row in pairs[first] if row.macs is not None and row not in plain]
    base = _with_convolution(model, residual)
    found, means, claimed = [row], [], set(plain)
    for pair in others:
        convolutional = [row for row in pairs[pair] if row.macs is not None and row.macs[1]]
        if known_networks(pairs[pair]) >= MANY:
            own = [row for row in pairs[pair] if _has(row, OWN)]
            found.append(_own(pair, own)[1])
            claimed |= set(own)
        elif known_networks(pairs[pair]) >= FEW:
            scaled_model = model_of(convolutional, partial(scaled, base.coefficients))
            factor = scaled_model.coefficients[0] / base.coefficients[0]
            print(f"{' with '.join(pair)}: {factor:.2f} of the cycles of {' with '.join(first)}")
            _print(convolutional, scaled_model)
            means.append(float(np.abs(scaled_model.left_out).mean()))
            claimed |= set(convolutional)
    for pair, rows in pairs.items():
        for row_ in rows:
            if row_ not in claimed:
                print(
                    f"  no claim: {row_.network:53s} {row_.milliseconds:9.2f} ms  "
                    f"{' with '.join(pair)}"
                )
    found.append(
        Row(
            what=f"{len(means)} boards and engines with {FEW} networks of MLPerf Tiny: one factor "
            f"on those cycles, its convolutional networks left out in turn (the autoencoder is "
            f"dense alone and tells nothing of them)",
            measured=f"median of the mean errors {np.median(means):.0%}, from {min(means):.0%} to "
            f"{max(means):.0%}",
            at_least=f"stated (aim {AIM:.0%})",
            reached=True,
        )
    )
    return found


if __name__ == "__main__":
    main("latency", run)
