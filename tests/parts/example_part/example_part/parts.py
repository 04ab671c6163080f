"""Parts that a stranger might write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nas_engine.allocation.allocator import allocation_of
from nas_engine.allocation.moves import feasible_start
from nas_engine.integer.reference import run
from nas_engine.layers import macs_per_layer
from nas_engine.verification.backend import BackendError, BackendRun


def quiet_macs(table: Any, w_bits: Any, a_bits: Any) -> Any:
    """Return the logarithm of MACs, and the widths where these are equal."""
    return np.log(macs_per_layer(table).sum(axis=0)) + 1e-6 * (w_bits + a_bits).sum(axis=0)


def bytes_read(table: Any, w_bits: Any, a_bits: Any) -> Any:
    """Return the bytes of weights that one inference reads."""
    return (table.weights * w_bits).sum(axis=0) / 8


@dataclass(frozen=True, slots=True)
class FirstComesFirst:
    """Widens the tensors from the input on, as far as they fit."""

    name = "first-comes-first"
    summary = "wide bits from the input on"
    needs = ()

    def model(self, problem: Any, evidence: Any) -> None:
        return None

    def allocate(
        self, problem: Any, evidence: Any, *, seed: int = 0, time_limit_s: float = 20.0
    ) -> Any:
        levels = feasible_start(problem)
        for index, variable in enumerate(problem.variables):
            for level in range(len(variable.bits) - 1, int(levels[index]), -1):
                raised = levels.copy()
                raised[index] = level
                if problem.is_feasible(raised):
                    levels = raised
                    break
        return allocation_of(problem, self.name, levels)


class NamesExporter:
    """Writes the names of the layers with their widths, one a line."""

    name = "names"

    def missing(self) -> str | None:
        return None

    def files(self, subject: Any) -> dict[str, bytes]:
        layers = subject.manifest["layers"]
        lines = [f"{one['name']} {one.get('weight_bits', '-')}\n" for one in layers]
        seal = "".join(f"{value:+d}" for value in subject.golden.logits.ravel())
        return {"names.txt": ("".join(lines) + seal).encode()}


class ReferenceBackend:
    """Reads the names, and runs the reference itself."""

    name = "stranger"
    exact = True
    file = "names.txt"

    def missing(self) -> str | None:
        return None

    def run(self, export: Any, model: Any, images: Any, work: Any) -> BackendRun:
        if not (export / self.file).exists():
            raise BackendError(self.name, f"has no {self.file}; export it")
        return BackendRun(logits=run(model, images), seconds=0.0, version="1")


class Broken(FirstComesFirst):
    """Fails."""

    name = "broken"

    def allocate(self, problem: Any, evidence: Any, **options: Any) -> Any:
        raise RuntimeError("out of\nluck")
