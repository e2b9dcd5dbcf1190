"""Forwarded headers: they count when the connection comes from a listed proxy, and otherwise not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from browser.application import Application
from server.http_client import FORM, PASSWORD, SESSION, Visitor, logout_token, request, sent, set_cookies, settle
from users import house

WRONG = "wrong, and long enough"
HTTPS = {"x-forwarded-proto": "https"}


def _opened(url: str, **settings: object) -> Iterator[Application]:
    with house(url, **settings) as (application, _):
        settle(application, "grace")
        yield application


@pytest.fixture(scope="module")
def alone(new_sqlite: Callable[[], str]) -> Iterator[Application]:
    """Return an application without a proxy: 127.0.0.1, where the tests connect from, is not listed."""
    yield from _opened(new_sqlite(), trusted_proxies=("192.0.2.1", "10.0.0.0/8"))


@pytest.fixture(scope="module")
def behind(new_sqlite: Callable[[], str]) -> Iterator[Application]:
    """Return an application whose proxy the tests play."""
    yield from _opened(new_sqlite(), trusted_proxies=("127.0.0.1", "192.0.2.0/24"))


@pytest.fixture(autouse=True)
def _forgotten(alone: Application, behind: Application) -> None:
    for application in (alone, behind):
        with application.engine.begin() as connection:
            connection.execute(text("DELETE FROM sign_in_failures"))


def statuses(application: Application, addresses: list[str], name: str = "grace") -> list[int]:
    """Return the statuses of wrong guesses that claim to come from these addresses."""
    with Visitor(application) as visitor:
        fields = {**visitor.hidden(), "name": name, "password": WRONG}
        return [
            visitor.post("/login", data=fields, headers={"x-forwarded-for": address}).status_code
            for address in addresses
        ]


# From any client


def test_forwarded_proto_of_client_is_ignored(alone: Application) -> None:
    for headers in (HTTPS, {"forwarded": "proto=https"}, {"x-forwarded-ssl": "on", "x-forwarded-scheme": "https"}):
        with Visitor(alone, headers=headers) as visitor:
            cookies = set_cookies(visitor.sign_in("grace"))
            assert SESSION in cookies
            assert "Secure" not in "".join(cookies.values())
            assert "strict-transport-security" not in visitor.get("/login").headers


def test_forwarded_address_of_client_does_not_evade_throttle(alone: Application) -> None:
    assert statuses(alone, [f"203.0.113.{number}" for number in range(6)]) == [401] * 5 + [429]
    with Visitor(alone) as visitor:
        assert visitor.sign_in("grace").status_code == 429  # the right password, from here


def test_forwarded_host_of_client_does_not_change_origin_check(alone: Application) -> None:
    for header in ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Forwarded-Proto: https"):
        answer = sent(alone, request("/login", header, "Origin: https://evil.example", method="POST"))
        assert answer.status == 403


def test_cookies_are_secure_for_host_of_https_public_url_only(
    new_sqlite: Callable[[], str],
) -> None:
    with house(new_sqlite(), public_url="https://chat.example.org") as (application, _):
        for host, secure in (("chat.example.org", True), ("chat.example.org:443", True), ("127.0.0.1", False)):
            with Visitor(application, headers={"host": host}) as visitor:
                form = "".join(set_cookies(visitor.get("/login")).values())
            assert form.startswith("__Host-") is secure and form.endswith("; Secure") is secure


# From the proxy


def test_cookies_behind_tls_are_for_this_host_and_tls_only(behind: Application) -> None:
    with Visitor(behind, headers=HTTPS) as visitor:
        page = visitor.get("/login")
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        form = set_cookies(page)[f"__Host-{FORM}"]
        assert re.fullmatch(rf"__Host-{FORM}=[\w-]{{32}}; HttpOnly; Path=/; SameSite=strict; Secure", form)
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
        cookie = {"cookie": form.partition(";")[0]}
        answer = visitor.post("/login", data={**fields, "name": "grace", "password": PASSWORD}, headers=cookie)
        assert answer.status_code == 303
        line = set_cookies(answer)[f"__Host-{SESSION}"]
        assert line.endswith("; HttpOnly; Max-Age=1209600; Path=/; SameSite=lax; Secure")
        assert "Domain" not in line
        token = line.partition(";")[0].partition("=")[2]
        for name, status in ((f"__Host-{SESSION}", 200), (SESSION, 401)):
            assert visitor.get("/config", headers={"cookie": f"{name}={token}"}).status_code == status


def test_origin_check_uses_scheme_named_by_proxy(behind: Application) -> None:
    for origin, status in (("https://127.0.0.1", 400), ("http://127.0.0.1", 403), ("https://evil.example", 403)):
        headers = ("X-Forwarded-Proto: https", f"Origin: {origin}")
        assert sent(behind, request("/login", *headers, method="POST")).status == status


def test_throttle_uses_client_address_named_by_proxy(behind: Application) -> None:
    guesses = ["203.0.113.1"] * 6 + ["203.0.113.2"]
    assert statuses(behind, guesses) == [401] * 5 + [429, 401]


def test_throttle_ignores_addresses_that_client_wrote_before_proxy(behind: Application) -> None:
    guesses = [f"198.51.100.{number}, 203.0.113.7, 192.0.2.{number}" for number in range(6)]
    assert statuses(behind, guesses) == [401] * 5 + [429]


@pytest.mark.parametrize(
    "address", ["", ",", "unknown", "\xe4", "<script>", "a" * 5000, "[::1", "1.2.3.4:99999", "[]:1"]
)
def test_forwarded_headers_of_any_content_cause_no_fault(behind: Application, address: str) -> None:
    for proto in ("https", "HTTPS", "ftp", "\xff", ""):
        headers = (f"X-Forwarded-For: {address}", f"X-Forwarded-Proto: {proto}")
        assert sent(behind, request("/login", *headers, method="POST")).status == 400
        assert sent(behind, request("/config", *headers)).status == 401


def test_sign_out_removes_secure_cookie_behind_tls(behind: Application) -> None:
    with Visitor(behind) as visitor:
        visitor.sign_in("grace")
        token, value = logout_token(behind, visitor), visitor.cookies[SESSION]
        cookie = {"cookie": f"__Host-{SESSION}={value}"}
        answer = visitor.post("/logout", data={"csrf": token}, headers={**HTTPS, **cookie})
        assert answer.status_code == 303
        assert "; Secure" in set_cookies(answer)[f"__Host-{SESSION}"]
