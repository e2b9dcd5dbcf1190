r"""HTTP client at the sign-in, and requests that no browser would send.

visitor = Visitor(application)
visitor.sign_in("ada", "four words")
answer = sent(application, b"GET //evil HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
"""

from __future__ import annotations

import html
import json
import re
import socket
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from browser.application import Application
from chatfeedback.auth import passwords
from chatfeedback.domain.roles import Role
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.users import User
from users import PLAIN, Somebody

PASSWORD = "four words nobody guesses"
MOST = 20_000
"""Bytes that a request to `lived_in` may have."""
SESSION, FORM = "chatfeedback_session", "chatfeedback_form"
ON_SQLITE = pytest.mark.parametrize("inhabited", ["sqlite"], indirect=True)
"""For tests, and for modules as their `pytestmark`, whose subject is the same on both databases."""


def settle(application: Application, name: str, role: Role = "annotator") -> User:
    """Create a user with PASSWORD."""
    return users.add(
        application.engine, name, role, actor_id=None, password_hash=passwords.hash_password(PASSWORD, name)
    )


class Visitor(httpx.Client):
    """HTTP client that keeps its cookies and follows no redirect."""

    def __init__(self, application: Application, **options: Any) -> None:
        super().__init__(base_url=application.address, timeout=30, trust_env=False, verify=PLAIN, **options)

    def hidden(self, path: str = "/login") -> dict[str, str]:
        """Return the hidden fields of the form on a page."""
        page = self.get(path, headers={"accept": "text/html"})
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)
        return {name: html.unescape(value) for name, value in fields}

    def sign_in(self, name: str, password: str = PASSWORD, *, path: str = "/login", **more: str) -> httpx.Response:
        """Open the page and send the form."""
        return self.post("/login", data={**self.hidden(path), "name": name, "password": password, **more})

    @property
    def is_let_in(self) -> bool:
        return self.get("/config").status_code == 200


def logout_token(application: Application, visitor: Visitor) -> str:
    """Return the token of the form for signing out."""
    person = Somebody(application, "somebody", None, visitor.cookies[SESSION])
    with person.http:
        drawn = json.dumps(person.tab().call("AccountHandlers.load"))
    (token,) = re.findall(r'name=\\"csrf\\" value=\\"([\w-]+)\\"', drawn)
    return str(token)


def set_cookies(answer: httpx.Response) -> dict[str, str]:
    """Return the cookies that an answer sets: the whole line, by name."""
    return {line.partition("=")[0]: line for line in answer.headers.get_list("set-cookie")}


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a raw request; the status is 0 if nothing came back."""

    status: int
    headers: bytes
    body: bytes


def sent(application: Application, request: bytes, *, half_closed: bool = False) -> Answer:
    """Send these bytes and nothing after them; return the answer.

    `half_closed`: the sender says that this was all.
    """
    with socket.create_connection(("127.0.0.1", application.port), timeout=20) as connection:
        connection.sendall(request)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        received = bytearray()
        while not (ends := _ends(bytes(received))) and (more := connection.recv(65536)):
            received += more
        assert ends or not received.startswith(b"HTTP/1.1 200"), "the answer broke off"
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ")[1]) if head else 0, head, body)


def _ends(received: bytes) -> bool:
    head, parted, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if not parted:
        return False
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n") or b"text/event-stream" in head


def request(
    target: str, *headers: str, method: str = "GET", host: str = "127.0.0.1", body: bytes = b"", length: bool = True
) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if body and length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
