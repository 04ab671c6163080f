"""Error of each layer's integers against float: ``layer_errors.json`` and a table. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from nas_engine.errors import InputError
from nas_engine.escaping import terminal_line
from nas_engine.files import write_atomically
from nas_engine.ranges import Range
from nas_engine.records import Count, check, read_sealed, sealed
from nas_engine.report.tables import aligned

FORMAT = "nas-search/layer-errors/1"
"""First key of the file."""

FILE = "layer_errors.json"
"""Its name in a run directory."""

_Width = Annotated[int, Range(2, 8)]
_Square = Annotated[float, Range(0, 1e300)]


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
    """Mean squares of one layer, over all values and images in real units.

    Of its float output, and of the difference of its integers from it.
    """

    name: str
    """Its name."""
    w_bits: _Width
    """Bits of its weights."""
    a_bits: _Width
    """Bits of the activations that enter."""
    out_bits: _Width
    """Bits of the activations that leave, to which its results are rounded."""
    signal: _Square
    """Output of the network without rounding."""
    error: _Square
    """Output of the integer network less that: errors of all layers so far together."""
    own_signal: _Square
    """Output of this layer without rounding, fed with what the integer network gives it."""
    own_error: _Square
    """Output of the integer layer less that: rounded weights and rounded results of this layer
    alone."""

    DERIVED: ClassVar[tuple[str, ...]] = ("sqnr_db", "own_sqnr_db")

    def __post_init__(self) -> None:
        check(self)

    @property
    def sqnr_db(self) -> float:
        """Signal-to-quantisation-noise ratio up to this layer, dB; see ``decibels``."""
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
    images: Count
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
        """Return the indices of the ``count`` layers that add most error, the worst first.

        That is lowest ``own_sqnr_db``; exact layers are never among them.
        """
        order = sorted(range(len(self.layers)), key=lambda i: self.layers[i].own_sqnr_db)
        return tuple(i for i in order[:count] if self.layers[i].own_sqnr_db < math.inf)


def as_cells(errors: LayerErrors) -> list[list[str]]:
    """Return name, bits and both ratios of every layer, as a table shows them.

    Bits of weights, input and output; ratios in dB, alone and up to here.
    """
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


def write_layer_errors(
    path: Path, errors: LayerErrors, made_of: Mapping[str, str] | None = None
) -> None:
    """Write a record as JSON that carries its own digest; ratios that are not finite are ``None``.

    Args:
        path: The file.
        errors: What to write.
        made_of: Digests of what it is of, by name.

    Raises:
        StorageError: The disk is full.
    """
    write_atomically(path, sealed(FORMAT, errors, made_of))


def read_layer_errors(path: Path) -> LayerErrors:
    """Return a record; whether it is of the files next to it, ``nas_engine.runs.chain`` says.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, changed by hand, of another version, or ratios that do not follow
            from the mean squares.
    """
    return read_sealed(LayerErrors, path, FORMAT, "remove it and measure again")
