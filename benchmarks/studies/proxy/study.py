"""How well the QE-Score ranks networks by their accuracy, against trivial figures and changes that
might help it.

python -m benchmarks.studies.proxy --data cifar-10-batches-py --folder runs/benchmark-proxy --part
free|budget|calibration|baselines

Networks are chosen without a look at the score (``networks``) and trained alike
(``training``): by default 6 epochs of 20,000 CIFAR-10 images, four in float and two
quantised. The command trains what is missing of its part, the first COUNT networks, then prints and
records everything in the folder of the same epochs and images. It goes on where it was stopped.

--part none    trains nothing: records what is there; ``records`` is the published table's folder
--shard i/n    i-th of n shares, for machines without a common folder; on one machine the same
               command can run twice
--record 0     trains, records nothing
--double K     first K networks again with twice the epochs: does the ranking stay?
--again K      first K networks again with another seed: how much of the ranking is chance?
--device cuda  on a GPU

Slow: about three minutes of one core per network. Intervals are 95 % bootstraps over the networks.
"""

from __future__ import annotations

import functools
from pathlib import Path

from benchmarks.harness import Row
from benchmarks.studies.proxy.networks import PARTS, networks
from benchmarks.studies.proxy.rows import rows_of
from benchmarks.studies.proxy.sampling import Setting
from benchmarks.studies.proxy.training import Plan, study_data, train_missing
from nas_engine.errors import InputError
from nas_engine.training.compute import prepare_compute

NONE = "none"


def share(text: str) -> tuple[int, int]:
    """Return ``i`` (from 1) and ``n`` of a share such as ``2/3``.

    Raises:
        InputError: Anything else.
    """
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise InputError(f"--shard is {text!r}; expected I/N such as 1/2: the first of two shares")
    return int(first), int(last)


def run(
    data: str = "cifar-10-batches-py",
    folder: str = "runs/benchmark-proxy",
    part: str = NONE,
    count: int = 40,
    epochs: int = 6,
    images: int = 20_000,
    shard: str = "1/1",
    double: int = 0,
    again: int = 0,
    device: str = "cpu",
    threads: int = 1,
    record: int = 1,
    setting: Setting | None = None,
) -> list[Row]:
    chosen_setting = setting or Setting()
    number, shares = share(shard)
    plan = Plan(
        folder=Path(folder), epochs=epochs, images=images, device=prepare_compute(device, threads)
    )
    if part != NONE:
        dataset = functools.cache(lambda: study_data(data, chosen_setting.resolution, images))
        chosen = networks(part, count, chosen_setting)
        for variant, limit in ((plan, count), (plan.doubled(), double), (plan.reseeded(), again)):
            train_missing(
                chosen[:limit][number - 1 :: shares],
                variant,
                dataset,
                say=functools.partial(print, flush=True),
            )
    if not record:
        raise SystemExit(0)
    found = [row for name in PARTS for row in rows_of(plan, name, chosen_setting)]
    if not found:
        raise InputError(
            f"{folder} holds no results of {images} images and {epochs} epochs; expected some; "
            "give a --part to train"
        )
    return found
