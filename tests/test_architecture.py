"""Architecture files: exact round trips, and everything that can be wrong with them."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.architecture import (
    FORMAT,
    MAX_CHANNELS,
    Bits,
    Block,
    Classifier,
    Convolution,
    dump_architecture,
    parse_architecture,
    read_architecture,
)
from nas_engine.encoding import architecture_frame, decode, encode
from nas_engine.errors import FileFormatError, InputError, PathError
from nas_engine.names import IMAGE_INPUTS, SCHEDULES, ImageInput, Schedule
from nas_engine.sealed import ChangedFileWarning, seal_yaml
from nas_engine.strict_yaml import MAX_FILE_BYTES
from tests.architectures import (
    GOLDEN,
    PUBLISHED,
    W8A8,
    parses_or_one_line,
    refusal,
    small,
    small_literal,
    small_yaml,
)
from tests.nested import change
from tests.populations import SPACES, networks, population


class TestValues:
    """Values that the constructors refuse."""

    @pytest.mark.parametrize(
        "bits", [(1, 8), (8, 1), (9, 8), (8, 9), (0, 0), (4.0, 4), ("4", 4), (4, True), (None, 4)]
    )
    def test_bits(self, bits: tuple[Any, Any]) -> None:
        with pytest.raises(InputError, match=r"bits is .*; expected a whole number from 2 to 8"):
            Bits(*bits)

    @given(st.integers(2, 8), st.integers(2, 8))
    def test_bits_are_read_back_from_their_text(self, w: int, a: int) -> None:
        assert Bits.parse(str(Bits(w, a))) == Bits(w, a)
        assert str(Bits(w, a)) == f"w{w}a{a}"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "w8",
            "a8w8",
            "w8a8 ",
            "W8A8",
            "w1a8",
            "w8a9",
            "w10a8",
            "8/8",
            8,
            None,
            ["w8a8"],
            "w8a8\n",
            "w٣a3",
        ],
    )
    def test_bits_of_any_other_text_are_refused(self, text: object) -> None:
        with pytest.raises(InputError, match=r"expected w2a2 to w8a8"):
            Bits.parse(text)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(("kernel", value) for value in (0, -1, 2, 4, 8, 3.0, "3", True, None)),
            *(("stride", value) for value in (0, 3, 1.0, "2", True, None)),
            *(("channels", value) for value in (0, -8, MAX_CHANNELS + 1, 8.0, "8", True, None)),
        ],
    )
    def test_convolution_and_block(self, key: str, value: object) -> None:
        good: dict[str, Any] = {"kernel": 3, "stride": 1, "channels": 8}
        with pytest.raises(InputError, match=rf"^{key} is {re.escape(repr(value))}; expected"):
            Convolution(**(good | {key: value}), bits=W8A8)
        with pytest.raises(InputError, match=rf"^{key} is {re.escape(repr(value))}; expected"):
            Block(**(good | {key: value}), bottleneck=8, bits=((W8A8,) * 3,))

    @pytest.mark.parametrize("bits", [(), ((W8A8,) * 2,), ((W8A8,) * 3, (W8A8,) * 4), ((),)])
    def test_block_without_rows_of_three(self, bits: Any) -> None:
        with pytest.raises(InputError, match="at least one row of three"):
            Block(kernel=3, stride=1, channels=8, bottleneck=8, bits=bits)

    @pytest.mark.parametrize("classes", [0, -1, 65537, 2.0, "2", True, None])
    def test_classes(self, classes: Any) -> None:
        with pytest.raises(InputError, match=r"^classes is"):
            Classifier(class_count=classes, bits=W8A8)

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"resolution": 0}, "resolution is 0"),
            ({"resolution": 1025}, "resolution is 1025"),
            ({"resolution": 96.0}, "resolution is 96.0"),
            ({"input_channels": 0}, "input_channels is 0"),
            ({"blocks": ()}, "blocks is empty"),
            ({"schedule": "row"}, "unknown schedule: 'row'"),
            ({"room": 0}, "room is 0; expected a number of bytes, such as 61440"),
            ({"image": "tiles"}, "unknown input: 'tiles'"),
            (
                {"head": Convolution(kernel=3, stride=1, channels=8, bits=W8A8)},
                "the head is 3x3 with stride 1",
            ),
            (
                {"head": Convolution(kernel=1, stride=2, channels=8, bits=W8A8)},
                "the head is 1x1 with stride 2",
            ),
        ],
    )
    def test_architecture(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(InputError, match=says):
            small(**changes)

    def test_names_and_bits_of_layers_go_together(self) -> None:
        net = small()
        assert net.layer_names() == (
            "stem",
            "s1.b1.expand",
            "s1.b1.depthwise",
            "s1.b1.project",
            "head",
            "classifier",
        )
        assert [str(bits) for bits in net.layer_bits()] == [
            "w8a8",
            "w4a6",
            "w2a3",
            "w5a7",
            "w3a4",
            "w8a8",
        ]
        assert small(classifier=None).layer_names()[-1] == "head"
        assert len(small(classifier=None).layer_bits()) == 5

    def test_other_resolution_changes_nothing_else(self) -> None:
        assert small().at_resolution(97) == small(resolution=97)


class TestRoundTrip:
    @pytest.mark.parametrize("name", SPACES)
    def test_every_sampled_network(self, name: str) -> None:
        for classes in (0, 10):
            for net in networks(*population(SPACES[name], 15, seed=classes, classes=classes)):
                text = dump_architecture(net)
                assert parse_architecture(text) == net
                assert dump_architecture(parse_architecture(text)) == text

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_published_networks_in_our_notation(self, name: str) -> None:
        net = read_architecture(GOLDEN / f"{name}.txt")
        assert parse_architecture(dump_architecture(net)) == net

    def test_through_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "best.yaml"
        path.write_text(dump_architecture(small()), encoding="utf-8")
        assert read_architecture(path) == read_architecture(str(path)) == small()

    def test_a_changed_file_is_taken_by_its_path_and_refused_in_a_run(self, tmp_path: Path) -> None:
        path = tmp_path / "best.yaml"
        path.write_text(seal_yaml(dump_architecture(small())), encoding="utf-8")
        assert read_architecture(path) == read_architecture(path, "search again") == small()
        path.write_text(path.read_text().replace("resolution: ", "resolution: 1"))
        with pytest.warns(
            ChangedFileWarning,
            match=f"^{path} was changed after nas-search wrote it; taken as it is now$",
        ):
            assert read_architecture(path).resolution == int(f"1{small().resolution}")
        with pytest.raises(FileFormatError, match=r"does not fit the digest .*; search again$"):
            read_architecture(path, "search again")

    @pytest.mark.parametrize("sealed", [True, False])
    def test_no_beginning_of_a_file_is_taken_unsaid(self, tmp_path: Path, sealed: bool) -> None:
        path, text = tmp_path / "best.yaml", dump_architecture(small())
        whole = seal_yaml(text) if sealed else text
        for end in range(len(whole)):
            path.write_text(whole[:end], encoding="utf-8")
            with warnings.catch_warnings(record=True) as noted:
                warnings.simplefilter("always")
                net = None
                with contextlib.suppress(FileFormatError):
                    net = read_architecture(path)
            seen = (
                net == small() and end == len(whole) - 1 and not sealed
            )  # without the last line break it is still whole
            assert [one.category for one in noted] == (
                [] if net is None or seen else [ChangedFileWarning]
            ), whole[:end]
            if sealed and end > 80:
                with pytest.raises(FileFormatError):
                    read_architecture(path, "search again")

    def test_a_file_of_ours_that_says_nothing_of_a_classifier_is_taken_with_a_note(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "best.yaml"
        path.write_text(dump_architecture(small(classifier=None)).replace("classifier: none\n", ""))
        with pytest.warns(
            ChangedFileWarning, match="has no key 'classifier' .*; taken as a network without one"
        ):
            assert read_architecture(path) == small(classifier=None)

    def test_optional_keys(self) -> None:
        data = small_yaml()
        for key in ("input_channels", "pooled_shortcut", "classifier"):
            del data[key]
        assert parse_architecture(yaml.safe_dump(data)) == small(classifier=None)
        assert parse_architecture(yaml.safe_dump(data | {"classifier": "none"})) == small(
            classifier=None
        )
        assert dump_architecture(small(classifier=None)).endswith("\nclassifier: none\n")
        assert "classifier: holds nothing (is the file cut off?); write 'none'" in refusal(
            yaml.safe_dump(data | {"classifier": None})
        )

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("image", IMAGE_INPUTS)
    def test_schedule_and_input(self, schedule: Schedule, image: ImageInput) -> None:
        """Keys of a file only where they differ from what files without them mean."""
        net = small(schedule=schedule, image=image)
        text = dump_architecture(net)
        assert parse_architecture(text) == net
        assert ("schedule: " in text, "input: " in text) == (
            schedule != "layers",
            image != "whole",
        )
        frame = architecture_frame(net)
        assert decode(frame, encode(frame, [net])[:, 0]) == net

    def test_flow_style_yaml(self) -> None:
        assert (
            parse_architecture(yaml.safe_dump(small_yaml(), default_flow_style=True, width=10**6))
            == small()
        )


class TestErrors:
    """Our YAML, wrong in every way."""

    @pytest.mark.parametrize(
        "where",
        [
            ("format",),
            ("resolution",),
            ("stem",),
            ("blocks",),
            ("head",),
            *(
                (part, key)
                for part in ("stem", "head")
                for key in ("kernel", "stride", "channels", "bits")
            ),
            *(("blocks", 0, key) for key in ("kernel", "stride", "bottleneck", "channels", "bits")),
            ("classifier", "classes"),
            ("classifier", "bits"),
        ],
    )
    def test_missing_key(self, where: tuple[Any, ...]) -> None:
        message = refusal(yaml.safe_dump(change(small_yaml(), where, ...)))
        assert where[-1] in message
        assert "is missing; add it" in message or where == ("format",)

    @pytest.mark.parametrize(
        "where",
        [
            ("colour",),
            ("stem", "colour"),
            ("blocks", 0, "colour"),
            ("head", "colour"),
            ("classifier", "colour"),
        ],
    )
    def test_unknown_key(self, where: tuple[Any, ...]) -> None:
        assert "unknown key" in refusal(yaml.safe_dump(change(small_yaml(), where, 1)))

    @pytest.mark.parametrize(
        ("where", "wrong", "right"),
        [
            ((), "resolutoin", "resolution"),
            (("stem",), "kernal", "kernel"),
            (("blocks", 0), "bottle_neck", "bottleneck"),
            ((), "class", "classifier"),
        ],
    )
    def test_misspelt_optional_or_extra_key_suggests_the_nearest(
        self, where: tuple[Any, ...], wrong: str, right: str
    ) -> None:
        assert f"'{wrong}'; did you mean '{right}'?" in refusal(
            yaml.safe_dump(change(small_yaml(), (*where, wrong), 3))
        )

    @pytest.mark.parametrize(
        ("where", "values", "says"),
        [
            (("format",), [1, None, "nas-search/architecture/2", []], f"expected '{FORMAT}'"),
            (("resolution",), [0, 1025, "96", None, 96.0, True, [96]], "resolution"),
            (("input_channels",), [0, "3", None, 3.0], "input_channels"),
            (("pooled_shortcut",), [0, "false", None], "pooled_shortcut: is "),
            (("stem",), [None, 3, [], "x"], "stem holds"),
            (("blocks",), [None, 3, {}, "x"], "blocks: is"),
            (("blocks",), [[]], "blocks is empty"),
            (("blocks", 0), [None, 3, [], "x"], "blocks[0] holds"),
            (("classifier",), [3, [], "x"], "classifier holds"),
            (("classifier", "classes"), [0, 65537, "2", None], "classes"),
            (("stem", "channels"), [0, MAX_CHANNELS + 1, -8, "8", 8.5, None], "stem"),
            (("head", "stride"), [0, 2, 3, "1"], "head"),
            (("stem", "bits"), [None, 8, "w8", "w9a9", ["w8a8"], {}], "stem: bits are"),
            (
                ("blocks", 0, "bits"),
                [
                    None,
                    [],
                    "w8a8",
                    ["w8a8"],
                    [["w8a8", "w8a8"]],
                    [[]],
                    [["w8a8"] * 4],
                    [[1, 2, 3]],
                    [[None] * 3],
                ],
                "blocks[0]",
            ),
            (("blocks", 0, "stride"), [0, 3, "2", None], "blocks[0]"),
        ],
    )
    def test_wrong_value(self, where: tuple[Any, ...], values: list[object], says: str) -> None:
        for value in values:
            assert says in refusal(yaml.safe_dump(change(small_yaml(), where, value)))

    @pytest.mark.parametrize(
        "write", [lambda: dump_architecture(small()), lambda: repr(small_literal())]
    )
    def test_cut_off_anywhere(self, write: Callable[[], str]) -> None:
        text = write()
        whole = parse_architecture(text)
        for end in range(len(text.rstrip())):
            net = parses_or_one_line(text[:end])
            # only within the last value can a cut go unseen
            assert net is None or net in (whole, small(classifier=None)) or end > len(text) - 12

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_published_literal_cut_off_at_every_tenth_byte(self, name: str) -> None:
        text = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").rstrip()
        for end in range(0, len(text), 10):
            assert "expected" in refusal(text[:end]) or "cut off" in refusal(text[:end])

    def test_a_large_network_cut_off_at_every_tenth_byte(self) -> None:
        text = dump_architecture(networks(*population(SPACES["mobilenet-32"], 4))[-1])
        nets = [parses_or_one_line(text[:end]) for end in range(0, len(text) - 100, 10)]
        assert not any(nets)

    def test_files_that_hold_no_text(self, tmp_path: Path) -> None:
        binary, huge = tmp_path / "binary", tmp_path / "huge"
        binary.write_bytes(bytes(range(256)))
        with huge.open("wb") as file:
            file.truncate(MAX_FILE_BYTES + 1)
        for path in (binary, huge, tmp_path, tmp_path / "none"):
            with pytest.raises(PathError) as caught:
                read_architecture(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert len(str(caught.value).splitlines()) == 1

    @given(
        st.one_of(
            st.text(max_size=60), st.text("[](){}'\",:0123456789.abnNtTru-+jé\\\n ", max_size=60)
        )
    )
    def test_any_text(self, text: str) -> None:
        assert parses_or_one_line(text) is None

    @given(st.characters(codec="utf-8"), st.integers(0, 10**6))
    def test_any_character_of_a_file_replaced(self, character: str, where: int) -> None:
        for text in (dump_architecture(small()), repr(small_literal())):
            at = where % len(text)
            parses_or_one_line(text[:at] + character + text[at + 1 :])

    JSON = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=10,
    )

    @given(
        st.sampled_from(
            [(0, key) for key in ("in", "out", "s", "k", "nbitsA", "nbitsW")]
            + [(1, key) for key in small_literal()[1]]
            + [(0,), (1,), (2,)]
        ),
        JSON,
    )
    def test_any_value_anywhere_in_a_literal(self, where: tuple[Any, ...], value: object) -> None:
        parses_or_one_line(repr(change(small_literal(), where, value)))
        parses_or_one_line(
            repr({"structure": change(small_literal(), where, value), "resolution": value})
        )

    @given(
        st.sampled_from(
            [(key,) for key in small_yaml()]
            + [("blocks", 0, key) for key in small_yaml()["blocks"][0]]
            + [("stem", "bits"), ("head", "kernel")]
        ),
        JSON,
    )
    def test_any_value_anywhere_in_a_yaml(self, where: tuple[Any, ...], value: object) -> None:
        parses_or_one_line(yaml.safe_dump(change(small_yaml(), where, value)))
