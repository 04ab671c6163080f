"""Files that the report reads back: what was written comes back, what is damaged is one clear
error.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.errors import FileFormatError
from nas_engine.report.allocations import comparison, write_allocation
from nas_engine.report.page.reading import (
    read_allocations,
    read_checksums,
    shortlist_of,
)
from nas_engine.runs.epochs import read_epochs
from nas_engine.verification.result import read_verification
from tests.report.page_facts import CLOSE, DIFFERS, EQUAL, SKIPPED, proof
from tests.report.test_allocations import SETTING, make_reports

WARNED = replace(SETTING, warnings=("odd",))
COMPARISON = json.loads(json.dumps(comparison(make_reports(("qbr", "clado")), WARNED)))
METHOD = COMPARISON["methods"][0]


def written(path: Path, values: Any) -> Path:
    """Write values as JSON and return the path."""
    path.write_text(json.dumps(values))
    return path


class TestVerification:
    @pytest.mark.parametrize("comparisons", [(EQUAL, CLOSE, SKIPPED), (EQUAL, DIFFERS)])
    def test_it_is_read_back_as_it_was_written(
        self, tmp_path: Path, comparisons: tuple[Any, ...]
    ) -> None:
        report = proof(
            *comparisons,
            instructions={"Cortex-M7": {"stem": 3}},
            macs={"stem": 1},
            exceptions=("one",),
        )
        (tmp_path / "v.json").write_text(report.as_json())
        assert read_verification(tmp_path / "v.json") == report

    @pytest.mark.parametrize(
        "change",
        [
            {"format": "other"},
            {"passed": False},
            {"passed": 1},
            {"backends": [{"backend": "x"}]},
            {"backends": [{"backend": "x", "verdict": "fine"}]},
            {"backends": [{"backend": "x", "verdict": "equal", "images": "many"}]},
            {"memory": [{"what": "arena"}]},
            {"macs": []},
        ],
    )
    def test_what_is_damaged_is_refused(self, tmp_path: Path, change: dict[str, Any]) -> None:
        values = json.loads(proof(EQUAL).as_json()) | change
        with pytest.raises(FileFormatError, match="nas-search verify"):
            read_verification(written(tmp_path / "v.json", values))

    @pytest.mark.parametrize("text", ["", "[]", "3", "\x00", '{"format": 1}', "[" * 100_000])
    def test_another_file_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "v.json").write_text(text)
        with pytest.raises(FileFormatError):
            read_verification(tmp_path / "v.json")


class TestEpochs:
    def test_one_line_per_epoch(self, tmp_path: Path) -> None:
        rows = [
            {"stage": "float", "epoch": 1, "loss": 2.0, "accuracy": 10.0},
            {"stage": "quantised", "epoch": 1, "loss": 1.0, "accuracy": 20.0},
        ]
        (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert list(read_epochs(tmp_path / "m.jsonl")) == rows

    @pytest.mark.parametrize(
        "line",
        [
            "{",
            "3",
            '{"stage": "float"}',
            '{"stage": "x", "epoch": 1, "loss": 1, "accuracy": 1}',
            '{"stage": "float", "epoch": 1, "loss": NaN, "accuracy": 1}',
            '{"stage": "float", "epoch": 1, "loss": "a", "accuracy": 1}',
        ],
    )
    def test_a_damaged_line_is_refused(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "m.jsonl").write_text(line + "\n")
        with pytest.raises(FileFormatError, match="is damaged"):
            read_epochs(tmp_path / "m.jsonl")


class TestAllocations:
    def test_a_comparison(self, tmp_path: Path) -> None:
        path = written(tmp_path / "comparison.json", COMPARISON)
        found = read_allocations([path], "qbr", {"qbr": 91.0})
        assert (found.chosen, found.trained, found.setting) == ("qbr", {"qbr": 91.0}, WARNED)
        assert list(found.members) == [
            replace(report, details={"nodes": 7, "alpha": None, "path": "x"})
            for report in make_reports(("qbr", "clado"))
        ]

    def test_several_allocations_of_one_network(self, tmp_path: Path) -> None:
        paths, reports = [], make_reports(("a", "b"))
        for report in reports:
            (tmp_path / report.method).mkdir()
            paths.append(tmp_path / report.method / "allocation.json")
            write_allocation(paths[-1], report, WARNED, {"start.pt": "ab" * 32})
        found = read_allocations(paths, None, {})
        assert [one.method for one in found.members] == ["a", "b"]
        assert [one.bits for one in found.members] == [one.bits for one in reports]
        assert found.setting.warnings == ("odd",)

    def test_figures_that_are_not_finite_come_back_as_nan(self, tmp_path: Path) -> None:
        (report,) = make_reports(("qbr",))
        report = replace(report, objective=math.nan, bound=-math.inf, gap=math.inf)
        path = tmp_path / "allocation.json"
        write_allocation(path, report, SETTING, {})
        (one,) = read_allocations([path], None, {}).members
        assert all(map(math.isnan, (one.objective, one.bound, one.gap)))

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({}, "format: is None; expected 'nas-search/allocations/1'"),
            ({**COMPARISON, "setting": {}}, "setting.network: is missing; add it"),
            ({**COMPARISON, "methods": [{}]}, "methods[0].method: is missing; add it"),
            ({**COMPARISON, "methods": [{**METHOD, "bits": {"stem": "w8"}}]}, "bits are 'w8'"),
            ({**COMPARISON, "methods": [{**METHOD, "judged": None}]}, "methods[0].judged holds"),
            ({**COMPARISON, "methods": [{**METHOD, "seconds": "long"}]}, "seconds: is 'long'"),
            ({**COMPARISON, "methods": [{**METHOD, "gap": "1"}]}, "methods[0].gap: is '1'"),
            ({**COMPARISON, "format": "nas-search/allocation/1"}, "format: is 'nas-search/allo"),
        ],
    )
    def test_what_is_damaged_is_refused(self, tmp_path: Path, values: Any, says: str) -> None:
        with pytest.raises(FileFormatError, match="; refine again with nas-search refine") as found:
            read_allocations([written(tmp_path / "comparison.json", values)], None, {})
        assert says in str(found.value)


MEMBER = {
    **{
        "rank": 1,
        "qe_score": 2.0,
        "peak_sram_bytes": 1.0,
        "flash_bytes": 1.0,
        "macs": 1.0,
        "layers": 9,
        "accuracy": 50.0,
        "loss": 1.5,
    },
    "chosen": True,
}


class TestShortlist:
    def test_it_is_what_the_stage_left(self, tmp_path: Path) -> None:
        found = shortlist_of({"images": 10, "epochs": 2, "members": [MEMBER]}, tmp_path)
        assert (found.images, found.epochs, found.members[0].accuracy, found.members[0].chosen) == (
            10,
            2,
            50.0,
            True,
        )

    @pytest.mark.parametrize("change", [{"accuracy": 101.0}, {"accuracy": None}, {"rank": "first"}])
    def test_another_shape_is_refused(self, tmp_path: Path, change: dict[str, Any]) -> None:
        with pytest.raises(FileFormatError):
            shortlist_of({"images": 10, "epochs": 2, "members": [MEMBER | change]}, tmp_path)
        with pytest.raises(FileFormatError):
            shortlist_of({"images": 0, "epochs": 2, "members": [MEMBER]}, tmp_path)


def test_checksums(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text(f"{'ab' * 32}  c/model.c\n")
    assert read_checksums(path) == {"c/model.c": "ab" * 32}
    path.write_text("ab  c/model.c\n")
    with pytest.raises(FileFormatError, match="nas-search export"):
        read_checksums(path)
