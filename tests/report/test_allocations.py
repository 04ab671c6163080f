"""Allocations side by side: table, JSON and picture."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from nas_engine.architecture import Bits
from nas_engine.errors import InputError
from nas_engine.report.allocations import (
    AllocationReport,
    AllocationSetting,
    Judged,
    JudgedChoice,
    Measurement,
    Usage,
    allocation_table,
    comparison,
    write_allocation,
)
from nas_engine.report.plots.allocations import allocation_maps, draw_allocations
from nas_engine.report.tables import WIDTH
from tests.report.networks import make_network

METHODS = (
    "uniform",
    "random",
    "qbr",
    "greedy",
    "entropy-window",
    "diagonal",
    "hawq",
    "clado",
    "gauss-newton",
)
SETTING = AllocationSetting(
    network="runs/a/training/float.pt",
    data="digits",
    seed=3,
    images=512,
    judged_images=926,
    floating=Judged(loss=0.1, accuracy=97.5),
    reference=Judged(loss=0.125, accuracy=97.25),
    measurements=(
        Measurement(
            name="singles",
            images=512,
            seconds=2.5,
            passes=40.0,
            largest="head weights at 2 bits",
            loss=0.5,
            standard_error=0.01,
            pair_noise=0.03,
        ),
        Measurement(name="hessian", images=128, seconds=1.0),
    ),
    versions={"nas-search": "1"},
)


def choice(loss: float, accuracy: float) -> JudgedChoice:
    """Return what a method's bits leave; the reference has a loss of 0.125."""
    return JudgedChoice(loss=loss, loss_change=0.25, accuracy=accuracy)


def make_reports(
    methods: Sequence[str] = METHODS, depths: tuple[int, ...] = (3, 3), seed: int = 0
) -> list[AllocationReport]:
    rng = np.random.default_rng(seed)
    layers = make_network(depths).layer_names()
    return [
        AllocationReport(
            method=method,
            bits={layer: Bits(*map(int, rng.integers(2, 9, 2))) for layer in layers},
            mean_w_bits=3.25,
            mean_a_bits=6.5,
            usage={
                "Flash": Usage(used=123456.0, limit=131072.0),
                "peak SRAM": Usage(used=50000.0, limit=65536.0),
            },
            objective=0.5,
            bound=0.4,
            gap=0.2,
            status="feasible",
            predicted=0.25,
            judged=choice(0.375, float(rng.uniform(8, 98))),
            seconds=1.25,
            details={"nodes": np.int64(7), "alpha": np.float64("nan"), "path": Path("x")},
        )
        for method in methods
    ]


class TestTable:
    def test_columns(self) -> None:
        first, second = make_reports(("qbr", "gauss-newton"))
        first = replace(
            first,
            predicted=math.nan,
            gap=math.nan,
            judged=choice(0.4, 9.5),
            notes=("as they came",),
        )
        second = replace(second, gap=math.inf, judged=choice(0.4, 97.0))
        lines = allocation_table([first, second], SETTING).splitlines()
        head = next(index for index, line in enumerate(lines) if line.startswith("method"))
        assert (
            " ".join(lines[head].split())
            == "method bits w bits a Flash [B] SRAM [B] loss + predicted accuracy gap time"
        )
        used = "3.25 6.50 123,456 94.2 % 50,000 76.3 % +0.2500"
        assert " ".join(lines[head + 2].split()) == f"qbr {used} - 9.50 % - 1.2 s"
        assert (
            " ".join(lines[head + 3].split())
            == f"gauss-newton {used} +0.2500 97.00 % unknown 1.2 s"
        )
        assert lines[-1] == "qbr: as they came"
        assert "926 training images" in lines[0]
        assert (
            "singles: 512 images, 2.5 s; largest loss change +0.5000, standard error 0.0100 (head "
            "weights at 2 bits); noise" in lines[2]
        )
        assert "hessian: 128 images, 1.0 s" in lines

    @pytest.mark.parametrize("limit", [1000.0, 2.0**29])
    def test_width(self, limit: float) -> None:
        reports = [
            replace(
                report, usage=dict.fromkeys(("Flash", "peak SRAM"), Usage(used=limit, limit=limit))
            )
            for report in make_reports()
        ]
        reports[2] = replace(reports[2], notes=("a long note " * 30,))
        table = allocation_table(
            reports, replace(SETTING, warnings=("the network was never trained " * 8,))
        )
        assert max(map(len, table.splitlines())) <= WIDTH
        assert table.startswith("warning: the network was never trained")
        assert table.isascii()

    def test_without_a_resource(self) -> None:
        (report,) = (replace(report, usage={}) for report in make_reports(("qbr",)))
        assert allocation_table([report], SETTING).splitlines()[-1].split()[3:5] == ["-", "-"]


class TestJson:
    def test_file(self, tmp_path: Path) -> None:
        (report,) = make_reports(("clado",))
        write_allocation(tmp_path / "allocation.json", report, SETTING, {"start.pt": "ab" * 32})
        found = json.loads((tmp_path / "allocation.json").read_text(), parse_constant=pytest.fail)
        assert found["format"] == "nas-search/allocation/1"
        assert found["made_of"] == {"start.pt": "ab" * 32}
        assert found["bits"]["stem"] == f"w{report.w_bits[0]}a{report.a_bits[0]}"
        assert len(found["bits"]) == len(report.layers)
        assert found["usage"]["Flash"] == {"used": 123456.0, "limit": 131072.0}
        assert found["judged"] == {
            "loss": 0.375,
            "loss_change": 0.25,
            "accuracy": report.judged.accuracy,
        }
        assert found["details"] == {"nodes": 7, "alpha": None, "path": "x"}
        assert found["setting"]["float"] == {"loss": 0.1, "accuracy": 97.5}

    def test_all(self) -> None:
        found = comparison(make_reports(), replace(SETTING, warnings=("never trained",)))
        assert [method["method"] for method in found["methods"]] == list(METHODS)
        assert found["warnings"] == ["never trained"]
        json.dumps(found, allow_nan=False)


def boxes(figure: Figure) -> tuple[list[str], np.ndarray]:
    """Return all visible texts and their extents in pixels, ``(texts, 4)``: left, bottom, right,
    top.
    """
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    extents = [text.get_window_extent(canvas.get_renderer()).extents for text in texts]
    return [text.get_text() for text in texts], np.array(extents)


class TestPicture:
    @pytest.mark.parametrize(
        ("methods", "depths", "floating", "warning"),
        [
            (METHODS, (3, 3), 97.5, ""),
            (
                METHODS,
                (5, 5, 5),
                97.5,
                "the network was never trained: bits for random weights; " * 9,
            ),
            (("uniform",), (1,), 10.0, ""),
            (("gauss-newton", "a-method-with-a-long-name"), (2, 2, 2), 100.0, "untrained"),
        ],
    )
    def test_nothing_is_cut_or_covered(
        self, methods: tuple[str, ...], depths: tuple[int, ...], floating: float, warning: str
    ) -> None:
        reports = make_reports(methods, depths)
        reports[0] = replace(reports[0], judged=choice(9.0, 0.0))
        reports[-1] = replace(reports[-1], judged=choice(9.0, 100.0))
        figure = draw_allocations(
            allocation_maps(
                reports,
                replace(
                    SETTING,
                    floating=Judged(loss=0.1, accuracy=floating),
                    warnings=(warning,) if warning else (),
                ),
            )
        )
        texts, found = boxes(figure)
        assert {"weights", "stage 1", *methods} <= set(texts)
        assert (found[:, :2] >= 0).all()
        assert (found[:, 2:] <= figure.get_size_inches() * figure.dpi).all()
        low, high = found[:, None, :2], found[None, :, 2:]
        meet = (low + 1 < high).all(2)
        covered = np.argwhere(np.triu(meet & meet.T, 1))
        assert [(texts[i], texts[j]) for i, j in covered] == []

    def test_record(self) -> None:
        reports = make_reports()
        record = allocation_maps(reports, SETTING)
        assert record == allocation_maps(make_reports(), SETTING)
        assert record.w_bits[4] == reports[4].w_bits
        assert record.axis.names == reports[0].layers
        with pytest.raises(InputError, match="0 allocations cannot be drawn"):
            allocation_maps([], SETTING)
        with pytest.raises(InputError, match="all of the same layers"):
            allocation_maps([*reports, *make_reports(("x",), (1,))], SETTING)
