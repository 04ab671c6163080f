"""Contracts of scores and costs; inherit one and name the function in ``part``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.costs.own import check_cost, cost_digest, cost_values
from nas_engine.encoding import Frame, Genes, GeneView, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.layers import LayerTable, unroll
from nas_engine.scoring.objective import check_objective, objective_digest, objective_values
from search_spaces import load_space, space_names

COUNT = 24
"""Networks of each population."""

Values = npt.NDArray[np.float64]

Counted = Callable[[str, LayerTable, Any, Any], Values]
"""Values of a function as a search keeps it, for a population."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Random networks of a space."""

    frame: Frame
    """Common properties."""
    genes: Genes
    """One column per network."""

    def values(self, count: Counted, function: str, chosen: npt.NDArray[np.intp]) -> Values:
        """Return the values of some of the networks."""
        genes = np.ascontiguousarray(self.genes[:, chosen])
        view = GeneView(self.frame, genes)
        return count(function, unroll(self.frame, genes), view.w_bits, view.a_bits)


def population_of(name: str, seed: int = 0) -> Population:
    """Return random networks of a shipped space."""
    space = load_space(name)
    frame = space_frame(space, space.resolution, space.class_count)
    return Population(frame=frame, genes=sample(space, frame, COUNT, np.random.default_rng(seed)))


class FunctionContract:
    """Contract of functions of whole populations."""

    part: ClassVar[str] = ""
    kept: ClassVar[Callable[[str], str]]
    digest: ClassVar[Callable[[str], str]]
    count: ClassVar[Counted]

    @pytest.fixture
    def function(self) -> str:
        """Return the function as a search keeps it."""
        return type(self).kept(self.part)

    def values(self, population: Population, function: str, chosen: npt.NDArray[np.intp]) -> Values:
        """Return the values of some networks of a population."""
        return population.values(type(self).count, function, chosen)

    @pytest.mark.parametrize("space", space_names())
    def test_every_network_has_one_finite_number(self, function: str, space: str) -> None:
        """Also networks without blocks of some kind, and with rows that do not exist."""
        values = self.values(population_of(space), function, np.arange(COUNT))
        assert values.shape == (COUNT,)
        assert np.isfinite(values).all()

    @pytest.mark.parametrize("space", space_names())
    def test_a_network_has_the_same_value_in_any_company(self, function: str, space: str) -> None:
        """Evolution compares networks of different populations."""
        population = population_of(space)
        whole = self.values(population, function, np.arange(COUNT))
        mixed = np.random.default_rng(1).permutation(COUNT)[: COUNT // 2]
        assert np.allclose(self.values(population, function, mixed), whole[mixed], rtol=1e-9)

    def test_it_tells_networks_apart(self, function: str) -> None:
        """A constant finds nothing."""
        values = self.values(population_of("mobilenet-32"), function, np.arange(COUNT))
        assert len(np.unique(values)) > COUNT // 2

    def test_the_same_networks_give_the_same(self, function: str) -> None:
        """Resumed searches continue those that were stopped."""
        first, again = (
            self.values(population_of("mobilenet-32"), function, np.arange(COUNT)) for _ in range(2)
        )
        assert np.array_equal(first, again)

    def test_its_file_is_known(self, function: str) -> None:
        """A search by another text is another search."""
        assert len(type(self).digest(function)) == 64


class ScoreContract(FunctionContract):
    """Inherit this and name the function, as ``--score`` takes it."""

    kept = check_objective
    digest = objective_digest
    count = objective_values


class CostContract(FunctionContract):
    """Inherit this and name the function, as ``--cost`` takes it; numbers are 0 or more."""

    kept = check_cost
    digest = cost_digest
    count = cost_values
