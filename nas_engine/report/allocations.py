"""Report of one allocation method, as a table and as ``allocation.json``."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from nas_engine.allocation.device_problem import FLASH, SRAM
from nas_engine.files import write_atomically
from nas_engine.report.tables import WIDTH, aligned
from nas_engine.sealed import seal_json

FORMAT = "nas-search/allocation/1"
"""First key of ``allocation.json``."""

COMPARISON_FORMAT = "nas-search/allocations/1"
"""First key of ``comparison.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A network on the images that no method chose by."""

    loss: float
    """Mean cross-entropy, nats."""
    accuracy: float
    """Top-1 accuracy, percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement: its size and its uncertainty; nan where it is not recorded."""

    name: str
    """``singles``, ``pairs``, ``hessian`` or ``entropies``."""
    images: int
    """Images measured on."""
    seconds: float
    """Wall time, earlier parts included."""
    passes: float = math.nan
    """Forward passes of the whole network that it was worth."""
    largest: str = ""
    """The choice that raises the loss most."""
    loss: float = math.nan
    """By how much, nats."""
    standard_error: float = math.nan
    """Standard error of that over the images."""
    pair_noise: float = math.nan
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

    method: str
    """Its name."""
    layers: tuple[str, ...]
    """Names of the layers."""
    w_bits: tuple[int, ...]
    """Weight bits of each layer."""
    a_bits: tuple[int, ...]
    """Bits of the activations that enter each layer."""
    mean_w_bits: float
    """Mean width of all weights that could be chosen, weighted by how many they are."""
    mean_a_bits: float
    """Mean width of all activations likewise."""
    usage: Mapping[str, tuple[float, float]]
    """Cost and limit of each resource."""
    objective: float
    """Value of the method's objective at its choice; nan for a method without one."""
    bound: float
    """No choice that fits has a smaller objective; minus infinity where nothing is known, nan
    without objective."""
    gap: float
    """Relative distance of objective and bound, 0 when proven; infinity without a bound, nan
    without objective."""
    status: str
    """``optimal``, ``feasible`` or ``heuristic``."""
    predicted: float
    """Loss change that the method predicts for what came out, nats; nan where it predicts none."""
    judged: Judged
    """The quantised network without training."""
    loss_change: float
    """Judged loss less that of the reference, all widths at their widest, nats."""
    seconds: float
    """Wall time of method, swaps and tuning, without measurements."""
    notes: tuple[str, ...] = ()
    """Notes for the user, one sentence each."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the method's own."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; what is no finite number becomes ``None``."""
        bits = {
            layer: f"w{w}a{a}"
            for layer, w, a in zip(self.layers, self.w_bits, self.a_bits, strict=True)
        }
        usage = {name: {"used": used, "limit": limit} for name, (used, limit) in self.usage.items()}
        values = {
            "method": self.method,
            "bits": bits,
            "mean_weight_bits": self.mean_w_bits,
            "mean_activation_bits": self.mean_a_bits,
            "usage": usage,
            "objective": self.objective,
            "bound": self.bound,
            "gap": self.gap,
            "status": self.status,
            "predicted_loss_change": self.predicted,
            "judged": {
                "loss": self.judged.loss,
                "loss_change": self.loss_change,
                "accuracy": self.judged.accuracy,
            },
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "details": dict(self.details),
        }
        return {key: plain(value) for key, value in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationSetting:
    """Conditions that all methods of one refinement share."""

    network: str
    """File of the float weights, or a description where there is none."""
    data: str
    """A path, or ``digits``."""
    seed: int
    """Seed of images and methods."""
    images: int
    """Training images that methods measure on."""
    judged_images: int
    """Other training images that judge."""
    floating: Judged
    """The float network."""
    reference: Judged
    """The network with all widths at their widest."""
    measurements: tuple[Measurement, ...]
    """Measurements with their uncertainty."""
    versions: Mapping[str, str]
    """Versions of packages."""
    warnings: tuple[str, ...] = ()
    """Warnings, such as a network that was never trained."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        names = ("network", "data", "seed", "images", "judged_images", "versions")
        judged = {
            name: {"loss": j.loss, "accuracy": j.accuracy}
            for name, j in (("float", self.floating), ("widest", self.reference))
        }
        measurements = [
            {f.name: plain(getattr(one, f.name)) for f in fields(one)} for one in self.measurements
        ]
        return {
            **{name: plain(getattr(self, name)) for name in names},
            "measurements": measurements,
            **plain(judged),
        }


def plain(value: Any) -> Any:
    """Return a value as JSON has it: Python's numbers for NumPy's, ``None`` for inf and nan."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


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
    values = {
        "format": FORMAT,
        "warnings": list(setting.warnings),
        **report.as_json(),
        "setting": setting.as_json(),
    }
    write_atomically(path, seal_json({**values, "made_of": dict(made_of)}))


def comparison(reports: Sequence[AllocationReport], setting: AllocationSetting) -> dict[str, Any]:
    """Return what ``comparison.json`` holds and ``--json`` prints."""
    return {
        "format": COMPARISON_FORMAT,
        "warnings": list(setting.warnings),
        "setting": setting.as_json(),
        "methods": [report.as_json() for report in reports],
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
        change = f"{report.loss_change:+.4f}"
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


def _used(usage: tuple[float, float] | None) -> str:
    if usage is None:
        return "-"
    used, limit = usage
    return f"{used:,.0f} {100 * used / limit:5.1f} %"


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _gap(gap: float) -> str:
    if math.isnan(gap):
        return "-"
    return f"{100 * gap:.1f} %" if math.isfinite(gap) else "unknown"
