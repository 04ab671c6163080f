"""Report of one allocation method, as a table and as ``allocation.json``."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from nas_engine.allocation.device_problem import FLASH, SRAM
from nas_engine.architecture import Bits
from nas_engine.errors import InputError
from nas_engine.files import write_atomically
from nas_engine.records import Count, Percent, Text, plain, sealed
from nas_engine.report.tables import WIDTH, aligned

FORMAT = "nas-search/allocation/1"
"""First key of ``allocation.json``."""

COMPARISON_FORMAT = "nas-search/allocations/1"
"""First key of ``comparison.json``."""


def _figure(value: Any, name: str) -> float:
    """Return a number, nan for ``None``: what is not finite is written so."""
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise InputError(f"{name}: is {value!r}; expected a number, or null where there is none")
    return float(value)


_Figure = Annotated[float, _figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A network on the images that no method chose by."""

    loss: float
    """Mean cross-entropy, nats."""
    accuracy: Percent
    """Top-1 accuracy, percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedChoice:
    """The quantised network of a method, without training."""

    loss: float
    """Mean cross-entropy, nats."""
    loss_change: _Figure
    """Loss less that of the reference, all widths at their widest, nats."""
    accuracy: Percent
    """Top-1 accuracy, percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Use of one resource."""

    used: _Figure
    """Cost of a choice, in the unit of the resource."""
    limit: _Figure
    """The most that it may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement: its size and its uncertainty; nan where it is not recorded."""

    name: str
    """``singles``, ``pairs``, ``hessian`` or ``entropies``."""
    images: int
    """Images measured on."""
    seconds: float
    """Wall time, earlier parts included."""
    passes: _Figure = math.nan
    """Forward passes of the whole network that it was worth."""
    largest: Text = ""
    """The choice that raises the loss most."""
    loss: _Figure = math.nan
    """By how much, nats."""
    standard_error: _Figure = math.nan
    """Standard error of that over the images."""
    pair_noise: _Figure = math.nan
    """Noise of the cross terms in parts of the losses, from how far the two halves of the images
    are apart."""

    @property
    def summary(self) -> str:
        """One line."""
        text = f"{self.name}: {self.images:,} images, {self.seconds:,.1f} s"
        if self.largest:
            text += (
                f"; largest loss change {self.loss:+.4f}, standard error "
                f"{self.standard_error:.4f} ({self.largest})"
            )
        if math.isfinite(self.pair_noise):
            text += f"; noise of cross terms {self.pair_noise:.2g}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationReport:
    """Widths that one method chose, and their quality without training."""

    KEYS: ClassVar[Mapping[str, str]] = {
        "mean_w_bits": "mean_weight_bits",
        "mean_a_bits": "mean_activation_bits",
        "predicted": "predicted_loss_change",
    }

    method: str
    """Its name."""
    bits: Mapping[str, Bits]
    """Widths of each layer by its name, in the order they run."""
    mean_w_bits: _Figure
    """Mean width of all weights that could be chosen, weighted by how many they are."""
    mean_a_bits: _Figure
    """Mean width of all activations likewise."""
    usage: Mapping[str, Usage]
    """Cost and limit of each resource."""
    objective: _Figure = math.nan
    """Value of the method's objective at its choice; nan for a method without one."""
    bound: _Figure = math.nan
    """No choice that fits has a smaller objective; minus infinity where nothing is known, nan
    without objective."""
    gap: _Figure = math.nan
    """Relative distance of objective and bound, 0 when proven; infinity without a bound, nan
    without objective."""
    status: Text
    """``optimal``, ``feasible`` or ``heuristic``."""
    predicted: _Figure = math.nan
    """Loss change that the method predicts for what came out, nats; nan where it predicts none."""
    judged: JudgedChoice
    """The quantised network without training."""
    seconds: float
    """Wall time of method, swaps and tuning, without measurements."""
    notes: tuple[str, ...] = ()
    """Notes for the user, one sentence each."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the method's own."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(self.bits)

    @property
    def w_bits(self) -> tuple[int, ...]:
        """Weight bits of each layer."""
        return tuple(bits.w for bits in self.bits.values())

    @property
    def a_bits(self) -> tuple[int, ...]:
        """Bits of the activations that enter each layer."""
        return tuple(bits.a for bits in self.bits.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationSetting:
    """Conditions that all methods of one refinement share."""

    KEYS: ClassVar[Mapping[str, str]] = {"floating": "float", "reference": "widest"}

    network: str
    """File of the float weights, or a description where there is none."""
    data: str
    """A path, or ``digits``."""
    seed: int
    """Seed of images and methods."""
    images: Count
    """Training images that methods measure on."""
    judged_images: Count
    """Other training images that judge."""
    versions: Mapping[str, str]
    """Versions of packages."""
    measurements: tuple[Measurement, ...]
    """Measurements with their uncertainty."""
    floating: Judged
    """The float network."""
    reference: Judged
    """The network with all widths at their widest."""
    warnings: tuple[str, ...] = ()
    """Warnings, such as a network that was never trained; at the top of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation(AllocationReport):
    """Content of ``allocation.json``."""

    warnings: tuple[str, ...]
    """As in ``AllocationSetting``."""
    setting: AllocationSetting
    """Conditions of the method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Content of ``comparison.json``."""

    warnings: tuple[str, ...]
    """As in ``AllocationSetting``."""
    setting: AllocationSetting
    """Conditions of the methods."""
    methods: tuple[AllocationReport, ...]
    """Their choices."""


def write_allocation(
    path: Path, report: AllocationReport, setting: AllocationSetting, made_of: Mapping[str, str]
) -> None:
    """Write ``allocation.json``.

    Args:
        path: The file.
        report: What a method chose.
        setting: What all methods have in common.
        made_of: Digests of what it belongs to, by name.

    Raises:
        StorageError: The disk is full.
    """
    values = plain(setting)
    values = {"warnings": values.pop("warnings"), **plain(report), "setting": values}
    write_atomically(path, sealed(FORMAT, values, made_of))


def comparison(reports: Sequence[AllocationReport], setting: AllocationSetting) -> dict[str, Any]:
    """Return what ``comparison.json`` holds and ``--json`` prints."""
    values = plain(setting)
    return {
        "format": COMPARISON_FORMAT,
        "warnings": values.pop("warnings"),
        "setting": values,
        "methods": plain(reports),
    }


def allocation_table(reports: Sequence[AllocationReport], setting: AllocationSetting) -> str:
    """Return the methods, one line each, with the figures they were judged by.

    There is no line break at the end.
    """
    rows = [
        [
            "method",
            "bits w",
            "bits a",
            "Flash [B]",
            "SRAM [B]",
            "loss +",
            "predicted",
            "accuracy",
            "gap",
            "time",
        ]
    ]
    for report in reports:
        change = f"{report.judged.loss_change:+.4f}"
        cells = [
            *(_used(report.usage.get(name)) for name in (FLASH, SRAM)),
            change,
            _number(report.predicted, "+.4f"),
        ]
        means = [_number(report.mean_w_bits, ".2f"), _number(report.mean_a_bits, ".2f")]
        rows.append(
            [
                report.method,
                *means,
                *cells,
                f"{report.judged.accuracy:.2f} %",
                _gap(report.gap),
                f"{report.seconds:.1f} s",
            ]
        )
    facts = [
        f"judged without training on {setting.judged_images:,} training images that no "
        "measurement saw; "
        f"float: accuracy {setting.floating.accuracy:.2f} %, loss {setting.floating.loss:.4f}; "
        f"all at their widest: {setting.reference.accuracy:.2f} %, "
        f"{setting.reference.loss:.4f}, which 'loss +' and 'predicted' count from",
        *(measurement.summary for measurement in setting.measurements),
    ]
    notes = [f"{report.method}: {note}" for report in reports for note in report.notes]
    lines = [*(f"warning: {warning}" for warning in setting.warnings), *facts]
    return "\n".join(
        [
            *_wrapped(lines),
            "",
            *aligned(rows, right=range(1, len(rows[0]))),
            *([""] if notes else []),
            *_wrapped(notes),
        ]
    )


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def _used(usage: Usage | None) -> str:
    if usage is None:
        return "-"
    return f"{usage.used:,.0f} {100 * usage.used / usage.limit:5.1f} %"


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _gap(gap: float) -> str:
    if math.isnan(gap):
        return "-"
    return f"{100 * gap:.1f} %" if math.isfinite(gap) else "unknown"
