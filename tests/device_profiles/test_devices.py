"""Shipped profiles, profiles by path, and everything that can be wrong with either."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import device_profiles
from device_profiles import (
    BITS,
    LAYER_KINDS,
    DeviceProfile,
    PairSupport,
    device_names,
    load_device,
    shipped_name,
)
from device_profiles.profile import SOURCED_KEYS
from nas_engine.errors import InputError, PathError, UnknownNameError
from nas_engine.evolution.config import resolve_config
from tests.contracts.device_contract import DeviceContract

DATA = Path(device_profiles.__file__).parent / "data"
DOCS = Path(device_profiles.__file__).parents[1] / "docs" / "devices.md"


def board() -> dict[str, Any]:
    """A small correct profile as YAML data, fresh on every call."""
    source = "a made-up board"
    return {
        "name": "my-board",
        "title": "My board",
        "core": "cortex-m4",
        "dsp": True,
        "fpu": "none",
        "clock_hz": {"value": 100_000_000, "source": source},
        "sram_bytes": {"value": "64k", "source": source},
        "flash_bytes": {"value": "512k", "source": source},
        "reserved_sram_bytes": {"value": 2048, "source": source},
        "reserved_flash_bytes": {"value": 0, "source": source},
        "bit_pairs": {"rows": ["FFFFFFF"] * 6 + ["FFNFFFS"], "source": source},
        "cycles_per_mac": {
            "estimate": True,
            "source": source,
            "conv": 2.5,
            "pointwise": 1,
            "depthwise": 3.0,
            "dense": [[1.5] * 7] * 7,
        },
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], Path]:
    def write_yaml(data: object) -> Path:
        path = tmp_path / "my-board.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        return path

    return write_yaml


def one_line_error(give: object, kind: type[InputError] = PathError) -> str:
    with pytest.raises(kind) as caught:
        load_device(give)  # type: ignore[arg-type]
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert caught.value.exit_code == 2
    return message


class TestShippedDevices(DeviceContract):
    """Every shipped file, through the contract."""

    @pytest.fixture(params=device_names())
    def profile(self, request: pytest.FixtureRequest) -> DeviceProfile:
        return load_device(request.param)

    def test_file_is_named_after_the_device(self, profile: DeviceProfile) -> None:
        assert load_device(DATA / f"{profile.name}.yaml") == profile

    def test_runtime_runs_every_width_and_is_native_at_weights_of_eight_bits(
        self, profile: DeviceProfile
    ) -> None:
        for w_bits in BITS:
            for a_bits in BITS:
                native = w_bits == 8 and a_bits in (2, 4, 8)
                assert profile.support(w_bits, a_bits) is (
                    PairSupport.NATIVE if native else PairSupport.STORAGE_ONLY
                )

    def test_cycles_say_that_they_are_estimates(self, profile: DeviceProfile) -> None:
        assert profile.cycles_are_estimates
        assert "assumed" in profile.sources["cycles_per_mac"]


def test_eight_boards_and_the_generic_one_ship() -> None:
    assert device_names() == (
        "cortex-m7",
        "nrf52840",
        "rp2040",
        "stm32f446",
        "stm32f746",
        "stm32f767",
        "stm32h743",
        "stm32h747",
        "stm32u585",
    )


def test_boards_stand_for_the_device_that_they_carry() -> None:
    boards = [board for name in device_names() for board in load_device(name).boards]
    assert len(boards) == len(set(boards)) > 10
    assert not set(boards) & set(device_names())
    for name in device_names():
        for board in load_device(name).boards:
            assert board == board.lower().replace("_", "-")
            assert load_device(board) == load_device(name)
    assert load_device(" RPi_Pico ").name == shipped_name("pico") == "rp2040"
    assert shipped_name("./mine.yaml") == "./mine.yaml"
    assert resolve_config({"device": "nucleo_f446re"}).device == "stm32f446"


@pytest.mark.parametrize("name", ["esp32-s3", "msp430", "teensy"])
def test_no_device_is_suggested_that_is_not_near(name: str) -> None:
    assert "did you mean" not in one_line_error(name, UnknownNameError)


@pytest.mark.parametrize(
    ("name", "clock_mhz", "sram_kib", "flash_kib"),
    [
        ("cortex-m7", 216, 512, 2048),
        ("nrf52840", 64, 256, 1024),
        ("rp2040", 133, 264, 2048),
        ("stm32f446", 180, 128, 512),
        ("stm32f746", 216, 320, 1024),
        ("stm32f767", 216, 512, 2048),
        ("stm32h743", 480, 512, 2048),
        ("stm32h747", 400, 512, 2048),
        ("stm32u585", 160, 768, 2048),
    ],
)
def test_data_sheet_values(name: str, clock_mhz: int, sram_kib: int, flash_kib: int) -> None:
    profile = load_device(name)
    assert (profile.clock_hz, profile.sram_bytes, profile.flash_bytes) == (
        clock_mhz * 10**6,
        sram_kib * 1024,
        flash_kib * 1024,
    )
    assert (profile.reserved_sram_bytes, profile.reserved_flash_bytes) == (4096, 32768)


def test_boards_with_the_same_core_share_their_cycle_table() -> None:
    first: dict[str, DeviceProfile] = {}
    for name in device_names():
        profile = load_device(name)
        like = first.setdefault(profile.core, profile)
        assert profile.cycles_per_mac == like.cycles_per_mac, f"{name} differs from {like.name}"
    assert set(first) == {"cortex-m0plus", "cortex-m33", "cortex-m4", "cortex-m7"}


def test_latency_of_a_cycle_is_a_range_of_instructions_at_the_clock() -> None:
    profile = load_device("nrf52840")
    pace = profile.cycles_per_instruction
    assert pace is not None
    assert profile.milliseconds_per_cycle == pytest.approx(
        (pace.least / 1.3 / 64e3, pace.most / 1.3 / 64e3)
    )
    for name in device_names():
        pace = load_device(name).cycles_per_instruction
        assert pace is not None
        assert pace.least < pace.most
        default = load_device(name).default_latency
        assert default is not None
        assert default.value == (300 if name.startswith("stm32h74") else 1000)
        assert f"Times {pace.assumed:g}" in load_device(name).sources["cycles_per_mac"].replace(
            "1.0", "1"
        )


def test_cycles_follow_the_measured_instructions_on_cortex_m7() -> None:
    """The figures of the study that renews the tables; other cores multiply them."""
    record = json.loads(
        (Path(__file__).parents[2] / "benchmarks" / "results" / "cycles.json").read_text(
            encoding="utf-8"
        )
    )
    profile, smaller = load_device("cortex-m7"), load_device("nrf52840")
    for kind, row in zip(LAYER_KINDS, record["rows"], strict=True):
        low, high, last = map(float, re.findall(r"\d+\.\d+", row["measured"]))
        table = np.array(profile.cycles_per_mac[kind])
        assert (kind, table.min(), table.max(), table[-1, -1]) == (
            row["what"].split(",")[0],
            low,
            high,
            last,
        )
        assert (
            np.abs(np.array(smaller.cycles_per_mac[kind]) - 1.3 * table).max() < 0.0051
        )  # rounded to two digits


@pytest.mark.parametrize("spelling", ["cortex-m7", "Cortex-M7", "CORTEX_M7", " cortex_m7 "])
def test_names_ignore_case_and_hyphen_or_underscore(spelling: str) -> None:
    assert load_device(spelling).name == "cortex-m7"


def test_import_is_light() -> None:
    script = (
        "import sys, device_profiles; device_profiles.load_device('cortex-m7'); print('numpy' in "
        "sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=DATA.parents[1],
    )
    assert done.stdout.strip() == "False"


class TestNames:
    """A name that does not ship."""

    def test_near_miss_is_suggested_and_a_path_is_offered(self) -> None:
        message = one_line_error("Cortex-M70", UnknownNameError)
        assert "unknown device: 'Cortex-M70'; did you mean 'cortex-m7'?" in message
        assert all(name in message for name in device_names())
        assert message.endswith(
            "or give the path of a YAML file of your own, such as ./my-board.yaml"
        )

    @pytest.mark.parametrize("name", ["", "my-board", "esp32\nevil", "toaster " * 20])
    def test_strangers_get_one_line(self, name: str) -> None:
        assert "path of a YAML file" in one_line_error(name, UnknownNameError)

    def test_error_survives_pickle(self) -> None:
        with pytest.raises(UnknownNameError) as caught:
            load_device("stm32f747")
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.name, again.choices) == (
            str(caught.value),
            "stm32f747",
            device_names(),
        )

    @pytest.mark.parametrize("thing", [None, 7, b"cortex-m7", ["cortex-m7"]])
    def test_neither_name_nor_path(self, thing: object) -> None:
        assert "expected the name of a shipped device or the path" in one_line_error(
            thing, InputError
        )


class TestOwnFile:
    """A user's own profile, by path."""

    class TestContractOfForbiddingBoard(DeviceContract):
        """A board that forbids most pairs keeps the contract too."""

        @pytest.fixture
        def profile(self, write: Callable[[object], Path]) -> DeviceProfile:
            data = board()
            data["bit_pairs"]["rows"][-1] = "FFSFFFN"
            return load_device(write(data))

    def test_every_key_arrives(self, write: Callable[[object], Path]) -> None:
        data = board()
        data |= {"compiler_flags": "-mcpu=cortex-m4", "emulator_machine": "mps2-an386"}
        profile = load_device(write(data))
        assert (profile.name, profile.title, profile.core, profile.dsp, profile.fpu) == (
            "my-board",
            "My board",
            "cortex-m4",
            True,
            "none",
        )
        assert (profile.clock_hz, profile.sram_bytes, profile.flash_bytes) == (
            100_000_000,
            65_536,
            524_288,
        )
        assert (profile.arena_bytes, profile.storage_bytes) == (63_488, 524_288)
        assert (profile.compiler_flags, profile.emulator_machine) == (
            "-mcpu=cortex-m4",
            "mps2-an386",
        )
        assert profile.bit_pairs[:6] == ((PairSupport.FORBIDDEN,) * 7,) * 6
        assert [profile.support(8, a) for a in (4, 8)] == [
            PairSupport.NATIVE,
            PairSupport.STORAGE_ONLY,
        ]
        assert profile.cycles_per_mac["conv"] == ((2.5,) * 7,) * 7
        assert profile.cycles_per_mac["dense"] == ((1.5,) * 7,) * 7
        assert set(profile.sources.values()) == {"a made-up board"}
        assert profile.allowed_table().sum() == 2

    def test_optional_keys_may_be_left_out(self, write: Callable[[object], Path]) -> None:
        profile = load_device(write(board()))
        assert (profile.compiler_flags, profile.emulator_machine) == (None, None)

    def test_path_may_be_text_or_path_and_any_ending_with_a_separator(
        self, write: Callable[[object], Path]
    ) -> None:
        path = write(board())
        other = path.rename(path.with_name("board.txt"))
        assert load_device(str(other)) == load_device(other)

    def test_bare_file_name_with_yaml_ending(
        self, write: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(board())
        monkeypatch.chdir(path.parent)
        assert load_device("my-board.yaml") == load_device(path)
        path.rename("MY-BOARD.YML")
        assert load_device("MY-BOARD.YML").name == "my-board"

    @pytest.mark.parametrize("name", device_names())
    def test_shipped_file_cut_off_anywhere_is_an_error_or_the_same_board(
        self, name: str, tmp_path: Path
    ) -> None:
        text = (DATA / f"{name}.yaml").read_text(encoding="utf-8").rstrip()
        text = text[: text.rindex("#")].rstrip()
        path = tmp_path / "cut.yaml"
        for end in range(0, len(text), 97):
            path.write_text(text[:end], encoding="utf-8")
            assert str(path) in one_line_error(path)

    def test_missing_file(self, tmp_path: Path) -> None:
        assert "No such file" in one_line_error(str(tmp_path / "none.yaml"))

    def test_directory(self, tmp_path: Path) -> None:
        assert "is a folder; expected a regular file" in one_line_error(tmp_path)
        assert "is a folder; expected a regular file" in one_line_error("./")

    def test_binary_file(self, tmp_path: Path) -> None:
        path = tmp_path / "board.yaml"
        path.write_bytes(bytes(range(256)))
        assert "is not a text file" in one_line_error(path)

    def test_empty_file(self, tmp_path: Path) -> None:
        path = tmp_path / "board.yaml"
        path.touch()
        assert "holds nothing" in one_line_error(path)

    def test_key_twice(self, write: Callable[[object], Path]) -> None:
        path = write(board())
        path.write_text(path.read_text(encoding="utf-8") + "core: cortex-m7\n", encoding="utf-8")
        assert "key 'core' stands twice" in one_line_error(path)

    @pytest.mark.parametrize("key", list(board()))
    def test_missing_key(self, key: str, write: Callable[[object], Path]) -> None:
        data = board()
        del data[key]
        assert f"{key}: is missing; add it" in one_line_error(write(data))

    @pytest.mark.parametrize("key", SOURCED_KEYS)
    def test_number_without_a_source(self, key: str, write: Callable[[object], Path]) -> None:
        data = board()
        data[key]["source"] = " "
        assert f"{key}.source: is ' '; expected a text" in one_line_error(write(data))
        del data[key]["source"]
        assert f"{key}.source: is missing; add it" in one_line_error(write(data))

    @pytest.mark.parametrize("key", LAYER_KINDS)
    def test_missing_cycle_table(self, key: str, write: Callable[[object], Path]) -> None:
        data = board()
        del data["cycles_per_mac"][key]
        assert f"cycles_per_mac.{key}: is missing; add it" in one_line_error(write(data))

    @pytest.mark.parametrize(
        ("where", "wrong", "right"),
        [
            ("", "clock_mhz", "clock_hz"),
            ("", "sram_byte", "sram_bytes"),
            ("", "bitpairs", "bit_pairs"),
            ("sram_bytes", "sources", "source"),
            ("bit_pairs", "row", "rows"),
            ("cycles_per_mac", "depth_wise", "depthwise"),
        ],
    )
    def test_misspelt_key(
        self, where: str, wrong: str, right: str, write: Callable[[object], Path]
    ) -> None:
        data = board()
        block = data[where] if where else data
        block[wrong] = block.pop(right)
        message = one_line_error(write(data))
        assert (
            f"unknown key{' in ' + where if where else ''}: '{wrong}'; did you mean '{right}'?"
            in message
        )

    @pytest.mark.parametrize(
        ("where", "value", "says"),
        [
            ("name", 12, "name: is 12; expected a text"),
            ("name", "My Board", "name is 'My Board'; expected lower-case letters"),
            ("title", "two\nlines", "title is 'two\\nlines'; expected a text on one line"),
            ("dsp", "maybe", "dsp: is 'maybe'; expected true or false"),
            ("fpu", None, "fpu: is None; expected a text"),
            ("emulator_machine", 3, "emulator_machine: is 3; expected a text"),
            ("clock_hz", 216_000_000, "clock_hz holds a whole number; expected a mapping"),
            (
                "clock_hz.value",
                "216 MHz",
                "clock_hz.value: is '216 MHz'; expected a whole number from 1 to 10,000,000,000",
            ),
            ("clock_hz.value", 0, "clock_hz.value: is 0; expected a whole number from 1"),
            ("sram_bytes.value", "lots", "sram_bytes.value: 'lots' is not a size"),
            (
                "sram_bytes.value",
                0,
                "sram_bytes.value: '0' is 0 B; expected a positive whole number",
            ),
            (
                "sram_bytes.value",
                1.5,
                "sram_bytes.value: '1.5' is 1.5 B; expected a positive whole number",
            ),
            (
                "sram_bytes.value",
                True,
                "sram_bytes.value: 'True' is not a size; expected a number above 0",
            ),
            (
                "flash_bytes.value",
                "8g",
                "flash_bytes.value: '8g' is beyond the 4,294,967,296 B (4 GiB)",
            ),
            ("reserved_sram_bytes.value", -1, "reserved_sram_bytes.value: '-1' is not a size"),
            (
                "reserved_sram_bytes.value",
                "64k",
                "SRAM of 65,536 B (64 KiB) leaves nothing for a network",
            ),
            (
                "reserved_flash_bytes.value",
                "1m",
                "Flash of 524,288 B (512 KiB) leaves nothing for a network",
            ),
            ("bit_pairs.rows", ["N" * 7] * 6, "bit_pairs.rows: is ['NNNNNNN'"),
            (
                "bit_pairs.rows",
                ["N" * 7] * 6 + ["N" * 8],
                "bit_pairs.rows[6]: is 'NNNNNNNN'; expected 7",
            ),
            (
                "bit_pairs.rows",
                ["NNNxNNN"] + ["N" * 7] * 6,
                "bit_pairs.rows[0]: is 'NNNxNNN'; expected 7 letters",
            ),
            ("bit_pairs.rows", ["F" * 7] * 7, "bit_pairs forbids every pair"),
            (
                "cycles_per_mac.estimate",
                "yes?",
                "cycles_per_mac.estimate: is 'yes?'; expected true or false",
            ),
            (
                "cycles_per_instruction",
                {"least": 2.0, "most": 1.0, "source": "a made-up board"},
                "cycles_per_instruction: least is 2; expected at most the 1 of 'most'",
            ),
            (
                "default_latency",
                {"value": "none", "source": "a made-up board"},
                "default_latency.value: is 'none'; expected a time such as 200ms; leave it out",
            ),
            ("cycles_per_mac.conv", 0, "cycles_per_mac.conv, w2a2: 0 is not a number of cycles"),
            (
                "cycles_per_mac.conv",
                -1.5,
                "cycles_per_mac.conv, w2a2: -1.5 is not a number of cycles",
            ),
            (
                "cycles_per_mac.conv",
                float("nan"),
                "cycles_per_mac.conv, w2a2: nan is not a number of cycles",
            ),
            (
                "cycles_per_mac.conv",
                float("inf"),
                "cycles_per_mac.conv, w2a2: inf is not a number of cycles",
            ),
            ("cycles_per_mac.conv", 10**400, "cycles_per_mac.conv, w2a2: 1000"),
            ("cycles_per_mac.conv", "fast", "cycles_per_mac.conv is not a table of 7 x 7"),
            ("cycles_per_mac.conv", None, "cycles_per_mac.conv is not a table of 7 x 7"),
            (
                "cycles_per_mac.dense",
                [[1.0] * 7] * 6,
                "cycles_per_mac.dense is not a table of 7 x 7",
            ),
            (
                "cycles_per_mac.dense",
                [[1.0] * 7] * 6 + [[1.0] * 6],
                "cycles_per_mac.dense is not a table of 7 x 7",
            ),
            (
                "cycles_per_mac.dense",
                [[1.0] * 7] * 6 + [[1.0] * 6 + [True]],
                "cycles_per_mac.dense, w8a8: True is not a number of cycles",
            ),
        ],
    )
    def test_wrong_value(
        self, where: str, value: object, says: str, write: Callable[[object], Path]
    ) -> None:
        data = board()
        block, _, key = where.rpartition(".")
        (data[block] if block else data)[key] = value
        path = write(data)
        assert one_line_error(path).startswith(f"{path}: {says}")


class TestWithMemory:
    """Totals given on the command line."""

    PROFILE = load_device("cortex-m7")

    @given(sram=st.integers(4097, 2**32), flash=st.integers(32769, 2**32))
    def test_any_size_above_what_is_reserved(self, sram: int, flash: int) -> None:
        changed = self.PROFILE.with_memory(sram, flash)
        assert (changed.arena_bytes, changed.storage_bytes) == (sram - 4096, flash - 32768)
        assert changed.cycles_per_mac == self.PROFILE.cycles_per_mac
        assert changed.name == "cortex-m7"
        assert self.PROFILE.with_memory(sram_bytes=sram).with_memory(flash_bytes=flash) == changed

    @given(size=st.integers(1, 4096))
    def test_nothing_left_beside_what_is_reserved(self, size: int) -> None:
        says = (
            r"device cortex-m7 reserves 4,096 B \(4 KiB\) for stack and static data; give at least "
            r"5k$"
        )
        with pytest.raises(InputError, match=says) as caught:
            self.PROFILE.with_memory(sram_bytes=size)
        assert f"SRAM of {size:,} B" in str(caught.value)

    @given(
        size=st.one_of(
            st.integers(max_value=0),
            st.integers(min_value=2**32 + 1),
            st.floats(),
            st.booleans(),
            st.text(),
        )
    )
    def test_no_size_at_all(self, size: object) -> None:
        for key in ("sram_bytes", "flash_bytes"):
            with pytest.raises(
                InputError,
                match=(
                    rf"^{key} is {re.escape(repr(size))}; expected a whole number of bytes from 1 "
                    r"to"
                ),
            ):
                self.PROFILE.with_memory(**{key: size})  # type: ignore[arg-type]

    def test_only_the_changed_size_changes_its_source(self) -> None:
        changed = self.PROFILE.with_memory(sram_bytes=262_144)
        assert changed.sources["sram_bytes"] == "given by the user in place of the board's own size"
        assert {**changed.sources, "sram_bytes": ""} == {**self.PROFILE.sources, "sram_bytes": ""}


class TestBirth:
    """Values that the constructor refuses, without a file."""

    def change(self, **changes: object) -> DeviceProfile:
        good = load_device("cortex-m7")
        return DeviceProfile(
            **{name: changes.get(name, getattr(good, name)) for name in DeviceProfile.__slots__}
        )

    def test_plain_words_lists_and_whole_numbers_are_taken(self) -> None:
        profile = self.change(
            bit_pairs=[["native"] * 7] * 7,
            cycles_per_mac={kind: [[2] * 7] * 7 for kind in LAYER_KINDS},
        )
        assert profile.support(3, 5) is PairSupport.NATIVE
        assert profile.cycles_per_mac["conv"] == ((2.0,) * 7,) * 7
        assert isinstance(hash(profile), int)

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("clock_hz", 2.16e8, "clock_hz is 216000000.0; expected a whole number of Hz"),
            ("sram_bytes", None, "sram_bytes is None; expected a whole number of bytes"),
            ("dsp", 1, "dsp is 1; expected true or false"),
            ("cycles_are_estimates", None, "cycles_are_estimates is None; expected true or false"),
            ("core", "", "core is ''; expected a text on one line"),
            (
                "bit_pairs",
                [["fast"] * 7] * 7,
                (
                    "bit_pairs, w2a2: 'fast' is no kind of support; expected one of: native, "
                    "storage-only"
                ),
            ),
            (
                "cycles_per_mac",
                [1.0],
                "cycles_per_mac is [1.0]; expected a mapping with the keys conv, pointwise",
            ),
            (
                "cycles_per_mac",
                {"pointwize": 1},
                "unknown key in cycles_per_mac: 'pointwize'; did you mean 'pointwise'?",
            ),
            ("cycles_per_mac", {}, "cycles_per_mac.conv is missing; add it"),
            ("sources", {}, "sources.clock_hz is missing; add it"),
            (
                "sources",
                dict.fromkeys(SOURCED_KEYS, ""),
                "sources.clock_hz is ''; expected a text that says where clock_hz comes from",
            ),
        ],
    )
    def test_refuses(self, field: str, value: object, says: str) -> None:
        with pytest.raises(InputError, match=rf"^{re.escape(says)}"):
            self.change(**{field: value})


class TestDocs:
    """The example of the documentation, as written there."""

    def test_example_loads(self, tmp_path: Path) -> None:
        (example,) = re.findall(
            r"^```yaml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        path = tmp_path / "my-board.yaml"
        path.write_text(example, encoding="utf-8")
        profile = load_device(path)
        assert profile.name == "my-board"
        assert profile.arena_bytes == 188 * 1024
        assert profile.support(4, 8) is PairSupport.NATIVE
        assert not profile.allowed(3, 8)

    def test_every_shipped_device_is_listed_with_its_sizes(self) -> None:
        text = DOCS.read_text(encoding="utf-8")
        for name in device_names():
            profile = load_device(name)
            sizes = f"{profile.sram_bytes // 1024} KiB | {profile.flash_bytes // 1024} KiB"
            assert (
                f"| `{name}` | {profile.core} | {profile.clock_hz // 10**6} MHz | {sizes} |" in text
            )
