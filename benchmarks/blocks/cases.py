"""Random networks of one to three units, cut at random, as the words that ``driver.c`` reads."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from nas_engine.costs.plan import live_bytes, plan_graph
from nas_engine.costs.rows import ImageInput, Segment, segments_by_end, units_of
from nas_engine.exporters.c_steps import c_steps
from nas_engine.exporters.row_stages import row_stages
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.store import GoldenVectors
from nas_engine.network.kernels import KERNELS
from nas_engine.testing.networks import Untrained

KINDS = ("inverted-residual", "inverted-residual", "residual", "residual", "depthwise-separable")
"""Kinds of units, drawn with equal chances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One network under one cut."""

    index: int
    """Number of the case; with the seed it gives all of it."""
    words: bytes
    """The network as ``driver.c`` reads it, the count of its words in front."""
    blocks: tuple[str, ...]
    """Names of the units that run by rows, without stem and head."""
    in_pairs: int
    """Number of those whose depth-wise layers make two rows at once."""
    what: str
    """Cut and shapes, for messages."""


def case(seed: int, index: int, *, pairs: bool = False) -> Case:
    """Return a case; the same seed and index give the same.

    With ``pairs`` depth-wise layers that make two rows at once are the rule: activations inside
    units have 8 bits, and cuts with such layers are likelier.
    """
    rng = np.random.default_rng((seed, index))
    model = network(rng, pair=(2 + index % 7, 8 if pairs else 2 + index // 7 % 7))
    image: ImageInput = "rows" if rng.integers(2) else "whole"
    segments = random_cut(rng, model, image, likelier=20 if pairs else 1)
    shape = model.tensor(model.image).shape
    golden = GoldenVectors.of(model, rng.integers(0, 256, (1, *shape), np.uint8))
    units = units_of(model)
    by_rows = [units[s.unit] for one in segments for s in one.stages]
    cuts = " ".join(
        f"{'rows' if one.how == 'rows' else 'layers'}:{units[one.first_unit].name}"
        f"..{units[one.last_unit].name}"
        for one in segments
    )
    kept = sum(tensor.kind == "weights" for tensor in plan_graph(model, segments).tensors)
    return Case(
        index=index,
        words=words_of(model, segments, golden),
        blocks=tuple(unit.name for unit in by_rows if unit.name not in ("stem", "head")),
        in_pairs=sum(stage.in_pairs for one in segments for stage in one.stages),
        what=f"image {image}, {cuts}, {kept} layers unpacked",
    )


def network(rng: np.random.Generator, pair: tuple[int, int]) -> IntegerModel:
    """Return a network of a stem, one to three units, and mostly a head, with random weights.

    Args:
        rng: Random numbers.
        pair: Width of the weights and of the activations inside of units; others are drawn.
    """

    def whole(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def channels() -> int:
        return 8 * whole(1, 3) if rng.integers(4) else whole(1, 20)

    def bits() -> int:
        return 8 if rng.integers(2) else whole(2, 8)

    weights, inside = pair
    built = Untrained((whole(1, 13), whole(1, 13), whole(1, 3)), rng)
    x = built.layer("stem", channels(), int(rng.choice([3, 3, 5])), whole(1, 2), 8, bits())
    for unit in range(whole(1, 3)):
        name, kind = f"s1.b{unit + 1}", KINDS[whole(0, len(KINDS) - 1)]
        kernel, stride = int(rng.choice([3, 5, 7])), int(rng.choice([1, 1, 2]))
        same = stride == 1 and rng.integers(4) > 0
        out = x.channels if same else channels()
        out_bits = whole(2, x.bits) if same and rng.integers(2) else bits()
        if kind == "residual":
            middle = built.layer(f"{name}.conv1", out, kernel, stride, weights, inside, source=x)
            side = x
            if not same:
                side = built.layer(
                    f"{name}.shortcut", out, 1, stride, whole(2, 8), out_bits, source=x, signed=True
                )
            x = built.layer(
                f"{name}.conv2", out, kernel, 1, weights, out_bits, source=middle, shortcut=side
            )
            continue
        entering = x
        if kind == "inverted-residual":
            x = built.layer(f"{name}.expand", channels(), 1, 1, weights, inside)
        filtered = built.layer(
            f"{name}.depthwise", x.channels, kernel, stride, weights, inside, kind="depthwise",
            steep=whole(0, 1) == 0,
        )  # fmt: skip
        x = built.layer(
            f"{name}.project", out, 1, 1, weights, out_bits, source=filtered, signed=True,
            shortcut=entering if same else None,
        )  # fmt: skip
    built.layer("head", channels(), 1, 1, weights, bits())
    side = max(built.tensors[-1].shape[:2])
    head = built.tensors[-1]
    down, right = side - head.height, side - head.width
    built.pool(
        "pool", side, 1, padding=(down // 2, down - down // 2, right // 2, right - right // 2)
    )
    built.layer("classifier", whole(2, 5), 1, 1, 8, 8, signed=True)
    return lower(built.network())


def random_cut(
    rng: np.random.Generator, model: IntegerModel, image: ImageInput, likelier: float = 1
) -> tuple[Segment, ...]:
    """Return a cut in which every segment that is possible may be; the longer the likelier.

    Segments with two rows at once are by a factor ``likelier``. The image comes whole where no cut
    can take it by rows.
    """
    by_layers = live_bytes(plan_graph(model))
    ending = segments_by_end(model, by_layers, "auto", image)
    reached = [True]
    for found in ending.values():
        reached.append(any(reached[one.first_unit] for one in found))
    if not reached[-1]:
        return random_cut(rng, model, "whole", likelier)
    end, cut = len(ending), list[Segment]()
    while end:
        ways = [one for one in ending[end] if reached[one.first_unit]]
        odds = np.array([1 + 3 * len(one.stages) for one in ways], float)
        odds[[any(stage.in_pairs for stage in one.stages) for one in ways]] *= likelier
        cut.insert(0, ways[int(rng.choice(len(ways), p=odds / odds.sum()))])
        end = cut[0].first_unit
    return tuple(cut)


def flag_values(header: str) -> dict[str, int]:
    """Return the flags of a header of the runtime by name."""
    text = (files("nas_engine.exporters") / "runtime" / header).read_text(encoding="utf-8")
    found = re.findall(r"\b(NAS_\w+) = (\d+)", text)
    return {name: int(value) for name, value in found}


def words_of(model: IntegerModel, segments: tuple[Segment, ...], golden: GoldenVectors) -> bytes:
    """Return a network, its plan and what must come out, the count of words in front."""
    plan = plan_graph(model, segments)
    stages = row_stages(model, plan)
    steps = c_steps(model, plan, stages)
    image = model.tensor(model.image)
    layer_flags, stage_flags = flag_values("nas_runtime.h"), flag_values("nas_rows.h")
    row_bytes = image.width * image.channels if plan.image_rows else 0
    words: list[int] = [
        plan.arena_bytes, len(steps), len(stages), image.elements, row_bytes, steps[0].source.offset
    ]  # fmt: skip
    for step in steps:
        kernel = KERNELS.index(step.kernel.name) if step.kernel.name in KERNELS else 0
        words += [kernel, *(n for line in step.numbers for n in line)]
        words.append(sum(layer_flags[name] for name in step.flags))
        arrays = (step.packed.weights, step.packed.constants) if step.packed else ((), ())
        words += [len(arrays[0]), len(arrays[1]), *map(int, arrays[0]), *map(int, arrays[1])]
        addition = step.step.addition if isinstance(step.step, IntegerConvolution) else None
        pairs = (addition.first, addition.second, addition.out) if addition else ((0, 0),) * 3
        words += [number & 0xFFFFFFFF for pair in pairs for number in pair]
    for stage in stages:
        flags = sum(stage_flags[name] for name in stage.flags if name != "0")
        words += [stage.first, *stage.offsets, stage.weights, *stage.rows, flags, stage.layers]
    words += [golden.checksums[node.output] for node in model.nodes]
    pixels = golden.images[0].tobytes()
    content = struct.pack(f"<{len(words)}I", *words) + pixels + bytes(-len(pixels) % 4)
    return struct.pack("<I", len(content) // 4) + content
