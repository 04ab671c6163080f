"""Files that the report reads back: what was written comes back, what is damaged is one clear
error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas_engine.errors import FileFormatError
from nas_engine.report.page.reading import (
    read_allocations,
    read_checksums,
    shortlist_of,
)
from nas_engine.runs.epochs import read_epochs
from nas_engine.verification.result import read_verification
from tests.report.page_facts import CLOSE, DIFFERS, EQUAL, SKIPPED, proof

METHOD = {
    "method": "qbr",
    "bits": {"stem": "w8a8", "head": "w4a6"},
    "mean_weight_bits": 4.5,
    "mean_activation_bits": None,
    "usage": {
        "Flash": {"used": 2000.0, "limit": 2048},
        "peak SRAM": {"used": 1000.0, "limit": 1024},
    },
    "status": "heuristic",
    "judged": {"loss": 0.5, "loss_change": 0.1, "accuracy": 80.0},
    "seconds": 1.5,
    "notes": ["a note"],
}
SETTING = {"images": 64, "judged_images": 128, "float": {"loss": 0.4, "accuracy": 82.0}}
COMPARISON = {
    "format": "nas-search/allocations/1",
    "warnings": ["odd"],
    "setting": SETTING,
    "methods": [METHOD],
}


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
        found = read_allocations(
            [written(tmp_path / "comparison.json", COMPARISON)], "qbr", {"qbr": 91.0}
        )
        (one,) = found.members
        assert (one.method, one.chosen, one.trained, one.mean_a_bits, one.flash_bytes) == (
            "qbr",
            True,
            91.0,
            None,
            2000.0,
        )
        assert one.bits == {"stem": (8, 8), "head": (4, 6)}
        assert (found.images, found.judged_images, found.floating, found.warnings) == (
            64,
            128,
            82.0,
            ("odd",),
        )

    def test_several_allocations_of_one_network(self, tmp_path: Path) -> None:
        paths = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            values = {
                **METHOD,
                "method": name,
                "format": "nas-search/allocation/1",
                "warnings": ["odd"],
                "setting": SETTING,
            }
            paths.append(written(tmp_path / name / "allocation.json", values))
        found = read_allocations(paths, None, {})
        assert [one.method for one in found.members] == ["a", "b"]
        assert not any(one.chosen for one in found.members)
        assert found.warnings == ("odd",)

    @pytest.mark.parametrize(
        "values",
        [
            {},
            {**COMPARISON, "setting": {}},
            {**COMPARISON, "methods": [{}]},
            {**COMPARISON, "methods": [{**METHOD, "bits": {"stem": "w8"}}]},
            {**COMPARISON, "methods": [{**METHOD, "judged": None}]},
            {**COMPARISON, "methods": [{**METHOD, "seconds": "long"}]},
            {**COMPARISON, "format": "nas-search/allocation/1"},
        ],
    )
    def test_what_is_damaged_is_refused(self, tmp_path: Path, values: Any) -> None:
        with pytest.raises(FileFormatError, match="nas-search refine"):
            read_allocations([written(tmp_path / "comparison.json", values)], None, {})


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
