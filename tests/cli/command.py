"""Runs the command line inside the test's process, which takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from nas_engine.cli.main import main
from tests.generations import GENERATION, SMALL_SETTINGS

Run = Callable[..., "Outcome"]
"""Runs ``nas-search`` with these arguments."""

TWO, THREE = 2 * GENERATION, 3 * GENERATION
"""Candidates of two and three generations."""

SMALL = (
    "--space",
    "mobilenet-32",
    "--sram",
    "64k",
    "--flash",
    "256k",
    "--candidates",
    str(TWO),
    "--workers",
    "1",
    "--no-plots",
)
"""A search of two generations."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Output and exit code of a command."""

    code: int
    """Exit code."""
    out: str
    """Standard output."""
    err: str
    """Standard error."""

    def refusal(self, code: int = 2) -> str:
        """Return the message, checked to be the one line on standard error that every error is."""
        assert self.code == code, self
        (line,) = self.err.splitlines()
        assert self.err.endswith("\n")
        assert line.startswith("error: ")
        assert "Traceback" not in self.out
        return line.removeprefix("error: ")


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs ``nas-search`` with the arguments it is given."""

    monkeypatch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["nas-search", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Outcome(caught.value.code, captured.out, captured.err)

    return run
