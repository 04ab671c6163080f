"""Content of the report.

The verdict follows from the data, parts without data are named, the words fit the numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nas_engine.costs.plan import plan_memory
from nas_engine.names import Schedule
from nas_engine.pipeline.shortlist import ACCURACY, FAILURES, LOSS, SCORE
from nas_engine.report.html.document import (
    Bars,
    Cell,
    Commands,
    Figure,
    Figures,
    Gallery,
    Matrix,
    Page,
    Section,
    Sentence,
    Table,
    Tone,
    flat,
)
from nas_engine.report.network import report_network
from nas_engine.report.page import PARTS, build_page
from nas_engine.report.page.cover import cover
from nas_engine.report.page.facts import RunFacts
from nas_engine.report.page.headline import short_verdict, verdict_sentence
from nas_engine.report.page.provenance import search_command
from nas_engine.report.page.search import WHY, order_sentence
from nas_engine.report.page.words import NONE, interval, listed, seconds, share, standard_error
from nas_engine.training.by_class import ByClass, Shown
from nas_engine.verification.result import MemoryLine
from tests.report.page_facts import (
    ARENA,
    CLOSE,
    DIFFERS,
    EQUAL,
    NETWORK,
    OWN_CORE,
    SCORE_SETTINGS,
    SEARCHED,
    SKIPPED,
    TWO_CLASSES,
    accuracy,
    allocation,
    allocations,
    complete,
    proof,
    shortlist,
    trained,
)

TITLES = [title for title, *_ in PARTS]


def test_the_tile_of_time_has_the_range_and_what_the_own_core_counted() -> None:
    def tile(core: str) -> Figure:
        counted = {"Cortex-M7": {"stem": 9, "head": 1000}}
        facts = replace(trained(), verification=proof(EQUAL, core=core, instructions=counted))
        assert facts.network is not None
        network = replace(facts.network, milliseconds_per_cycle=(1e-6, 2e-6))
        figures = build_page(replace(facts, network=network)).sections[0].blocks
        (found,) = [block for block in figures if isinstance(block, Figures)]
        return next(one for one in found.items if one.name == "time per image")

    assert tile("cortex-m7").value == "3 to 6 ms"
    assert "3 M cycles at 216 MHz; 1.01 k instructions counted; " in tile("cortex-m7").note
    assert "counted" not in tile("cortex-m4").note


def section(page: Page, key: str) -> Section:
    """Return a part of a page."""
    return next(part for part in page.sections if part.key == key)


def tables(part: Section) -> list[Table]:
    """Return the tables of a part."""
    return [block for block in flat(part.blocks) if isinstance(block, Table)]


def sentences(part: Section) -> str:
    """Return the sentences of a part."""
    return " ".join(block.text for block in flat(part.blocks) if isinstance(block, Sentence))


def column(table: Table, name: str) -> list[str]:
    """Return the fields of a column."""
    i = table.columns.index(name)
    return [
        cell.text if isinstance(cell, Cell) else cell for cell in (row[i] for row in table.rows)
    ]


class TestVerdict:
    def test_a_proof_names_what_ran_and_how_much(self) -> None:
        text, tone = verdict_sentence(
            replace(trained(), verification=proof(EQUAL, OWN_CORE, CLOSE, SKIPPED))
        )
        assert tone is Tone.GOOD
        assert text.startswith(
            "Recorded, digests fit: host C and Cortex-M7 gave every output value of the integer "
            "reference on 20 images"
        )
        assert "(400 values" in text
        assert text.endswith("The device: its own core, Cortex-M7, ran emulated, 20 images.")
        assert "1 amount on Cortex-M7" in text
        assert "images like those of digits" in text
        assert "nothing is known of TFLite Micro" in text
        assert "QCDQ" not in text

    def test_the_first_line_is_short(self) -> None:
        proven = replace(trained(), verification=proof(EQUAL, OWN_CORE, CLOSE, SKIPPED))
        assert short_verdict(proven) == (
            "Recorded, digests fit: equal on 2 back-ends, 400 values, 0 differ."
        )
        page = build_page(proven)
        assert page.sections[0].blocks[0] == Sentence(short_verdict(proven), Tone.GOOD)
        assert verdict_sentence(proven)[0] in sentences(page.sections[0])
        elsewhere = short_verdict(replace(proven, verification=proof(EQUAL)))
        assert elsewhere.startswith("Recorded, digests fit, not verified for this device: equal")
        for other in (trained(), replace(proven, verification=proof(DIFFERS)), SEARCHED):
            assert short_verdict(other) == ""
        chance = replace(
            trained(by_class=ByClass(largest="dog", share=86.0)), verification=proof(OWN_CORE)
        )
        assert short_verdict(chance).endswith("0 differ; but the accuracy is barely above chance.")

    def test_barely_above_chance_is_not_trusted(self) -> None:
        facts = replace(
            trained(by_class=ByClass(largest="dog", share=86.0)),
            verification=proof(EQUAL, OWN_CORE),
        )
        text, tone = verdict_sentence(facts)
        assert tone is Tone.PLAIN
        assert (
            "but this accuracy is barely above chance: 88.00 % is not more than 2 standard errors "
            "above 86.00 %" in text
        )
        assert "that all back-ends agree makes no network useful" in text
        page = build_page(facts)
        tile = next(block for block in page.sections[0].blocks if isinstance(block, Figures)).items[
            0
        ]
        assert tile.tone is Tone.PLAIN
        assert tile.note.endswith("; always 'dog': 86.00 %; barely above chance")
        table = next(
            block for block in section(page, "accuracy").blocks if isinstance(block, Table)
        )
        assert table.rows[-1][:3] == (
            "naming the largest class, 'dog', always",
            "86.00 %",
            "344 of 400",
        )
        clear = replace(
            trained(by_class=ByClass(largest="dog", share=50.0)),
            verification=proof(EQUAL, OWN_CORE),
        )
        assert verdict_sentence(clear)[1] is Tone.GOOD
        assert "chance" not in verdict_sentence(clear)[0]

    def test_without_firmware_memory_stays_a_prediction(self) -> None:
        text, tone = verdict_sentence(
            replace(trained(), verification=proof(EQUAL, OWN_CORE, memory=()))
        )
        assert tone is Tone.GOOD
        assert "SRAM and Flash below are predictions" in text
        assert "SRAM and Flash below may be trusted" not in text

    @pytest.mark.parametrize("core", ["", "cortex-m0plus", "cortex-m33", "xtensa-lx7"])
    def test_a_core_that_did_not_run_is_not_verified(self, core: str) -> None:
        text, tone = verdict_sentence(
            replace(trained(), verification=proof(EQUAL, OWN_CORE, core=core))
        )
        assert tone is Tone.PLAIN
        assert text.startswith(
            "Recorded, digests fit, not verified for this device: host C and Cortex-M7 gave every "
            "output value"
        )

    @pytest.mark.parametrize(
        ("comparisons", "line", "expected"),
        [
            ((EQUAL, DIFFERS), ARENA, "Cortex-M4 differs from the integer reference"),
            (
                (EQUAL,),
                replace(ARENA, measured=1400),
                "arena on Cortex-M7 is 1,400 B where 1,352 B were predicted",
            ),
            ((SKIPPED,), ARENA, "nothing is proven"),
        ],
    )
    def test_what_failed_is_named(
        self, comparisons: tuple[object, ...], line: MemoryLine, expected: str
    ) -> None:
        text, tone = verdict_sentence(
            replace(trained(), verification=proof(*comparisons, memory=(line,)))
        )  # type: ignore[arg-type]
        assert tone is Tone.BAD
        assert expected in text

    def test_a_network_over_its_budget_is_not_to_be_deployed_even_if_verified(self) -> None:
        small = replace(
            SEARCHED.asked, device=replace(SEARCHED.asked.device, sram_bytes=4096 + 1000)
        )
        text, tone = verdict_sentence(replace(trained(), asked=small, verification=proof(EQUAL)))
        assert tone is Tone.BAD
        assert "over the budget of 1,000 B" in text
        too_much = replace(SEARCHED, asked=replace(SEARCHED.asked, limits={"macs": 1.0}))
        assert "over the limit of 1" in verdict_sentence(too_much)[0]

    def test_each_state_names_the_next_command(self) -> None:
        assert "nas-search train runs/digits" in verdict_sentence(SEARCHED)[0]
        assert "not an accuracy" in verdict_sentence(SEARCHED)[0]
        assert (
            "nas-search export runs/digits and nas-search verify runs/digits"
            in verdict_sentence(trained())[0]
        )
        exported = replace(trained(), exports={"c/model.c": "0" * 64})
        assert "nas-search export" not in verdict_sentence(exported)[0]
        floating = trained(quantised=None, integer=None, agreement=None)
        assert "Trained in float only" in verdict_sentence(floating)[0]
        assert "nas-search refine runs/digits" in verdict_sentence(floating)[0]
        assert "No network yet" in verdict_sentence(replace(SEARCHED, network=None))[0]
        assert (
            "the same nas-search run command" in verdict_sentence(replace(SEARCHED, whole=True))[0]
        )

    def test_names_are_quoted_for_the_shell(self) -> None:
        assert (
            "nas-search train 'runs/my net'"
            in verdict_sentence(replace(SEARCHED, folder="runs/my net"))[0]
        )


class TestParts:
    def test_a_whole_run_has_them_all_in_order(self) -> None:
        page = build_page(complete())
        assert [part.title for part in page.sections[1:-1]] == [
            title for title in TITLES if title != "Quantisation error by layer"
        ]
        assert page.sections[0].key == "verdict"
        assert column(tables(page.sections[-1])[0], "part") == ["Quantisation error by layer"]

    def test_what_a_search_does_not_have_is_named_with_its_command(self) -> None:
        missing = tables(section(build_page(SEARCHED), "missing"))[0]
        found = dict(zip(column(missing, "part"), column(missing, "command"), strict=True))
        assert found["Accuracy"] == "nas-search train runs/digits"
        assert found["Quantisation error by layer"] == "nas-search evaluate runs/digits --layers"
        assert found["Verification"] == (
            "nas-search train runs/digits && nas-search export runs/digits && nas-search verify "
            "runs/digits"
        )
        assert found["How the bits were chosen"] == "nas-search refine runs/digits"
        assert "Network" not in found

    def test_without_a_network_only_the_rest_is_left(self) -> None:
        page = build_page(
            replace(SEARCHED, network=None, plan=None, network_is="", history=(), front=())
        )
        assert [part.key for part in page.sections] == ["verdict", "provenance", "missing"]
        assert page.title == "digits"
        assert list(page.pictures()) == []

    def test_damaged_files_are_said_at_the_top(self) -> None:
        assert "x.json is damaged" in sentences(
            build_page(replace(SEARCHED, problems=("x.json is damaged",))).sections[0]
        )


class TestCover:
    def test_it_holds_every_width_and_every_tensor_where_it_lies(self) -> None:
        network, plan = SEARCHED.network, SEARCHED.plan
        assert network is not None
        assert plan is not None
        found = cover(network, plan, 2 * plan.arena_bytes)
        names = [text.partition(":")[0] for text in found.lanes[0].texts]
        assert names == list(plan.steps)  # by layers, a column is a step
        for lane, widths in zip(
            found.lanes,
            ([bits.w for bits in network.bits], [bits.a for bits in network.bits]),
            strict=True,
        ):
            assert [value for value in lane.values if value is not None] == widths
            assert lane.values[names.index("pool")] is None
        assert [(area.first, area.last, area.low, area.high) for area in found.areas] == [
            (one.first_step, one.last_step, one.offset, one.offset + one.size)
            for one in plan.tensors
        ]
        assert names[found.marked] == network.peak_layer
        assert "50.0 % of the budget" in found.caption
        covered = [i for band in found.bands for i in range(band.first, band.last + 1)]
        assert covered == list(range(len(names)))

    @pytest.mark.parametrize("schedule", ["auto", "rows"])
    def test_units_by_rows_take_the_columns_of_their_layers(self, schedule: Schedule) -> None:
        network = replace(NETWORK, schedule=schedule)
        counted, plan = report_network(network, score=SCORE_SETTINGS), plan_memory(network)
        found = cover(counted, plan, plan.arena_bytes)
        names = [text.partition(":")[0] for text in found.lanes[0].texts]
        spans = {
            step: {area.first for area, one in zip(found.areas, plan.tensors, strict=True)
                   if plan.steps[one.first_step] == step}
            for step in plan.steps
        }  # fmt: skip
        assert [name for name in names if name != "pool"] == list(counted.layer_names)
        for step, firsts in spans.items():
            unit = step.partition("..")[0]
            assert all(names[first] == step or names[first].startswith(unit) for first in firsts)


class TestMistakes:
    def test_what_is_taken_for_what(self) -> None:
        page = build_page(complete())
        part = section(page, "mistakes")
        assert "wrong about 48 of 400 test images of digits. It knows 'dog' least" in sentences(
            part
        )
        (table,) = tables(part)
        assert column(table, "class") == ["dog", "cat"]
        assert column(table, "right") == ["160 of 200", "192 of 200"]
        assert column(table, "most often taken for") == ["cat (40)", "dog (8)"]
        (matrix,) = [block for block in part.blocks if isinstance(block, Matrix)]
        assert matrix.counts == ((192, 8), (40, 160))
        (gallery,) = [block for block in part.blocks if isinstance(block, Gallery)]
        assert [one.text for one in gallery.items] == ["cat, taken for dog"]

    def test_many_classes_are_told_by_their_worst_pairs(self) -> None:
        names = tuple(f"c{i}" for i in range(25))
        rows = [[10 if i == j else 0 for j in range(25)] for i in range(25)]
        rows[3][7], rows[8][1] = 9, 5
        confusion = tuple(map(tuple, rows))
        found = ByClass(largest="c3", share=10.0, confusion=confusion, classes=names)
        part = section(build_page(trained(images=264, by_class=found)), "mistakes")
        assert not [block for block in part.blocks if isinstance(block, Matrix)]
        classes, pairs = tables(part)
        assert column(classes, "class")[:2] == ["c3", "c8"]
        assert pairs.rows == (("c3", "c7", "9"), ("c8", "c1", "5"))
        assert "kept none" in sentences(part)

    def test_a_thumbnail_that_is_no_picture_is_left_out(self) -> None:
        found = replace(TWO_CLASSES, shown=(Shown(png="<b>", is_class="a", said="b"),))
        part = section(build_page(trained(by_class=found)), "mistakes")
        assert not [block for block in part.blocks if isinstance(block, Gallery)]


class TestBudgets:
    def test_bars_are_what_is_used_of_what_may_be_used(self) -> None:
        part = section(build_page(SEARCHED), "budgets")
        (bars,) = [block for block in part.blocks if isinstance(block, Bars)]
        assert SEARCHED.network is not None
        assert [(bar.name, bar.used, bar.limit, bar.reserved) for bar in bars.items] == [
            ("SRAM", SEARCHED.network.peak_sram_bytes, 128 * 1024, 4096),
            ("Flash", SEARCHED.network.total_flash_bytes, 32 * 1024, 32 * 1024),
            ("MACs", SEARCHED.network.total_macs, 2e8, 0),
        ]
        share = 100 * SEARCHED.network.peak_sram_bytes / 131072
        assert f" of 131,072 B (128 KiB), {share:.1f} %; " in bars.items[0].text
        assert "Without a limit" in sentences(part)

    def test_what_is_over_is_said(self) -> None:
        device = replace(SEARCHED.asked.device, sram_bytes=4096 + 1000)
        part = section(
            build_page(replace(SEARCHED, asked=replace(SEARCHED.asked, device=device))), "budgets"
        )
        (bars,) = [block for block in part.blocks if isinstance(block, Bars)]
        assert SEARCHED.network is not None
        assert f"over by {SEARCHED.network.peak_sram_bytes - 1000:,.0f} B" in bars.items[0].text


class TestAccuracy:
    def test_three_forms_with_their_errors(self) -> None:
        (table,) = tables(section(build_page(trained()), "accuracy"))
        assert column(table, "accuracy") == ["90.00 %", "88.50 %", "88.00 %"]
        assert column(table, "right") == ["360 of 400", "354 of 400", "352 of 400"]
        assert column(table, "standard error, points")[0] == "1.50"
        assert "400 test images of digits" in table.caption

    def test_a_change_is_compared_with_the_noise(self) -> None:
        assert "-2.00 points, with 1 epoch of training between them: more than" in sentences(
            section(build_page(trained()), "accuracy")
        )
        assert "-1.00 points, with 1 epoch of training between them: less than" in sentences(
            section(build_page(trained(integer=89.0)), "accuracy")
        )

    def test_a_form_that_is_not_there_is_a_dash(self) -> None:
        (table,) = tables(
            section(build_page(trained(quantised=None, integer=None, agreement=None)), "accuracy")
        )
        assert column(table, "accuracy")[1:] == ["\N{EN DASH}"] * 2
        assert table.marked == ()

    def test_interval_is_that_of_wilson(self) -> None:
        # 81 of 263 is the worked example of Newcombe, Statistics in Medicine 17 (1998), table I:
        # 0.2553 to 0.3662
        low, high = interval(100 * 81 / 263, 263)
        assert (low, high) == pytest.approx((25.53, 36.62), abs=0.005)
        assert interval(100.0, 20)[1] == pytest.approx(100)
        assert interval(0.0, 20)[0] == pytest.approx(0)

    def test_standard_error_is_binomial(self) -> None:
        assert standard_error(50.0, 100) == 5.0
        assert standard_error(100.0, 7) == 0.0


class TestVerification:
    def test_back_ends_with_their_verdicts(self) -> None:
        part = section(
            build_page(replace(trained(), verification=proof(EQUAL, DIFFERS, CLOSE, SKIPPED))),
            "verification",
        )
        table = tables(part)[0]
        assert column(table, "verdict") == ["equal", "differs", "close", "not run"]
        tones = [row[1].tone for row in table.rows if isinstance(row[1], Cell)]
        assert tones == [Tone.GOOD, Tone.BAD, Tone.FAINT, Tone.FAINT]
        assert column(table, "differing") == ["0", "3", "9", "\N{EN DASH}"]
        assert column(table, "tensors") == ["7 of 7", "6 of 7", "\N{EN DASH}", "\N{EN DASH}"]
        assert "not installed" in column(table, "what ran")[3]

    def test_memory_predicted_and_measured(self) -> None:
        unknown = replace(ARENA, what="total Flash", predicted=None)
        part = section(
            build_page(replace(trained(), verification=proof(EQUAL, memory=(ARENA, unknown)))),
            "verification",
        )
        assert column(tables(part)[1], "verdict") == ["equal", "no code sizes to compare"]
        without = section(
            build_page(replace(trained(), verification=proof(EQUAL, memory=()))), "verification"
        )
        assert "Memory was not measured" in sentences(without)


class TestNetwork:
    def test_every_layer_with_its_costs(self) -> None:
        assert SEARCHED.network is not None
        (table,) = tables(section(build_page(SEARCHED), "network"))
        assert column(table, "layer")[:-1] == list(SEARCHED.network.layer_names)
        assert column(table, "w")[:-1] == [str(bits.w) for bits in SEARCHED.network.bits]
        assert column(table, "Flash")[-1] == f"{SEARCHED.network.total_flash_bytes:,.0f}"
        assert (
            column(table, "")[SEARCHED.network.layer_names.index(SEARCHED.network.peak_layer)]
            == "peak SRAM"
        )

    def test_kinds_add_up_to_the_whole(self) -> None:
        assert SEARCHED.network is not None
        (table,) = tables(section(build_page(SEARCHED), "flash"))
        sizes = [int(text.replace(",", "")) for text in column(table, "Flash, bytes")]
        assert sum(sizes) == SEARCHED.network.total_flash_bytes
        assert sizes == sorted(sizes, reverse=True)
        assert sum(int(text) for text in column(table, "layers")) == len(
            SEARCHED.network.layer_names
        )

    def test_the_peak_of_the_arena_is_named(self) -> None:
        assert SEARCHED.plan is not None
        text = sentences(section(build_page(SEARCHED), "memory"))
        assert f"{SEARCHED.plan.arena_bytes:,} B" in text


class TestSearch:
    def test_a_front_shows_ten_that_differ(self) -> None:
        (table,) = tables(section(build_page(SEARCHED), "front"))
        assert (column(table, "number")[0], column(table, "QE-Score")[0]) == ("1", "12.50")
        assert (column(table, "number")[-1], column(table, "QE-Score")[-1]) == ("12", "1.50")
        assert len(table.rows) == 10
        assert "differ most of 12" in table.caption

    @pytest.mark.parametrize(
        ("pairs", "chosen", "expected"),
        [
            (((3.0, 90.0), (2.0, 70.0), (1.0, 50.0)), 1, "held in 3 of 3 pairs"),
            (((3.0, 50.0), (2.0, 70.0), (1.0, 90.0)), 3, "held in 0 of 3 pairs"),
            (
                ((3.0, 50.0), (2.0, 70.0), (1.0, 90.0)),
                3,
                "rank 3 was chosen for the best accuracy, which no other comes near",
            ),
            (
                ((3.0, 50.0), (2.0, 70.0), (1.0, 90.0)),
                3,
                "its accuracy is 40.00 points above that of the network with the best score.",
            ),
            (
                ((2.0, 90.0), (1.0, 89.5)),
                1,
                "none of the pairs is further apart than noise on 400 images",
            ),
            (
                ((2.0, 90.0), (1.0, 70.0)),
                1,
                "1 differ by more than their standard errors explain, and of these it held in 1",
            ),
            (
                ((2.0, 90.0), (1.0, 90.0)),
                1,
                "held in 0 of 1 pair of networks after the short training (1 equal)",
            ),
            (
                ((3.0, 90.0), (2.0, 70.0)),
                1,
                "The network with the best score was chosen for the best accuracy, which",
            ),
            (((2.0, 90.0), (1.0, 89.5)), 2, "rank 2 was chosen for the smallest training loss"),
            (
                ((2.0, 90.0), (1.0, 89.5)),
                2,
                "its accuracy is 0.50 points below that of the network with the best score.",
            ),
            (((2.0, 90.0), (1.0, 90.0)), 2, "chosen for the smallest training loss"),
            (
                ((2.0, 90.0), (1.0, 90.0)),
                2,
                "its accuracy is the same as that of the network with the best score.",
            ),
            (((2.0, 89.0), (1.0, 90.0)), 2, "chosen for the smallest training loss"),
            (((2.0, 90.0),), 1, "nothing shows"),
        ],
    )
    def test_whether_the_order_of_the_score_held(
        self, pairs: tuple[tuple[float, float], ...], chosen: int, expected: str
    ) -> None:
        assert expected in order_sentence(shortlist(*pairs, chosen=chosen))

    @pytest.mark.parametrize("decided", WHY)
    def test_what_decided_is_told_as_it_is_recorded(self, decided: str) -> None:
        found = replace(shortlist((2.0, 90.0), (1.0, 90.0), chosen=2), decided_by=decided)
        assert f"was chosen {WHY[decided]}" in order_sentence(found)
        assert set(WHY) == {SCORE, ACCURACY, LOSS, FAILURES}

    def test_the_chosen_network_is_marked(self) -> None:
        part = section(
            build_page(replace(SEARCHED, shortlist=shortlist((2.0, 60.0), (1.0, 70.0), chosen=2))),
            "shortlist",
        )
        assert tables(part)[0].marked == (1,)
        assert column(tables(part)[0], "") == ["", "chosen"]

    def test_a_network_that_failed_is_told_and_counts_for_nothing(self) -> None:
        found = shortlist((3.0, 60.0), (2.0, 70.0), (1.0, 50.0), chosen=2)
        failed = replace(found.members[0], accuracy=None, loss=None, failure="the loss is nan")
        found = replace(found, members=(failed, *found.members[1:]))
        part = section(build_page(replace(SEARCHED, shortlist=found)), "shortlist")
        assert column(tables(part)[0], "") == ["left out", "chosen", ""]
        assert column(tables(part)[0], "accuracy")[0] == NONE
        assert any("Network 1 was left out: the loss is nan" in str(block) for block in part.blocks)
        assert order_sentence(found).startswith("The order of the QE-Score held in 1 of 1 pair")


class TestTraining:
    def test_stages_with_their_ends(self) -> None:
        (table,) = tables(section(build_page(trained()), "training"))
        assert column(table, "stage") == ["float", "quantised"]
        assert column(table, "last loss") == ["1.0000", "0.5000"]

    def test_an_unfinished_training_is_named(self) -> None:
        facts = trained()
        unfinished = replace(facts, trainings=(replace(facts.trainings[0], result=None),))
        assert "Not finished: network" in sentences(section(build_page(unfinished), "training"))
        assert "Accuracy" in column(tables(section(build_page(unfinished), "missing"))[0], "part")

    def test_methods_and_by_what_the_chosen_one_is_best(self) -> None:
        part = section(build_page(complete()), "allocation")
        assert "bits of hawq, which have the lowest loss before training" in sentences(part)
        assert column(tables(part)[0], "mean a") == ["\N{EN DASH}"] * 2
        neither = (allocation("a", 0.1, 90.0), allocation("b", 0.2, 80.0))
        found = replace(
            complete(), allocations=allocations(*neither, chosen="b", warnings=("odd",))
        )
        assert "continued with the bits of b." in sentences(
            section(build_page(found), "allocation")
        )
        assert "odd" in sentences(section(build_page(found), "allocation"))


class TestProvenance:
    def test_stages_that_are_not_begun_are_listed(self) -> None:
        (table,) = tables(section(build_page(complete()), "stages"))
        assert column(table, "stage") == [
            "search",
            "shortlist",
            "train",
            "refine",
            "quantise",
            "export",
            "verify",
        ]
        assert column(table, "state")[:2] == ["done", "not begun"]
        assert column(table, "wall time")[6] == "1 min 03 s"
        assert column(table, "result")[6] == "passed"
        assert "1 min 05 s" in table.caption

    def test_figures_of_another_shape_say_nothing(self) -> None:
        facts = complete()
        assert facts.record is not None
        odd = replace(
            facts.record,
            stages=tuple(replace(stage, figures={"odd": 1}) for stage in facts.record.stages),
        )
        (table,) = tables(section(build_page(replace(facts, record=odd)), "stages"))
        assert set(column(table, "result")) == {""}

    def lines(self, facts: RunFacts) -> tuple[str, ...]:
        (block,) = [
            block
            for block in section(build_page(facts), "provenance").blocks
            if isinstance(block, Commands)
        ]
        return block.lines

    def test_a_whole_run_is_one_command(self) -> None:
        facts = complete()
        assert self.lines(facts) == (
            "nas-search run digits.yaml",
            "nas-search verify runs/digits/final",
        )
        assert facts.record is not None
        from_python = replace(facts, record=replace(facts.record, command=None))
        assert self.lines(from_python)[0] == "nas-search run runs/digits/run.yaml --out runs/digits"

    def test_a_plain_run_is_one_command_per_step(self) -> None:
        facts = replace(trained(), exports={"c/model.c": "0" * 64}, verification=proof(EQUAL))
        search, train, *rest = self.lines(facts)
        assert search == (
            "nas-search --device cortex-m7 --sram 135168 --flash 65536 --space 'my space' "
            "--max-macs 200000000 --seed 3 --out runs/digits"
        )
        assert train.startswith(
            "nas-search train runs/digits --data digits --recipe digits --seed 5 --epochs 2 "
            "--float-share 0.5"
        )
        assert train.endswith("--batch-size 32 --learning-rate 0.05")
        assert rest == [
            "nas-search export runs/digits",
            "nas-search verify runs/digits",
            "nas-search report runs/digits",
        ]

    def test_a_search_without_refinement_of_bits_says_so(self) -> None:
        assert "--no-qbr" in search_command({"qbr": False, "stage_weights": [0.0, 1.5]}, "out")
        assert "--stage-weights 0,1.5" in search_command(
            {"qbr": False, "stage_weights": [0.0, 1.5]}, "out"
        )


def test_words() -> None:
    assert [share(part, 10_000) for part in (1, 9999, 10_000, 10_001)] == [
        "0.0 %",
        "99.9 %",
        "100.0 %",
        "100.1 %",
    ]
    assert [seconds(value) for value in (0.04, 59.94, 61, 3599.6, 3660)] == [
        "0.0 s",
        "59.9 s",
        "1 min 01 s",
        "1 h 00 min",
        "1 h 01 min",
    ]
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
    assert accuracy().agreement == 99.5
    assert not math.isnan(standard_error(12.0, 3))
