"""The C code of a shortcut's addition, for every pair of operands, on emulated cores.

python -m benchmarks.additions [--cores cortex-m7,cortex-m0] [--compilers gcc,zig] [--pairs 24]

A pair of scales is a network whose addition meets each of the 65,536 pairs of a shortcut's and a
result's 8 bits once; its sums are compared with those of `nas_engine.integer.arithmetic.add`. The
cores with DSP instructions run assembly, the Cortex-M0 portable C.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Row, main
from benchmarks.kernels import write_export
from nas_engine.exporters.packing import addition_flags
from nas_engine.integer.arithmetic import add
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import Images, trace
from nas_engine.quantization.record import QuantisedLayer
from nas_engine.testing.networks import Untrained
from nas_engine.verification.cortex_m import CortexM

CHANNELS = 16
"""Channels of each operand."""


def operands() -> Images:
    """Return an image, ``[1, 64, 64, 32]``: the shortcut's channels, then the result's.

    Both together take every pair of values once.
    """
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(256), np.arange(256)))
    shape = 64, 64, CHANNELS
    return np.concatenate([first.reshape(shape), second.reshape(shape)], -1)[None].astype(np.uint8)


def network_of(ratio: float, far: float, signed: tuple[bool, bool]) -> IntegerModel:
    """Return the network of one addition.

    Args:
        ratio: Scale of the layer's own result, in those of the shortcut.
        far: Scale of the sum, in the larger one of the two.
        signed: Whether shortcut and sum are signed.
    """
    built = Untrained((64, 64, 2 * CHANNELS), np.random.default_rng(0))
    image, scale = built.tensors[0], 0.02

    def copied(begin: int, scale: float, offset: float) -> None:
        """Make the layer added last pass some channels of the image as they are."""
        step = built.steps[-1]
        assert isinstance(step, QuantisedLayer)
        weights = np.zeros((CHANNELS, 1, 1, 2 * CHANNELS), np.int8)
        weights[np.arange(CHANNELS), 0, 0, begin + np.arange(CHANNELS)] = 127
        ones = np.ones(CHANNELS)
        built.steps[-1] = replace(
            step,
            weights=weights,
            weight_scale=scale / 127 / image.scale * ones,
            gain=ones,
            offset=offset * scale * ones,
        )

    shortcut = built.layer(
        "shortcut", CHANNELS, 1, 1, 8, 8, source=image, signed=signed[0], scale=scale
    )
    copied(0, scale, 0 if signed[0] else 128)
    built.layer(
        "sum",
        CHANNELS,
        1,
        1,
        8,
        8,
        source=image,
        signed=signed[1],
        shortcut=shortcut,
        scale=far * max(scale, ratio * scale),
        own=ratio / far / max(1.0, ratio),
    )
    copied(CHANNELS, ratio * scale, 0)
    built.pool("pool", 64, 1)
    built.layer("classifier", 2, 1, 1, 8, 8, signed=True)
    return lower(built.network())


def sums_of(model: IntegerModel) -> tuple[npt.NDArray[np.int8], tuple[str, ...]]:
    """Return the sums of all pairs by the arithmetic, ``[64, 64, 16]``, and the layer's flags."""
    step = next(node for node in model.nodes if node.name == "sum")
    assert isinstance(step, IntegerConvolution)
    assert step.addition is not None
    shortcut, target = model.tensor(step.shortcut), model.tensor(step.output)
    first, second = np.split(operands()[0].astype(np.int64), 2, -1)
    sums = add(
        first + (shortcut.low - shortcut.zero_point),
        second - 128,
        (step.addition.first, step.addition.second, step.addition.out),
    )
    clipped = np.clip(sums + target.zero_point, target.low, target.high)
    return clipped.astype(np.int8), addition_flags(step.addition, shortcut, target)


def run(
    cores: str = "cortex-m7,cortex-m4,cortex-m33,cortex-m0",
    compilers: str = "gcc,zig",
    pairs: int = 24,
) -> list[Row]:
    rng, images = np.random.default_rng(0), operands()
    drawn = [(1.0, 1.0, (True, True)), (1.0, 0.7, (False, False))]
    for _ in range(pairs - len(drawn)):
        ratio, far = np.exp(rng.uniform((-4.8, -1.5), (4.8, 1.5)))
        drawn.append((float(ratio), float(far), (bool(rng.integers(2)), bool(rng.integers(2)))))
    models = [network_of(*each) for each in drawn]
    quick = 0
    for model in models:
        sums, flags = sums_of(model)
        quick += len(flags) > 1
        assert np.array_equal(trace(model, images)["sum output"][0], sums)
    rows = [
        Row(
            what="pairs of scales that take the quick form",
            measured=f"{quick} of {len(models)}",
            at_least=f"{len(models)}",
            reached=quick == len(models),
        )
    ]
    for core in cores.split(","):
        for compiler in compilers.split(","):
            backend = CortexM(core=core, compiler=compiler, sram_bytes=1 << 20, images_limit=1)
            bad, per = 0, []
            for model in models:
                with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
                    folder = Path(name)
                    golden = write_export(model, images, folder)
                    found = backend.run(folder, model, images, folder / "work")
                bad += golden.checksums["sum output"] != found.checksums["sum output"]
                per.append((found.instructions["sum"] - found.instructions["shortcut"]) / 65536)
            rows.append(
                Row(
                    what=(
                        f"pairs of scales, {len(models) * 65536:,} sums, of which one differs: "
                        f"{core}, {found.version}"
                    ),
                    measured=(
                        f"{bad} of {len(models)}; {np.mean(per):.1f} instructions a sum more than "
                        "without"
                    ),
                    at_least="0",
                    reached=bad == 0,
                )
            )
    return rows


if __name__ == "__main__":
    main(
        "additions",
        run,
        cores="cortex-m7,cortex-m4,cortex-m33,cortex-m0",
        compilers="gcc,zig",
        pairs=24,
    )
