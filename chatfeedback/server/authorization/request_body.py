"""What a request carries, as the gate lets it through: no more than is allowed, and what was checked."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope


class RequestRejected(Exception):
    """A status and a sentence. `code`: for the audit."""

    def __init__(self, status: int, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


def bounded(receive: Receive, most: int) -> Receive:
    """Bodies of at most so many bytes, also where their length was not announced. Raises Refused for more."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most:
                raise RequestRejected(413, "This is too large to be sent.", "too_large")
        return message

    return limited


async def whole(receive: Receive) -> bytes:
    """The body of a request. Raises Refused when it breaks off."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise RequestRejected(400, "The request broke off.", "malformed")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def replayed(scope: Scope, body: bytes, receive: Receive) -> Receive:
    """Gives the application this body, and then what else there is: that the browser has gone."""
    headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")]
    scope["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
