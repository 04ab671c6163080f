"""Text files that carry the SHA-256 of their own content: JSON and YAML that the program writes.

The digest comes first, so that a truncation anywhere shows. It finds accidents, mixing and age, not
forgery: the editor of a file can change its digest too.

A reader says which of two things a file is. One of a run directory has a command that mends it, and
is refused where the content is not what the program wrote. One that a user gave by its path is the
user's own: it is taken, with a ``ChangedFileWarning``. A file without a digest (by hand, or by
nas-search 0.1.0) is taken by both.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
import zlib
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
_SPOILT_HEAD = re.compile(
    r'# *sha256|[^\n]*: [0-9a-f]{64}\n|\{\s*"sha256"|\{\s*"[^"]*"\s*:\s*"[0-9a-f]{64}"'
)
CHECK = "crc32"
"""Key of the check of one line, last in it; eight hexadecimal digits."""
_LINE = re.compile(r'(.*), "crc32": "([0-9a-f]{8})"\}', re.DOTALL)
_SPOILT_LINE = re.compile(r'.*, "[^"]*": "[0-9a-f]{8}"\}', re.DOTALL)


class Seal(StrEnum):
    """State of a text against the digest that it carries."""

    FITS = "fits"
    """The content is what the program wrote."""
    MISSING = "missing"
    """There is no digest: written by hand, or by nas-search 0.1.0."""
    BROKEN = "broken"
    """The content is another one: changed by hand, cut off, or damaged."""


class ChangedFileWarning(UserWarning):
    """File given by its path that is accepted although it was changed or may be incomplete."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def seal_json(values: Mapping[str, Any]) -> str:
    """Return plain values as the text of a JSON file whose first key is the digest of the rest.

    Bytes of file names that are no UTF-8 (lone surrogates in Python) are written as JSON's own
    escapes, and come back.

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
    """Return whether a JSON or YAML text fits the digest at its head, whatever its line ends."""
    text = text.replace("\r\n", "\n")
    head = _JSON.match(text) or _YAML.match(text)
    if head is None:
        return Seal.BROKEN if _SPOILT_HEAD.match(text) else Seal.MISSING
    return Seal.FITS if _digest(text[head.end() :]) == head[1] else Seal.BROKEN


def broken_seal(path: object, remedy: str) -> FileFormatError:
    """Return (not raise) the error about a file of a run that does not fit its digest."""
    return FileFormatError(
        path,
        f"does not fit the digest that it carries (changed by hand, cut off or damaged); {remedy}",
    )


def warn(path: object, what: str) -> None:
    """Give a ``ChangedFileWarning`` about a file."""
    warnings.warn(f"{path} {what}", ChangedFileWarning, stacklevel=2)


def seal_line(values: Mapping[str, Any]) -> str:
    """Return plain values as one line of JSON that ends with a checksum of the rest.

    Raises:
        ValueError: There is a key ``crc32`` already, or nothing at all.
    """
    if CHECK in values or not values:
        raise ValueError(f"the values hold a key {CHECK!r} of their own, or nothing")
    text = json.dumps(values)[:-1]
    return f'{text}, "{CHECK}": "{crc(text)}"}}\n'


def crc(text: str) -> str:
    """Return the CRC-32 of a text as eight hexadecimal digits."""
    return f"{zlib.crc32(text.encode()):08x}"


def parse_line(line: str) -> Any:
    """Return the value of a line of ``seal_line``; one without a check (0.1.0) is accepted.

    Raises:
        ValueError: No JSON, or not what was written.
    """
    value = json.loads(line)
    if isinstance(value, dict) and (CHECK in value or _SPOILT_LINE.fullmatch(line)):
        found = _LINE.fullmatch(line)
        if found is None or crc(found[1]) != found[2]:
            raise ValueError("not what was written")
        del value[CHECK]
    return value


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


def read_sealed_json(
    path: str | os.PathLike[str], remedy: str, most: int = SMALL_FILE
) -> tuple[dict[str, Any], Seal]:
    """Return the values of a JSON file of a run without its digest, and whether it had one.

    Args:
        path: The file.
        remedy: The command that mends it, for messages.
        most: Largest size accepted, in bytes.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, too large, or content that does not fit its digest.
    """
    return parse_sealed_json(read_regular_text(path, most, remedy), path, remedy)
