"""Text files that carry the SHA-256 of their own content: JSON and YAML that the program writes.

The digest stands first, so that a cut at any place behind it shows. It finds accidents, mixing and age, not forgery: whoever changes a
file can change its digest too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from nas_engine.errors import FileFormatError
from nas_engine.reading import SMALL_FILE, read_regular_text

KEY = "sha256"
"""Key of the digest in JSON."""

_JSON = re.compile(r'\{\n "sha256": "([0-9a-f]{64})"(,\n|\n)')
_SURROGATE = re.compile("[\ud800-\udfff]")
_YAML = re.compile(r"# sha256: ([0-9a-f]{64})\n")


class Seal(StrEnum):
    """How a text and the digest that it carries go together."""

    FITS = "fits"
    """The content is what the program wrote."""
    MISSING = "missing"
    """There is no digest: written by hand, or by nas-search 0.1.0."""
    BROKEN = "broken"
    """The content is another one: changed by hand, cut off, or damaged."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def seal_json(values: Mapping[str, Any]) -> str:
    """Return plain values as the text of a JSON file whose first key is the digest of all that follows it.

    Bytes of file names that are no UTF-8 (lone surrogates in Python) are written as JSON's own escapes, and come back.

    Raises:
        ValueError: There is a key ``sha256`` already.
    """
    if KEY in values:
        raise ValueError(f"the values hold a key {KEY!r} of their own")
    text = json.dumps({KEY: "0" * 64, **values}, indent=1, ensure_ascii=False) + "\n"
    text = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    head = _JSON.match(text)
    assert head is not None
    return text[: head.start(1)] + _digest(text[head.end() :]) + text[head.end(1) :]


def seal_yaml(text: str) -> str:
    """Return the text of a YAML file behind a comment with its digest."""
    return f"# sha256: {_digest(text)}\n{text}"


def check_seal(text: str) -> Seal:
    """Return whether a text, JSON or YAML, is what the digest at its head says; line ends of Windows count as plain ones."""
    text = text.replace("\r\n", "\n")
    head = _JSON.match(text) or _YAML.match(text)
    if head is None:
        return Seal.MISSING
    return Seal.FITS if _digest(text[head.end() :]) == head[1] else Seal.BROKEN


def broken_seal(path: object, remedy: str) -> FileFormatError:
    """Return (not raise) the error about a file in a run directory whose content is not what its digest says."""
    return FileFormatError(path, f"does not fit the digest that it carries (changed by hand, cut off or damaged); {remedy}")


def parse_sealed_json(text: str, path: object, remedy: str) -> tuple[dict[str, Any], Seal]:
    """Return the values of a JSON text without its digest, and whether it carried one.

    Raises:
        FileFormatError: No JSON, no object at the top, or content that does not fit its digest.
    """
    seal = check_seal(text)
    if seal is Seal.BROKEN:
        raise broken_seal(path, remedy)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(path, f"is not whole JSON (cut off or damaged); {remedy}") from error
    if not isinstance(values, dict):
        raise FileFormatError(path, f"does not hold an object of keys and values; {remedy}")
    if seal is Seal.FITS:
        del values[KEY]
    return values, seal


def read_sealed_json(path: str | os.PathLike[str], remedy: str, most: int = SMALL_FILE) -> tuple[dict[str, Any], Seal]:
    """Return the values of a JSON file in a run directory without its digest, and whether it carried one.

    Args:
        path: The file.
        remedy: The command that mends it, for messages.
        most: Largest size accepted, in bytes.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, too large, or content that does not fit its digest.
    """
    return parse_sealed_json(read_regular_text(path, most, remedy), path, remedy)
