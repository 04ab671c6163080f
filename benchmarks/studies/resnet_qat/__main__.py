"""Command line of the study."""

from __future__ import annotations

from benchmarks.harness import main
from benchmarks.studies.resnet_qat.study import run

if __name__ == "__main__":
    main(
        "studies.resnet_qat",
        run,
        data="cifar-10-batches-py",
        student="resnet20.th",
        teacher="resnet32.th",
        bits="uniform-4,random-3.6",
        epochs=5,
        folder="runs/resnet-qat",
        rate=0.01,
        soft=0.9,
        threads=1,
    )
