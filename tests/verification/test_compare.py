"""Verdicts: equal, surprising, and their words in the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images, run, trace
from nas_engine.report.verification_table import verification_table
from nas_engine.testing.networks import random_images, random_model
from nas_engine.verification.backend import BackendError, BackendRun, Footprint
from nas_engine.verification.compare import checksums, compare, memory_lines, run_backend
from nas_engine.verification.result import (
    Comparison,
    InstructionLine,
    MemoryLine,
    Verdict,
    VerificationReport,
)

MODEL = random_model(4)
IMAGES = random_images(MODEL, 5)
EXPECTED = run(MODEL, IMAGES)
TENSORS = checksums(MODEL, IMAGES[:1])


@dataclass
class Told:
    """A back-end that returns what it is told to."""

    logits: npt.NDArray[np.int8]
    crcs: Mapping[str, int]
    exact: bool = True
    name: str = "told"
    lacking: str | None = None
    problem: str | None = None

    def missing(self) -> str | None:
        return self.lacking

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        if self.problem:
            raise BackendError(self.name, self.problem)
        return BackendRun(logits=self.logits, seconds=0.5, version="1.0", checksums=self.crcs)


def compared(told: Told) -> Comparison:
    return run_backend(told, Path(), MODEL, IMAGES, Path(), EXPECTED, TENSORS)[0]


def changed(by: int) -> npt.NDArray[np.int8]:
    logits = EXPECTED.astype(int)
    logits[2, 0] += by if logits[2, 0] + by <= 127 else -by
    return logits.astype(np.int8)


class TestCompare:
    def test_equal(self) -> None:
        found = compared(Told(EXPECTED, TENSORS))
        assert found.verdict is Verdict.EQUAL
        assert (found.images, found.values, found.differing, found.largest) == (
            5,
            EXPECTED.size,
            0,
            0,
        )
        assert (found.tensors, found.differing_tensors) == (len(MODEL.nodes) + 1, ())

    def test_the_first_images_only(self) -> None:
        found = compared(Told(EXPECTED[:2], {}))
        assert (found.verdict, found.images, found.tensors) == (Verdict.EQUAL, 2, 0)

    def test_one_value(self) -> None:
        found = compared(Told(changed(3), TENSORS))
        assert (found.verdict, found.differing, found.largest) == (Verdict.DIFFERS, 1, 3)
        assert compared(Told(changed(3), TENSORS, exact=False)).verdict is Verdict.CLOSE

    def test_differences_do_not_wrap_around(self) -> None:
        found = compared(Told(np.where(EXPECTED < 0, 127, -128).astype(np.int8), TENSORS))
        assert (
            found.largest
            == np.abs(np.where(EXPECTED < 0, 127, -128) - EXPECTED.astype(int)).max()
            > 127
        )

    def test_a_tensor_inside(self) -> None:
        names = list(TENSORS)
        found = compared(Told(EXPECTED, {**TENSORS, names[3]: 1, names[2]: 1}))
        assert found.verdict is Verdict.DIFFERS
        assert found.differing_tensors == (names[2], names[3])

    @pytest.mark.parametrize(
        "logits", [EXPECTED[:0], EXPECTED[:, :-1], np.concatenate([EXPECTED, EXPECTED])]
    )
    def test_another_shape(self, logits: npt.NDArray[np.int8]) -> None:
        found = compared(Told(logits, {}))
        assert found.verdict is Verdict.FAILED
        assert found.note.startswith("gave logits of shape [")

    def test_missing_and_failing(self) -> None:
        found = compared(Told(EXPECTED, {}, lacking="needs x; type: pip install x"))
        assert (found.verdict, found.note) == (Verdict.SKIPPED, "needs x; type: pip install x")
        found = compared(Told(EXPECTED, {}, problem="does not compile"))
        assert (found.verdict, found.note) == (Verdict.FAILED, "does not compile")

    def test_checksums_are_of_the_reference(self) -> None:
        import zlib

        tensors = trace(MODEL, IMAGES[:1])
        assert {name: zlib.crc32(values.tobytes()) for name, values in tensors.items()} == TENSORS

    def test_predictions(self) -> None:
        found = compare(
            Told(EXPECTED, {}),
            BackendRun(logits=np.roll(EXPECTED, 1, axis=1), seconds=0, version=""),
            EXPECTED,
            {},
        )
        assert (
            found.predictions
            == (np.roll(EXPECTED, 1, axis=1).argmax(1) != EXPECTED.argmax(1)).sum()
        )


MEASURED = Footprint(packed=100_000, code=10_000, arena=5_000, static_ram=8, stack=500)


def lines(**changes: int | None) -> dict[str, MemoryLine]:
    predicted: dict[str, int | None] = {
        "arena": 5_000,
        "packed": 100_000,
        "code": 10_000,
        "static_ram": 8,
        "stack": 500,
    }
    rows = memory_lines("M7", MEASURED, **(predicted | changes))  # type: ignore[arg-type]
    return {line.what.split(" (")[0].split(",")[0]: line for line in rows}


class TestMemory:
    def test_as_predicted(self) -> None:
        rows = lines()
        assert {line.verdict for line in rows.values()} == {Verdict.EQUAL}
        assert (
            (rows["total RAM"].measured, rows["total Flash"].measured)
            == (MEASURED.ram, MEASURED.flash)
            == (5_508, 110_000)
        )

    @pytest.mark.parametrize(
        ("changes", "differs"),
        [
            ({"arena": 5_004}, {"arena"}),
            ({"packed": 99_999}, {"weights"}),
            ({"stack": 756}, set()),
            ({"stack": 757}, {"total RAM"}),
            ({"static_ram": 8 + 257}, {"total RAM"}),
            ({"code": 11_100}, set()),
            ({"code": 11_101}, {"total Flash"}),
            ({"code": 8_899}, {"total Flash"}),
        ],
    )
    def test_surprises(self, changes: dict[str, int], differs: set[str]) -> None:
        assert {
            what for what, line in lines(**changes).items() if line.verdict is Verdict.DIFFERS
        } == differs

    def test_a_compiler_that_is_in_no_table(self) -> None:
        rows = lines(code=None, static_ram=None, stack=None)
        assert [line.verdict for line in rows.values()] == [
            Verdict.EQUAL,
            Verdict.EQUAL,
            Verdict.SKIPPED,
            Verdict.SKIPPED,
        ]


def report(*comparisons: Comparison, memory: tuple[MemoryLine, ...] = ()) -> VerificationReport:
    return VerificationReport(
        data="digits, test images",
        core="cortex-m7",
        backends=comparisons,
        memory=memory,
        instructions={"M7": {"stem": 300, "pool": 7}},
        macs={"stem": 200, "pool": 0},
        exceptions=("tflite-int4: coarser",),
    )


EQUAL = compared(Told(EXPECTED, TENSORS))


class TestReport:
    def test_passed(self) -> None:
        close = compared(Told(changed(1), {}, exact=False))
        skipped = compared(Told(EXPECTED, {}, name="absent", lacking="needs x"))
        own = replace(EQUAL, backend="Cortex-M7")
        made = report(EQUAL, own, close, skipped, memory=tuple(lines().values()))
        assert made.passed
        text = verification_table(made)
        assert text.splitlines()[-2:] == [
            "the device: its own core, Cortex-M7, ran emulated, 5 images",
            "verified: what runs is what was promised; not run: absent",
        ]
        assert max(map(len, text.splitlines())) <= 120
        assert "absent: needs x" in text
        assert "1.53" in text  # of all steps
        assert "1.50" not in text
        assert "1.50" in verification_table(made, layers=True)
        values = json.loads(made.as_json())
        assert (
            values["passed"],
            values["backends"][0]["verdict"],
            values["memory"][0]["verdict"],
        ) == (True, "equal", "equal")

    def test_a_difference_fails(self) -> None:
        made = report(EQUAL, compared(Told(changed(1), {"image": 0})))
        assert not made.passed
        text = verification_table(made)
        assert "the first tensor that differs is 'image'" in text
        assert text.endswith("FAILED: told")

    def test_a_failure_fails(self) -> None:
        assert not report(EQUAL, compared(Told(EXPECTED, {}, problem="x"))).passed

    def test_instructions_fail_beyond_a_limit_alone(self) -> None:
        def told(count: int, limit: int | None = None, *, known: bool = True) -> InstructionLine:
            steps = {"stem": 90, "pool": 10} if known else None
            return InstructionLine(backend="M7", predicted=steps, counted=count, limit=limit)

        for line, verdict, shown in (
            (told(105), Verdict.EQUAL, "-4.8%"),
            (told(106), Verdict.DIFFERS, "off by more than 5%"),
            (told(106, known=False), Verdict.SKIPPED, "core or compiler not measured"),
            (told(100, limit=100), Verdict.EQUAL, "+0.0%"),
            (told(101, limit=100), Verdict.FAILED, "beyond the limit"),
            (told(101, limit=100, known=False), Verdict.FAILED, "beyond the limit"),
        ):
            made = replace(report(EQUAL), predictions=(line,))
            assert line.verdict is verdict
            assert made.passed is (verdict is not Verdict.FAILED)
            assert shown in verification_table(made)
            assert ("FAILED: instructions on M7" in verification_table(made)) is not made.passed
        assert "predicted, M7" in verification_table(
            replace(report(EQUAL), predictions=(told(105),)), layers=True
        )

    def test_wrong_memory_fails(self) -> None:
        made = report(EQUAL, memory=tuple(lines(arena=4).values()))
        assert not made.passed
        assert verification_table(made).endswith(
            "FAILED: arena on M7, total RAM (arena, data, stack) on M7"
        )

    def test_nothing_exact_run_proves_nothing(self) -> None:
        made = report(
            compared(Told(EXPECTED, {}, lacking="needs x")), replace(EQUAL, verdict=Verdict.CLOSE)
        )
        assert not made.passed
        assert verification_table(made).endswith("FAILED: no exact back-end could run")
