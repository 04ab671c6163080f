"""The report of a run that goes on, as a page of a server on this machine alone. No torch.

The main thread draws, whenever files of the run have changed; a thread of the server hands out what
was drawn last, and the browser asks again by itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from socketserver import BaseServer
from typing import cast

from nas_engine.errors import NasEngineError
from nas_engine.reading import LARGE_FILE, read_regular
from nas_engine.report.html.document import Section, Sentence, Tone
from nas_engine.report.html.render import render_part
from nas_engine.report.write import write_report
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory

SECONDS = 10
"""Seconds between two looks at the run, of the server and of the browser alike (chosen here)."""

HOST = "127.0.0.1"
"""Address of the server: what only this machine reaches."""

_NOWHERE = Path()
_DRAWN = {
    PipelineDirectory(_NOWHERE).report.name,
    PipelineDirectory(_NOWHERE).pictures.name,
    RunDirectory(_NOWHERE).plots.name,
}


class LiveReport:
    """The report of a run, drawn again when files of the run have changed.

    Attributes:
        page: What was drawn last, or why nothing could be drawn.
    """

    def __init__(self, path: Path) -> None:
        """Draw the report.

        Args:
            path: The run, as for ``write_report``.

        Raises:
            NasEngineError: As ``write_report``.
        """
        self._path = path
        self._drawn = _files(path)
        self.page = _page(path)

    def look(self) -> bool:
        """Draw again if files of the run have changed, and return whether they have."""
        found = _files(self._path)
        if found == self._drawn:
            return False
        self._drawn = found
        try:
            self.page = _page(self._path)
        except (NasEngineError, OSError) as error:  # a run that is being replaced, a full disk
            failed = Sentence(f"{error}", Tone.BAD)
            self.page = render_part(
                Section(key="failed", title="No report at present", blocks=(failed,))
            ).encode()
        return True


def _page(path: Path) -> bytes:
    return read_regular(write_report(path), LARGE_FILE)


def _files(path: Path) -> dict[str, tuple[int, int]]:
    """Return time and size of each file of a run but those that reports and pictures are in."""
    found = {}
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name not in _DRAWN]
        for file in (Path(place, name) for name in names if name not in _DRAWN):
            with contextlib.suppress(OSError):  # a temporary one that is gone
                state = file.stat()
                found[str(file)] = (state.st_mtime_ns, state.st_size)
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers ``GET /`` with the report, and nothing else with anything.

    A page of elsewhere whose name was made to point to this machine says that name as ``Host``, and
    is refused (DNS rebinding).
    """

    server_version = "nas-search"
    sys_version = ""
    timeout = 2 * SECONDS  # browsers open connections that they may not use

    def __init__(
        self, live: LiveReport, connection: socket, address: tuple[str, int], server: BaseServer
    ) -> None:
        """Answer the requests of one connection.

        Args:
            live: The report.
            connection: Connection to the browser.
            address: Host and port of the browser.
            server: The server.
        """
        self._live = live  # before the request is answered, which the next line does
        super().__init__(connection, address, server)

    def do_GET(self) -> None:
        """Answer with the report."""
        port = cast(HTTPServer, self.server).server_port
        if self.headers.get_all("Host") not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            page = self._live.page
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.send_header("X-Frame-Options", "DENY")
            self.send_header("Refresh", str(SECONDS))
            self.end_headers()
            self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serve(live: LiveReport) -> Iterator[str]:
    """Serve a report as long as the context lasts; yields its address, of a free port.

    Args:
        live: The report.
    """
    server = ThreadingHTTPServer((HOST, 0), partial(Handler, live))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
