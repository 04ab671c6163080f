"""Escaping of foreign text (file names, class names) per target language, in one pass each.

The result is text in the target language and nothing else: it ends no comment, no string and no
line, starts no command and no element, and moves no cursor. Bytes of file names that are no UTF-8
(lone surrogates in Python) are shown as such.
"""

from __future__ import annotations

import os
import shlex
import unicodedata

_HIDDEN_KINDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = (
    "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # part of how words and emoji are written
)
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_C_COMMENT_PAIRS = frozenset({"*/", "/*", "??"})
_BUILD_FILE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-+/")


def is_hidden(character: str) -> bool:
    """Return whether a character is a control, line end, direction mark or lone surrogate."""
    code = ord(character)
    if code < 128:
        return code < 32 or code == 127
    hidden = unicodedata.category(character) in _HIDDEN_KINDS and character not in _JOINERS
    return hidden or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def _shown(character: str) -> str:
    r"""Return an invisible character as an escape, ``\xe9`` for ASCII and non-UTF-8 bytes."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    elif code >= 128:
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _SHORT.get(character, f"\\x{code:02x}")


def _bytes(character: str) -> bytes:
    """Return the UTF-8 of a character, of a byte that is no UTF-8 that byte."""
    return character.encode(
        errors="surrogateescape" if 0xDC80 <= ord(character) <= 0xDCFF else "surrogatepass"
    )


def terminal_line(text: str) -> str:
    """Return a text as one line for a terminal or a log, invisible characters as escapes."""
    return "".join(_shown(character) if is_hidden(character) else character for character in text)


def terminal_lines(text: str) -> str:
    """Return a text of several lines, each of them as ``terminal_line`` has it."""
    return "\n".join(map(terminal_line, text.split("\n")))


def utf8(text: str) -> bytes:
    r"""Return the UTF-8 of a text; a lone surrogate becomes ``\udce9``, for JSON and YAML."""
    return text.encode(errors="backslashreplace")


def c_comment(text: str) -> str:
    """Return a text for a C comment, between ``/*`` and ``*/`` with blanks, or on a line in one.

    It holds no comment's start or end, no trigraph, no line end and no backslash, and is plain
    ASCII.
    """
    made: list[str] = []
    last = " "
    for character in text:
        code = ord(character)
        if character == "\\":
            piece = "/"
        elif " " <= character <= "~":
            piece = character
        else:
            piece = f"<{code - 0xDC00:02X}>" if 0xDC80 <= code <= 0xDCFF else f"<U+{code:04X}>"
        if last + piece in _C_COMMENT_PAIRS:
            made.append(" ")
        made.append(piece)
        last = piece
    return "".join(made)


def c_string(text: str) -> str:
    """Return a text as a C string literal of its UTF-8, special characters as octal escapes."""
    return f'"{"".join(_octal(byte) for character in text for byte in _bytes(character))}"'


def _octal(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"


def build_file_word(text: str) -> str:
    """Return a name as one word of a Makefile and of a CMake list, special characters as ``_``."""
    return "".join(character if character in _BUILD_FILE else "_" for character in text)


def shell_word(text: str) -> str:
    """Return a text as one word of a shell, on one line, which the shell reads as this very text.

    Where something is hidden it takes the form ``$'...'`` of POSIX 2024, which bash, zsh, ksh and
    busybox read. No word of a command can hold a NUL.
    """
    if not any(map(is_hidden, text)):
        return shlex.quote(text)
    return f"$'{''.join(map(_shell_piece, text))}'"


def _shell_piece(character: str) -> str:
    if is_hidden(character) or character in "'\\":
        return "".join(f"\\{byte:03o}" for byte in _bytes(character))
    return character


def command_line(*words: str | os.PathLike[str]) -> str:
    """Return a command that can be pasted into a shell.

    Args:
        words: Options, names and values as ``str``; paths as ``Path``, so that one that begins with
            a hyphen is not taken for an option.
    """
    return " ".join(map(shell_word, map(_argument, words)))


def is_command(text: str) -> bool:
    """Return whether a text is one command of this program, as ``command_line`` writes it."""
    try:
        words = shlex.split(text)
    except ValueError:
        return False
    return words[:1] == ["nas-search"] and command_line(*words) == text


def _argument(word: str | os.PathLike[str]) -> str:
    text = os.fspath(word)
    return f"./{text}" if text.startswith("-") and not isinstance(word, str) else text


def html_text(text: str) -> str:
    """Return a text for an HTML element or quoted attribute, invisible characters as escapes."""
    return "".join(
        _HTML.get(character) or (_shown(character) if is_hidden(character) else character)
        for character in text
    )


def markdown_text(text: str) -> str:
    """Return a text for Markdown (CommonMark, or a GitHub table), not first on its line."""
    made: list[str] = []
    before = " "
    for character, after in zip(text, f"{text[1:]} ", strict=False):
        if is_hidden(character):
            made.append(f"\\{_shown(character)}")
        elif (
            character in "\\`*[]<>#|~&!@$"
            or _links(before, character, after)
            or (character == "_" and not _inside(before, after))
        ):
            made.append(f"\\{character}")
        else:
            made.append(character)
        before = character
    return "".join(made)


def _links(before: str, character: str, after: str) -> bool:
    """Return whether GitHub would make a link here: ``://`` and ``www.``."""
    return (character == ":" and after == "/") or (character == "." and before in "wW")


def _inside(before: str, after: str) -> bool:
    """Return whether an underscore is inside a word, where it has no meaning."""
    return all(side.isascii() and side.isalnum() for side in (before, after))
