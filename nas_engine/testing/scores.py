"""Contract of scores; inherit ``ScoreContract`` and name the function in ``part``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.encoding import Frame, Genes, GeneView, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.layers import unroll
from nas_engine.scoring.objective import check_objective, objective_digest, objective_values
from search_spaces import load_space, space_names

COUNT = 24
"""Networks of each population."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Random networks of a space."""

    frame: Frame
    """Common properties."""
    genes: Genes
    """One column per network."""

    def score(self, objective: str, chosen: npt.NDArray[np.intp]) -> Values:
        """Return the values of some of the networks."""
        genes = np.ascontiguousarray(self.genes[:, chosen])
        view = GeneView(self.frame, genes)
        found: Values = objective_values(
            objective, unroll(self.frame, genes), view.w_bits, view.a_bits
        )
        return found


def population_of(name: str, seed: int = 0) -> Population:
    """Return random networks of a shipped space."""
    space = load_space(name)
    frame = space_frame(space, space.resolution, space.class_count)
    return Population(frame=frame, genes=sample(space, frame, COUNT, np.random.default_rng(seed)))


class ScoreContract:
    """Inherit this and name the function, as ``--score`` takes it."""

    part: ClassVar[str] = ""

    @pytest.fixture
    def objective(self) -> str:
        """Return the objective as a search keeps it."""
        return check_objective(self.part)

    @pytest.mark.parametrize("space", space_names())
    def test_every_network_has_one_finite_number(self, objective: str, space: str) -> None:
        """Also networks without blocks of some kind, and with rows that do not exist."""
        values = population_of(space).score(objective, np.arange(COUNT))
        assert values.shape == (COUNT,)
        assert np.isfinite(values).all()

    @pytest.mark.parametrize("space", space_names())
    def test_a_network_has_the_same_value_in_any_company(self, objective: str, space: str) -> None:
        """Evolution compares networks of different populations."""
        population = population_of(space)
        whole = population.score(objective, np.arange(COUNT))
        mixed = np.random.default_rng(1).permutation(COUNT)[: COUNT // 2]
        assert np.allclose(population.score(objective, mixed), whole[mixed], rtol=1e-9)

    def test_it_tells_networks_apart(self, objective: str) -> None:
        """A constant finds nothing."""
        values = population_of("mobilenet-32").score(objective, np.arange(COUNT))
        assert len(np.unique(values)) > COUNT // 2

    def test_the_same_networks_give_the_same(self, objective: str) -> None:
        """Resumed searches continue those that were stopped."""
        first, again = (
            population_of("mobilenet-32").score(objective, np.arange(COUNT)) for _ in range(2)
        )
        assert np.array_equal(first, again)

    def test_its_file_is_known(self, objective: str) -> None:
        """A search by another text is another search."""
        assert len(objective_digest(objective)) == 64
