"""Command line of the study."""

from __future__ import annotations

from benchmarks.harness import main
from benchmarks.studies.recipe.study import GROUPS, RECORDS, run

if __name__ == "__main__":
    main(
        "studies.recipe",
        run,
        data="cifar-10-batches-py",
        images=4000,
        folder="recipe-study",
        records=str(RECORDS),
        seeds=3,
        groups=",".join(GROUPS),
    )
