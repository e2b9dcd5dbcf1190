"""The access middleware around an application of one line, called without a socket.

gate = build_gate(engine, Settings(auth="none"))
status, text = await ask(gate, "GET", "/config", host="evil.example")
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatfeedback.auth.service import AuthService
from chatfeedback.config.settings import Settings
from chatfeedback.server.authentication.authenticators import SessionAuth, SingleUserAuth
from chatfeedback.server.authentication.setup import allowed_hosts
from chatfeedback.server.authorization.middleware import AccessConfig, AccessMiddleware
from chatfeedback.store.database.availability import log_error

LET_IN = "let in"


class Answer(NamedTuple):
    status: int
    text: str


async def _behind(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(LET_IN)(scope, receive, send)


def build_gate(engine: Engine, settings: Settings, application: ASGIApp = _behind) -> AccessMiddleware:
    """Build the middleware that `AuthSetup` puts around the application, with no function and no file behind it."""
    auth_service = AuthService(engine)
    config = AccessConfig(
        actions={},
        files=frozenset(),
        forget_page=lambda user_id, page: None,
        scripts=(),
        hosts=allowed_hosts(settings),
        host_exempt={"/healthz", "/readyz"},
        origin=settings.public_url,
        consent_version=None,
        max_request_bytes=settings.max_request_bytes,
    )
    authenticate = SingleUserAuth(auth_service.local("ada")) if settings.auth == "none" else SessionAuth(auth_service)
    return AccessMiddleware(
        application, config=config, authenticate=authenticate, auth_service=auth_service, store_failed=log_error
    )


async def ask(
    gate: AccessMiddleware, method: str, path: str, *headers: str, host: str | None = "127.0.0.1", scheme: str = "http"
) -> Answer:
    """Return the answer to a request without a body. `headers`: lines of the form "Name: value"."""
    lines = [line.partition(": ") for line in ([] if host is None else [f"Host: {host}"]) + list(headers)]
    scope: Scope = {
        "type": "http",
        "scheme": scheme,
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, _, value in lines],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await gate(scope, receive, send)
    start, *bodies = sent
    return Answer(start["status"], b"".join(body["body"] for body in bodies).decode())
