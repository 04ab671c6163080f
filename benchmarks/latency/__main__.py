"""Published latencies of boards against cycles per multiply-accumulate of each kind of layer.

python -m benchmarks.latency

Prints the coefficients of each board and engine and the error of every row of ``rows.csv``; rows of
networks whose kinds are not known stand without a claim. Then the cycles per instruction that
device profiles give the exported runtime, and what they are made of. Takes some seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.latency.boards import OWN, base_of, convolutional, factor_model, own_rows
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
)
from benchmarks.latency.networks import KINDS
from benchmarks.latency.pace import CORES, M7_BOARDS, modelled, ranges, ratios

LEFT_OUT = 0.05
"""Largest mean error of networks left out of a fit with coefficients of its own."""

AIM = 0.10
"""Aim for a factor on another board's coefficients."""


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


def _paces(rows: Sequence[Published]) -> list[Row]:
    """Return the range of each core, and what it is made of."""
    parts = []
    for core, (boards, slow) in CORES.items():
        times = ratios(rows, boards, M7_BOARDS)
        parts.append(f"{core} over M7 {min(times):.2f} to {max(times):.2f}")
        if slow:
            parts.append(f"slow over fast {core} up to {max(ratios(rows, slow, boards)):.2f}")
    found = ", ".join(f"{core} {low} to {high}" for core, (low, high) in ranges(rows).items())
    loops = modelled()
    every = [cycles for each in loops.values() for cycles in each]
    for name, each in loops.items():
        print(f"  {name:24s} {', '.join(f'{cycles:.2f}' for cycles in each)} cycles each")
    model = (
        f"{len(every)} innermost loops of the kernels {min(every):.2f} to {max(every):.2f}"
        if every
        else "not modelled: llvm-mca or arm-none-eabi-gcc is missing"
    )
    return [
        Row(
            what="cycles per instruction of the exported runtime, as device profiles have them",
            measured=f"{found}; the same engine and network: {', '.join(parts)}",
            at_least="no board measured",
            reached=True,
        ),
        Row(
            what="cycles per instruction of a Cortex-M7 by LLVM's model of its pipeline",
            measured=model,
            at_least="for comparison",
            reached=True,
        ),
    ]


def run() -> list[Row]:
    every = read_rows()
    pairs = by_pair(every)
    first, *others = pairs
    plain = own_rows(pairs[first])
    _, row = _own(first, plain)
    _, base = base_of(pairs[first])
    found, means, claimed = [row], [], set(plain)
    for pair in others:
        if known_networks(pairs[pair]) >= MANY:
            own = own_rows(pairs[pair])
            found.append(_own(pair, own)[1])
            claimed |= set(own)
        elif known_networks(pairs[pair]) >= FEW:
            scaled_model = factor_model(base, pairs[pair])
            factor = scaled_model.coefficients[0] / base.coefficients[0]
            print(f"{' with '.join(pair)}: {factor:.2f} of the cycles of {' with '.join(first)}")
            _print(convolutional(pairs[pair]), scaled_model)
            means.append(float(np.abs(scaled_model.left_out).mean()))
            claimed |= set(convolutional(pairs[pair]))
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
    return found + _paces(every)


if __name__ == "__main__":
    main("latency", run)
