"""What the documentation shows is true: examples load, commands and options exist, pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from nas_engine.cli.main import cli
from search_spaces import load_space, space_names

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


def test_the_example_space_loads(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8"), re.S)
    assert text is not None
    (tmp_path / "tiny.yaml").write_text(text[1], encoding="utf-8")
    space = load_space(str(tmp_path / "tiny.yaml"))
    assert space.name == "tiny"
    assert space.max_residuals == 5


def test_every_space_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in space_names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_and_modules_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = [cli, *cli.commands.values()]
    options = [option for command in commands for option in command.params if isinstance(option, click.Option)]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    for line in text.splitlines():
        if "nas-search" in line and "pip install" not in line:
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line):
                assert option in known | {"--help"}, option
    for module in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert (ROOT / "benchmarks" / f"{module}.py").exists(), module


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"nas-search {name}" in text for name in cli.commands)
