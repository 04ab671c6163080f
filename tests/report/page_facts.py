"""Facts of made-up runs, for tests of the report."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from device_profiles import load_device
from nas_engine.allocation.device_problem import FLASH, SRAM
from nas_engine.architecture import Bits
from nas_engine.costs.plan import plan_memory
from nas_engine.report.allocations import (
    AllocationReport,
    AllocationSetting,
    Judged,
    JudgedChoice,
    Usage,
)
from nas_engine.report.network import report_network
from nas_engine.report.page.facts import (
    Allocations,
    Asked,
    Candidate,
    RunFacts,
    Shortlist,
    Training,
)
from nas_engine.runs.run_record import DONE, RunRecord, StageRecord
from nas_engine.scoring.qe_score import ScoreSettings
from nas_engine.training.by_class import ByClass, Shown
from nas_engine.training.result import Accuracy, TrainingResult
from nas_engine.training.thumbnails import thumbnail
from nas_engine.verification.result import Comparison, MemoryLine, Verdict, VerificationReport
from tests.report.networks import make_network

NETWORK = make_network((1, 2))
"""A network of two blocks."""

SCORE_SETTINGS = ScoreSettings(stage_weights=(0.0, 1.0, 1.0))

COUNTED = report_network(NETWORK, score=SCORE_SETTINGS)

TWO_CLASSES = ByClass(
    largest="cat",
    share=50.0,
    confusion=((192, 8), (40, 160)),
    classes=("cat", "dog"),
    shown=(Shown(png=thumbnail(np.full((4, 4, 1), 7, np.uint8)), is_class="cat", said="dog"),),
)
"""Two classes of 200 images."""

ASKED = Asked(
    device=load_device("cortex-m7").with_memory(132 * 1024, 64 * 1024),
    space="two-stages",
    resolution=96,
    class_count=2,
    limits={"macs": 2e8},
    candidates=2000,
    seed=3,
    options={
        "device": "cortex-m7",
        "sram": 135168,
        "flash": 65536,
        "space": "my space",
        "max_macs": 2e8,
        "seed": 3,
    },
)
"""A device with 128 KiB of arena and 32 KiB for weights."""

SEARCHED = RunFacts(
    name="digits",
    path="runs/digits",
    whole=False,
    version="9.9",
    asked=ASKED,
    network=replace(COUNTED, limited={**COUNTED.limited, "cycles": 3e6}),
    network_is="the best of the search",
    folder="runs/digits",
    plan=plan_memory(NETWORK),
    history=(
        {
            "generation": 1,
            "evaluated": 2000,
            "best_score": 12.5,
            "feasible": 0.5,
            "elapsed_s": 1.25,
        },
    ),
    front=tuple(
        {
            "qe_score": 12.5 - i,
            "peak_sram_bytes": 1000.0,
            "flash_bytes": 2000.0,
            "macs": 1e5 - i,
            "bitops": 1e6,
            "cycles_estimate": 1.0,
        }
        for i in range(12)
    ),
)
"""A run that is only searched."""


def accuracy(**changes: Any) -> Accuracy:
    """Return the accuracy of three forms on 400 images."""
    return Accuracy(
        **(
            {
                "split": "test",
                "images": 400,
                "floating": 90.0,
                "quantised": 88.5,
                "integer": 88.0,
                "agreement": 99.5,
            }
            | changes
        )
    )


def trained(facts: RunFacts = SEARCHED, **changes: Any) -> RunFacts:
    """Return the facts after a training of one float and one quantised epoch."""
    result = TrainingResult(
        data="digits",
        dataset="digits",
        recipe="digits",
        teacher="none",
        seed=5,
        float_epochs=1,
        quantised_epochs=1,
        elapsed_s=61.0,
        versions={"torch": "2"},
        accuracy=accuracy(**changes),
    )
    epochs = tuple(
        {"stage": stage, "epoch": 1, "loss": loss, "accuracy": 80.0}
        for stage, loss in (("float", 1.0), ("quantised", 0.5))
    )
    training = Training(
        name="network",
        folder=facts.folder,
        epochs=epochs,
        result=result,
        recipe={"batch_size": 32, "learning_rate": 0.05},
    )
    return replace(facts, trainings=(training,))


EQUAL = Comparison(
    backend="host C",
    verdict=Verdict.EQUAL,
    version="cc 12",
    images=20,
    values=200,
    tensors=7,
    seconds=0.5,
)
OWN_CORE = replace(EQUAL, backend="Cortex-M7")
CLOSE = Comparison(
    backend="ONNX Runtime, QCDQ",
    verdict=Verdict.CLOSE,
    images=20,
    values=200,
    differing=9,
    largest=2,
    predictions=1,
)
SKIPPED = Comparison(
    backend="TFLite Micro", verdict=Verdict.SKIPPED, note="tflite-micro is not installed"
)
DIFFERS = Comparison(
    backend="Cortex-M4",
    verdict=Verdict.DIFFERS,
    images=20,
    values=200,
    differing=3,
    largest=1,
    tensors=7,
    differing_tensors=("stem",),
)
ARENA = MemoryLine(backend="Cortex-M7", what="arena", predicted=1352, measured=1352, tolerance=0)


def proof(
    *comparisons: Comparison, memory: tuple[MemoryLine, ...] = (ARENA,), **changes: Any
) -> VerificationReport:
    """Return a verification of back-ends."""
    given: dict[str, Any] = {"core": "cortex-m7"} | changes
    return VerificationReport(
        data="test images of digits", backends=comparisons, memory=memory, **given
    )


def shortlist(*pairs: tuple[float, float], chosen: int = 1, images: int = 400) -> Shortlist:
    """Return a shortlist of scores and accuracies."""
    members = tuple(
        Candidate(
            rank=i,
            qe_score=score,
            peak_sram_bytes=1e3,
            flash_bytes=2e3,
            macs=1e5,
            layers=9,
            accuracy=percent,
            loss=2.0 - percent / 100,
            chosen=i == chosen,
        )
        for i, (score, percent) in enumerate(pairs, 1)
    )
    return Shortlist(images=images, epochs=2, members=members)


def allocation(method: str, loss: float, percent: float) -> AllocationReport:
    """Return what a method chose."""
    return AllocationReport(
        method=method,
        bits={"stem": Bits(8, 8), "head": Bits(4, 6)},
        mean_w_bits=4.5,
        mean_a_bits=math.nan,
        usage={
            FLASH: Usage(used=2000.0, limit=2048.0),
            SRAM: Usage(used=1000.0, limit=1024.0),
        },
        judged=JudgedChoice(loss=loss, loss_change=0.1, accuracy=percent),
        seconds=2.0,
        status="optimal",
        notes=("a note",),
    )


def allocations(*members: AllocationReport, chosen: str, **setting: Any) -> Allocations:
    """Return methods side by side."""
    return Allocations(
        members=members,
        setting=AllocationSetting(
            network="random weights",
            data="digits",
            seed=0,
            images=64,
            judged_images=128,
            versions={},
            measurements=(),
            floating=Judged(loss=0.4, accuracy=81.0),
            reference=Judged(loss=0.4, accuracy=81.0),
            **setting,
        ),
        trained={},
        chosen=chosen,
    )


def complete() -> RunFacts:
    """Return the facts of a whole run, nothing missing but the error of layers."""
    done = {"state": DONE, "key": "k", "settings": {}, "inputs": {}}
    stages = (
        StageRecord(
            name="search",
            command=None,
            seconds=2.0,
            figures={"candidates": 2000, "qe_score": 12.5},
            **done,
        ),
        StageRecord(
            name="verify",
            command="nas-search verify runs/digits/final",
            seconds=63.0,
            figures={"passed": True},
            **done,
        ),
    )
    return replace(
        trained(by_class=TWO_CLASSES),
        whole=True,
        network_is="the refined network",
        exports={"c/model.c": "ab" * 32},
        verification=proof(
            EQUAL,
            CLOSE,
            SKIPPED,
            instructions={"Cortex-M7": {"stem": 300}},
            macs={"stem": 100},
            exceptions=("none",),
        ),
        shortlist=shortlist((12.5, 80.0), (11.0, 70.0)),
        allocations=allocations(
            allocation("qbr", 0.5, 80.0), allocation("hawq", 0.4, 79.0), chosen="hawq"
        ),
        record=RunRecord(
            command="nas-search run digits.yaml",
            versions={"numpy": "2"},
            machine="Linux",
            stages=stages,
        ),
        digests={"final/best.yaml": "cd" * 32},
    )
