"""Command line of the study."""

from __future__ import annotations

from benchmarks.harness import main
from benchmarks.studies.proxy.study import NONE, run

if __name__ == "__main__":
    main(
        "studies.proxy",
        run,
        data="cifar-10-batches-py",
        folder="runs/benchmark-proxy",
        part=NONE,
        count=40,
        epochs=6,
        images=20_000,
        shard="1/1",
        double=0,
        again=0,
        device="cpu",
        threads=1,
        record=1,
    )
