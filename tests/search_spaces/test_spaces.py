"""Shipped spaces, spaces by path, and everything that can be wrong with either."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import search_spaces
from nas_engine.errors import InputError, PathError, UnknownNameError
from nas_engine.sealed import ChangedFileWarning
from search_spaces import ChannelRange, SearchSpace, StageSpace, load_space, space_names
from tests.contracts.space_contract import SpaceContract
from tests.nested import change

DATA = Path(search_spaces.__file__).parent / "data"
Write = Callable[[object], Path]


def data() -> dict[str, Any]:
    """The default space as YAML data, fresh on every call."""
    found: dict[str, Any] = yaml.safe_load((DATA / "mobilenet.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_yaml(content: object) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write_yaml


def refusal(path: Path) -> str:
    with pytest.raises(PathError) as caught:
        load_space(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1, message
    return message.removeprefix(f"{path}: ")


class TestShippedSpaces(SpaceContract):
    """Every shipped file, through the contract."""

    @pytest.fixture(params=space_names())
    def space(self, request: pytest.FixtureRequest) -> SearchSpace:
        return load_space(request.param)

    def test_file_is_named_after_the_space(self, space: SearchSpace) -> None:
        assert (DATA / f"{space.name}.yaml").is_file()


class TestByName:
    def test_names(self) -> None:
        assert space_names() == (
            "flexible",
            "flexible-32",
            "hybrid-32",
            "mobilenet",
            "mobilenet-32",
            "qe-score-2022",
            "residual-32",
        )

    @pytest.mark.parametrize("name", ["MobileNet", "mobilenet_32", "QE_score_2022"])
    def test_case_and_underscores_are_forgiven(self, name: str) -> None:
        assert load_space(name).name == name.lower().replace("_", "-")

    @pytest.mark.parametrize(
        ("name", "near"),
        [("mobilnet", "mobilenet"), ("mobilenet32", "mobilenet-32"), ("qe-score", "qe-score-2022")],
    )
    def test_unknown_name_suggests_the_nearest(self, name: str, near: str) -> None:
        with pytest.raises(
            UnknownNameError,
            match=(
                rf"'{name}'; did you mean '{near}'\? expected one of: flexible, flexible-32, "
                "hybrid-32, mobilenet, mobilenet-32, qe-score-2022, residual-32"
            ),
        ):
            load_space(name)

    @pytest.mark.parametrize("name", ["", "zzz", ".", "..", "mobilenet.yml.txt"])
    def test_names_that_are_nothing(self, name: str) -> None:
        with pytest.raises(UnknownNameError, match=r"a path to your own \.yaml works too"):
            load_space(name)

    def test_figures_of_the_published_space(self) -> None:
        space = load_space("qe-score-2022")
        assert (space.weight_bits, space.activation_bits, space.end_bits, space.tie_block_bits) == (
            (3, 4, 5, 6),
            (3, 4, 5, 6),
            8,
            True,
        )
        assert (
            space.max_layers,
            space.max_residuals,
            space.stage_weights,
            space.pooled_shortcut,
        ) == (47, 15, (0, 0, 1, 1, 6), True)
        assert [stage.strides for stage in space.stages] == [(2,), (2,), (2,), (1,), (2,)]
        assert {stage.kernels for stage in space.stages} == {(3, 5)}
        assert {stage.expansions for stage in space.stages} == {(1.5, 2, 2.5, 3, 3.5, 4)}
        assert (space.stages[0].max_depth, space.class_count) == (3, 0)


class TestByPath:
    def test_own_file(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(data() | {"name": "mine"})
        space = load_space(str(path))
        assert space.name == "mine"
        monkeypatch.chdir(path.parent)
        assert load_space("mine.yaml") == load_space("./mine.yaml") == space

    def test_every_key_arrives(self, write: Write) -> None:
        content = data() | {
            "input_channels": 1,
            "pooled_shortcut": True,
            "non_decreasing_channels": False,
            "max_layers": 40,
            "max_stage_share": 0.5,
        }
        content["bits"] = {
            "weights": [2, 8],
            "activations": [4],
            "stem_and_classifier": 4,
            "tie_blocks": True,
        }
        content["stem"] = {"kernel": 5, "stride": 1, "channels": {"min": 12, "max": 36, "step": 12}}
        space = load_space(str(write(content)))
        assert (
            space.input_channels,
            space.pooled_shortcut,
            space.non_decreasing,
            space.max_layers,
            space.max_stage_share,
        ) == (
            1,
            True,
            False,
            40,
            0.5,
        )
        assert (space.weight_bits, space.activation_bits, space.end_bits, space.tie_block_bits) == (
            (2, 8),
            (4,),
            4,
            True,
        )
        assert (space.stem_kernel, space.stem_strides, space.stem_channels) == (
            5,
            (1,),
            ChannelRange(minimum=12, maximum=36, step=12),
        )
        assert space.stages[1] == StageSpace(
            strides=(2,),
            kernels=(3, 5),
            channels=ChannelRange(minimum=16, maximum=96, step=8),
            expansions=(1.5, 2.0, 2.5, 3.0, 3.5, 4.0),
            min_depth=1,
            max_depth=6,
        )
        assert (
            space.resolution,
            space.min_resolution,
            space.max_resolution,
            space.class_count,
        ) == (
            160,
            32,
            320,
            1000,
        )

    def test_optional_keys(self, write: Write) -> None:
        content = data()
        for key in (
            "input_channels",
            "pooled_shortcut",
            "non_decreasing_channels",
            "max_stage_share",
        ):
            del content[key]
        del content["bits"]["tie_blocks"]
        space = load_space(str(write(content)))
        assert (
            space.input_channels,
            space.pooled_shortcut,
            space.non_decreasing,
            space.max_stage_share,
        ) == (3, False, True, 1.0)
        assert not space.tie_block_bits

    def test_files_that_hold_no_space(self, tmp_path: Path) -> None:
        binary, empty = tmp_path / "binary.yaml", tmp_path / "empty.yaml"
        binary.write_bytes(bytes(range(256)))
        empty.touch()
        assert "is not a text file" in refusal(binary)
        assert "holds nothing" in refusal(empty)
        assert "No such file" in refusal(tmp_path / "none.yaml")
        assert "is a folder; expected a regular file" in refusal(tmp_path)

    @pytest.mark.parametrize("name", space_names())
    def test_cut_off_anywhere(self, name: str, tmp_path: Path) -> None:
        lines = [
            line
            for line in (DATA / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
            if not line.startswith("#")
        ]
        text = "\n".join(lines) + "\n"
        path = tmp_path / "cut.yaml"
        last = text.rindex("max_layers")  # a key that must be there
        for end in range(0, last, 37):
            path.write_text(text[:end], encoding="utf-8")
            refusal(path)
        for end in range(last, len(text)):
            path.write_text(text[:end], encoding="utf-8")
            with warnings.catch_warnings(record=True) as noted:
                warnings.simplefilter("always")
                found = None
                with contextlib.suppress(PathError):
                    found = load_space(str(path))
            says = [] if found is None else [f"{path} does not end with a line break"]
            assert [str(one.message).partition(" (")[0] for one in noted] == says
            assert all(one.category is ChangedFileWarning for one in noted)

    @pytest.mark.parametrize(
        "where",
        [
            *(
                (key,)
                for key in (
                    "name",
                    "title",
                    "source",
                    "resolution",
                    "classes",
                    "stage_weights",
                    "stem",
                    "stages",
                    "head",
                    "bits",
                    "max_layers",
                )
            ),
            *(("resolution", key) for key in ("default", "min", "max")),
            *(("stem", key) for key in ("kernel", "stride", "channels")),
            ("stem", "channels", "min"),
            ("head", "channels"),
            ("head", "channels", "max"),
            *(("bits", key) for key in ("weights", "activations", "stem_and_classifier")),
            *(("stages", 2, key) for key in ("stride", "kernels", "channels", "depth")),
            ("stages", 2, "depth", "min"),
            ("stages", 2, "channels", "max"),
        ],
    )
    def test_missing_key(self, where: tuple[Any, ...], write: Write) -> None:
        message = refusal(write(change(data(), where, ...)))
        assert message.endswith(": is missing; add it")
        assert message.split(":")[0].endswith(str(where[-1]))
        assert len(where) == 1 or message.startswith(where[0])

    @pytest.mark.parametrize(
        ("where", "near"),
        [
            (("max_layer",), "max_layers"),
            (("stem", "kernels"), "kernel"),
            (("head", "channel"), "channels"),
            (("bits", "weight"), "weights"),
            (("resolution", "defaults"), "default"),
            (("stages", 2, "kernel"), "kernels"),
            (("stages", 2, "depth", "maxx"), "max"),
            (("stages", 2, "channels", "stepp"), "step"),
        ],
    )
    def test_unknown_key_suggests_the_nearest(
        self, where: tuple[Any, ...], near: str, write: Write
    ) -> None:
        assert f"'{where[-1]}'; did you mean '{near}'?" in refusal(write(change(data(), where, 1)))

    @pytest.mark.parametrize(
        ("where", "values", "says"),
        [
            (("name",), ["", 3, None], "name: is"),
            (("classes",), [-1, 65537, "10", 1.5], "classes: is"),
            (("input_channels",), [0, 65, "3"], "input_channels: is"),
            (("resolution",), [160, None, [160]], "resolution holds"),
            (("resolution", "default"), [7, 31, 321, "160"], "resolution"),
            (
                ("stage_weights",),
                [
                    [],
                    [0, 0, 1, 6],
                    [0] * 6,
                    "0,0,1,1,6",
                    [0, 0, 1, 1, "6"],
                    [0, 0, 1, 1, -1],
                    [0, 0, 1, 1, float("nan")],
                    [True] * 5,
                ],
                "stage_weights",
            ),
            (("stem", "kernel"), [0, 8, "3"], "stem.kernel: is"),
            (("stem", "stride"), [0, 3], "stem.stride: is"),
            (
                ("stem", "channels"),
                [
                    16,
                    None,
                    {"min": 16, "max": 8},
                    {"min": 0, "max": 8},
                    {"min": 9, "max": 16},
                    {"min": 8, "max": 20},
                ],
                "stem.channels",
            ),
            (("stages",), [[], {}, None, 3, [1]], "stages"),
            (("stages", 2, "stride"), [0, 3, "2"], "stages[2]"),
            (("stages", 2, "kernels"), [[], [2], [9], 3, ["3"], [3.0], [True]], "stages[2]"),
            (
                ("stages", 2, "expansions"),
                [..., [], [0], [-1], [17], ["2"], 2, [float("nan")], [10**400]],
                "stages[2]",
            ),
            (
                ("stages", 2, "depth"),
                [3, {"min": 0, "max": 3}, {"min": 4, "max": 3}, {"min": 1, "max": 101}],
                "stages[2]",
            ),
            (
                ("bits", "weights"),
                [[], [1], [9], [4, 3], [3, 3], 4, ["4"], [True], [4.0]],
                "weight",
            ),
            (("bits", "activations"), [[], [1], [9], [4, 3], [3, 3], 4], "activation"),
            (("bits", "stem_and_classifier"), [1, 9, "8"], "end_bits"),
            (("bits", "tie_blocks"), [1, "no"], "bits.tie_blocks: is"),
            (("max_layers",), [4, 16, 303, "47"], "max_layers"),
            (("max_stage_share",), [0, 0.19, 1.01, "0.4", float("nan")], "max_stage_share"),
            (("pooled_shortcut",), [1, "no"], "pooled_shortcut: is"),
        ],
    )
    def test_wrong_value(
        self, where: tuple[Any, ...], values: list[object], says: str, write: Write
    ) -> None:
        for value in values:
            message = refusal(write(change(data(), where, value)))
            assert says in message or (
                where[-1] == "stem_and_classifier" and "stem_and_classifier" in message
            ), message

    def test_stage_weights_that_are_all_zero_are_refused_with_the_file(self, write: Write) -> None:
        assert "stage_weights" in refusal(write(data() | {"stage_weights": [0] * 5}))


class TestBirth:
    @pytest.mark.parametrize(
        ("low", "high", "step"), [(0, 8, 8), (16, 8, 8), (8, 12, 8), (9, 16, 8)]
    )
    def test_channels(self, low: int, high: int, step: int) -> None:
        with pytest.raises(InputError, match=f"channels from {low} to {high} in steps of {step}"):
            ChannelRange(minimum=low, maximum=high, step=step)
        with pytest.raises(InputError, match="min: is -8; expected a whole number from 0 to"):
            ChannelRange(minimum=-8, maximum=8)

    def test_most_residuals(self) -> None:
        assert load_space("mobilenet").max_residuals == 15
        assert load_space("mobilenet-32").max_residuals == 10


def test_is_a_leaf() -> None:
    """Loading a space brings no engine and no NumPy with it."""
    found = "'numpy' in sys.modules, 'nas_engine.layers' in sys.modules"
    code = f"import sys, search_spaces; search_spaces.load_space('mobilenet'); print({found})"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=DATA.parents[1],
    )
    assert run.stdout.split() == ["False", "False"]
