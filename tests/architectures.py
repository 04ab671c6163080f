"""Architectures that tests of files begin with: a small one in both notations, and the published
ones.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas_engine.architecture import (
    Architecture,
    Bits,
    Block,
    Classifier,
    Convolution,
    dump_architecture,
    parse_architecture,
)
from nas_engine.errors import FileFormatError

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = ("mixed7d0G", "mixed19d2G")
W8A8 = Bits(8, 8)


def published(name: str) -> list[dict[str, Any]]:
    literal: list[dict[str, Any]] = ast.literal_eval(
        (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    )
    return literal


def small(**changes: Any) -> Architecture:
    values: dict[str, Any] = {
        "resolution": 96,
        "stem": Convolution(kernel=3, stride=2, channels=16, bits=W8A8),
        "blocks": (
            Block(
                kernel=5,
                stride=2,
                bottleneck=48,
                channels=24,
                bits=((Bits(4, 6), Bits(2, 3), Bits(5, 7)),),
            ),
        ),
        "head": Convolution(kernel=1, stride=1, channels=64, bits=Bits(3, 4)),
        "classifier": Classifier(class_count=2, bits=W8A8),
    }
    return Architecture(**(values | changes))


def small_yaml() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(dump_architecture(small()))
    return data


def small_literal() -> list[dict[str, Any]]:
    return [
        {"class": "ConvKXBNRELU", "in": 3, "out": 8, "s": 2, "k": 3, "nbitsA": 8, "nbitsW": 8},
        {
            "class": "SuperQuantResK1DWK1",
            "in": 8,
            "out": 16,
            "s": 2,
            "k": 5,
            "L": 2,
            "btn": 24,
            "nbitsA": [3, 4, 5, 6, 3, 4],
            "nbitsW": [6] * 6,
        },
        {"class": "ConvKXBNRELU", "in": 16, "out": 32, "s": 1, "k": 1, "nbitsA": 5, "nbitsW": 4},
    ]


def refusal(text: str) -> str:
    with pytest.raises(FileFormatError) as caught:
        parse_architecture(text, "net.yaml")
    message = str(caught.value)
    assert message.startswith("net.yaml: ")
    assert len(message.splitlines()) == 1, message
    return message


def parses_or_one_line(text: str) -> Architecture | None:
    """Anything but an architecture or a one-line ``FileFormatError`` fails the test."""
    try:
        return parse_architecture(text, "net.yaml")
    except FileFormatError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, message
    return None
