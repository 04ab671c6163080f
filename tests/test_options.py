"""The table of options: commands, files, Python and documentation say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

import nas_engine as ne
from nas_engine.cli.main import cli
from nas_engine.cli.options import Value
from nas_engine.errors import InputError
from nas_engine.evolution.config import resolve_config
from nas_engine.options import OPTIONS, SECTIONS, Kind, Option, rows_in, rows_of
from nas_engine.pipeline.run_config import resolve_run_config
from nas_engine.runs.run_options import check_options
from tests.docs.options_table import PAGE, table

COMMANDS = ("search", "run", "train", "evaluate", "refine", "verify", "score", "bits")
RANGED = [
    row
    for row in OPTIONS
    if row.kind in (Kind.INT, Kind.WHOLE, Kind.NUMBER, Kind.PERCENT) and row.commands
]


def command(name: str) -> click.Command:
    return cli if name == "search" else cli.commands[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_options_of_its_rows(name: str) -> None:
    options = {param.name: param for param in command(name).params}
    for row in rows_of(name).values():
        option = options[row.name]
        assert row.option in option.opts
        assert isinstance(option, click.Option)
        assert option.help == row.help_of(name)
        if isinstance(option.type, Value):
            assert option.type.row is row
    assert len({row.name for row in OPTIONS if name in row.commands}) == sum(
        name in row.commands for row in OPTIONS
    )


def test_a_run_takes_every_option_of_a_search() -> None:
    assert rows_of("search").keys() - rows_of("run").keys() == {"time_limit"}
    assert rows_in("search").keys() <= rows_of("run").keys()


def test_keys_of_a_section_are_different() -> None:
    assert {row.section for row in OPTIONS} == {*SECTIONS, ""}
    for section in SECTIONS:
        keys = [row.key for row in OPTIONS if row.section == section]
        assert len(set(keys)) == len(keys)


def test_resolved_configs_have_every_key() -> None:
    assert resolve_config({}).as_options().keys() == rows_in("search").keys()
    mapping = resolve_run_config({}).as_mapping()
    for section in SECTIONS:
        assert mapping[section].keys() == rows_in(section).keys()


@pytest.mark.parametrize("row", RANGED, ids=lambda row: f"{row.name}-{'-'.join(row.commands)}")
def test_command_and_file_have_the_same_range(row: Option) -> None:
    step = 1 if row.kind in (Kind.INT, Kind.WHOLE) else 0.01 * max(row.range.low, 1e-3)
    for value in (row.range.low, row.range.high):
        assert row.from_text(f"{value:.17g}", row.option) == value
    for value in (row.range.low - step, row.range.high + max(step, 1e-3 * row.range.high)):
        with pytest.raises(InputError) as caught:
            row.from_text(f"{value:.17g}", row.option)
        assert len(str(caught.value).splitlines()) == 1
        if row.section and not row.even:
            plain = int(value) if step == 1 else value
            with pytest.raises(InputError):
                check_options({row.section: {row.key: plain}})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sigma_a": 0.01}, "sigma_a: is 0.01; expected a number from 0.1 to 1000"),
        ({"max_effectiveness": 2e6}, "max_effectiveness: is 2000000.0; expected a number from"),
        ({"max_bitops": "few"}, "max_bitops: 'few' is not a positive number"),
        ({"max_layers": 4}, "max_layers: is 4; expected a whole number from 5 to 302"),
        ({"max_mac": 1}, "unknown option of search(): 'max_mac'; did you mean 'max_macs'?"),
    ],
)
def test_python_reads_the_table(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        ne.search(out=tmp_path / "run", **options)
    assert says in str(caught.value)


def test_the_table_of_the_documentation_is_that_of_the_program() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "python -m tests.docs.options_table"
