"""Progress of a search: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from device_profiles import load_device
from nas_engine.cli import console
from nas_engine.cli.console import Progress
from nas_engine.evolution.search import SearchState
from nas_engine.pipeline import SearchConfig
from nas_engine.report.tables import budget_text

PLAIN_LINES = 10
"""Lines printed where there is no terminal."""

WIDTH = 100
"""Columns of the bar, fewer in a narrow terminal."""

_BAR = (
    "{desc} {percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt} networks, {rate_noinv_fmt}, "
    "{remaining} left"
)


class SearchProgress:
    """Shows rate, time left, best score and how much of each budget it uses, on standard error.

    On a terminal two lines: a bar, and below it the best network so far.

    Args:
        config: The search.
    """

    def __init__(self, config: SearchConfig) -> None:
        device = load_device(config.device).with_memory(config.sram_bytes, config.flash_bytes)
        self._sram, self._flash, self._total = (
            device.arena_bytes,
            device.storage_bytes,
            config.candidates,
        )
        self._label = f"{config.resolution} px"
        self._bars: list[Any] = []
        self._began, self._next, self._first = time.monotonic(), 0.0, 0

    def __enter__(self) -> Self:
        return self

    def watch(self, state: SearchState) -> None:
        """Show a state."""
        if console.progress() is Progress.BAR:
            self._draw(state)
        elif state.evaluated >= self._next:
            self._next = state.evaluated + self._total / PLAIN_LINES
            elapsed = time.monotonic() - self._began
            self._first = self._first or state.evaluated
            rate = (
                (state.evaluated - self._first) / elapsed if state.evaluated > self._first else 0.0
            )
            left = (
                f", {rate:,.0f}/s, {max(self._total - state.evaluated, 0) / rate:.0f} s left"
                if rate
                else ""
            )
            console.tell(
                f"{self._label}: {state.evaluated:,}/{self._total:,} networks{left}; "
                f"{self._text(state)}"
            )

    def _draw(self, state: SearchState) -> None:
        from tqdm import tqdm

        evaluated = min(state.evaluated, self._total)
        if not self._bars:
            columns = (
                os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH
            )  # 0 where a terminal does not know
            look = {
                "ncols": min(WIDTH, columns),
                "nrows": 20,
                "mininterval": 0.2,
                "unit": "",
                "unit_scale": True,
            }
            bar = tqdm(
                total=self._total,
                initial=evaluated,
                desc=self._label,
                bar_format=_BAR,
                position=0,
                **look,
            )
            self._bars = [bar, tqdm(bar_format="{desc}", position=1, leave=True, **look)]
        bar, text = self._bars
        text.set_description_str(self._text(state), refresh=False)
        if bar.update(evaluated - bar.n):  # drawn, not oftener than every mininterval
            text.refresh()

    def _text(self, state: SearchState) -> str:
        if state.best_score is None:
            return "nothing fits yet"
        best = state.population
        return (
            f"score {state.best_score:.2f}, SRAM {budget_text(float(best.sram[0]), self._sram)}, "
            f"Flash {budget_text(float(best.flash[0]), self._flash)}"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in reversed(self._bars):
            bar.refresh()
        for bar in self._bars:
            bar.close()
