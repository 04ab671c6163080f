"""What ``--json`` prints is what ``docs/json.schema.json`` says, key by key."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from nas_engine.cli.main import cli
from tests.cli.command import SMALL, Run

SCHEMA = Path(__file__).parents[2] / "docs" / "json.schema.json"


@cache
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    return found


def validator(command: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{command}", "$defs": schemas()})


def check_json(command: str, text: str) -> Any:
    """Check the output of a command, and return it."""
    found = json.loads(text)
    validator(command).validate(found)
    return found


def test_every_command_has_a_schema() -> None:
    assert set(cli.commands) <= set(schemas())
    for schema in schemas().values():
        Draft202012Validator.check_schema(schema)


def test_commands_without_training(run: Run) -> None:
    check_json("search", run(*SMALL, "--out", "run", "--json", "--quiet").out)
    check_json("score", run("score", "run/best.yaml", "--json").out)
    check_json("score", run("score", "run/best.yaml", "--device", "stm32f746", "--json").out)
    check_json("bits", run("bits", "run/best.yaml", "--flash", "256k", "--json").out)
    check_json("take", run("take", "run", "--json").out)
    check_json("take", run("take", "run", "--pick", "1", "--json").out)
    found = check_json("compare", run("compare", "run", "run-1", "--json").out)
    found["runs"][0]["macs"] += 0.5  # counts are integers
    with pytest.raises(ValidationError):
        validator("compare").validate(found)
