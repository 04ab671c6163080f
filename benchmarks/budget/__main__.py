"""Networks of one small budget, trained alike: how well each figure ranks their accuracy.

python -m benchmarks.budget --data cifar-10-batches-py --folder runs/benchmark-budget

Trains the networks of ``networks.json`` in their order, writes the record of each at once, then
prints and records the tables and ``budget.csv`` in the folder. It goes on where it was stopped; any
number of first networks is a fair sample. The recipe follows ``benchmarks.studies.recipe``: all
epochs but one in float, norms frozen in that one.

``--folder benchmarks/budget/records`` goes on with the networks that are trained already.

--count N      the first N networks; 0 trains nothing and tells what is there
--again K      the first K once more with another seed
--shard i/n    i-th of n shares; on one machine the same command can run twice
--record 0     trains, records nothing
--device cuda  on a GPU; correlations are told apart
--kernels torch  torch's own way on a CPU
"""

from __future__ import annotations

import functools
from pathlib import Path

from benchmarks.budget.networks import FILE, Budget, read
from benchmarks.budget.rows import as_csv, described, rows_of
from benchmarks.harness import Row, main
from benchmarks.studies.proxy.networks import Chosen
from benchmarks.studies.proxy.study import share
from benchmarks.studies.proxy.training import Plan, read_records, study_data, train_missing
from nas_engine.errors import InputError
from nas_engine.files import write_atomically
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.compute import prepare_compute, prepare_kernels
from nas_engine.training.recipe import TrainingRecipe


def recipe(epochs: int) -> TrainingRecipe:
    """Return the recipe of the benchmark; numbers are chosen here."""
    return TrainingRecipe(
        name="budget",
        epochs=epochs,
        float_share=(epochs - 1) / epochs,
        batch_size=64,
        learning_rate=0.2,
        quantised_learning_rate=0.01,
        weight_decay=5e-4,
        warmup_epochs=0.5,
        gradient_clip=5.0,
        augmentation=Augmentation(kind="crop", padding=2),
    )


def run(
    data: str = "cifar-10-batches-py",
    folder: str = "runs/benchmark-budget",
    count: int = 96,
    again: int = 12,
    epochs: int = 12,
    images: int = 20_000,
    shard: str = "1/1",
    device: str = "cpu",
    kernels: str = "auto",
    threads: int = 1,
    record: int = 1,
    networks: str = str(FILE),
) -> list[Row]:
    number, shares = share(shard)
    entries = read(Path(networks))
    place = prepare_compute(device, threads)
    plan = Plan(
        folder=Path(folder),
        epochs=epochs,
        images=images,
        device=place,
        kernels=prepare_kernels(kernels, place) if count else None,
        recipe_of=recipe,
    )
    size = entries[0].architecture.resolution if entries else Budget().resolution
    dataset = functools.cache(lambda: study_data(data, size, images))
    chosen = [
        Chosen(name=entry.name, title=entry.title, architecture=entry.architecture)
        for entry in entries
    ]
    for variant, limit in ((plan, count), (plan.reseeded(), min(again, count))):
        train_missing(
            chosen[:limit][number - 1 :: shares],
            variant,
            dataset,
            say=functools.partial(print, flush=True),
        )
    if not record:
        raise SystemExit(0)
    once, twice = (
        described(read_records(each, "budget"), entries) for each in (plan, plan.reseeded())
    )
    if not once:
        raise InputError(
            f"{folder} holds no results of {images} images and {epochs} epochs; expected some; "
            "give a --count to train"
        )
    write_atomically(Path(folder) / "budget.csv", as_csv([*once, *twice]))
    return rows_of(once, twice)


if __name__ == "__main__":
    main(
        "budget",
        run,
        data="cifar-10-batches-py",
        folder="runs/benchmark-budget",
        count=96,
        again=12,
        epochs=12,
        images=20_000,
        shard="1/1",
        device="cpu",
        kernels="auto",
        threads=1,
        record=1,
        networks=str(FILE),
    )
