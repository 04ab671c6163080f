"""LayerErrors: how far the integers of each layer are from float, as ``layer_errors.json`` keeps it and a table shows it. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nas_engine.errors import InputError
from nas_engine.escaping import terminal_line
from nas_engine.files import write_atomically
from nas_engine.report.tables import aligned
from nas_engine.sealed import read_sealed_json, seal_json
from nas_engine.strict_yaml import Fields

FORMAT = "nas-search/layer-errors/1"
"""First key of the file."""

FILE = "layer_errors.json"
"""Its name in a run directory."""

_SQUARES = ("signal", "error", "own_signal", "own_error")
_DECIBELS = ("sqnr_db", "own_sqnr_db")
_WIDTHS = ("w_bits", "a_bits", "out_bits")
_REMEDY = "remove it and measure again"


def decibels(signal: float, error: float) -> float:
    """Return the signal-to-quantisation-noise ratio, ``10 log10(signal / error)`` in dB.

    Lin, Talathi and Annapureddy, "Fixed Point Quantization of Deep Convolutional Networks", ICML
    2016, section 3.

    Args:
        signal: Mean (or sum) of the squares of the float values, 0 or above.
        error: Mean (or sum) of the squares of what the quantised values differ by, over as many
            values.

    Returns:
        Infinity without error, also where there is no signal either; minus infinity where error
        stands without a signal.
    """
    if error == 0:
        return math.inf
    return 10 * (math.log10(signal) - math.log10(error)) if signal else -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """One layer: mean squares, over all values and images in real units, of its float output and of what its integers differ by."""

    name: str
    """Its name."""
    w_bits: int
    """Bits of its weights."""
    a_bits: int
    """Bits of the activations that enter."""
    out_bits: int
    """Bits of the activations that leave, to which its results are rounded."""
    signal: float
    """Output of the network without rounding."""
    error: float
    """Output of the integer network less that: errors of all layers so far together."""
    own_signal: float
    """Output of this layer without rounding, fed with what the integer network gives it."""
    own_error: float
    """Output of the integer layer less that: rounded weights and rounded results of this layer
    alone."""

    def __post_init__(self) -> None:
        for name in _WIDTHS:
            if not 2 <= getattr(self, name) <= 8:
                raise InputError(f"{self.name}: {name} is {getattr(self, name)!r}; expected 2 to 8")
        for name in _SQUARES:
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"{self.name}: {name} is {getattr(self, name)!r}; expected a finite mean of "
                    "squares, 0 or above"
                )

    @property
    def sqnr_db(self) -> float:
        """Signal-to-quantisation-noise ratio of the network up to this layer, dB; see ``decibels``."""
        return decibels(self.signal, self.error)

    @property
    def own_sqnr_db(self) -> float:
        """Signal-to-quantisation-noise ratio of this layer alone, dB; see ``decibels``."""
        return decibels(self.own_signal, self.own_error)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerErrors:
    """All layers of one network on the same images."""

    data: str
    """Name of the data."""
    split: str
    """``"test"``, ``"validation"`` or ``"train"``."""
    images: int
    """Images measured on."""
    layers: tuple[LayerError, ...]
    """Layers from stem to classifier."""

    def __post_init__(self) -> None:
        if self.images < 1 or not self.layers:
            raise InputError(
                f"errors of {len(self.layers)} layers on {self.images} images; expected at least "
                "one of each"
            )

    def worst(self, count: int) -> tuple[int, ...]:
        """Return the indices of the ``count`` layers that add most error (lowest ``own_sqnr_db``), the worst first; exact ones never."""
        order = sorted(range(len(self.layers)), key=lambda i: self.layers[i].own_sqnr_db)
        return tuple(i for i in order[:count] if self.layers[i].own_sqnr_db < math.inf)


def as_cells(errors: LayerErrors) -> list[list[str]]:
    """Return name, bits (weights, input, output) and both ratios (alone, up to here; dB) of every layer, as a table shows them."""
    return [
        [
            layer.name,
            *(str(bits) for bits in (layer.w_bits, layer.a_bits, layer.out_bits)),
            _text(layer.own_sqnr_db),
            _text(layer.sqnr_db),
        ]
        for layer in errors.layers
    ]


def _text(value: float) -> str:
    if math.isfinite(value):
        return f"{value:.1f}"
    return "exact" if value > 0 else "no signal"


def in_words(errors: LayerErrors, count: int = 3) -> str:
    """Return which layers add most error, and on what that was measured."""
    worst = [errors.layers[i] for i in errors.worst(count)]
    names = ", ".join(f"{layer.name} ({layer.own_sqnr_db:.1f} dB)" for layer in worst)
    text = f"Most error is added at {names}." if worst else "Every layer is exact."
    kind = "images" if errors.split == "all" else f"{errors.split} images"
    return (
        f"{text} Measured on {errors.images:,} {kind} of {terminal_line(errors.data)}; 6 dB are "
        "about one bit."
    )


def errors_table(errors: LayerErrors) -> str:
    """Return the ratios of every layer as plain text, and the worst in words below."""
    rows = [["layer", "w", "a", "out", "alone [dB]", "up to here [dB]"], *as_cells(errors)]
    title = (
        "signal to quantisation noise, integers against float: of the layer alone, and of the "
        "network up to it"
    )
    return "\n".join(
        [title, *(f"  {line}" for line in aligned(rows, right=range(1, 6))), in_words(errors)]
    )


def as_rows(errors: LayerErrors) -> list[dict[str, Any]]:
    """Return the layers as the file has them; ratios that are not finite are ``None``, the mean squares say which they are."""
    return [
        {f.name: getattr(layer, f.name) for f in fields(layer)}
        | {name: _finite(getattr(layer, name)) for name in _DECIBELS}
        for layer in errors.layers
    ]


def write_layer_errors(
    path: Path, errors: LayerErrors, made_of: Mapping[str, str] | None = None
) -> None:
    """Write a record as JSON that carries its own digest, its layers as ``as_rows`` gives them.

    Args:
        path: The file.
        errors: What to write.
        made_of: Digests of what it is of, by name.

    Raises:
        StorageError: The disk is full.
    """
    head = {name: getattr(errors, name) for name in ("data", "split", "images")}
    named = {} if made_of is None else {"made_of": dict(made_of)}
    write_atomically(
        path, seal_json({"format": FORMAT, **head, "layers": as_rows(errors), **named})
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_layer_errors(path: Path) -> LayerErrors:
    """Return a record; whether it is of the files beside it, ``nas_engine.runs.chain`` says.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, changed by hand, of another version, or ratios that do not follow
            from the mean squares.
    """
    data, _ = read_sealed_json(path, _REMEDY)
    top = Fields(data, path).only("format", *(f.name for f in fields(LayerErrors)), "made_of")
    if (found := top.take("format", None)) != FORMAT:
        raise top.error("format", f"is {found!r}; expected '{FORMAT}'; {_REMEDY}")
    layers = tuple(_layer(part) for part in top.take_each("layers"))
    with top.located():
        return LayerErrors(
            data=top.take_str("data"),
            split=top.take_str("split"),
            images=top.take_int("images", low=1),
            layers=layers,
        )


def _layer(part: Fields) -> LayerError:
    part.only(*(f.name for f in fields(LayerError)), *_DECIBELS)
    with part.located():
        layer = LayerError(
            name=part.take_str("name"),
            w_bits=part.take_int("w_bits", low=2, high=8),
            a_bits=part.take_int("a_bits", low=2, high=8),
            out_bits=part.take_int("out_bits", low=2, high=8),
            **{name: float(part.take_number(name, high=math.inf)) for name in _SQUARES},
        )
    for name in _DECIBELS:
        stored = part.take_number(name, low=-math.inf, high=math.inf) if part.has(name) else None
        expected = _finite(getattr(layer, name))
        if (stored is None) != (expected is None) or (
            stored is not None and expected is not None and abs(stored - expected) > 1e-6
        ):
            raise part.error(name, f"is {stored!r}, the mean squares give {expected!r}; {_REMEDY}")
    return layer
