"""Cycles per multiply-accumulate of each kind of layer, fitted to published latencies.

``cycles = sum over kinds of MACs * coefficient``, coefficients not negative, least squares of the
*relative* errors. A board and engine with ``MANY`` networks has coefficients of its own; one with
``FEW`` has one factor on those of the board with most networks. The error that counts is that of a
network left out of the fit.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from benchmarks.latency.networks import KINDS, macs_by_kind

ROWS = Path(__file__).with_name("rows.csv")
"""Published latencies: one row per network, board, engine and publication."""

MANY, FEW = 8, 4
"""Fewest networks of known kinds for coefficients of their own, and for a factor."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published latency.

    Raises:
        ValueError: A network is built here whose multiply-accumulates are not the published ones.
    """

    network: str
    """Network, with its input."""
    board: str
    """Board as its source spells it."""
    core: str
    """Core, such as ``M7``."""
    engine: str
    """Inference engine and version."""
    milliseconds: float
    """Latency of one inference."""
    cycles: float
    """Latency times the clock."""
    macs: tuple[float, ...] | None
    """Multiply-accumulates of each of ``KINDS``; ``None`` if they are not known."""
    source: str
    """Where it was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Cycles of networks on one board with one engine.

    Attributes:
        coefficients: Cycles per multiply-accumulate of each of ``KINDS``; 0 for kinds of which no
            network has any.
        errors: Relative error of each row.
        left_out: Relative error of each row, predicted by a fit without its network.
    """

    coefficients: Floats
    errors: Floats
    left_out: Floats


def read_rows(path: Path = ROWS) -> list[Published]:
    """Return the published latencies of 8-bit networks."""
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["precision"] != "int8" or not row["latency_ms"]:
                continue
            macs = macs_by_kind(row["network"], row["input"], row["task"])
            if macs is not None and macs.total() != int(row["macs"]):
                raise ValueError(f"{row['network']}: {macs.total():,} MACs, not {row['macs']}")
            task = row["task"] if row["network"].startswith("MobileNet") else ""
            found.append(
                Published(
                    network=" ".join(filter(None, (row["network"], row["input"], task))),
                    board=row["board"].replace("_", "-").upper(),
                    core=row["core"],
                    engine=row["runtime"],
                    milliseconds=float(row["latency_ms"]),
                    cycles=float(row["latency_ms"]) * float(row["clock_mhz"]) * 1000,
                    macs=None if macs is None else tuple(float(macs[kind]) for kind in KINDS),
                    source=f"{row['source']}, {row['date']}",
                )
            )
    return found


def by_pair(rows: Sequence[Published]) -> dict[tuple[str, str], list[Published]]:
    """Return the rows of each board and engine, the pairs with most networks first."""
    found: dict[tuple[str, str], list[Published]] = defaultdict(list)
    for row in rows:
        found[row.board, row.engine].append(row)
    return dict(sorted(found.items(), key=lambda each: (-known_networks(each[1]), each[0])))


def known_networks(rows: Sequence[Published]) -> int:
    """Return the number of different networks whose kinds are known."""
    return len({row.network for row in rows if row.macs is not None})


def fitted(macs: Floats, cycles: Floats) -> Floats:
    """Return the coefficients of all kinds.

    Args:
        macs: Multiply-accumulates, ``(rows, kinds)``.
        cycles: Published cycles, ``(rows,)``.
    """
    return np.asarray(nnls(macs / cycles[:, None], np.ones(len(cycles)))[0])


def scaled(coefficients: Floats, macs: Floats, cycles: Floats) -> Floats:
    """Return coefficients times the one factor that fits best; arguments as ``fitted``."""
    ratio = macs @ coefficients / cycles
    return np.asarray(coefficients * ratio.sum() / (ratio**2).sum())


def model_of(rows: Sequence[Published], fit: Callable[[Floats, Floats], Floats]) -> Model:
    """Return the fit of rows whose kinds are all known, and the errors of each network left out.

    Args:
        rows: Rows of one board and engine.
        fit: Rule from ``(macs, cycles)`` to coefficients.
    """
    macs = np.array([row.macs for row in rows], np.float64)
    cycles = np.array([row.cycles for row in rows])
    names = np.array([row.network for row in rows])
    coefficients = fit(macs, cycles)
    left_out = np.empty(len(rows))
    for name in set(names):
        out = names == name
        left_out[out] = macs[out] @ fit(macs[~out], cycles[~out]) / cycles[out] - 1
    return Model(
        coefficients=coefficients,
        errors=macs @ coefficients / cycles - 1,
        left_out=left_out,
    )
