"""Request bodies that are too large, of another kind, or that break off: they are refused, and nothing happens."""

from __future__ import annotations

import logging
import socket

import orjson
import pytest
from sqlalchemy import text
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from browser.application import Application, eventually
from chatfeedback.server.authorization.request_body import RequestRejected, limit_size, read_body, replace_body
from server.http_client import MOST, PASSWORD, Visitor, request, sent
from users import Somebody

FORM = "Content-Type: application/x-www-form-urlencoded"


def failures(application: Application) -> int:
    with application.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM sign_in_failures")).scalar_one())


def refusals(application: Application) -> int:
    with application.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM audit WHERE action = 'refused'")).scalar_one())


@pytest.mark.parametrize("path", ["/login", "/gradio_api/queue/join", "/nowhere"])
def test_request_body_announced_as_too_large_is_refused_before_it_is_sent(application: Application, path: str) -> None:
    for length in (MOST + 1, 10**12, "9" * 500):
        answer = sent(application, request(path, FORM, f"Content-Length: {length}", method="POST"))
        assert answer.status in (400, 413)


@pytest.mark.parametrize("length", ["-1", "+5", "abc", "1e3", "0x10", "5, 6", "", " ", "5;x", "\xb2"])
def test_content_length_that_is_no_number_is_refused(application: Application, length: str) -> None:
    answer = sent(application, request("/login", FORM, f"Content-Length: {length}", method="POST"))
    assert answer.status in (400, 413)


def test_content_length_given_twice_or_with_chunks_is_refused(application: Application) -> None:
    lines = [("Content-Length: 5", "Content-Length: 6"), ("Content-Length: 5", "Transfer-Encoding: chunked")]
    for headers in lines:
        answer = sent(application, request("/login", FORM, *headers, method="POST") + b"0\r\n\r\n", half_closed=True)
        assert answer.status == 400


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/login", FORM), ("/logout", FORM), ("/gradio_api/queue/join", "Content-Type: application/json")],
)
def test_request_that_breaks_off_is_neither_refusal_nor_error(
    application: Application, people: dict[str, Somebody], caplog: pytest.LogCaptureFixture, path: str, kind: str
) -> None:
    caplog.set_level("DEBUG", "chatfeedback")
    before = refusals(application)
    session = f"Cookie: chatfeedback_session={people['ada'].token}"
    with socket.create_connection(("127.0.0.1", application.port)) as connection:
        connection.sendall(request(path, session, kind, "Content-Length: 100", method="POST") + b"{")
    ended = f"the client disconnected during its request: POST {path}"
    eventually(lambda: caplog.messages, lambda messages: ended in messages)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert refusals(application) == before


@pytest.mark.parametrize("depth", [100, 253, 254, 300, 1020, 1100, 4000])
def test_deeply_nested_call_is_answered_without_fault(
    application: Application, people: dict[str, Somebody], depth: int
) -> None:
    nested = "[" * depth + "]" * depth
    tab = people["ada"].tab()
    edit = tab.body("ChatHandlers.edit", [None, None])
    for event in (nested, f'{{"index": 0, "value": "x", "previous_value": "y", "_dispatch_value": {nested}}}'):
        for data in ("[null, null]", f"[null, {nested}]", nested):
            body = orjson.dumps({**edit, "data": None, "event_data": 0}).decode()
            body = body.replace('"data":null', f'"data":{data}').replace('"event_data":0', f'"event_data":{event}')
            target = "/gradio_api/queue/join"
            answer = people["ada"].http.post(target, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400), answer.text
            if answer.status_code == 200:
                tab.told(answer.json()["event_id"])


def chunked(piece: bytes, times: int) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for _ in range(times)) + b"0\r\n\r\n"


@pytest.mark.parametrize("piece", [b"a", b"name=" + b"a" * 1000 + b"&"])
def test_request_body_over_limit_is_refused_when_sent_in_chunks(
    application: Application, people: dict[str, Somebody], piece: bytes
) -> None:
    before = failures(application)
    body = chunked(piece, MOST // len(piece) + 1)
    answer = sent(application, request("/login", FORM, "Transfer-Encoding: chunked", method="POST") + body)
    assert answer.status == 413
    join = ("Content-Type: application/json", f"Cookie: chatfeedback_session={people['ada'].token}")
    target = "/gradio_api/queue/join"
    answer = sent(application, request(target, *join, "Transfer-Encoding: chunked", method="POST") + body)
    assert answer.status == 413
    assert failures(application) == before


def test_request_body_of_largest_allowed_size_is_read(application: Application) -> None:
    for size, status in ((MOST, 400), (MOST + 1, 413)):
        assert sent(application, request("/login", FORM, method="POST", body=b"a" * size)).status == status


def test_request_body_that_breaks_off_does_nothing(application: Application) -> None:
    before = failures(application)
    for broken in (
        request("/login", FORM, "Content-Length: 100", method="POST") + b"name=ada",
        request("/login", FORM, "Transfer-Encoding: chunked", method="POST") + b"8\r\nname=ada\r\n",
        request("/login", FORM, "Transfer-Encoding: chunked", method="POST") + b"zz\r\n",
    ):
        assert sent(application, broken, half_closed=True).status in (0, 400)
    assert failures(application) == before
    assert sent(application, request("/healthz")).status == 200


def test_get_request_with_body_is_refused(application: Application, people: dict[str, Somebody]) -> None:
    cookie = f"Cookie: chatfeedback_session={people['ada'].token}"
    for path in ("/login", "/config", "/gradio_api/queue/data?session_hash=mine"):
        large = request(path, cookie, "Transfer-Encoding: chunked") + chunked(b"a" * 1000, 30)
        assert sent(application, large).status == 400
        assert sent(application, request(path, cookie, body=b"a" * 10)).status == 400


MULTIPART = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"name": "grace"}'),
        ("text/plain", b"name=grace"),
        ("", b"name=grace"),
        ("x" * 1000, b"name=grace"),
        ("multipart/form-data", b"name=grace"),
        (MULTIPART, b""),
        (MULTIPART, b"--x\r\n\r\n\r\n--x--"),
        (MULTIPART, b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="csrf"; filename="f"\r\n\r\na\r\n--x--\r\n'),
        (
            f"{MULTIPART}; charset=no-such-thing",
            b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\na\r\n--x--\r\n',
        ),
        (f"{MULTIPART}; charset=utf-16", b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\na\r\n--x--\r\n'),
        ("application/x-www-form-urlencoded", b"csrf=%ff%fe&name=%00&password=%"),
        ("application/x-www-form-urlencoded", b"csrf=\xff\xfe&\x00=\x00"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=b" % number for number in range(2000))),
        ("application/x-www-form-urlencoded; charset=utf-7", b"csrf=+AGE-"),
        ("application/x-www-form-urlencoded", b"csrf=a&csrf=b&csrf=c"),
    ],
)
def test_form_of_any_other_kind_is_refused(
    application: Application, people: dict[str, Somebody], kind: str, body: bytes
) -> None:
    with Visitor(application) as visitor:
        visitor.hidden()
        form = f"Cookie: chatfeedback_form={visitor.cookies['chatfeedback_form']}"
    session = f"Cookie: chatfeedback_session={people['adam'].token}"
    for path, cookie in (("/login", form), ("/logout", session), ("/password", session)):
        answer = sent(application, request(path, cookie, f"Content-Type: {kind}", method="POST", body=body))
        assert answer.status == 400, answer


def test_form_in_multipart_encoding_is_accepted(application: Application) -> None:
    with Visitor(application) as visitor:
        fields = {**visitor.hidden(), "name": "grace", "password": PASSWORD}
        parts = {name: (None, value) for name, value in fields.items()}
        assert visitor.post("/login", files=parts).status_code == 303
        assert visitor.is_let_in


# Alone


def receiving(*messages: Message) -> Receive:
    """Give these messages one after the other."""
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return receive


def piece(body: bytes, more_body: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more_body}


async def test_read_body_joins_pieces_and_raises_if_client_disconnects() -> None:
    assert await read_body(receiving(piece(b"ab"), piece(b""), piece(b"c", False), piece(b"next"))) == b"abc"
    with pytest.raises(ClientDisconnect):
        await read_body(receiving(piece(b"ab"), {"type": "http.disconnect"}))


async def test_limit_size_rejects_first_byte_over_limit() -> None:
    assert await read_body(limit_size(receiving(piece(b"ab"), piece(b"cd", False)), 4)) == b"abcd"
    with pytest.raises(RequestRejected) as refused:
        await read_body(limit_size(receiving(piece(b"ab"), piece(b"cd", False)), 3))
    assert (refused.value.status, refused.value.code) == (413, "too_large")


async def test_replace_body_gives_new_body_once_and_then_following_messages() -> None:
    scope: Scope = {"headers": [(b"content-length", b"9"), (b"transfer-encoding", b"chunked"), (b"x", b"y")]}
    receive = replace_body(scope, b"checked", receiving({"type": "http.disconnect"}))
    assert scope["headers"] == [(b"x", b"y"), (b"content-length", b"7")]
    assert await receive() == piece(b"checked", False)
    assert await receive() == {"type": "http.disconnect"}
