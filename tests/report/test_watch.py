"""Live report: its page, refused requests, and when it is drawn again; no server is started."""

from __future__ import annotations

import os
import socket
from email.parser import BytesHeaderParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from nas_engine.cli.main import cli
from nas_engine.errors import RunDirectoryError
from nas_engine.report import watch
from nas_engine.report.watch import HOST, SECONDS, Handler, LiveReport

PORT = 4321


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LiveReport:
    """Return the live report of a folder whose reports count what they are drawn from."""

    def draw(path: Path) -> Path:
        if not (path / "config.yaml").exists():
            raise RunDirectoryError(path, "holds no run")
        page = path / "report.html"
        page.write_text(" ".join(sorted(os.listdir(path))), encoding="utf-8")
        (path / "plots").mkdir(exist_ok=True)
        (path / "plots" / "a.png").write_bytes(os.urandom(8))
        return page

    monkeypatch.setattr(watch, "write_report", draw)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    return LiveReport(tmp_path / "run")


def answer(live: LiveReport, request: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, header and body that a request gets."""
    browser, connection = socket.socketpair()
    with browser, connection:
        browser.sendall(request.encode())
        browser.shutdown(socket.SHUT_WR)
        Handler(live, connection, ("", 0), SimpleNamespace(server_port=PORT))
        connection.shutdown(socket.SHUT_WR)
        head, _, body = browser.makefile("rb").read().partition(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    return int(status.split()[1]), dict(BytesHeaderParser().parsebytes(fields)), body


@pytest.mark.parametrize("host", [HOST, "localhost"])
def test_the_page_is_served_and_asked_for_again(live: LiveReport, host: str) -> None:
    status, head, body = answer(live, f"GET / HTTP/1.1\r\nHost: {host}:{PORT}\r\n\r\n")
    assert (status, body) == (200, live.page)
    assert (head["Refresh"], head["Cache-Control"]) == (str(SECONDS), "no-store")
    assert head["Content-Type"] == "text/html; charset=utf-8"
    assert "Python" not in head["Server"]


@pytest.mark.parametrize(
    "host",
    [
        "",
        f"Host: evil.example:{PORT}",
        f"Host: {HOST}",
        f"Host: {HOST}:80",
        f"Host: {HOST}:{PORT}\r\nHost: evil.example",
    ],
)
def test_another_host_gets_nothing(live: LiveReport, host: str) -> None:
    status, _, body = answer(live, "\r\n".join(("GET / HTTP/1.1", host, "", "")))
    assert status == 421
    assert live.page not in body


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /config.yaml", 404),
        ("GET /../run/config.yaml", 404),
        ("GET /?x", 404),
        (f"GET http://{HOST}:{PORT}/", 404),
        ("HEAD /", 501),
        ("POST /", 501),
    ],
)
def test_nothing_else_is_served(live: LiveReport, line: str, expected: int) -> None:
    status, _, body = answer(live, f"{line} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\n\r\n")
    assert status == expected
    assert live.page not in body


def test_it_is_drawn_again_when_the_run_has_changed(live: LiveReport, tmp_path: Path) -> None:
    assert live.page == b"config.yaml"
    assert not live.look()
    (tmp_path / "run" / "best.yaml").touch()
    assert live.look()
    assert live.page == b"best.yaml config.yaml plots report.html"
    assert not live.look()


def test_what_cannot_be_drawn_is_said_till_it_can(live: LiveReport, tmp_path: Path) -> None:
    """A run that is replaced has no files for a moment."""
    config = tmp_path / "run" / "config.yaml"
    config.unlink()
    assert live.look()
    assert b"holds no run" in live.page
    config.touch()
    assert live.look()
    assert b"holds no run" not in live.page


def test_one_object_and_a_live_page_exclude_one_another(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["report", str(tmp_path), "--watch", "--json"])
    assert (found.exit_code, "leave out --json" in found.output) == (2, True)
    assert isinstance(
        CliRunner().invoke(cli, ["report", str(tmp_path), "--watch"]).exception, RunDirectoryError
    )
