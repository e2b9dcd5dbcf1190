"""Model that sends a whole stream as fast as the reader takes it, an OpenAI-compatible server for benchmarks.

The name of the requested model is the kind of its chunks and their number: "empty-100000" (no choices) or
"letters-100000" (one letter each). A reply ends with END, so that a reader can see that it is whole.

    python -m benchmarks._flood PORT
"""

from __future__ import annotations

import asyncio
import json
import sys

END = "all of it."


def stream(name: str) -> bytes:
    """Return the events of a reply of this model."""
    kind, _, count = name.partition("-")
    chunk = _event({"choices": []}) if kind == "empty" else _text("a")
    return chunk * int(count) + _text(f"\n\n{END}") + _text("", "stop") + b"data: [DONE]\n\n"


def _text(content: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    return _event({"object": "chat.completion.chunk", "model": "m", "choices": [choice]})


def _event(payload: dict[str, object]) -> bytes:
    return f"data: {json.dumps(payload)}\n\n".encode()


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if head.startswith(b"get"):
        kind, body = b"text/plain", b"ready"
    else:
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        kind, body = b"text/event-stream", stream(json.loads(await reader.readexactly(length))["model"])
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nConnection: close\r\n\r\n" + body)
    writer.close()
    await writer.wait_closed()


async def main() -> None:
    """Serve on the port of the command line."""
    async with await asyncio.start_server(_respond, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
