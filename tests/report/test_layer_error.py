"""The picture of quantisation errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nas_engine.report.layer_errors import LayerError, LayerErrors
from nas_engine.report.plots import draw_layer_error, layer_error_data
from tests.report.networks import make_network
from tests.report.test_drawing import check_saved, problems, texts


def errors(
    depths: tuple[int, ...] = (1,), exact: int | None = None, factor: float = 1.0
) -> LayerErrors:
    """Return errors that grow with depth; ``factor`` scales them, one layer may be exact."""
    network = make_network(depths)
    widths = [bits.a for bits in network.layer_bits()]
    layers = []
    for i, (name, bits) in enumerate(zip(network.layer_names(), network.layer_bits(), strict=True)):
        own = 0.0 if i == exact else factor * 1e-4 * (i + 1)
        layers.append(
            LayerError(
                name=name,
                w_bits=bits.w,
                a_bits=bits.a,
                out_bits=[*widths[1:], 8][i],
                signal=2.0,
                error=10 * own,
                own_signal=1.0,
                own_error=own,
            )
        )
    return LayerErrors(data="digits", split="test", images=64, layers=tuple(layers))


def test_record() -> None:
    measured = errors(exact=1)
    record = layer_error_data(measured, worst=2)
    assert record.axis.names == make_network().layer_names()
    assert record.own_db == tuple(layer.own_sqnr_db for layer in measured.layers)
    assert record.total_db == tuple(layer.sqnr_db for layer in measured.layers)
    assert (record.own_db[1], record.worst, record.images, record.split) == (
        math.inf,
        (5, 4),
        64,
        "test",
    )
    assert record.own_db[0] == pytest.approx(40.0)
    assert record.out_bits == (*record.a_bits[1:], 8)


@pytest.mark.parametrize(
    ("depths", "factor"),
    [((1,), 1e-6), ((1,), 1.0), ((1,), 1e6), ((3, 3, 3, 3, 3), 1e4), ((6, 6, 6, 6, 6, 3), 1.0)],
)
def test_drawn_and_saved(depths: tuple[int, ...], factor: float, tmp_path: Path) -> None:
    check_saved(
        draw_layer_error(layer_error_data(errors(depths, exact=2, factor=factor))),
        tmp_path / "plots",
        "layer_error",
    )


def test_worst_layers_are_named() -> None:
    found = " ".join(texts(draw_layer_error(layer_error_data(errors()))))
    assert (
        "most error of their own: classifier (32.2 dB), head (33.0 dB), s1.b1.project (34.0 dB)"
        in found
    )
    assert "64 test images" in found


def test_nothing_but_exact_layers() -> None:
    figure = draw_layer_error(layer_error_data(errors(factor=0.0)))
    assert problems(figure) == []
    assert texts(figure).count("exact") == 6
    assert "most error" not in " ".join(texts(figure))


def test_no_signal_at_all() -> None:
    layer = errors().layers[0]
    silent = LayerErrors(
        data="d",
        split="test",
        images=1,
        layers=(
            layer,
            LayerError(
                name="head",
                w_bits=2,
                a_bits=2,
                out_bits=8,
                signal=0.0,
                error=1.0,
                own_signal=0.0,
                own_error=1.0,
            ),
        ),
    )
    assert layer_error_data(silent).own_db[1] == -math.inf
    assert problems(draw_layer_error(layer_error_data(silent))) == []
