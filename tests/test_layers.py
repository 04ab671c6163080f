"""Layer table against a scalar walk through each network, and the doctests of every module."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import device_profiles
import nas_engine
import search_spaces
from nas_engine.block_kinds import KIND_NAMES
from nas_engine.encoding import GeneView, architecture_frame, encode, layer_rows
from nas_engine.layers import interleave, macs_per_layer, output_channels, output_positions, unroll
from tests import reference
from tests.populations import EVERY_SPACE, OTHER_KINDS, SPACES, networks, population, resolutions


@pytest.mark.parametrize("name", EVERY_SPACE)
@pytest.mark.parametrize("classes", [0, 7])
def test_table_is_the_scalar_walk(name: str, classes: int) -> None:
    for resolution in resolutions(EVERY_SPACE[name]):
        frame, genes = population(
            EVERY_SPACE[name], 25, seed=resolution, resolution=resolution, classes=classes
        )
        table = unroll(frame, genes)
        weights, macs, outputs, positions = (
            table.weights,
            macs_per_layer(table),
            output_channels(table),
            output_positions(table),
        )
        for i, net in enumerate(networks(frame, genes)):
            layers = reference.layers(net)
            rows = layer_rows(frame, net)
            unused = sorted(set(range(frame.n_layers)) - set(rows))
            assert weights[rows, i].tolist() == [layer.weights for layer in layers]
            assert macs[rows, i].tolist() == [layer.macs for layer in layers]
            assert outputs[rows, i].tolist() == [layer.c_out for layer in layers]
            assert positions[rows, i].tolist() == [layer.size_out**2 for layer in layers]
            assert not weights[unused, i].any()
            assert not macs[unused, i].any()
            assert not outputs[unused, i].any()
            residuals = list(reference.residuals(net))
            used = len(residuals)
            assert table.active[:, i].tolist() == [True] * used + [False] * (
                frame.max_residuals - used
            )
            for column, wanted in (
                (table.c_in, [r.c_in for r in residuals]),
                (table.c_mid, [r.c_mid for r in residuals]),
                (table.c_out, [r.c_out for r in residuals]),
                (table.kernel, [r.kernel for r in residuals]),
                (table.area_in, [r.size_in**2 for r in residuals]),
                (table.area_out, [r.size_out**2 for r in residuals]),
                (table.shortcut, [r.waiting > 0 or r.reshaped for r in residuals]),
            ):
                assert column[:used, i].tolist() == wanted
                assert not column[used:, i].any()
            for code in table.kinds:
                mine = np.broadcast_to(table.of_kind(code), table.active.shape)[:used, i]
                assert mine.tolist() == [r.kind == KIND_NAMES[code] for r in residuals]
            pooled = table.pooled[:used, i].tolist() if table.pooled is not None else [False] * used
            assert pooled == [r.pooled for r in residuals]


def test_pooled_shortcuts_do_occur() -> None:
    frame, genes = population(SPACES["qe-score-2022"], 300)
    table = unroll(frame, genes)
    assert table.pooled is not None
    assert table.pooled.any()
    assert (table.shortcut & ~table.pooled).any()


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_a_batch_is_its_networks_one_by_one(name: str) -> None:
    frame, genes = population(EVERY_SPACE[name], 12, seed=2)
    table = unroll(frame, genes)
    for i in range(genes.shape[1]):
        one = unroll(frame, genes[:, [i]])
        for field in (
            "weights",
            "c_in",
            "c_mid",
            "c_out",
            "area_in",
            "area_out",
            "shortcut",
            "active",
            "kernel",
            "stage_channels",
            "head_channels",
        ):
            assert (getattr(one, field)[..., 0] == getattr(table, field)[..., i]).all(), field


@pytest.mark.parametrize("name", ["mobilenet", *OTHER_KINDS])
def test_tight_frame_gives_the_same_layers(name: str) -> None:
    frame, genes = population(EVERY_SPACE[name], 20)
    table = unroll(frame, genes)
    for i, net in enumerate(networks(frame, genes)):
        own = unroll(architecture_frame(net), encode(architecture_frame(net), [net]))
        assert own.weights[own.weights[:, 0] > 0, 0].tolist() == (
            table.weights[table.weights[:, i] > 0, i].tolist()
        )


def test_bits_do_not_enter_the_table() -> None:
    frame, genes = population(SPACES["mobilenet"], 5)
    other = genes.copy()
    GeneView(frame, other).w_bits[:] = 0
    assert (unroll(frame, genes).weights == unroll(frame, other).weights).all()


def test_interleave_puts_every_part_in_its_row() -> None:
    frame, genes = population(SPACES["mobilenet-32"], 2)
    residuals = np.arange(frame.max_residuals, dtype=float)[:, None] * [1, 1]
    rows = interleave(
        unroll(frame, genes), 100, residuals, residuals + 0.25, residuals + 0.5, [200, 201], 300
    )
    middle = [i + part for i in range(frame.max_residuals) for part in (0, 0.25, 0.5)]
    assert rows.T.tolist() == [[100, *middle, 200, 300], [100, *middle, 201, 300]]


MODULES = sorted(
    module.name
    for package in (nas_engine, search_spaces, device_profiles)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
    and not module.name.startswith("nas_engine.api.")  # one goes on from the other: test_api
)


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = sum(
        bool(test.examples)
        for module in MODULES
        for test in finder.find(importlib.import_module(module))
    )
    assert found >= 8
