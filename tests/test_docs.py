"""Documentation is true: examples run, files load, commands parse, links lead somewhere."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import re
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from device_profiles import device_names, load_device
from nas_engine.architecture import read_architecture
from nas_engine.cli.main import cli
from nas_engine.names import Format, Method
from nas_engine.report.page import PARTS
from nas_engine.runs.run_options import read_options
from nas_engine.training.recipe import load_recipe, recipe_names
from nas_engine.verification.table import back_ends
from search_spaces import load_space, space_names
from tests.docs.example_run import example_run, prepare, smaller, smaller_parts
from tests.docs.few import few_back_ends
from tests.docs.pages import (
    DOCS,
    NAMES,
    PAGES,
    ROOT,
    Block,
    anchors,
    blocks,
    commands,
    inline_commands,
    links,
    pages_with,
)
from tests.generations import SMALL_SETTINGS


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained and exported run, only to be copied."""
    return example_run(tmp_path_factory.mktemp("example"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
class TestLinks:
    def test_lead_somewhere(self, page: Path) -> None:
        for target in links(page):
            if not target.startswith(("http:", "https:", "#")):
                path = page.parent / target.partition("#")[0]
                assert path.exists(), target
                assert path.resolve().is_relative_to(ROOT), target

    def test_end_in_headings_that_exist(self, page: Path) -> None:
        for target in links(page):
            path, _, anchor = target.partition("#")
            if anchor and not path.startswith("http") and (not path or path.endswith(".md")):
                assert anchor in anchors(page.parent / path if path else page), target


def test_every_part_of_the_report_is_explained() -> None:
    parts = ["Verdict", *(title for title, *_ in PARTS)]
    text = (DOCS / "how_to" / "read_the_report.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == parts


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    named = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in links(index)
        if not target.startswith("http")
    }
    assert [str(page) for page in DOCS.rglob("*.md") if page != index and page not in named] == []


def test_every_space_is_in_the_docs() -> None:
    text = (DOCS / "spaces.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in space_names())


def sub_command(name: str) -> click.Command | None:
    return cli.get_command(click.Context(cli), name)


def all_commands() -> list[str]:
    return list(cli.list_commands(click.Context(cli)))


@functools.cache
def values() -> Mapping[str, set[str]]:
    """Values of options that only a run would check; any path to a YAML file is right for some."""
    return {
        "--method": {*Method, "all"},
        "--format": set(Format),
        "--backend": {row.name for row in back_ends(load_device("cortex-m7"), 1, 1)},
        "--recipe": set(recipe_names()),
        "--device": set(device_names()),
        "--space": set(space_names()),
    }


def check_command(words: list[str]) -> None:
    """Let the real command parse its arguments, and check the names it would look up.

    Raises:
        click.UsageError: An option, a value or an argument that the command does not take.
        AssertionError: A name that is not shipped.
    """
    name = words[0] if words and not words[0].startswith("-") else None
    command = sub_command(name) if name else cli
    assert command is not None, f"no command {name}; expected one of: {', '.join(all_commands())}"
    given = [
        re.sub(r"^[A-Z_]+$", "1", word) for word in words[1 if name else 0 :]
    ]  # N, PATH, NAME: any number or path
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(click.exceptions.Exit):
        command.make_context(name or "nas-search", list(given))
    for option, value in itertools.pairwise(given):
        if option in values() and value != "1":
            for part in value.split(","):
                assert (
                    part.endswith((".yaml", ".yml")) or ".py:" in part or part in values()[option]
                ), f"{option} {value}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
class TestCommands:
    def test_in_blocks_parse(self, page: Path) -> None:
        for line, words in commands(page):
            try:
                check_command(words)
            except (click.ClickException, AssertionError) as error:
                pytest.fail(f"{page.name}:{line}: nas-search {' '.join(words)}: {error}")

    def test_in_sentences_parse_but_may_leave_arguments_out(self, page: Path) -> None:
        for words in inline_commands(page):
            try:
                check_command(words)
            except click.MissingParameter:
                pass
            except (click.ClickException, AssertionError) as error:
                pytest.fail(f"{page.name}: nas-search {' '.join(words)}: {error}")

    def test_options_and_modules_exist(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        every = [cli, *filter(None, map(sub_command, all_commands()))]
        options = [
            option
            for command in every
            for option in command.params
            if isinstance(option, click.Option)
        ]
        known = {name for option in options for name in (*option.opts, *option.secondary_opts)} | {
            "--help"
        }
        known |= {"--index-url", "--extra-index-url"}  # of pip
        for code in re.findall(r"`(--[a-z][a-z-]+)[^`]*`", text):
            assert code in known, code
        for module in re.findall(r"python -m (benchmarks(?:\.\w+)+)", text):
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


def test_a_wrong_command_is_found() -> None:
    for words in (
        ["--bogus"],
        ["train", "runs/x", "--epochs", "many"],
        ["refine", "x", "--method", "magic"],
        ["fly", "x"],
        ["export"],
    ):
        with pytest.raises((click.ClickException, AssertionError)):
            check_command(words)


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"nas-search {name}" in text for name in all_commands())


def readers() -> Mapping[str, Callable[[str], Any]]:
    """The reader of each kind of YAML file, by a key that only this kind has."""
    return {
        "core": load_device,
        "stages": load_space,
        "epochs": load_recipe,
        "head": read_architecture,
        "search": lambda path: read_options(Path(path)),
        "build": lambda path: yaml.safe_load(
            Path(path).read_text(encoding="utf-8")
        ),  # Zephyr's, see tests/docs/test_firmware.py
    }


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, id=f"{b.page.name}:{b.line}") for page in PAGES for b in blocks(page, "yaml")],
)
def test_yaml_is_read_by_the_reader_it_is_for(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = yaml.safe_load(block.text).keys()
    kinds = [reader for key, reader in readers().items() if key in keys]
    assert kinds, f"nothing reads a file with the keys {', '.join(keys)}"
    monkeypatch.chdir(tmp_path)
    path = tmp_path / (block.file or "example.yaml")
    path.write_text(block.text, encoding="utf-8")
    assert kinds[0](str(path))


def test_the_example_space_is_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        blocks(DOCS / "spaces.md", "yaml")[0].text, encoding="utf-8"
    )
    space = load_space(str(tmp_path / "tiny.yaml"))
    assert space.name == "tiny"
    assert space.max_residuals == 5


@pytest.mark.parametrize(
    "page",
    [page for page in pages_with("python") if page.name != "tutorial.md"],
    ids=lambda page: page.name,
)
def test_python_runs(
    page: Path, exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks of a page, one after the other, in a folder that has what the page speaks of (the
    tutorial's: test_tutorial.py).
    """
    monkeypatch.chdir(tmp_path)
    text = "".join(block.text for block in blocks(page, "python"))
    gone = [old for old in smaller_parts(page) if old not in text]
    assert gone == [], (
        "adapt SMALLER in tests/docs/example_run.py; at full size examples take minutes"
    )
    if smaller_parts(page):
        few_back_ends(monkeypatch)
        monkeypatch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)
    module = types.ModuleType("documented_example")  # data classes look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__.update(prepare(page, exported_run, tmp_path))
    for block in blocks(page, "python"):
        exec(compile(smaller(page, block.code()), str(page), "exec"), module.__dict__)


@pytest.mark.parametrize(
    "page",
    [*(page for page in PAGES if page.name != "RESULTS.md"), ROOT / "CHANGELOG.md"],
    ids=lambda page: page.name,
)
def test_lines_are_short(page: Path) -> None:
    """Lines end at 100 columns, but for tables, formulas, blocks, and texts shown as they are."""
    text = re.sub(r"^( *```).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    kept = re.compile(r" *(\||\$\$|    |`[^`]*`\.?$)")
    long = [line for line in text.splitlines() if len(line) > 100 and not kept.match(line)]
    assert long == []
