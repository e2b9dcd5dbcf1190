"""Provider that answers as a test wants: real HTTP on loopback, tokens that no honest provider issues.

It answers truly by default, for the client "site" with the secret `SECRET`. A test changes `configuration`,
`published` (its keys), `header` and `claims` (of the next ID tokens), `tokens` (what comes beside them) or `answers`,
whole answers by path.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from joserfc import jws
from joserfc.jwk import Key, RSAKey

SECRET = "the-secret-of-the-site"
ACCESS_TOKEN = "the-access-token-of-ada"


@functools.cache
def key_named(kid: str) -> RSAKey:
    """Return a key with this id, one for all tests because making one is slow."""
    return RSAKey.generate_key(2048, {"kid": kid})


@dataclass
class Answer:
    """Answer to a request.

    `body`: the whole, or "endless" for one without an end, "hangs" for a beginning after which nothing comes.
    """

    body: bytes | str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class ScriptedProvider:
    def __init__(self) -> None:
        self.key: Key = key_named("first")
        self.published: list[dict[str, Any]] = [self.key.as_dict(private=False)]
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "first"}
        self.claims: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 300}
        self.person: dict[str, Any] = {"sub": "subject-of-ada"}
        self.signed: Callable[[dict[str, Any]], str] = self.sign
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str], dict[str, list[str]]]] = []  # path, headers, form
        self.closing = threading.Event()

    def __enter__(self) -> ScriptedProvider:
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self.configuration: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        }
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def expects(self, nonce: str) -> None:
        """Set the claims of a true token for the sign-in of Ada with this nonce."""
        now = int(time.time())
        self.claims = {
            "iss": self.issuer,
            "aud": "site",
            "sub": "subject-of-ada",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "preferred_username": "Ada",
        }

    def sign(self, claims: dict[str, Any]) -> str:
        return jws.serialize_compact(self.header, json.dumps(claims), self.key, algorithms=[self.header["alg"]])

    def times_asked(self, path: str) -> int:
        return sum(requested == path for requested, _, _ in self.asked)

    def answer(self, path: str) -> Answer:
        if path in self.answers:
            return self.answers[path]
        documents: dict[str, Callable[[], Any]] = {
            "/.well-known/openid-configuration": lambda: self.configuration,
            "/keys": lambda: {"keys": self.published},
            "/token": lambda: {"id_token": self.signed(self.claims), **self.tokens},
            "/userinfo": lambda: self.person,
        }
        return Answer(json.dumps(documents[path]()).encode()) if path in documents else Answer(b"", 404)


class _Handler(BaseHTTPRequestHandler):
    provider: ScriptedProvider

    def do_GET(self) -> None:
        self._respond({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._respond(parse_qs(body.decode(), keep_blank_values=True))

    def _respond(self, form: dict[str, list[str]]) -> None:
        self.provider.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, form))
        answer = self.provider.answer(self.path)
        self.send_response(answer.status)
        for name, value in {"content-type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            if isinstance(answer.body, bytes):
                self.wfile.write(answer.body)
            while answer.body == "endless" and not self.provider.closing.is_set():
                self.wfile.write(b" " * 65536)
            if answer.body == "hangs":
                self.wfile.write(b"{")
                self.provider.closing.wait()
        except ConnectionError:
            pass  # the client has read enough, which is what these are for

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
