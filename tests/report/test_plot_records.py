"""Records of what is drawn; pixels are not examined."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.block_kinds import LAYERS_OF_UNITS
from nas_engine.costs.plan import PlannedTensor
from nas_engine.errors import InputError
from nas_engine.report.plots import (
    BitMap,
    FlashBars,
    FrontPoint,
    LayerAxis,
    Progress,
    Span,
    SramBars,
    bit_map_data,
    flash_data,
    front_data,
    progress_data,
    sram_data,
    timeline_data,
)
from nas_engine.report.plots.layer_axis import layer_axis
from nas_engine.report.plots.layer_bytes import percent
from tests.report.networks import make_network, make_report

ONE_BLOCK = LayerAxis(
    names=("stem", "s1.b1.expand", "s1.b1.depthwise", "s1.b1.project", "head", "classifier"),
    letters=("", "E", "D", "P", "", ""),
    residuals=(Span(name="b1", first=1, last=3),),
    stages=(
        Span(name="stem", first=0, last=0),
        Span(name="s1", first=1, last=3),
        Span(name="head", first=4, last=4),
        Span(name="classifier", first=5, last=5),
    ),
)

sizes = st.lists(st.integers(1, 10**7).map(float), min_size=6, max_size=6).map(tuple)


class TestLayerAxis:
    def test_one_block(self) -> None:
        assert layer_axis(make_network().layer_names()) == ONE_BLOCK

    def test_two_stages_without_classifier(self) -> None:
        axis = layer_axis(make_network((2, 1), classifier=False).layer_names())
        assert axis.residuals == (
            Span(name="b1", first=1, last=3),
            Span(name="b2", first=4, last=6),
            Span(name="b1", first=7, last=9),
        )
        assert [(span.name, span.first, span.last) for span in axis.stages] == [
            ("stem", 0, 0),
            ("s1", 1, 6),
            ("s2", 7, 9),
            ("head", 10, 10),
        ]

    @given(
        depths=st.lists(st.integers(1, 4), min_size=1, max_size=12).map(tuple),
        classifier=st.booleans(),
    )
    def test_stages_cover_all_layers(self, depths: tuple[int, ...], classifier: bool) -> None:
        axis = layer_axis(make_network(depths, classifier).layer_names())
        assert [i for span in axis.stages for i in range(span.first, span.last + 1)] == list(
            range(len(axis.names))
        )
        assert [span.last - span.first for span in axis.residuals] == [2] * sum(depths)

    def test_units_of_every_kind(self) -> None:
        names = ("stem", "s1.b1.conv1", "s1.b1.shortcut", "s1.b1.conv2", "s1.b2.conv1")
        axis = layer_axis((*names, "s1.b2.conv2", "s2.b1.depthwise", "s2.b1.project", "head"))
        assert axis.letters == ("", "1", "S", "2", "1", "2", "D", "P", "")
        assert [(span.name, span.first, span.last) for span in axis.residuals] == [
            ("b1", 1, 3),
            ("b2", 4, 5),
            ("b1", 6, 7),
        ]
        assert [span.name for span in axis.stages] == ["stem", "s1", "s2", "head"]

    def test_letters_of_different_layers_differ(self) -> None:
        letters = {layer.name: layer.letter for layer in LAYERS_OF_UNITS.values()}
        assert len(set(letters.values())) == len(letters)

    def test_other_names_are_written_in_full(self) -> None:
        axis = layer_axis(("stem", "s1.b1.expand", "s1.b1.add"))
        assert axis.letters == ("", "", "")
        assert axis.residuals == ()
        assert [span.name for span in axis.stages] == ["stem", "s1.b1.expand", "s1.b1.add"]

    def test_no_layers(self) -> None:
        with pytest.raises(InputError, match="at least one"):
            layer_axis(())


class TestBitMap:
    def test_one_block(self) -> None:
        report = make_report()
        assert bit_map_data(report) == BitMap(
            axis=ONE_BLOCK,
            w_bits=(8, 8, 8, 8, 5, 4),
            a_bits=(8, 2, 2, 2, 6, 8),
            mean_w_bits=(8.0, 8.0, 5.0, 4.0),
            mean_a_bits=(8.0, 2.0, 6.0, 8.0),
        )

    def test_means_show_the_opposite_trends(self) -> None:
        record = bit_map_data(make_report(make_network((3, 3, 3, 3, 3))))
        assert list(record.mean_w_bits[1:6]) == sorted(record.mean_w_bits[1:6], reverse=True)
        assert list(record.mean_a_bits[1:6]) == sorted(record.mean_a_bits[1:6])


class TestBytes:
    def test_sram(self) -> None:
        report = make_report(sram=(10.0, 50.0, 20.0, 50.0, 30.0, 5.0))
        assert sram_data(report, 40) == SramBars(
            axis=ONE_BLOCK,
            memory_model="arena",
            sizes=(10.0, 50.0, 20.0, 50.0, 30.0, 5.0),
            peak=1,
            ties=1,
            budget=40,
        )
        assert sram_data(report, 40).over_budget == (1, 3)
        assert sram_data(report, 50).over_budget == ()
        assert sram_data(report).over_budget == ()

    def test_flash(self) -> None:
        assert flash_data(make_report(memory_model="paper"), 4000) == FlashBars(
            axis=ONE_BLOCK,
            memory_model="paper",
            sizes=(100.0, 200.0, 300.0, 400.0, 500.0, 600.0),
            cumulative=(100.0, 300.0, 600.0, 1000.0, 1500.0, 2100.0),
            largest=5,
            budget=4000,
        )

    @given(sram=sizes, flash=sizes, budget=st.integers(1, 10**7))
    def test_peak_and_sum(
        self, sram: tuple[float, ...], flash: tuple[float, ...], budget: int
    ) -> None:
        report = make_report(sram=sram, flash=flash)
        bars, store = sram_data(report, budget), flash_data(report, budget)
        assert bars.sizes[bars.peak] == max(sram) == report.peak_sram_bytes
        assert bars.axis.names[bars.peak] == report.peak_layer
        assert bars.ties == sum(size == max(sram) for size in sram) - 1
        assert bool(bars.over_budget) == (max(sram) > budget)
        assert store.cumulative[-1] == report.total_flash_bytes
        assert store.sizes[store.largest] == max(flash)

    @pytest.mark.parametrize("budget", [0, -1, math.nan])
    def test_budget_must_be_positive(self, budget: float) -> None:
        with pytest.raises(InputError, match="SRAM budget"):
            sram_data(make_report(), budget)
        with pytest.raises(InputError, match="Flash budget"):
            flash_data(make_report(), budget)

    @pytest.mark.parametrize(
        ("used", "budget", "text"),
        [
            (1, 2, "50.0 %"),
            (262144, 262144, "100.0 %"),
            (262145, 262144, "over 100 %"),
            (3, 2, "150.0 %"),
        ],
    )
    def test_percent(self, used: float, budget: float, text: str) -> None:
        assert percent(used, budget) == text


class TestProgress:
    def test_record(self) -> None:
        history = [
            {
                "evaluated": 10,
                "best_score": None,
                "feasible": 0.0,
                "elapsed_s": 0.1,
                "generation": 0,
            },
            {"evaluated": 20, "best_score": math.nan, "feasible": 0.25},
            {"evaluated": 30, "best_score": 7},
        ]
        record = progress_data(history)
        assert record == Progress(
            evaluated=(10, 20, 30),
            best_score=(None, None, 7.0),
            feasible=(0.0, 0.25, None),
            elapsed_s=(0.1, None, None),
        )
        assert record.first_feasible == 2

    def test_empty(self) -> None:
        assert progress_data([]) == Progress(evaluated=(), best_score=(), feasible=(), elapsed_s=())
        assert progress_data([]).first_feasible is None

    @pytest.mark.parametrize(
        ("history", "message"),
        [
            ([{"best_score": 1}], "entry 0 has no key 'evaluated'"),
            ([{"evaluated": 5}, {"evaluated": 4}], "entry 1: evaluated falls from 5 to 4"),
            ([{"evaluated": 5, "feasible": 512}], "entry 0: feasible is 512; expected a share"),
        ],
    )
    def test_errors(self, history: list[dict[str, float]], message: str) -> None:
        with pytest.raises(InputError, match=message):
            progress_data(history)


ROW = {"qe_score": 5.0, "peak_sram_bytes": 100.0, "flash_bytes": 200.0, "macs": 300.0}
points = st.builds(
    FrontPoint,
    qe_score=st.integers(-5, 5).map(float),
    peak_sram_bytes=st.integers(1, 9).map(float),
    flash_bytes=st.integers(1, 9).map(float),
    macs=st.integers(1, 9).map(float),
)


class TestFront:
    def test_record(self) -> None:
        record = front_data(
            [ROW, {**ROW, "qe_score": "9", "name": "x"}, {**ROW, "qe_score": 9}],
            sram_budget=1000,
            macs_budget=5,
        )
        assert record.points == (
            FrontPoint(**ROW),
            FrontPoint(**{**ROW, "qe_score": 9.0}),
            FrontPoint(**{**ROW, "qe_score": 9.0}),
        )
        assert (record.best, record.sram_budget, record.flash_budget, record.macs_budget) == (
            1,
            1000,
            None,
            5,
        )

    def test_empty(self) -> None:
        record = front_data([])
        assert record.best is None
        assert record.envelope("macs") == ()

    def test_envelope(self) -> None:
        record = front_data(
            [
                {**ROW, "macs": macs, "qe_score": score}
                for macs, score in ((3, 4), (1, 2), (2, 1), (1, 1), (4, 4), (5, 9))
            ]
        )
        assert record.envelope("macs") == ((1.0, 2.0), (3.0, 4.0), (5.0, 9.0))

    @given(rows=st.lists(points, max_size=12))
    def test_envelope_is_the_best_at_or_below(self, rows: list[FrontPoint]) -> None:
        record = front_data([dataclasses.asdict(point) for point in rows])
        steps = record.envelope("peak_sram_bytes")
        for limit in range(1, 10):
            expected = max(
                (point.qe_score for point in rows if point.peak_sram_bytes <= limit), default=None
            )
            assert max((score for cost, score in steps if cost <= limit), default=None) == expected
        assert list(steps) == sorted(steps)
        assert record.best is None or rows[record.best].qe_score == max(
            point.qe_score for point in rows
        )

    @pytest.mark.parametrize(
        "row", [{**ROW, "macs": "many"}, {"qe_score": 1}, {**ROW, "macs": None}]
    )
    def test_errors(self, row: dict[str, object]) -> None:
        with pytest.raises(
            InputError, match=r"row 1 of the front: .*expected numbers under the keys qe_score"
        ):
            front_data([ROW, row])


def tensor(name: str, offset: float, size: float, first: int, last: int) -> PlannedTensor:
    return PlannedTensor(
        name=name, offset=offset, size=size, bits=8, first_step=first, last_step=last
    )


class TestTimeline:
    def test_two_ended_plan(self) -> None:
        a, b, c = tensor("a", 0, 40, 0, 1), tensor("b", 90, 10, 0, 0), tensor("c", 30, 70, 1, 2)
        record = timeline_data([a, b, c], ("x", "y", "z", "idle"), budget=128)
        assert record.live == (50, 100, 70, 0)
        assert (record.peak, record.arena_bytes, record.budget) == (1, 100, 128)
        assert record.at_peak == (c, a)
        assert record.axis.names == ("x", "y", "z", "idle")

    def test_no_tensors(self) -> None:
        record = timeline_data([], ("x",))
        assert (record.live, record.peak, record.arena_bytes, record.at_peak) == (
            (0.0,),
            0,
            0.0,
            (),
        )

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 20), st.integers(0, 20), st.integers(0, 4), st.integers(0, 4)
            ).map(lambda t: tensor("t", t[0], t[1], min(t[2:]), max(t[2:])))
        )
    )
    def test_live_bytes_count_addresses_once(self, tensors: list[PlannedTensor]) -> None:
        record = timeline_data(tensors, tuple("abcde"))
        for step, live in enumerate(record.live):
            used = {
                byte
                for t in tensors
                if t.first_step <= step <= t.last_step
                for byte in range(int(t.offset), int(t.offset + t.size))
            }
            assert live == len(used)
        assert record.live[record.peak] == max(record.live) <= record.arena_bytes

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (tensor("t", 0, 1, 0, 2), "tensor t lives from step 0 to 2; expected steps 0 to 1"),
            (tensor("t", 0, 1, 1, 0), "lives from step 1 to 0"),
            (tensor("t", 0, 1, -1, 0), "lives from step -1 to 0"),
            (tensor("t", -4, 1, 0, 0), "neither to be negative"),
            (tensor("t", 0, -1, 0, 0), "neither to be negative"),
        ],
    )
    def test_errors(self, bad: PlannedTensor, message: str) -> None:
        with pytest.raises(InputError, match=message):
            timeline_data([bad], ("x", "y"))

    def test_no_steps(self) -> None:
        with pytest.raises(InputError, match="at least one"):
            timeline_data([], ())


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        sram_data(make_report()).peak = 0  # type: ignore[misc]
