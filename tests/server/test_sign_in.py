"""Sign-in with a password: forms that only the own page can send, and redirects."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import argon2
import httpx
import pytest
from sqlalchemy import text

from browser.application import Application
from chatfeedback.auth import hashing_pool
from cheap_hashes import hashing_with
from server.http_client import FORM, ON_SQLITE, PASSWORD, SESSION, Visitor, set_cookies
from users import PLAIN


@pytest.fixture
def application(with_passwords: Application) -> Application:
    return with_passwords


def count(application: Application, table: str) -> int:
    with application.engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


# The form


def test_sign_in_with_right_password_leads_to_page(visitor: Visitor) -> None:
    assert not visitor.is_let_in
    answer = visitor.sign_in("grace")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert answer.headers["cache-control"] == "no-store"
    assert visitor.is_let_in


def test_sign_in_with_wrong_password_shows_form_again_without_password(visitor: Visitor) -> None:
    answer = visitor.sign_in("grace", "<b>wrong & quite long</b>")
    assert answer.status_code == 401
    assert "This name and password do not go together" in answer.text
    assert 'value="grace"' in answer.text
    assert "quite long" not in answer.text
    assert SESSION not in set_cookies(answer)
    assert not visitor.is_let_in


@ON_SQLITE
def test_sign_in_form_shows_name_again_as_text(visitor: Visitor) -> None:
    answer = visitor.sign_in('"><script>alert(1)</script>')
    assert answer.status_code == 401
    assert "<script" not in answer.text


def test_sign_in_is_refused_at_sixth_attempt(visitor: Visitor) -> None:
    answers = [visitor.sign_in("grace", "wrong, and long enough") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401] * 5
    sixth = visitor.sign_in("grace")
    assert sixth.status_code == 429
    assert 0 < int(sixth.headers["retry-after"]) <= 900
    assert "Too many attempts to sign in; try again in 15 minutes." in sixth.text
    assert visitor.sign_in("hedy").status_code == 303


def test_sign_in_form_does_nothing_without_csrf_token_of_browser_and_purpose(
    application: Application, visitor: Visitor, other: Visitor
) -> None:
    mine, theirs = visitor.hidden(), other.hidden()
    assert other.sign_in("hedy").status_code == 303
    of_other_purpose = other.hidden("/password")["csrf"]
    before = [count(application, table) for table in ("sessions", "sign_in_failures", "audit")]
    for token in (None, "", "x", theirs["csrf"], of_other_purpose, mine["csrf"][:-1], mine["csrf"].upper(), "ü\x00"):
        fields = {"name": "grace", "password": PASSWORD, **({} if token is None else {"csrf": token})}
        answer = visitor.post("/login", data=fields)
        assert answer.status_code == 400, token
        assert "open the page again" in answer.text
        assert SESSION not in set_cookies(answer)
    assert [count(application, table) for table in ("sessions", "sign_in_failures", "audit")] == before


@ON_SQLITE
def test_sign_in_form_does_nothing_without_its_own_cookie(visitor: Visitor, other: Visitor) -> None:
    fields = {**visitor.hidden(), "name": "grace", "password": PASSWORD}
    value = visitor.cookies[FORM]
    other.hidden()
    for cookie in (None, f"{FORM}=", f"{FORM}={other.cookies[FORM]}", f"{FORM}={value}; {FORM}=x", f"x={value}"):
        visitor.cookies.clear()
        answer = visitor.post("/login", data=fields, headers={"cookie": cookie} if cookie else {})
        assert answer.status_code == 400, cookie
        assert SESSION not in set_cookies(answer)


@ON_SQLITE
def test_csrf_token_in_address_file_or_json_is_refused(visitor: Visitor) -> None:
    token = visitor.hidden()["csrf"]
    fields = {"name": "grace", "password": PASSWORD}
    assert visitor.post(f"/login?csrf={token}", data=fields).status_code == 400
    assert visitor.post("/login", data=fields, files={"csrf": token.encode()}).status_code == 400
    assert visitor.post("/login", json={**fields, "csrf": token}).status_code == 400


@ON_SQLITE
def test_form_cookie_of_browser_is_replaced_by_server(visitor: Visitor) -> None:
    for brought in ("chosen by somebody else", "x" * 33, '"\\012Set-Cookie: a=b"', "<script>", "ä" * 32):
        answer = visitor.get("/login", headers={"cookie": f"{FORM}={brought}".encode()})
        assert answer.status_code == 200
        assert re.fullmatch(rf"{FORM}=[\w-]{{32}}; HttpOnly; Path=/; SameSite=strict", set_cookies(answer)[FORM])


@ON_SQLITE
def test_sign_in_form_works_in_two_tabs(visitor: Visitor) -> None:
    first, second = visitor.hidden(), visitor.hidden()
    assert first == second
    for fields in (first, second):
        assert visitor.post("/login", data={**fields, "name": "grace", "password": PASSWORD}).status_code == 303


@ON_SQLITE
def test_sign_in_page_answers_head_request_without_body(visitor: Visitor) -> None:
    answer = visitor.head("/login")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@ON_SQLITE
def test_sign_in_page_is_neither_cached_nor_framed(visitor: Visitor) -> None:
    headers = visitor.get("/login").headers
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


@ON_SQLITE
async def test_flood_of_sign_ins_does_not_delay_who_is_signed_in(application: Application, visitor: Visitor) -> None:
    visitor.sign_in("grace")
    may_end = threading.Event()

    class Slow(argon2.PasswordHasher):
        def verify(self, stored: str | bytes, password: str | bytes) -> Any:
            assert may_end.wait(60)
            return super().verify(stored, password)

    fields = visitor.hidden()
    cookies = {FORM: visitor.cookies[FORM]}
    capacity = hashing_pool.MAX_CONCURRENT_HASHES + hashing_pool.MAX_WAITING
    refused: asyncio.Queue[httpx.Response] = asyncio.Queue()
    with hashing_with(Slow(time_cost=1, memory_cost=8, parallelism=1)):
        async with httpx.AsyncClient(
            base_url=application.address, cookies=cookies, verify=PLAIN, limits=httpx.Limits(), timeout=60
        ) as client:

            async def sign_in(number: int) -> int:
                answer = await client.post("/login", data={**fields, "name": f"nobody {number}", "password": PASSWORD})
                if answer.status_code == 429:
                    refused.put_nowait(answer)
                return answer.status_code

            flood = [asyncio.create_task(sign_in(number)) for number in range(capacity + 5)]
            try:
                async with asyncio.timeout(60):
                    answers = [await refused.get() for _ in range(5)]
                assert await asyncio.to_thread(lambda: visitor.is_let_in)
            finally:
                may_end.set()
            statuses = await asyncio.gather(*flood)
    for answer in answers:
        assert "Too many people sign in at the moment; try again in a few seconds." in answer.text
        assert answer.headers["retry-after"] == "5"
    assert statuses.count(401) >= capacity - 2 * hashing_pool.MAX_CONCURRENT_HASHES  # an address has 100 attempts


# Redirect after the sign-in

CONVERSATION = "/?conversation=01890a5d-ac96-774b-bcce-b302099a8057"


@ON_SQLITE
def test_sign_in_leads_to_requested_page_even_after_wrong_password(visitor: Visitor) -> None:
    redirect = visitor.get(CONVERSATION, headers={"accept": "text/html"})
    address = redirect.headers["location"]
    assert address.startswith("/login?next=")
    fields = visitor.hidden(address)
    assert fields["next"] == CONVERSATION
    wrong = visitor.post("/login", data={**fields, "name": "grace", "password": "wrong, and long enough"})
    (again,) = re.findall(r'name="next" value="([^"]*)"', wrong.text)
    assert again == CONVERSATION
    answer = visitor.post("/login", data={**fields, "name": "grace", "password": PASSWORD})
    assert answer.headers["location"] == CONVERSATION


@ON_SQLITE
def test_sign_in_never_leads_to_other_address(visitor: Visitor) -> None:
    """`test_csrf.py` has all others."""
    for elsewhere in ("//evil.example", "/\r\nSet-Cookie: a=b", "/admin/users", ""):
        page = visitor.get("/login", params={"next": elsewhere})
        assert re.findall(r'name="next" value="([^"]*)"', page.text) == ["/"], elsewhere
        answer = visitor.sign_in("grace", next=elsewhere)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), elsewhere
        assert "a" not in visitor.cookies


@ON_SQLITE
def test_request_without_session_redirects_pages_and_gets_401_for_programs(visitor: Visitor) -> None:
    for path in ("/", "/config", "/admin", "/export/events.csv", "/no/such/page?a=b&c=%0d%0a"):
        page = visitor.get(path, headers={"accept": "text/html,*/*"})
        assert page.status_code == 303
        assert page.headers["location"].startswith("/login?next=%2F")
        assert "\r" not in page.headers["location"]
        answer = visitor.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "text/plain; charset=utf-8")
        assert answer.text == "Sign in first: you have not signed in here, or your session has ended.\n"
        assert page.headers["cache-control"] == answer.headers["cache-control"] == "no-store"
    for path in ("/gradio_api/queue/join", "/logout"):
        assert visitor.post(path).status_code == 401
    # A form that a person sends when the session has ended.
    sent = visitor.post("/logout", headers={"accept": "text/html"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2F")
