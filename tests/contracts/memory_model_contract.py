"""Contract of memory models; inherit ``MemoryModelContract`` and provide the ``model`` fixture."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.costs.flash import fixed_flash, flash, flash_per_layer
from nas_engine.costs.memory import MEMORY_MODELS, MemoryModel
from nas_engine.costs.schedule import bit_costs
from nas_engine.costs.sram import peak_sram, sram_per_layer
from nas_engine.encoding import GeneView, layer_rows
from nas_engine.layers import unroll
from tests import reference
from tests.populations import EVERY_SPACE, SPACES, networks, population, resolutions


class MemoryModelContract:
    """Inherit this and override ``model``."""

    @pytest.fixture
    def model(self) -> MemoryModel:
        raise NotImplementedError("a contract class needs a `model` fixture of its own")

    def test_stands_in_the_table_under_its_name(self, model: MemoryModel) -> None:
        assert MEMORY_MODELS[model.name] is model

    @pytest.mark.parametrize("space", EVERY_SPACE)
    @pytest.mark.parametrize("classes", [0, 10, 1000])
    def test_sram_and_flash_are_the_scalar_reference(
        self, model: MemoryModel, space: str, classes: int
    ) -> None:
        for resolution in resolutions(EVERY_SPACE[space]):
            frame, genes = population(
                EVERY_SPACE[space],
                12,
                seed=resolution + classes,
                resolution=resolution,
                classes=classes,
            )
            view, table = GeneView(frame, genes), unroll(frame, genes)
            sram, stored = (
                sram_per_layer(model, table, view.a_bits),
                flash_per_layer(model, table, view.w_bits),
            )
            peak, total = (
                peak_sram(model, table, view.a_bits),
                flash(model, table, view.w_bits),
            )
            assert (sram >= 0).all()
            for i, net in enumerate(networks(frame, genes)):
                rows = layer_rows(frame, net)
                assert sram[rows, i].tolist() == reference.sram(model.name, net)
                assert stored[rows, i].tolist() == list(reference.FLASH[model.name](net))
                assert not np.delete(stored[:, i], rows).any()
                assert not np.delete(sram[:, i], rows).any()
                assert peak[i] == max(reference.sram(model.name, net))
                assert total[i] == sum(reference.FLASH[model.name](net))

    @pytest.mark.parametrize("space", EVERY_SPACE)
    def test_layer_of_the_peak(self, model: MemoryModel, space: str) -> None:
        frame, genes = population(EVERY_SPACE[space], 20, seed=8)
        view, table = GeneView(frame, genes), unroll(frame, genes)
        sram = sram_per_layer(model, table, view.a_bits)
        for i, net in enumerate(networks(frame, genes)):
            live = reference.sram(model.name, net)
            assert sram[layer_rows(frame, net), i].argmax() == live.index(max(live))

    @pytest.mark.parametrize("space", EVERY_SPACE)
    def test_a_batch_is_its_networks_one_by_one(self, model: MemoryModel, space: str) -> None:
        frame, genes = population(EVERY_SPACE[space], 10, seed=9)
        view, table = GeneView(frame, genes), unroll(frame, genes)
        sram, total = (
            sram_per_layer(model, table, view.a_bits),
            flash(model, table, view.w_bits),
        )
        for i in range(genes.shape[1]):
            one, bits = unroll(frame, genes[:, [i]]), GeneView(frame, genes[:, [i]])
            assert (sram_per_layer(model, one, bits.a_bits)[:, 0] == sram[:, i]).all()
            assert flash(model, one, bits.w_bits)[0] == total[i]

    @pytest.mark.parametrize("space", EVERY_SPACE)
    def test_a_wider_tensor_never_costs_less_anywhere(self, model: MemoryModel, space: str) -> None:
        frame, genes = population(EVERY_SPACE[space], 60, seed=10)
        view, table = GeneView(frame, genes), unroll(frame, genes)
        before, stored = (
            sram_per_layer(model, table, view.a_bits),
            flash_per_layer(model, table, view.w_bits),
        )
        rng = np.random.default_rng(0)
        for bits, cost in (
            (view.a_bits, lambda b: sram_per_layer(model, table, b)),
            (view.w_bits, lambda b: flash_per_layer(model, table, b)),
        ):
            wider = np.minimum(
                bits + rng.integers(0, 2, bits.shape, dtype=np.int16) * (bits > 0), 8
            ).astype(np.int16)
            assert (cost(wider) >= (before if bits is view.a_bits else stored)).all()

    def test_weight_bits_never_cost_sram_nor_activation_bits_flash(
        self, model: MemoryModel
    ) -> None:
        frame, genes = population(SPACES["mobilenet"], 5)
        view, table = GeneView(frame, genes), unroll(frame, genes)
        assert (fixed_flash(model, table) == flash(model, table, view.w_bits * 0)).all()

    def test_precomputed_costs_change_nothing(self, model: MemoryModel) -> None:
        frame, genes = population(SPACES["qe-score-2022"], 20)
        view, table = GeneView(frame, genes), unroll(frame, genes)
        costs = bit_costs(model, table)
        first = peak_sram(model, table, view.a_bits, costs)
        assert (first == peak_sram(model, table, view.a_bits, costs)).all(), (
            "the costs must not be written to"
        )
        assert (first == peak_sram(model, table, view.a_bits)).all()
