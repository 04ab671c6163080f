"""MobileNetV2s of one precision for the proxy study, and what searches find for the same budget.

calibration: one width of weights and one of activations in all layers but the ends, over width
multipliers, depths and bits. baselines: networks that the search finds for a budget, against the
uniform-precision MobileNetV2s that fill the same budget best.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.studies.proxy.candidates import RHO_LIMITS
from benchmarks.studies.proxy.sampling import Setting, costs
from device_profiles import load_device
from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.errors import InputError
from nas_engine.evolution.limits import UNLIMITED
from nas_engine.evolution.problem import make_problem
from nas_engine.evolution.search import SearchSettings, done, finish, init, step
from nas_engine.scoring.qe_score import ScoreSettings
from search_spaces import ChannelRange, SearchSpace

CHUNK = 2048
"""Most networks that a search breeds at a time, as by default."""

BASE_STEM, BASE_CHANNELS, BASE_HEAD = 16, (16, 24, 32, 48, 64), 128
"""Channels of the MobileNetV2 that multipliers scale (chosen here, at 32x32)."""

DEPTHS = ((1, 1, 1, 1, 1), (1, 2, 2, 2, 1), (2, 2, 2, 2, 2))
CALIBRATION_WIDTHS, CALIBRATION_EXPANSION = (0.5, 0.75, 1.0, 1.25), 3.0
CALIBRATION_BITS = (
    *((b, b) for b in range(2, 9)),
    *((b, 8) for b in (2, 3, 4)),
    *((8, b) for b in (2, 3, 4)),
)
BASELINE_BITS = (2, 3, 4, 5, 6, 8)
BASELINE_WIDTHS, BASELINE_EXPANSIONS = np.arange(0.25, 4.01, 0.125), (1.5, 2.0, 3.0, 4.0)


def uniform_network(
    setting: Setting, *, width: float, depth: Sequence[int], expansion: float, w: int, a: int
) -> Architecture:
    """Return a MobileNetV2 of the space with the same bits in every layer but stem and classifier,
    which have those of the space.
    """
    space = setting.shape
    inner, end = Bits(w, a), Bits(space.end_bits, space.end_bits)
    blocks = []
    for stage, channels, residuals in zip(space.stages, BASE_CHANNELS, depth, strict=True):
        out, unit = _scaled(stage.channels, channels * width), stage.channels.step
        mid = max(int(np.floor(expansion * out / unit + 0.5)) * unit, unit)
        bits = ((inner, inner, inner),) * residuals
        blocks.append(
            Block(kernel=3, stride=stage.strides[0], bottleneck=mid, channels=out, bits=bits)
        )
    return Architecture(
        resolution=setting.resolution,
        input_channels=space.input_channels,
        pooled_shortcut=space.pooled_shortcut,
        stem=Convolution(
            kernel=space.stem_kernel,
            stride=space.stem_strides[0],
            channels=_scaled(space.stem_channels, BASE_STEM * width),
            bits=end,
        ),
        blocks=tuple(blocks),
        head=Convolution(
            kernel=1, stride=1, channels=_scaled(space.head_channels, BASE_HEAD * width), bits=inner
        ),
        classifier=Classifier(class_count=setting.class_count, bits=end),
    )


def _scaled(channels: ChannelRange, value: float) -> int:
    return int(
        np.clip(
            int(np.floor(value / channels.step + 0.5)) * channels.step,
            channels.minimum,
            channels.maximum,
        )
    )


def calibration_networks(setting: Setting) -> list[tuple[str, Architecture]]:
    """Return every fixed-precision MobileNetV2 within the most MACs, in random order, with its
    title.
    """
    found = []
    for width, depth, (w, a) in itertools.product(CALIBRATION_WIDTHS, DEPTHS, CALIBRATION_BITS):
        network = uniform_network(
            setting, width=width, depth=depth, expansion=CALIBRATION_EXPANSION, w=w, a=a
        )
        found.append((f"w{w}a{a}, width x{width:g}, {sum(depth)} inverted residuals", network))
    affordable = np.flatnonzero(
        costs(setting, [network for _, network in found])[2] <= setting.macs[1]
    )
    return [found[i] for i in np.random.default_rng(2).permutation(affordable)]


def baseline_networks(setting: Setting, count: int) -> list[tuple[str, Architecture]]:
    """Return what searches find for the budget, then the uniform MobileNetV2s of largest Flash
    within it, fullest first; with titles.
    """
    space = setting.shape
    weights = space.stage_weights
    searches: list[tuple[str, SearchSpace, tuple[float, ...], float]] = [
        ("searched, QE-Score as published", space, weights, UNLIMITED),
        *((f"searched, effectiveness at most {rho:g}", space, weights, rho) for rho in RHO_LIMITS),
        ("searched, at most 20 convolutions", replace(space, max_layers=20), weights, UNLIMITED),
        ("searched, equal stage weights", space, (1.0,) * len(weights), UNLIMITED),
    ]
    found = [
        (title, searched(setting, within, alpha, rho))
        for title, within, alpha, rho in searches[:count]
    ]
    uniform: list[tuple[float, str, Architecture]] = []
    for depth, b in itertools.product(DEPTHS, BASELINE_BITS):
        grid = [
            uniform_network(setting, width=float(width), depth=depth, expansion=expansion, w=b, a=b)
            for width, expansion in itertools.product(BASELINE_WIDTHS, BASELINE_EXPANSIONS)
        ]
        sram, size, macs = costs(setting, grid)
        fitting = (
            (sram <= setting.sram_bytes) & (size <= setting.flash_bytes) & (macs <= setting.macs[1])
        )
        if fitting.any():
            largest = int(np.argmax(np.where(fitting, size, 0.0)))
            uniform.append(
                (
                    float(size[largest]),
                    f"uniform {b} bits, {sum(depth)} inverted residuals",
                    grid[largest],
                )
            )
    return found + [
        (title, network) for _, title, network in sorted(uniform, key=lambda entry: -entry[0])
    ]


def searched(
    setting: Setting,
    space: SearchSpace,
    stage_weights: tuple[float, ...],
    effectiveness: float = UNLIMITED,
) -> Architecture:
    """Return the network of highest QE-Score that a search finds within Flash, SRAM, the most MACs
    and a limit on effectiveness.
    """
    problem = make_problem(
        space,
        load_device("cortex-m7").with_memory(
            512 * 1024, 1024 * 1024
        ),  # its budgets are replaced below by bytes without reserves
        resolution=setting.resolution,
        class_count=setting.class_count,
        limits={"macs": setting.macs[1], "effectiveness": effectiveness},
        score=ScoreSettings(stage_weights=stage_weights),
    )
    problem = replace(
        problem, arena_bytes=float(setting.sram_bytes), flash_bytes=float(setting.flash_bytes)
    )
    settings = SearchSettings(
        seed=0, candidates=setting.candidates, chunk=min(CHUNK, setting.candidates)
    )
    state = init(problem, settings, itertools.starmap)
    while not done(state, settings):
        state = step(state, problem, settings, itertools.starmap)
    result = finish(state, problem)
    if result is None:
        raise InputError(
            f"no network within the limits was found in {setting.candidates:,} candidates; "
            "expected more of them"
        )
    return result.best
