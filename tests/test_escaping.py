"""Escaped texts of strangers: each property is the whole promise of its function, for any text."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.escaping import (
    build_file_word,
    c_comment,
    c_string,
    command_line,
    html_text,
    is_command,
    is_hidden,
    markdown_text,
    shell_word,
    terminal_line,
    terminal_lines,
    utf8,
)

ODD = (
    "*/\\?é\n\0\r\t\x1b\x07\x85\u2028\u2029\u202e\u200f\u2066\ufeff"
    "\udce9\ud800\U0001f408\u200d\ufffe"
    "'\"$`!#;&|<>{}[]()%@:=-_.,~^ wW09aé图"
)
TEXTS = st.text(st.sampled_from(ODD), max_size=12) | st.text(
    st.characters(exclude_categories=()), max_size=12
)
HIDDEN = {
    *map(chr, range(32)),
    *map(chr, range(127, 160)),
    *"\u2028\u2029\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
}
"""Controls, line ends and marks of direction, written out by hand."""


def utf8_of(text: str) -> bytes:
    """Return the bytes of a text; half a surrogate pair made of a byte is that byte."""
    return b"".join(
        bytes([ord(c) - 0xDC00]) if 0xDC80 <= ord(c) <= 0xDCFF else c.encode(errors="surrogatepass")
        for c in text
    )


def literal_of_c(text: str) -> bytes:
    """Read a C string literal by the rules of C99, 5.1.1.2 and 6.4.5: trigraphs, spliced lines,
    escapes.
    """
    assert text.isascii()
    for third, meaning in zip("=(/)'<!>-", "#[\\]^{|}~", strict=True):
        text = text.replace(f"??{third}", meaning)
    text = text.replace("\\\n", "")
    assert text[0] == text[-1] == '"'
    made, rest = bytearray(), text[1:-1]
    while rest:
        found = re.match(r"\\([0-7]{1,3})|([ -!#-\[\]-~])", rest)
        assert found, rest
        made.append(int(found[1], 8) if found[1] else ord(found[2]))
        rest = rest[found.end() :]
    return bytes(made)


@given(TEXTS)
def test_a_terminal_line_is_one_line_that_moves_nothing(text: str) -> None:
    line = terminal_line(text)
    assert not HIDDEN & set(line)
    assert len(line.splitlines()) <= 1
    line.encode()
    assert terminal_line(line) == line
    assert line == text or any(map(is_hidden, text))
    assert terminal_lines(text) == "\n".join(terminal_line(part) for part in text.split("\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            'it\'s "odd" ü %d \U0001f468\u200d\U0001f680',
            'it\'s "odd" ü %d \U0001f468\u200d\U0001f680',
        ),
        ("a\nnote: fine\x1b[31m\x07", "a\\nnote: fine\\x1b[31m\\x07"),
        ("donn\udce9es\x85\u202e\ud800", "donn\\xe9es\\u0085\\u202e\\ud800"),
    ],
)
def test_a_terminal_line_can_be_read(text: str, shown: str) -> None:
    assert terminal_line(text) == shown


@given(TEXTS)
def test_a_c_comment_is_the_whole_comment(text: str) -> None:
    for around in ("/* {} */", "/*\n * {}\n */"):
        comment = around.format(c_comment(text))
        assert comment.index("*/") == len(comment) - 2
        assert comment.rindex("/*") == 0
        assert "??" not in comment
        assert "\\" not in comment
        assert comment.isascii()
        assert len(comment.splitlines()) == len(around.splitlines())


def test_a_c_comment_can_be_read() -> None:
    assert c_comment("runs/a b, 50 % of [x]: what?") == "runs/a b, 50 % of [x]: what?"
    assert c_comment("star*\\slash ??/ 图\udce9") == "star* /slash ? ?/ <U+56FE><E9>"


@given(TEXTS)
def test_a_c_string_gives_the_bytes_back(text: str) -> None:
    literal = c_string(text)
    assert "??" not in literal
    assert literal_of_c(literal) == utf8_of(text)


@given(TEXTS)
def test_a_word_of_a_build_file_means_nothing_there(text: str) -> None:
    word = build_file_word(text)
    assert re.fullmatch(r"[A-Za-z0-9_.+/-]*", word)
    assert len(word) == len(text)
    assert build_file_word(word) == word


@given(TEXTS.map(lambda text: text.replace("\0", "")))
def test_a_shell_word_is_one_word_on_one_line(text: str) -> None:
    word = shell_word(text)
    assert terminal_line(word) == word
    assert len(shlex.split(word)) == 1
    if not any(map(is_hidden, text)):
        assert shlex.split(word) == [text]


@settings(max_examples=10)
@given(st.lists(TEXTS.map(lambda text: text.replace("\0", "")), min_size=40, max_size=40))
def test_a_shell_reads_the_words(texts: list[str]) -> None:
    shell = shutil.which("bash") or pytest.skip("needs bash")
    command = f"printf '%s\\0' {' '.join(map(shell_word, texts))}"
    done = subprocess.run([shell, "-c", command], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [utf8_of(text) for text in texts]


NAMES = (
    "plain",
    "a b",
    "it's",
    'a "b"',
    "a\nb",
    "ü",
    "-rf",
    "--force",
    b"donn\xe9es".decode(errors="surrogateescape"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_the_path_as_one_word(name: str) -> None:
    words = shlex.split(command_line("nas-search", "train", Path(name), "--force"))
    assert words[:2] + words[3:] == ["nas-search", "train", "--force"]
    assert not words[2].startswith("-")
    if name.isprintable():
        assert Path(words[2]) == Path(name)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (command_line("nas-search", "train", "it's a run", "--data", "$HOME"), True),
        ("nas-search run; curl x | sh", False),
        ("nas-search run $(sh)", False),
        ("nas-search run `sh`", False),
        ("nas-search run\nsh", False),
        ("nas-search 'run", False),
        ("FOO=1 nas-search run", False),
        ("sh", False),
        ("", False),
    ],
)
def test_a_command_that_was_read_is_one_command_of_this_program(text: str, is_one: bool) -> None:
    assert is_command(text) is is_one


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@given(TEXTS)
def test_html_shows_the_text_and_nothing_else(text: str) -> None:
    for quote in "'\"":
        reader = _Reader()
        reader.feed(f"<p title={quote}{html_text(text)}{quote}>{html_text(text)}</p>")
        reader.close()
        shown = terminal_line(text)
        assert reader.found == [("p", [("title", shown)]), *([shown] if text else [])]


@given(TEXTS)
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    made = markdown_text(text)
    assert len(made.splitlines()) <= 1
    shown, at = [], 0
    while at < len(made):
        escaped = made[at] == "\\"
        if escaped:
            at += 1
            assert (
                made[at] in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
            )  # what CommonMark lets be escaped
        else:
            assert (
                made[at] not in "`*[]<>#|~&!@$"
            )  # code, stress, links, elements, cells, references
            assert made[at] != "_" or re.fullmatch(
                "[A-Za-z0-9]_[A-Za-z0-9]", made[max(at - 1, 0) : at + 2]
            )
        shown.append(made[at])
        at += 1
    assert "".join(shown) == terminal_line(text)
    assert not re.search(r"://|www\.", made, re.IGNORECASE)


@given(TEXTS)
def test_any_text_can_be_written(text: str) -> None:
    utf8(text).decode()
    assert utf8(text) == text.encode(errors="backslashreplace")


def inserted(path: Path) -> list[str]:
    """Return the places of a file where something is put behind ``nas-search `` in a text, other
    than by ``command_line``.
    """
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = list(node.values)
            for text, value in itertools.pairwise(parts):
                said = text.value if isinstance(text, ast.Constant) else ""
                if isinstance(value, ast.FormattedValue) and re.search(
                    r"nas-search (-{0,2}[a-z][a-z-]* )+['\"]?$", str(said)
                ):
                    found.append(f"{path.name}:{node.lineno}")
    return found


def test_no_command_is_made_by_hand(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(
        'def f(path): return f"type: nas-search export {path}", f"type: nas-search --out {path!r} '
        '--force"\n'
    )
    assert inserted(sample) == ["sample.py:1", "sample.py:1"]
    sources = sorted((Path(__file__).parents[1] / "nas_engine").rglob("*.py"))
    assert [place for path in sources for place in inserted(path)] == []
    assert [path.name for path in sources if "shlex" in path.read_text(encoding="utf-8")] == [
        "compilers.py",
        "escaping.py",
        "build.py",
        "host_c.py",
    ]
