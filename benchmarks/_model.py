"""Model for load tests: an OpenAI-compatible server that costs almost no CPU time.

Every reply is the same REPLY, one chunk per token. The name of the requested model is its pace in tokens a second:
"20", or "inf" for everything at once; the first token comes after one pause. The server is one process with one event
loop. The start of a stream determines the time of each token, even if the one before was late. Two hundred streams of
20 tokens a second take a tenth of a core; a thread per stream would take most of one.

    python -m benchmarks._model PORT
"""

from __future__ import annotations

import asyncio
import json
import sys

TOKENS = tuple(f"word{number:02} " for number in range(1, 51))
REPLY = "".join(TOKENS)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
_READY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready"


def _line(data: str) -> bytes:
    line = f"data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(line), line)


def _chunk(content: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return _line(json.dumps(chunk))


def _usage() -> bytes:
    counts = {"prompt_tokens": 10, "completion_tokens": len(TOKENS), "total_tokens": 10 + len(TOKENS)}
    return _line(json.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage": counts}))


_PIECES = tuple(map(_chunk, TOKENS))
_END = _chunk("", "stop") + _usage() + _line("[DONE]") + b"0\r\n\r\n"


class _Connection(asyncio.Protocol):
    """Connection with one request and its response."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond once the request is complete."""
        self._received += data
        head, separator, body = bytes(self._received).partition(b"\r\n\r\n")
        if not separator:
            return
        lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
        length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
        if head.startswith(b"GET"):
            self._transport.write(_READY)
            self._transport.close()
        elif len(body) == length:
            self._begin(float(json.loads(body)["model"]))

    def _begin(self, tokens_per_second: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._started, self._pause = self._loop.time(), 1 / tokens_per_second
        self._transport.write(_HEAD)
        self._send_due()

    def _send_due(self) -> None:
        """Send the tokens that are due; the end follows the last one."""
        if self._transport.is_closing():
            return
        due = len(_PIECES) if not self._pause else int((self._loop.time() - self._started) / self._pause + 1e-6)
        if due > self._sent:
            self._transport.write(b"".join(_PIECES[self._sent : due]))
            self._sent = min(due, len(_PIECES))
        if self._sent == len(_PIECES):
            self._transport.write(_END)
            self._transport.close()
        else:
            self._loop.call_at(self._started + (self._sent + 1) * self._pause, self._send_due)


async def main(port: int) -> None:
    """Serve on this port."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
