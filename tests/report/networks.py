"""Small builders of reports: sizes and costs are made up, so that no test here depends on how they
are counted.
"""

from __future__ import annotations

from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.report.network import NetworkReport


def make_network(depths: tuple[int, ...] = (1,), classifier: bool = True) -> Architecture:
    """Return a network whose weight bits fall and whose activation bits rise from front to rear."""
    total = sum(depths)

    def bits(residual: int) -> Bits:
        step = round(6 * residual / max(total - 1, 1))
        return Bits(8 - step, 2 + step)

    blocks, done = [], 0
    for depth in depths:
        rows = tuple((bits(i), bits(i), bits(i)) for i in range(done, done + depth))
        blocks.append(Block(kernel=3, stride=2, bottleneck=48, channels=24, bits=rows))
        done += depth
    return Architecture(
        resolution=96,
        stem=Convolution(kernel=3, stride=2, channels=16, bits=Bits(8, 8)),
        blocks=tuple(blocks),
        head=Convolution(kernel=1, stride=1, channels=64, bits=Bits(5, 6)),
        classifier=Classifier(class_count=2, bits=Bits(4, 8)) if classifier else None,
    )


def make_report(
    network: Architecture | None = None,
    sram: tuple[float, ...] | None = None,
    flash: tuple[float, ...] | None = None,
    memory_model: str = "arena",
    cycles: float | None = None,
) -> NetworkReport:
    """Return a report; without sizes, layer ``i`` needs ``1000 + i`` bytes of SRAM and ``100 * (i +
    1)`` bytes of Flash.
    """
    network = network or make_network()
    names = network.layer_names()
    return NetworkReport(
        architecture=network,
        memory_model=memory_model,
        layer_names=names,
        bits=network.layer_bits(),
        qe_score=123.456,
        stage_terms=(0.0, 100.0, 23.456),
        sram_bytes=sram or tuple(1000.0 + i for i in range(len(names))),
        flash_bytes=flash or tuple(100.0 * (i + 1) for i in range(len(names))),
        macs=tuple(1e6 for _ in names),
        limited={
            "macs": 1e6 * len(names),
            "bitops": 2.5e9,
            **({} if cycles is None else {"cycles": cycles}),
            "effectiveness": 0.55,
        },
    )
