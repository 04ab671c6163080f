"""The record of quantisation errors: ratios in dB, and its file read strictly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.errors import FileFormatError, InputError
from nas_engine.reading import UnreadableError
from nas_engine.report.layer_errors import (
    LayerError,
    LayerErrors,
    decibels,
    read_layer_errors,
    write_layer_errors,
)
from tests.resealed import content

SQUARES = st.one_of(st.just(0.0), st.floats(1e-30, 1e30))


def layer(name: str = "stem", **changes: Any) -> LayerError:
    values: dict[str, Any] = {
        "w_bits": 4,
        "a_bits": 8,
        "out_bits": 6,
        "signal": 2.0,
        "error": 0.02,
        "own_signal": 3.0,
        "own_error": 0.03,
    }
    return LayerError(name=name, **(values | changes))


def record(*layers: LayerError) -> LayerErrors:
    return LayerErrors(
        data="digits",
        split="test",
        images=64,
        layers=layers or (layer(), layer("head", own_error=0.3)),
    )


@pytest.mark.parametrize(
    ("signal", "error", "expected"),
    [
        (1.0, 0.01, 20.0),
        (1.0, 1.0, 0.0),
        (1.0, 100.0, -20.0),
        (3.0, 0.0, math.inf),
        (0.0, 0.0, math.inf),
        (0.0, 1.0, -math.inf),
    ],
)
def test_decibels(signal: float, error: float, expected: float) -> None:
    assert decibels(signal, error) == pytest.approx(expected)


def test_six_decibels_per_bit() -> None:
    assert decibels(1.0, 0.01 / 4) - decibels(1.0, 0.01) == pytest.approx(6.02, abs=0.001)


def test_worst_leaves_exact_layers_out() -> None:
    layers = (layer("a", own_error=0.0), layer("b", own_error=0.1), layer("c", own_error=1.0))
    assert (record(*layers).worst(1), record(*layers).worst(3)) == ((2,), (2, 1))


@pytest.mark.parametrize(
    "changes",
    [{"w_bits": 1}, {"a_bits": 9}, {"signal": -1.0}, {"error": math.inf}, {"own_error": math.nan}],
)
def test_values_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(changes))}: is"):
        layer(**changes)


def test_nothing_measured() -> None:
    with pytest.raises(InputError, match="0 layers on 64 images"):
        LayerErrors(data="digits", split="test", images=64, layers=())


class TestFile:
    @given(st.lists(st.tuples(SQUARES, SQUARES, SQUARES, SQUARES), min_size=1, max_size=4))
    def test_round_trip(self, rows: list[tuple[float, float, float, float]]) -> None:
        import tempfile

        layers = [
            layer(f"l{i}", signal=a, error=b, own_signal=c, own_error=d)
            for i, (a, b, c, d) in enumerate(rows)
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "layer_errors.json"
            write_layer_errors(path, record(*layers))
            json.loads(
                path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
            )
            assert read_layer_errors(path) == record(*layers)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda data: data.update(format="nas-search/layer-errors/9"),
                "format: is 'nas-search/layer-errors/9'",
            ),
            (lambda data: data.update(extra=1), "extra"),
            (lambda data: data.pop("images"), "images: is missing"),
            (lambda data: data.update(images=0), "images: is 0"),
            (lambda data: data.update(layers=[]), "errors of 0 layers on 64 images"),
            (lambda data: data["layers"][0].update(w_bits=9), r"layers\[0\].w_bits: is 9"),
            (lambda data: data["layers"][1].update(error="x"), r"layers\[1\].error: is 'x'"),
            (lambda data: data["layers"][1].update(error=-1.0), r"layers\[1\].error: is -1"),
            (lambda data: data["layers"][0].update(signal=math.inf), "signal: is inf"),
            (
                lambda data: data["layers"][0].update(sqnr_db=21.0),
                r"layers\[0\].sqnr_db: is 21.0, the other values give 20",
            ),
            (
                lambda data: data["layers"][0].update(own_sqnr_db=None),
                r"own_sqnr_db: is None, the other values give 20",
            ),
            (lambda data: data["layers"][0].pop("name"), r"layers\[0\].name: is missing"),
        ],
    )
    def test_damaged(self, tmp_path: Path, change: Any, message: str) -> None:
        path = tmp_path / "layer_errors.json"
        write_layer_errors(path, record())
        data = content(path)
        change(data)
        path.write_text(json.dumps(data))  # as by hand, without a digest
        with pytest.raises(FileFormatError, match=message):
            read_layer_errors(path)

    def test_missing_or_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "layer_errors.json"
        with pytest.raises(
            UnreadableError, match=r"cannot be read .*; remove it and measure again"
        ):
            read_layer_errors(path)
        write_layer_errors(path, record())
        path.write_text(path.read_text()[:-20])
        with pytest.raises(FileFormatError, match="does not fit the digest that it carries"):
            read_layer_errors(path)

    def test_frozen(self) -> None:
        with pytest.raises(AttributeError):
            record().images = 3  # type: ignore[misc]
        assert replace(record(), images=3).images == 3
