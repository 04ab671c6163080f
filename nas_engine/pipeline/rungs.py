"""Rungs of a shortlist: how many networks are trained for how many epochs. No torch.

Successive halving (Jamieson and Talwalkar 2016): many networks get an epoch or two in float, the
best of them more. Every rung but the last is judged by two ranks that are added, of the training
loss and of the path noise, which knows the bits that a float training does not; the last one is
trained in both stages and judged in integers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nas_engine.errors import InputError

SHARE = 0.25
"""Share of the whole training's epochs that the last rung gets (chosen here)."""

FINALISTS = 5
"""Networks of the last of several rungs (chosen here)."""

MOST = 20
"""Most networks of the first rung if minutes are given and no number (chosen here)."""

FIRST_EPOCHS = 2
"""Most epochs of a rung that is not the last (chosen here)."""

FEWEST_EPOCHS = 2
"""Least number of epochs of the last rung: one in float and one quantised."""

LAST_COST = 1.25
"""Duration of an epoch of the last rung over one in float, at most about: up to half of its epochs
are quantised, which take up to 1.5 times as long (``benchmarks.training_speed``)."""

FEWEST_STEPS = 50
"""Least number of steps of a network on a rung (chosen here)."""

_RUNG = re.compile(r"(\d{1,4})x(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Networks that are trained alike."""

    networks: int
    """Number of networks, at least 1."""
    epochs: int
    """Epochs of each."""

    def __str__(self) -> str:
        return f"{self.networks}x{self.epochs}"


def written(rungs: Sequence[Rung]) -> str:
    """Return rungs as a text, such as ``20x1,5x4``; ``parsed`` reads it back."""
    return ",".join(map(str, rungs))


def parsed(text: str) -> tuple[Rung, ...]:
    """Return the rungs of a text.

    Raises:
        InputError: Not networks x epochs with commas between, more networks on a later rung, or a
            last rung too short for both stages.
    """
    expected = (
        f"shortlist.rungs: is {text!r}; expected networks x epochs of each rung, ever fewer "
        f"networks, at least {FEWEST_EPOCHS} epochs on the last, such as 20x1,5x4"
    )
    found = [_RUNG.fullmatch(part.strip()) for part in text.split(",")]
    rungs = [Rung(networks=int(each[1]), epochs=int(each[2])) for each in found if each]
    counts = [rung.networks for rung in rungs]
    if (
        len(rungs) < len(found)
        or sorted(set(counts), reverse=True) != counts
        or min(min(rung.networks, rung.epochs) for rung in rungs) < 1
        or rungs[-1].epochs < FEWEST_EPOCHS
    ):
        raise InputError(expected)
    return tuple(rungs)


def by_epochs(count: int, epochs: int) -> tuple[Rung, ...]:
    """Return the rungs of so many networks of which the last ones get so many epochs.

    Up to ``FINALISTS`` networks need one rung.
    """
    last = Rung(networks=min(count, FINALISTS), epochs=epochs)
    if count <= FINALISTS:
        return (last,)
    return (Rung(networks=count, epochs=min(FIRST_EPOCHS, max(epochs // 4, 1))), last)


def by_minutes(
    count: int, minutes: float, epoch_s: float, steps: int, epochs: int
) -> tuple[Rung, ...]:
    """Return the rungs that fit into a time: half of it for the first rung, the rest for the last.

    Args:
        count: Most networks, at least 2.
        minutes: Time for all rungs.
        epoch_s: Seconds of an epoch in float.
        steps: Steps of an epoch; where they are few, a rung has more epochs.
        epochs: Epochs of the whole training, at least 2; no rung has more.

    Raises:
        InputError: Too short for two networks; the message names the least time.
    """
    budget_s, unit = 60.0 * minutes, min(-(-FEWEST_STEPS // steps), epochs)
    fewest = max(FEWEST_EPOCHS, unit)
    shortest_s = 2 * fewest * LAST_COST * epoch_s
    if budget_s < shortest_s:
        raise InputError(
            f"--shortlist-minutes: is {minutes:g}, and one epoch of a network takes {epoch_s:.2g} "
            f"s here; expected at least {math.ceil(shortest_s / 6) / 10:g} for two networks, or "
            "--shortlist 1 to take the best score without training"
        )
    first = min(count, int(budget_s / 2 / (unit * epoch_s)))
    if first > FINALISTS:
        short = unit * min(FIRST_EPOCHS, int(budget_s / 2 / (first * unit * epoch_s)))
        rest_s = budget_s - first * short * epoch_s
        last = min(int(rest_s / (FINALISTS * LAST_COST * epoch_s)), epochs)
        if last > max(fewest, short):
            return (Rung(networks=first, epochs=short), Rung(networks=FINALISTS, epochs=last))
    networks = min(count, FINALISTS, int(budget_s / (fewest * LAST_COST * epoch_s)))
    last = min(int(budget_s / (networks * LAST_COST * epoch_s)), epochs)
    return (Rung(networks=networks, epochs=last),)


def best_of_ranks(losses: Sequence[float], noises: Sequence[float], count: int) -> list[int]:
    """Return the indices of the networks that go on, in their order.

    Args:
        losses: Mean training loss of the last epoch.
        noises: Path noise.
        count: How many go on.
    """
    sums = [a + b for a, b in zip(_ranks(losses), _ranks(noises), strict=True)]
    order = sorted(range(len(sums)), key=lambda index: (sums[index], losses[index], index))
    return sorted(order[:count])


def _ranks(values: Sequence[float]) -> list[float]:
    """Return ranks from 0, the mean of their places for equal values."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]
