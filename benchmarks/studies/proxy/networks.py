"""The networks of each part of the proxy study, by name."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.studies.proxy.sampling import Setting, budget_network, free_network
from benchmarks.studies.proxy.uniform import baseline_networks, calibration_networks
from nas_engine.architecture import Architecture
from nas_engine.errors import UnknownNameError

PARTS = ("free", "budget", "calibration", "baselines")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A network to be trained."""

    name: str
    """Of its files, such as ``budget-007``."""
    title: str
    """Name of the part's network."""
    architecture: Architecture


def networks(part: str, count: int, setting: Setting) -> list[Chosen]:
    """Return the first networks of a part; a larger count begins with the same ones.

    Raises:
        UnknownNameError: No such part.
    """
    if part not in PARTS:
        raise UnknownNameError("part", part, PARTS)
    if part in ("free", "budget"):
        draw = free_network if part == "free" else budget_network
        found = [("sampled", draw(setting, index)) for index in range(count)]
    else:
        found = (
            calibration_networks(setting)
            if part == "calibration"
            else baseline_networks(setting, count)
        )[:count]
    return [
        Chosen(name=f"{part}-{i:03d}", title=title, architecture=network)
        for i, (title, network) in enumerate(found)
    ]
