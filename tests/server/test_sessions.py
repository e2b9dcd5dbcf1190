"""Sessions: their cookies, signing out, and another password."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from browser.application import Application
from chatfeedback.store.accounts import users
from server.http_client import ON_SQLITE, PASSWORD, SESSION, Visitor, logout_token, set_cookies, settle


@pytest.fixture
def application(with_passwords: Application) -> Application:
    return with_passwords


# The cookie


@ON_SQLITE
def test_session_cookie_is_for_this_site_and_hidden_from_scripts(visitor: Visitor) -> None:
    cookies = set_cookies(visitor.sign_in("grace"))
    assert re.fullmatch(
        rf"{SESSION}=[\w-]{{43}}; HttpOnly; Max-Age={14 * 24 * 3600}; Path=/; SameSite=lax", cookies[SESSION]
    )
    assert cookies.keys() == {SESSION}


def test_sign_in_does_not_adopt_session_of_browser(visitor: Visitor, other: Visitor) -> None:
    assert other.sign_in("hedy").status_code == 303
    planted = other.cookies[SESSION]
    for brought in ("chosen-by-somebody-else", planted):
        visitor.cookies.set(SESSION, brought, domain="127.0.0.1", path="/")
        line = set_cookies(visitor.sign_in("grace"))[SESSION]
        assert brought not in line
    other.cookies.set(SESSION, "chosen-by-somebody-else", domain="127.0.0.1", path="/")
    assert not other.is_let_in


def test_sign_in_begins_its_own_session_that_ends_alone(
    application: Application, visitor: Visitor, other: Visitor
) -> None:
    for one in (visitor, other):
        assert one.sign_in("grace").status_code == 303
    assert visitor.cookies[SESSION] != other.cookies[SESSION]
    token = visitor.cookies[SESSION]
    visitor.post("/logout", data={"csrf": logout_token(application, visitor)})
    assert not visitor.is_let_in
    assert other.is_let_in
    visitor.cookies.set(SESSION, token, domain="127.0.0.1", path="/")
    assert not visitor.is_let_in


GARBAGE = [
    b"x" * 10_000,
    b"\xc3\xa4\xff\x80",
    b'"unfinished',
    b'"\\000\\377"',
    b"{json: [1, 2]}",
    b"",
    b"=",
    b"null",
    b"' OR 1=1 --",
    b"../../etc/passwd",
    b"a" * 43,
]


@ON_SQLITE
@pytest.mark.parametrize("value", GARBAGE)
def test_session_cookie_of_garbage_is_refused_without_fault(application: Application, value: bytes) -> None:
    cookie = SESSION.encode() + b"=" + value
    with Visitor(application) as visitor:
        headers = [(b"cookie", cookie)]
        assert visitor.get("/config", headers=headers).status_code == 401
        page = visitor.get("/", headers=[*headers, (b"accept", b"text/html")])
        assert (page.status_code, page.headers["location"].partition("&")[0]) == (303, "/login?next=%2F")
        assert visitor.get("/login", headers=headers).status_code == 200


@ON_SQLITE
def test_session_cookie_is_found_among_any_other_cookies(visitor: Visitor) -> None:
    visitor.sign_in("grace")
    ours = f"{SESSION}={visitor.cookies[SESSION]}"
    visitor.cookies.clear()
    for cookie in (
        f'theme={{"dark": true, "a": [1]}}; {ours}',
        f"\xe4; =; ;;{ours}; a b=c d",
        f"{ours}; {ours}",
    ):
        assert visitor.get("/config", headers={"cookie": cookie.encode("latin-1")}).status_code == 200, cookie


@ON_SQLITE
def test_session_is_refused_when_two_cookies_are_sent(visitor: Visitor, other: Visitor) -> None:
    visitor.sign_in("grace")
    other.sign_in("hedy")
    mine, theirs = (f"{SESSION}={one.cookies[SESSION]}" for one in (visitor, other))
    visitor.cookies.clear()
    for cookie in (f"{mine}; {theirs}", f"{theirs}; {mine}", f"{mine}; {SESSION}=x", f"{SESSION}=; {mine}"):
        assert visitor.get("/config", headers={"cookie": cookie}).status_code == 401
    two = [("cookie", mine), ("cookie", theirs)]
    assert visitor.get("/config", headers=two).status_code == 401


def test_session_leads_to_sign_in_form_when_expired(application: Application, visitor: Visitor) -> None:
    visitor.sign_in("grace")
    with application.engine.begin() as connection:
        connection.execute(text("UPDATE sessions SET expires_at = 1 WHERE method = 'password'"))
    answer = visitor.get("/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F&ended=")
    assert visitor.sign_in("grace").status_code == 303


# Signing out


def test_sign_out_ends_session_and_clears_browser_data(application: Application, visitor: Visitor) -> None:
    visitor.sign_in("grace")
    token = visitor.cookies[SESSION]
    answer = visitor.post("/logout", data={"csrf": logout_token(application, visitor)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert "Max-Age=0" in set_cookies(answer)[SESSION]
    assert SESSION not in visitor.cookies
    visitor.cookies.set(SESSION, token, domain="127.0.0.1", path="/")
    assert not visitor.is_let_in


@ON_SQLITE
def test_sign_out_requires_csrf_token_of_this_session(
    application: Application, visitor: Visitor, other: Visitor
) -> None:
    for name, one in (("grace", visitor), ("hedy", other)):
        assert one.sign_in(name).status_code == 303
    stolen = logout_token(application, other)
    of_other_purpose = visitor.hidden("/password")["csrf"]
    for token in (None, "", stolen, of_other_purpose):
        answer = visitor.post("/logout", data={} if token is None else {"csrf": token})
        assert answer.status_code == 400
    assert visitor.get("/logout").status_code == 404
    assert visitor.is_let_in
    assert other.is_let_in


@ON_SQLITE
def test_csrf_token_of_older_session_is_refused_in_newer_one(application: Application, visitor: Visitor) -> None:
    visitor.sign_in("grace")
    old = logout_token(application, visitor)
    visitor.sign_in("grace")
    assert visitor.post("/logout", data={"csrf": old}).status_code == 400


# Another password


def test_password_change_requires_old_password_and_ends_other_sessions(
    application: Application, visitor: Visitor, other: Visitor
) -> None:
    settle(application, name := f"ida {application.port}")
    for one in (visitor, other):
        one.sign_in(name)
    new = "five words that nobody guesses"
    fields = {**visitor.hidden("/password"), "old": PASSWORD, "new": new, "again": new}
    for wrong, status, sentence in [
        ({"csrf": other.hidden("/login")["csrf"]}, 400, "open the page again"),
        ({"old": "not the old one at all"}, 401, "This is not your password."),
        ({"again": "something else"}, 400, "not the same both times"),
        ({"new": "short", "again": "short"}, 400, "A password has 15 to 1000 characters"),
    ]:
        answer = visitor.post("/password", data={**fields, **wrong})
        assert answer.status_code == status
        assert sentence in answer.text
        assert other.is_let_in
    answer = visitor.post("/password", data=fields)
    assert answer.status_code == 200
    assert new not in answer.text
    assert visitor.is_let_in
    assert not other.is_let_in
    assert other.sign_in(name).status_code == 401
    assert other.sign_in(name, new).status_code == 303


@ON_SQLITE
def test_password_change_with_stolen_form_is_refused(visitor: Visitor, other: Visitor) -> None:
    visitor.sign_in("grace")
    other.sign_in("hedy")
    stolen = other.hidden("/password")
    fields = {"old": PASSWORD, "new": "five words that nobody", "again": "five words that nobody"}
    assert visitor.post("/password", data={**stolen, **fields}).status_code == 400
    for name in ("grace", "hedy"):
        assert other.sign_in(name).status_code == 303


def test_disabled_user_is_refused_at_next_request(application: Application, visitor: Visitor) -> None:
    settle(application, name := f"jean {application.port}")
    visitor.sign_in(name)
    assert visitor.is_let_in
    users.set_disabled(application.engine, name, True, actor_id=None)
    assert visitor.get("/config").status_code == 401
    assert visitor.sign_in(name).status_code == 401
    users.set_disabled(application.engine, name, False, actor_id=None)
    assert not visitor.is_let_in
