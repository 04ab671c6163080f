"""Cuts into segments by layers and by rows: bytes of the prototype, brute force, conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.whole_networks import mobilenet_v2
from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.costs.plan import live_bytes, plan_graph
from nas_engine.costs.rows import Segment, cut, units_of
from nas_engine.errors import InputError
from nas_engine.network.from_architecture import graph_of
from tests.populations import EVERY_SPACE, OTHER_KINDS, networks, population

W8A8 = Bits(8, 8)


def segments(network: Architecture, **options: Any) -> tuple[Segment, ...]:
    graph = graph_of(network)
    return cut(graph, live_bytes(plan_graph(graph)), **options)


def peak(network: Architecture, **options: Any) -> int:
    return max(segment.bytes for segment in segments(network, **options))


@pytest.mark.parametrize(
    ("resolution", "by_layers", "by_rows", "in_chains"),
    [
        (96, 129_184, 32_740, 27_880),
        (160, 358_560, 79_844, 37_276),
        (224, 702_624, 147_428, 59_100),
    ],
)
def test_bytes_are_those_of_the_measured_prototype(
    resolution: int, by_layers: int, by_rows: int, in_chains: int
) -> None:
    network = mobilenet_v2(resolution)
    assert peak(network, schedule="layers") == by_layers
    assert peak(network, image="rows", chains=False) == by_rows
    assert peak(network, image="rows") == in_chains


def cuts(options: list[list[Segment]], start: int = 0) -> Iterator[tuple[Segment, ...]]:
    """Yield every sequence of segments from unit ``start`` to the last."""
    if start == len(options):
        yield ()
        return
    for segment in options[start]:
        for rest in cuts(options, segment.last_unit + 1):
            yield (segment, *rest)


def scalar_bytes(
    network: Architecture, first: int, last: int, image: str, *, pairs: bool = False
) -> int | None:
    """Return the bytes of some inverted residuals by rows, from the formula, ``None`` for none.

    Unit 0 is the stem; rows of the tensors have sizes in words of 4 bytes. With ``pairs``
    depth-wise layers that can make two rows at once do, over the ring of k + 1 rows.
    """
    size, bits = -(-network.resolution // network.stem.stride), network.layer_bits()

    def words(elements: int, width: int) -> int:
        return 4 * -(-elements * width // 32)

    def dense(taps: int, outputs: int, windows: int = 0) -> int:
        return 4 * -(-taps // 4) * (min(outputs + outputs % 2, 16) + 4 + 2 * windows)

    total, most, c_in, at, unit = 0, 0, network.stem.channels, 1, 1
    if first == 0:
        pixels = network.resolution * network.input_channels
        rows = network.stem.kernel if image == "rows" else network.resolution
        total += words(pixels, 8) * rows if image == "rows" else words(pixels * rows, 8)
        total += 4
        most = dense(network.stem.kernel**2 * network.input_channels, c_in, 1)
        if last == 0:
            unpacked = image == "whole" or size * c_in * bits[1].a % 8
            return None if unpacked else total + most + words(size * size * c_in, bits[1].a)
    for block in network.blocks:
        for index in range(block.depth):
            stride = block.stride if index == 0 else 1
            out = -(-size // stride)
            a, b, c, y = (bits[at + i].a for i in range(4))
            mid, c_out, k = block.bottleneck, block.channels, block.kernel
            shortcut = c_in == c_out and stride == 1
            pad = max((out - 1) * stride + k - size, 0) // 2
            x_row, y_bytes = words(size * c_in, a), words(out * out * c_out, y)
            if first <= unit <= last:
                rows = ((size * c_in, a), (size * mid, b), (out * mid, c), (out * c_out, y))
                if any(n * width % 8 for n, width in rows) or (shortcut and y > a):
                    return None
                twos = stride == 1 and b == c == 8 and k < 7 and mid % 4 == 0
                if pairs and twos and not (shortcut and unit > first):
                    total, height = total + (k + 1) * words(size * mid, b), k + 1
                else:
                    total += min(k, size) * words(size * mid, b) + words(out * mid, c)
                    height = k
                total += 4 * -(-k * k * mid // 4) + 4
                planes = height * (size + size % 2 + k - 1) * 8
                most = max(most, dense(c_in, mid), planes, dense(mid, c_out))
                total += (1 + pad * shortcut) * x_row if unit > first else 0
                if unit == last:
                    single = shortcut and first == last
                    total += max(size * x_row, y_bytes) if single else y_bytes
                if unit == first:
                    total += 0 if shortcut and first == last else words(size * size * c_in, a)
            size, c_in, at, unit = out, c_out, at + 3, unit + 1
    return total + most


def small_networks() -> Iterator[Architecture]:
    """Yield networks of up to four inverted residuals, also with odd channels and tiny maps."""
    rng = np.random.default_rng(4)
    for number in range(100):
        channels = [int(rng.choice([8, 16])) if number % 2 else int(rng.integers(3, 12))] * 6
        depths = [1, 2] if number % 3 else [2, 2]
        options = (8,) if number % 4 == 0 else (2, 4, 8)
        blocks = tuple(
            Block(
                kernel=int(rng.choice([3, 5, 7])),
                stride=int(rng.choice([1, 2])),
                bottleneck=int(rng.choice([16, 30, 48])),
                channels=channels[stage] if rng.random() < 0.7 else 16,
                bits=tuple(
                    tuple(Bits(8, int(rng.choice(options))) for _ in range(3)) for _ in range(depth)
                ),
            )
            for stage, depth in enumerate(depths)
        )
        yield Architecture(
            resolution=int(rng.choice([5, 9, 33, 64])),
            stem=Convolution(kernel=3, stride=2, channels=channels[0], bits=W8A8),
            blocks=blocks,
            head=Convolution(kernel=1, stride=1, channels=32, bits=Bits(8, 4))
            if number % 7 or not number % 5
            else None,
            classifier=Classifier(class_count=5, bits=W8A8) if number % 5 else None,
        )


@pytest.mark.parametrize(
    ("resolution", "room", "within"), [(160, 45_056, 37_932), (224, 61_440, 60_012)]
)
def test_two_rows_at_once_take_the_room(resolution: int, room: int, within: int) -> None:
    """The chain that is the peak has them only where there is more room than it needs."""
    network = mobilenet_v2(resolution)
    least, roomy = (segments(network, image="rows", room=limit)[0] for limit in (None, room))
    assert (least.last_unit, roomy.last_unit, roomy.bytes) == (2, 2, within)
    assert [stage.in_pairs for stage in least.stages] == [False, False, False]
    assert [stage.in_pairs for stage in roomy.stages] == [False, True, False]
    assert peak(network, image="rows", room=room) == within


@pytest.mark.parametrize("image", ["whole", "rows"])
def test_cuts_are_those_of_brute_force_over_a_scalar_formula(image: str) -> None:
    chains = refused = in_pairs = 0
    for network in small_networks():
        plain = segments(network, schedule="layers")
        units = units_of(graph_of(network))
        head = len(units) - (network.classifier is not None) - (network.head is not None)
        options: list[list[Segment]] = [[one] for one in plain]
        if image == "rows":
            options[0] = []
        for first in range(head):
            for last in range(first, head):
                for pairs in (False, True):
                    size = scalar_bytes(network, first, last, image, pairs=pairs)
                    if size is not None:
                        made = Segment(first_unit=first, last_unit=last, how="rows", bytes=size)
                        options[first].append(made)
        ending = network.feature_channels
        entering = graph_of(network).tensor(units[head].nodes[0].input)
        side = entering.width
        if network.head and network.classifier and not side * entering.channels * entering.bits % 8:
            size = 4 * -(-entering.elements * entering.bits // 32) + 5 * ending + side * ending
            size += 4 * -(-entering.channels // 4) * 20
            options[head].append(Segment(first_unit=head, last_unit=head, how="rows", bytes=size))
        every = list(cuts(options))
        if not every:
            refused += 1
            with pytest.raises(InputError, match="give --input whole"):
                segments(network, image=image)
            continue

        def order(way: tuple[Segment, ...]) -> tuple[int, int, int]:
            by_rows = sum(one.last_unit - one.first_unit + 1 for one in way if one.how == "rows")
            return by_rows, -len(way), max(one.bytes for one in way)

        peaks = sorted({max(one.bytes for one in way) for way in every})
        rooms = [None, 1, *(peaks[len(peaks) * part // 4] for part in range(4)), peaks[-1] + 4]
        for room in rooms:
            found = segments(network, image=image, room=room)
            most = max(peaks[0], room or 0)
            best = min(o for o in map(order, every) if o[2] <= most)
            assert order(found)[:2] == best[:2]
            assert best[2] <= order(found)[2] <= most
            starts = [one.first_unit for one in found]
            assert starts == [0, *(one.last_unit + 1 for one in found)][:-1]
            for one in found:
                assert one.bytes in [
                    other.bytes
                    for other in options[one.first_unit]
                    if (other.last_unit, other.how) == (one.last_unit, one.how)
                ]
                if one.how == "rows" and one.last_unit < head:
                    size = scalar_bytes(network, one.first_unit, one.last_unit, image, pairs=True)
                    assert size is None or size > most or size == one.bytes
            chains += any(one.last_unit > max(one.first_unit, image == "rows") for one in found)
            in_pairs += any(stage.in_pairs for one in found for stage in one.stages)
        last = segments(network, image=image, room=max(one.bytes for one in plain))
        assert image == "rows" or last == plain, "where nothing binds all runs by layers"
    assert chains > 3 < in_pairs
    assert (refused > 0) == (image == "rows")


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_every_kind_has_its_cut(name: str) -> None:
    """Rows never cost more, chains never more than single units, and all units are covered."""
    frame, genes = population(EVERY_SPACE[name], 12, seed=2)
    fewer = 0
    for network in networks(frame, genes):
        by_layers, single, free = (
            peak(network, schedule="layers"),
            peak(network, chains=False),
            segments(network),
        )
        fewer += single < by_layers
        assert max(one.bytes for one in free) <= single <= by_layers
        covered = [u for one in free for u in range(one.first_unit, one.last_unit + 1)]
        assert covered == list(range(len(units_of(graph_of(network)))))
        forced = segments(network, schedule="rows")
        assert sum(len(one.stages) for one in forced) >= sum(len(one.stages) for one in free)
    assert fewer > 3


def test_what_cannot_be_packed_by_rows_runs_by_layers() -> None:
    widths = (Bits(8, 4), Bits(8, 8), Bits(8, 8))
    block = Block(kernel=3, stride=1, bottleneck=64, channels=16, bits=(widths, (W8A8,) * 3))
    network = Architecture(
        resolution=32,
        stem=Convolution(kernel=3, stride=2, channels=16, bits=W8A8),
        blocks=(block,),
        head=Convolution(kernel=1, stride=1, channels=32, bits=W8A8),
        classifier=Classifier(class_count=5, bits=W8A8),
    )
    how = [(one.first_unit, one.how) for one in segments(network, schedule="rows")]
    assert (1, "layers") in how, "its sum is wider than the shortcut"
    assert (2, "rows") in how
    pooled = replace(
        network,
        blocks=(replace(block, stride=2, bits=((W8A8,) * 3,) * 2),),
        pooled_shortcut=True,
    )
    how = [(one.first_unit, one.how) for one in segments(pooled, schedule="rows")]
    assert (1, "layers") in how, "its shortcut is pooled"
