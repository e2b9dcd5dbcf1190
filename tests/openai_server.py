"""Chat server for tests: real HTTP, the OpenAI protocol, and answers that a test has scripted.

    with ScriptedServer() as server:
        held = server.reply("one two three", hold_after=1)
        ...                 # ask server.url
        held.reached.wait() # the first piece was sent, the server waits
        held.release()      # the rest follows

Scripts are used up one for each request, in the order in which they were queued; when there is none,
`server.default` answers, which may be replaced. Requests run side by side. A stream that is held waits until it is
released, its client leaves, or the server closes.

    python -m tests.openai_server --port 8000 --tokens-per-second 200

serves numbered Markdown answers for benchmarks and for looking at pages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Event = Body | str | bytes | None


@dataclass
class Script:
    """Answer to one request, and a test's hold on it while it runs.

    `events` are payloads of `data:` lines, bytes are sent as they are; a None is a hold, `hangs` one before anything
    is sent. `reached` is set at a hold, `release` goes on to the next one. `ended` is set when the server is done with
    the request, `left` when the client went away before that.
    """

    events: Sequence[Event] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hangs: bool = False
    breaks: bool = False
    request: Body = field(default_factory=dict)
    reached: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.holds = self.hangs + sum(event is None for event in self.events)
        self._wake, self._waker = socket.socketpair() if self.holds else (None, None)

    def release(self) -> None:
        """Let the stream go on from the hold at which it waits, or from the next one."""
        assert self._waker is not None, "this script has no hold"
        self._waker.send(b"r")

    def close(self) -> None:
        """Let it run to its end, and wait for that if it has begun."""
        if self._wake is None or self._waker is None:
            return
        self._waker.send(b"r" * self.holds)
        if self.request:
            self.ended.wait()
        self._wake.close()
        self._waker.close()

    def hold(self, connection: socket.socket) -> bool:
        """Wait for `release`; return False if the client left instead."""
        assert self._wake is not None
        self.reached.set()
        ready, _, _ = select.select([self._wake, connection], [], [])
        if self._wake not in ready:
            self.left.set()
            return False
        self._wake.recv(1)
        return True


class ScriptedServer:
    """Server on 127.0.0.1 and a free port, or `port`, from `with` to the end of the block.

    `requests`, `paths` and `headers` hold what came, oldest first: the parsed bodies, the paths with their queries, and
    the headers with lower-case names.
    """

    def __init__(self, port: int = 0, tokens_per_second: float | None = None) -> None:
        self.requests: list[Body] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.default: Callable[[Body, int], str] = numbered_answer
        self.tokens_per_second = tokens_per_second
        self._scripts: deque[Script] = deque()
        self._held: list[Script] = []
        self._lock = threading.Lock()
        self._http = _Listener(("127.0.0.1", port), _Handler)
        self._http.scripted = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Value of base_url to configure."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        for script in self._held:
            script.close()
        self._thread.join()

    def reply(
        self,
        text: str,
        *,
        chunk: int = 4,
        hold_after: int | Sequence[int] = (),
        finish_reason: str | None = "stop",
        usage: tuple[int, int] | None = (11, 7),
    ) -> Script:
        """Stream `text` in pieces of `chunk` characters, and wait after as many pieces as `hold_after` says.

        `usage`: the tokens of prompt and reply, sent only to those who ask for them.
        """
        holds = {hold_after} if isinstance(hold_after, int) else set(hold_after)
        events: list[Event] = [delta(piece) for piece in pieces(text, chunk)]
        assert not holds or max(holds) <= len(events), "there are fewer pieces"
        for after in sorted(holds, reverse=True):
            events.insert(after, None)
        events.append(delta("", finish_reason=finish_reason))
        if usage:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
            events.append({"choices": [], "usage": counts})
        return self.stream(*events, "[DONE]")

    def stream(self, *events: Event, breaks: bool = False, **options: Any) -> Script:
        """Stream these payloads as they are; None is a hold. `breaks`: then drop the connection."""
        return self._queue(Script(events, breaks=breaks, **options))

    def fail(self, status: int, body: Body | str = "", **headers: str) -> Script:
        """Answer with an HTTP status, JSON or text; `retry_after="3"` is the header Retry-After."""
        kind = "application/json" if isinstance(body, dict) else "text/html"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = (json.dumps(body) if isinstance(body, dict) else body).encode()
        return self._queue(Script((), status, {"content-type": kind, **named}, content))

    def break_after(self, text: str, **options: Any) -> Script:
        """Stream `text`, then drop the connection in the middle of the reply."""
        return self.stream(*(delta(piece) for piece in pieces(text, 4)), breaks=True, **options)

    def error_in_stream(self, error: Body | str, after: str = "", **more: Any) -> Script:
        """Stream `after`, then an error in place of the rest."""
        return self.stream(*(delta(piece) for piece in pieces(after, 4)), {"error": error, **more}, "[DONE]")

    def hang(self, text: str = "late") -> Script:
        """Take the request and send nothing at all until it is released; then answer with `text`."""
        return self.stream(delta(text), delta("", finish_reason="stop"), "[DONE]", hangs=True)

    def _queue(self, script: Script) -> Script:
        self._scripts.append(script)
        if script.holds:
            self._held.append(script)
        return script

    def begin(self, request: Body, path: str, headers: dict[str, str]) -> Script:
        """Return the script for a request that has just come."""
        with self._lock:
            self.requests.append(request)
            self.paths.append(path)
            self.headers.append(headers)
            if not self._scripts:
                self.reply(self.default(request, len(self.requests)))
            script = self._scripts.popleft()
            script.request = request
            return script


def numbered_answer(request: Body, number: int) -> str:
    """Return the answer without a script: "Answer 3 to: <the last prompt>"."""
    return f"Answer {number} to: {request['messages'][-1]['content']}"


def markdown_answer(request: Body, number: int) -> str:
    """Return a numbered answer of about 100 tokens with a heading, a list, a table and code."""
    topics = "".join(f"{item}. Point {item} of answer {number}, with **bold** and `code`.\n" for item in range(1, 6))
    table = "| name | value |\n|---|---|\n| alpha | 1 |\n| beta | 2 |\n"
    return f"## Answer {number}\n\n{topics}\n{table}\n```python\nprint('answer', {number})\n```\n"


def pieces(text: str, size: int) -> Iterator[str]:
    """Cut `text` into pieces of `size` characters."""
    return (text[start : start + size] for start in range(0, len(text), size))


def delta(content: str | None, finish_reason: str | None = None, **fields: Any) -> Body:
    """Return a chunk with the next piece of a reply; `fields` are others of its delta."""
    choice = {"index": 0, "delta": {"content": content, **fields}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    scripted: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up; they are no error of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_GET(self) -> None:
        self._answer(200, {"Content-Type": "application/json"}, b'{"object": "list", "data": [{"id": "m"}]}')

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        script = self.server.scripted.begin(request, self.path, headers)
        try:
            self._play(script)
        except OSError:  # the client has gone
            script.left.set()
            self.close_connection = True
        finally:
            script.ended.set()

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def _play(self, script: Script) -> None:
        if script.body is not None:
            self._answer(script.status, script.headers, script.body)
            return
        if script.hangs and not script.hold(self.connection):
            self.close_connection = True
            return
        self._begin_stream(script)
        rate = self.server.scripted.tokens_per_second
        counted = (script.request.get("stream_options") or {}).get("include_usage")
        for event in script.events:
            if event is None:
                if not script.hold(self.connection):
                    self.close_connection = True
                    return
            elif counted or not (isinstance(event, dict) and event.get("usage")):
                if rate:
                    time.sleep(1 / rate)
                self._send_event(event)
        if script.breaks:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _begin_stream(self, script: Script) -> None:
        self.send_response(script.status)
        for name, value in {"Content-Type": "text/event-stream", **script.headers}.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send_event(self, event: Body | str | bytes) -> None:
        data = json.dumps(event, ensure_ascii=False) if isinstance(event, dict) else event
        line = data if isinstance(data, bytes) else f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves numbered Markdown answers.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens-per-second", type=float)
    options = parser.parse_args()
    with ScriptedServer(options.port, options.tokens_per_second) as server:
        server.default = markdown_answer
        print(server.url, flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
