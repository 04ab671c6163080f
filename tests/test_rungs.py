"""Rungs of a shortlist: as text, by epochs, by minutes, and who goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.errors import InputError
from nas_engine.pipeline.rungs import (
    FEWEST_EPOCHS,
    FEWEST_STEPS,
    FINALISTS,
    FIRST_EPOCHS,
    LAST_COST,
    Rung,
    best_of_ranks,
    by_epochs,
    by_minutes,
    parsed,
    written,
)


def test_text_and_back() -> None:
    rungs = (Rung(networks=20, epochs=1), Rung(networks=5, epochs=4))
    assert written(rungs) == "20x1,5x4"
    assert parsed("20x1, 5x4") == rungs
    assert parsed("1x2") == (Rung(networks=1, epochs=2),)


@pytest.mark.parametrize(
    "text", ["", "20", "20x", "5x4,20x1", "5x1,5x4", "0x2", "5x0,2x2", "5x2,2x1", "5x2,,2x4"]
)
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(InputError, match=r"^shortlist\.rungs: is .*, such as 20x1,5x4$"):
        parsed(text)


@pytest.mark.parametrize(
    ("count", "epochs", "expected"),
    [(3, 5, "3x5"), (5, 2, "5x2"), (6, 2, "6x1,5x2"), (20, 5, "20x1,5x5"), (20, 25, "20x2,5x25")],
)
def test_by_epochs(count: int, epochs: int, expected: str) -> None:
    assert written(by_epochs(count, epochs)) == expected


@pytest.mark.parametrize(
    ("count", "minutes", "epoch_s", "steps", "expected"),
    [
        (20, 10, 10, 100, "20x1,5x6"),
        (20, 30, 10, 100, "20x2,5x22"),
        (20, 1, 1, 10, "5x9"),  # too few epochs would be left for a second rung
        (20, 1, 10, 100, "2x2"),
        (3, 10, 10, 100, "3x16"),
        (3, 1000, 10, 100, "3x30"),
    ],
)
def test_by_minutes(count: int, minutes: float, epoch_s: float, steps: int, expected: str) -> None:
    assert written(by_minutes(count, minutes, epoch_s, steps, 30)) == expected


@given(
    count=st.integers(2, 100),
    minutes=st.floats(0.01, 10_000),
    epoch_s=st.floats(0.001, 1000),
    steps=st.integers(1, 2000),
    epochs=st.integers(2, 200),
)
def test_plans_keep_to_their_time(
    count: int, minutes: float, epoch_s: float, steps: int, epochs: int
) -> None:
    try:
        rungs = by_minutes(count, minutes, epoch_s, steps, epochs)
    except InputError as error:
        least = float(str(error).split("at least ")[1].split()[0])
        assert least >= minutes * 0.99
        assert by_minutes(count, least + 0.1, epoch_s, steps, epochs)
        return
    *first, last = rungs
    seconds = sum(rung.networks * rung.epochs for rung in first) * epoch_s
    seconds += last.networks * last.epochs * LAST_COST * epoch_s
    assert seconds <= 60 * minutes * (1 + 1e-9)
    assert parsed(written(rungs)) == rungs
    assert rungs[0].networks <= count
    assert last.networks <= FINALISTS
    assert last.epochs >= FEWEST_EPOCHS
    assert last.epochs <= epochs
    assert all(rung.epochs == epochs or rung.epochs * steps >= FEWEST_STEPS for rung in rungs)
    assert all(rung.epochs <= FIRST_EPOCHS * -(-FEWEST_STEPS // steps) for rung in first)


def test_ranks_of_loss_and_noise_are_added() -> None:
    losses, noises = [1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 2.0, 3.0]
    assert best_of_ranks(losses, noises, 1) == [1]  # sums of ranks: 3, 1, 3, 5
    assert best_of_ranks(losses, noises, 2) == [0, 1]  # equal sums: the smaller loss
    assert best_of_ranks(losses, noises, 9) == [0, 1, 2, 3]
    assert best_of_ranks([1.0, 1.0, 2.0], [1.0, 2.0, 0.0], 2) == [0, 2]
