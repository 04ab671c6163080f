"""Drawing and saving. Warnings are errors throughout, so a picture that matplotlib has to squeeze
fails here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from nas_engine.architecture import Block
from nas_engine.costs.plan import PlannedTensor, plan_memory
from nas_engine.errors import InputError
from nas_engine.files import StorageError
from nas_engine.report.network import NetworkReport
from nas_engine.report.plots import (
    bit_map_data,
    draw_bit_map,
    draw_flash,
    draw_front,
    draw_progress,
    draw_sram,
    draw_time,
    draw_timeline,
    flash_data,
    front_data,
    progress_data,
    save_figure,
    sram_data,
    time_data,
    timeline_data,
)
from tests.architectures import W8A8, small
from tests.report.networks import make_network, make_report

ROWS = [
    {
        "qe_score": 10.0 + i,
        "peak_sram_bytes": 5e4 + 1e3 * i,
        "flash_bytes": 4e5 - 1e3 * i,
        "macs": 1e6 * (i + 1),
    }
    for i in range(8)
]
HISTORY = [
    {
        "evaluated": 64 * (i + 1),
        "best_score": 5.0 * i or None,
        "feasible": i / 9,
        "elapsed_s": 0.5 * i,
    }
    for i in range(10)
]


def draw_plan(report: NetworkReport) -> Figure:
    names = report.layer_names
    tensors = [
        PlannedTensor(
            name=f"{name}.out",
            offset=0 if i % 2 else 2048,
            size=2048,
            bits=8,
            first_step=i,
            last_step=min(i + 1, len(names) - 1),
            kind=f"kind {i % 3}",
        )
        for i, name in enumerate(names)
    ]
    return draw_timeline(timeline_data(tensors, names, budget=8192))


NETWORK_PICTURES: dict[str, Callable[[NetworkReport], Figure]] = {
    "bit_map": lambda report: draw_bit_map(bit_map_data(report)),
    "sram": lambda report: draw_sram(sram_data(report, 262144)),
    "sram_over": lambda report: draw_sram(sram_data(report, 1002)),
    "sram_free": lambda report: draw_sram(sram_data(report)),
    "flash": lambda report: draw_flash(flash_data(report, 2**20)),
    "flash_over": lambda report: draw_flash(flash_data(report, 500)),
    "time": lambda report: draw_time(
        time_data(replace(report, layer_cycles=report.macs, milliseconds_per_cycle=(1e-6, 2.5e-6)))
    ),
    "plan": draw_plan,
}
NETWORKS = {
    "one_block": make_network(),
    "no_classifier": make_network((2, 2), classifier=False),
    "47_layers": make_network((3, 3, 3, 3, 3), classifier=False),
    "102_layers": make_network((6, 6, 6, 6, 6, 3)),
}


def draw_in_place_plan() -> Figure:
    """Draw the plan of blocks with layers that write over their input, and sums over shortcuts."""
    blocks = (
        Block(kernel=3, stride=1, bottleneck=32, channels=16, bits=((W8A8,) * 3,) * 2),
        Block(kind="residual", kernel=3, stride=2, channels=32, bits=((W8A8,) * 3, (W8A8,) * 2)),
    )
    plan = plan_memory(small(resolution=32, blocks=blocks))
    assert any(tensor.in_place_of for tensor in plan.tensors)
    return draw_timeline(timeline_data(plan.tensors, plan.steps))


OTHER_PICTURES: dict[str, Callable[[], Figure]] = {
    "progress": lambda: draw_progress(progress_data(HISTORY)),
    "progress_long": lambda: draw_progress(
        progress_data([{"evaluated": i, "best_score": i, "feasible": 1} for i in range(1, 2000)])
    ),
    "progress_infeasible": lambda: draw_progress(progress_data(HISTORY[:1])),
    "progress_no_share": lambda: draw_progress(
        progress_data([{"evaluated": 5, "best_score": 0.0}])
    ),
    "progress_late": lambda: draw_progress(
        progress_data([*({"evaluated": i} for i in range(9)), {"evaluated": 9, "best_score": 1.5}])
    ),
    "progress_empty": lambda: draw_progress(progress_data([])),
    "front": lambda: draw_front(
        front_data(ROWS, sram_budget=65536, flash_budget=2**20, macs_budget=1e9)
    ),
    "front_one": lambda: draw_front(front_data(ROWS[:1])),
    "front_empty": lambda: draw_front(front_data([], sram_budget=65536)),
    "plan_odd_names": lambda: draw_timeline(
        timeline_data([], ("input", "stage1.block1.shortcut_addition", "output"))
    ),
    "plan_in_place": draw_in_place_plan,
    "plan_many_at_once": lambda: draw_timeline(
        timeline_data(
            [
                PlannedTensor(name=f"t{i}", offset=i, size=1, bits=8, first_step=0, last_step=0)
                for i in range(40)
            ],
            ("all",),
        )
    ),
}


def texts(figure: Figure) -> list[str]:
    return [artist.get_text() for artist in figure.findobj(Text) if isinstance(artist, Text)]


def problems(figure: Figure) -> list[str]:
    """Return what is wrong with a picture as drawn: texts that stick out or cover each other, and
    ink at its border.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    border = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    found = [] if all((line == 255).all() for line in border) else ["ink at the border"]
    # matplotlib keeps labels of ticks that are out of view; which are in view it does not tell
    ticks = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels()
    }
    boxes = []
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and id(artist) not in ticks):
        assert isinstance(text, Text)
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent()
            if not (
                box.x0 >= 0
                and box.y0 >= 0
                and box.x1 <= figure.bbox.width
                and box.y1 <= figure.bbox.height
            ):
                found.append(f"{text.get_text()!r} sticks out")
            found += [
                f"{text.get_text()!r} covers {other!r}"
                for other, place in boxes
                if place.overlaps(box)
            ]
            boxes.append((text.get_text(), box))
    return found


def check_saved(figure: Figure, folder: Path, stem: str) -> None:
    assert problems(figure) == []
    png, svg = save_figure(figure, folder, stem)
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"{stem}.png", f"{stem}.svg"])
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert png.stat().st_size > 3000
    assert ElementTree.fromstring(svg.read_text(encoding="utf-8")).tag.endswith("svg")


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("picture", NETWORK_PICTURES)
def test_pictures_of_networks(picture: str, network: str, tmp_path: Path) -> None:
    check_saved(
        NETWORK_PICTURES[picture](make_report(NETWORKS[network])), tmp_path / "plots", picture
    )


@pytest.mark.parametrize("picture", OTHER_PICTURES)
def test_other_pictures(picture: str, tmp_path: Path) -> None:
    check_saved(OTHER_PICTURES[picture](), tmp_path / "plots", picture)


@pytest.mark.parametrize("budget", [None, 1000.0, 4e7])
@pytest.mark.parametrize("peak", range(6))
def test_call_outs_fit_wherever_the_peak_is(peak: int, budget: float | None) -> None:
    sizes = tuple(41_234_567.0 if i in (peak, 5) else 40_000_000.0 for i in range(6))
    report = make_report(sram=sizes, flash=sizes)
    assert problems(draw_sram(sram_data(report, budget))) == []
    assert problems(draw_flash(flash_data(report, budget))) == []


class TestCheckFails:
    """A check that cannot fail proves nothing."""

    def test_text_that_sticks_out(self) -> None:
        figure = Figure()
        figure.text(0.99, 0.5, "too far right")
        assert problems(figure) == ["ink at the border", "'too far right' sticks out"]

    def test_texts_that_cover_each_other(self) -> None:
        figure = Figure()
        figure.text(0.5, 0.5, "one")
        figure.text(0.51, 0.5, "two")
        assert problems(figure) == ["'two' covers 'one'"]


class TestWhatIsWritten:
    def test_every_bit_is_legible(self) -> None:
        found = texts(NETWORK_PICTURES["bit_map"](make_report(NETWORKS["47_layers"])))
        assert sum(bool(re.fullmatch("[2-8]", text)) for text in found) >= 2 * 47

    def test_sram_names_peak_budget_and_model(self) -> None:
        found = " | ".join(
            texts(draw_sram(sram_data(make_report(sram=(1.0, 2.0, 2048.0, 3.0, 4.0, 5.0)), 4096)))
        )
        assert "peak at s1.b1.depthwise\n2,048 B (2 KiB), 50.0 % of the budget" in found
        assert "budget 4,096 B (4 KiB)" in found
        assert "memory model 'arena'" in found

    def test_layers_that_do_not_fit_are_counted(self) -> None:
        assert any(
            "3 of 6 layers do not fit" in text
            for text in texts(draw_sram(sram_data(make_report(), 1002)))
        )

    def test_unknown_memory_model_is_named(self) -> None:
        assert "memory model 'mine'" in texts(
            draw_sram(sram_data(make_report(memory_model="mine")))
        )

    def test_empty_pictures_say_why(self) -> None:
        assert "no candidates evaluated yet" in texts(OTHER_PICTURES["progress_empty"]())
        assert "no feasible network yet" in texts(OTHER_PICTURES["progress_infeasible"]())
        assert "the front is empty: no feasible network yet" in texts(
            OTHER_PICTURES["front_empty"]()
        )


class TestSaving:
    def test_same_record_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name, draw in NETWORK_PICTURES.items():
            one, two = (
                save_figure(draw(make_report()), tmp_path / folder, name) for folder in "ab"
            )
            assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]

    def test_saving_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        figure = OTHER_PICTURES["front"]()
        first = [path.read_bytes() for path in save_figure(figure, tmp_path, "front")]
        assert [path.read_bytes() for path in save_figure(figure, tmp_path, "front")] == first

    def test_the_users_settings_do_not_matter(self, tmp_path: Path) -> None:
        plain = save_figure(OTHER_PICTURES["front"](), tmp_path / "a", "front")
        with matplotlib.rc_context(
            {"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 50, "lines.linewidth": 9}
        ):
            odd = save_figure(OTHER_PICTURES["front"](), tmp_path / "b", "front")
            assert matplotlib.rcParams["font.size"] == 30
        assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in odd]

    def test_no_date(self, tmp_path: Path) -> None:
        _, svg = save_figure(OTHER_PICTURES["front_empty"](), tmp_path, "front")
        assert "<dc:date>" not in svg.read_text(encoding="utf-8")

    def test_a_failure_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "front.png").write_bytes(b"old")

        def fail(*_: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr("nas_engine.files.os.replace", fail)
        with pytest.raises(StorageError, match="disk full"):
            save_figure(OTHER_PICTURES["front_empty"](), tmp_path, "front")
        assert [path.name for path in tmp_path.iterdir()] == ["front.png"]
        assert (tmp_path / "front.png").read_bytes() == b"old"

    @pytest.mark.parametrize("stem", ["", ".", "..", "a/b", "a\\b"])
    def test_names_that_are_none(self, stem: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="picture name"):
            save_figure(Figure(), tmp_path, stem)


def test_pyplot_is_not_needed() -> None:
    code = "import sys, nas_engine.report.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "False"
