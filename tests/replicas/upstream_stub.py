"""Stub behind nginx in place of a replica: it writes down its requests, and answers as a test wants."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Got(NamedTuple):
    """Request. Names of headers are in small letters; of several of a name, all are there."""

    method: str
    target: str
    headers: dict[str, list[str]]
    body: bytes


class Behind:
    """Server on a free port of this machine until it is closed. `drops`: it takes requests and hangs up on them."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.drops = False
        self.first_was_read = threading.Event()
        """Set by the client of a stream; the second event comes after that."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.behind = self  # type: ignore[attr-defined]
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """Close the server; from then on its port refuses connections."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        behind: Behind = self.server.behind  # type: ignore[attr-defined]
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        behind.got.append(Got(self.command, self.path, headers, body))
        self.close_connection = True
        if behind.drops:
            return
        self.send_response(200)
        if self.path.startswith("/gradio_api/queue/data"):
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"data: first\n\n")
            behind.first_was_read.wait(20)
            self.wfile.write(b"data: second\n\n")
            return
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", "0")
        self.end_headers()
