"""Command line of the study."""

from __future__ import annotations

from benchmarks.harness import main
from benchmarks.studies.lsq_steps.study import run

if __name__ == "__main__":
    main(
        "studies.lsq_steps",
        run,
        data="cifar-10-batches-py",
        widths="8,5,4,3,2",
        images=1000,
        epochs=20,
        short=6,
        floats=10,
        rate=0.1,
        threads=1,
    )
