"""Request bodies for the access middleware: limit the size, read, and replace by the checked body."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope


class RequestRejected(Exception):
    """Refusal of a request: an HTTP status, a sentence for the user and a code for the audit log."""

    def __init__(self, status: int, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


def limit_size(receive: Receive, limit: int) -> Receive:
    """Return a `receive` that raises RequestRejected for a body of more than `limit` bytes.

    It counts the bytes that arrive, because a body may come without Content-Length.
    """
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > limit:
                raise RequestRejected(413, "This is too large to be sent.", "too_large")
        return message

    return receive_limited


async def read_body(receive: Receive) -> bytes:
    """Read the whole body of a request. Raises ClientDisconnect if the client disconnects before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def replace_body(scope: Scope, body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that delivers `body`, then the remaining messages (the disconnect of the client).

    Sets Content-Length in `scope` to the length of `body`.
    """
    headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")]
    scope["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
    delivered = False

    async def receive_replaced() -> Message:
        nonlocal delivered
        if delivered:
            return await receive()
        delivered = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_replaced
