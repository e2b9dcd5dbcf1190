"""Sign-in at a real provider over HTTP: the redirect, the callback, and their errors."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import text

from auth.scripted_provider import SECRET, ScriptedProvider
from browser.application import Application
from chatfeedback.server.authentication import oidc_routes
from chatfeedback.store.accounts import audit, users
from leak_scan import traces
from oidc_provider import OidcProvider, declined, signed_in
from server.http_client import SESSION, Visitor, logout_token, set_cookies
from users import house

pytestmark = pytest.mark.process  # the provider

PENDING = "chatfeedback_oidc"
BACK = "http://127.0.0.1/login/oidc/callback"
# HTTP and cookies do not depend on the database.
ON_SQLITE = pytest.mark.parametrize("application", ["sqlite"], indirect=True)
LOGGERS = ["uvicorn.access", "uvicorn.error", "httpx", "httpcore", "authlib", "asyncio", "gradio", "chatfeedback"]
REFUSED = "You have no account here yet; ask the administrator for one."


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    with OidcProvider(tmp_path_factory.mktemp("provider"), BACK) as running:
        yield running


def settings_for(provider: OidcProvider) -> dict[str, Any]:
    client = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    return {"auth": "oidc", "at_home": True, "oidc": {"issuer": provider.issuer, "label": "Sign in there", **client}}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def application(
    request: pytest.FixtureRequest, provider: OidcProvider, new_sqlite: Callable[[], str]
) -> Iterator[Application]:
    if request.param == "sqlite":
        with house(new_sqlite(), **settings_for(provider)) as (started, _):
            yield started
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create_database(template=request.getfixturevalue("_migrated_postgres"))
    with house(server.url(name), **settings_for(provider)) as (started, _):
        yield started
    server.drop_database(name)


@pytest.fixture(scope="module")
def open_to_all(provider: OidcProvider, new_sqlite: Callable[[], str]) -> Iterator[Application]:
    """Return an application where every user of the provider becomes an annotator."""
    with house(new_sqlite(), sign_up=True, **settings_for(provider)) as (started, _):
        yield started


def begun(visitor: Visitor, query: str = "") -> str:
    """Begin a sign-in; return the address at the provider."""
    answer = visitor.get(f"/login/oidc{query}")
    assert answer.status_code == 303
    return answer.headers["location"]


def back(visitor: Visitor, address: str) -> httpx.Response:
    return visitor.get(address, headers={"accept": "text/html"})


def link(application: Application, provider: OidcProvider, name: str) -> None:
    """Link a name at the provider to a new user; a refused sign-in tells the subject."""
    subjects: list[str] = []
    with Visitor(application) as visitor, pytest.MonkeyPatch.context() as patch:
        identified = users.find_by_identity
        patch.setattr(users, "find_by_identity", lambda engine, issuer, subject: subjects.append(subject) or None)
        back(visitor, signed_in(begun(visitor), name))
        patch.setattr(users, "find_by_identity", identified)
    users.add(application.engine, f"{name} here", "annotator", actor_id=None, identity=(provider.issuer, subjects[0]))


def assert_nobody(visitor: Visitor, answer: httpx.Response, status: int, sentence: str) -> None:
    assert (answer.status_code, SESSION in set_cookies(answer)) == (status, False), answer.text
    assert sentence in answer.text
    assert 'role="alert"' in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert not visitor.is_let_in


def serializer(key: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        key, salt="oidc", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )


def opened(cookie: str) -> dict[str, Any]:
    """Return the content of the cookie of a pending sign-in, without a check of its signature."""
    return cast("dict[str, Any]", serializer(b"").loads_unsafe(cookie.strip('"'))[1])


@ON_SQLITE
def test_sign_in_page_has_button_that_leads_to_provider(visitor: Visitor, provider: OidcProvider) -> None:
    page = visitor.get("/login")
    assert "Sign in there" in page.text
    assert "password" not in page.text
    answer = visitor.get("/login/oidc")
    assert answer.headers["location"].startswith(f"{provider.issuer}/authorize/?")
    line = set_cookies(answer)[PENDING]
    assert line.endswith("; HttpOnly; Max-Age=600; Path=/; SameSite=lax")
    assert answer.headers["cache-control"] == "no-store"


def test_linked_user_signs_in_and_returns_to_requested_page(
    application: Application, provider: OidcProvider, visitor: Visitor
) -> None:
    link(application, provider, "Grace")
    destination = "/?conversation=01890a5d-ac96-774b-bcce-b302099a8057"
    sign_in_address = visitor.get(destination, headers={"accept": "text/html"}).headers["location"]
    address = begun(visitor, f"?{urlsplit(sign_in_address).query}")
    answer = back(visitor, signed_in(address, "Grace"))
    assert (answer.status_code, answer.headers["location"]) == (303, destination)
    cookies = set_cookies(answer)
    assert "Max-Age=1209600" in cookies[SESSION]
    assert "Max-Age=0" in cookies[PENDING]
    assert visitor.is_let_in
    entry = audit.latest(application.engine, limit=1)[0]
    user = users.find(application.engine, "Grace here")
    assert user is not None
    assert (entry.action, entry.actor_id, entry.detail) == ("signed_in", user.annotator_id, {"method": "oidc"})
    token = logout_token(application, visitor)
    assert visitor.post("/logout", data={"csrf": "x"}).status_code == 400
    assert visitor.post("/logout", data={"csrf": token}).headers["location"] == "/login"
    assert not visitor.is_let_in
    users.set_disabled(application.engine, "Grace here", True, actor_id=None)
    answer = back(visitor, signed_in(begun(visitor), "Grace"))
    assert_nobody(visitor, answer, 403, "Your account here is disabled")


def test_unknown_subject_is_refused_even_with_name_of_user(application: Application, visitor: Visitor) -> None:
    for name in ("Somebody", "adam"):
        assert_nobody(visitor, back(visitor, signed_in(begun(visitor), name)), 403, REFUSED)
    assert users.find(application.engine, "Somebody") is None


def test_sign_up_creates_one_annotator_for_unknown_subject(open_to_all: Application) -> None:
    ids = set()
    for _ in range(2):
        with Visitor(open_to_all) as visitor:
            assert back(visitor, signed_in(begun(visitor), "adam")).status_code == 303
            assert visitor.get("/admin").status_code == 403
            user = users.find(open_to_all.engine, "adam (2)")
            assert user is not None
            ids.add(user.annotator_id)
    assert len(ids) == 1


@ON_SQLITE
def test_callback_of_declined_sign_in_says_so(visitor: Visitor) -> None:
    assert_nobody(visitor, back(visitor, declined(begun(visitor))), 401, "was declined; sign in again to allow it")


@ON_SQLITE
def test_callback_is_refused_in_another_browser(application: Application, visitor: Visitor) -> None:
    """A victim who opened the answer to an attacker's sign-in would write into the attacker's account."""
    with Visitor(application) as victim:
        answer = signed_in(begun(visitor), "Mallory")
        assert_nobody(victim, back(victim, answer), 401, "not begun in this browser")
        begun(victim)
        assert_nobody(victim, back(victim, answer), 401, "another sign-in")


def test_callback_works_only_once(open_to_all: Application) -> None:
    with Visitor(open_to_all) as visitor:
        address = begun(visitor)
        cookie = visitor.cookies[PENDING]
        answer = signed_in(address, "Once")
        assert back(visitor, answer).status_code == 303
        visitor.cookies.clear()
        assert_nobody(visitor, back(visitor, answer), 401, "not begun in this browser")
        visitor.cookies.set(PENDING, cookie, domain="127.0.0.1", path="/")
        assert_nobody(visitor, back(visitor, answer), 401, "run out or was used before")


@ON_SQLITE
def test_callback_is_refused_when_cookie_was_changed(visitor: Visitor) -> None:
    answer = signed_in(begun(visitor), "Mallory")
    cookie = visitor.cookies[PENDING].strip('"')
    forged = str(serializer(b"another key").dumps({**opened(cookie), "next": "//"}))
    payload, time, signature = cookie.rsplit(".", 2)
    moved = f"{forged.rsplit('.', 2)[0]}.{time}.{signature}"
    assert opened(moved)["next"] == "//"
    for changed in (
        "",
        "x",
        "====",
        cookie[:-8],
        f"AAAA{cookie[4:]}",
        forged,
        moved,
        payload,
        "\xe4",
        "x" * 10_000,
        cookie[:43],
    ):
        visitor.cookies.clear()
        headers = [(b"cookie", f"{PENDING}={changed}".encode("latin-1")), (b"accept", b"text/html")]
        assert_nobody(visitor, visitor.get(answer, headers=headers), 401, "not begun in this browser")


@ON_SQLITE
def test_callback_is_refused_when_sign_in_took_too_long(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_routes, "PENDING_SECONDS", -1)
    redirect = visitor.get("/login/oidc")
    # A browser that had a clock would keep no cookie.
    value = set_cookies(redirect)[PENDING].partition(";")[0].partition("=")[2]
    visitor.cookies.set(PENDING, value, domain="127.0.0.1", path="/")
    answer = signed_in(redirect.headers["location"], "Grace")
    assert_nobody(visitor, back(visitor, answer), 401, "took too long")


@ON_SQLITE
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?code=x",
        "?state=x",
        "?state=x&code=y",
        "?state=%00&code=%00",
        "?state=%ff&code=%f0%9f%8e%93&iss=%ff",
        "?error=access_denied",
        "?error=%3Cscript%3Ealert(1)%3C/script%3E&error_description=%3Cb%3E",
        "?state=a&state=b&code=c&code=d",
        f"?state={'x' * 10_000}",
    ],
)
def test_callback_with_invented_query_shows_one_sentence(visitor: Visitor, query: str) -> None:
    begun(visitor)
    answer = back(visitor, f"/login/oidc/callback{query}")
    assert_nobody(visitor, answer, 401, "sign in again")
    assert "<script" not in answer.text
    assert "<b>" not in answer.text


@ON_SQLITE
def test_callback_with_right_state_and_invented_code_is_refused(visitor: Visitor) -> None:
    for more in ("&code=invented", "&code=%00", "&error=%3Cscript%3E", f"&code={'x' * 5000}"):
        visitor.cookies.clear()
        address = begun(visitor)
        state = dict(parse_qsl(urlsplit(address).query))["state"]
        answer = back(visitor, f"/login/oidc/callback?state={state}&iss={urlsplit(address).scheme}://x{more}")
        assert_nobody(visitor, answer, 401, "sign in again")
        answer = back(visitor, f"/login/oidc/callback?state={state}{more}")
        assert_nobody(visitor, answer, 401, "begin it again")  # of one try


@ON_SQLITE
def test_oidc_leaves_no_other_way_to_sign_in(visitor: Visitor) -> None:
    answer = visitor.post("/login", data={"name": "adam", "password": "x" * 20})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert visitor.get("/password").status_code == 401
    assert visitor.post("/login/oidc").status_code == 401
    assert visitor.post("/login/oidc/callback?state=x&code=y").status_code == 401


def test_sign_in_shows_one_sentence_when_provider_does_not_run(new_sqlite: Callable[[], str]) -> None:
    with ScriptedProvider() as stopping:
        client = {"issuer": stopping.issuer, "client_id": "site", "client_secret": SECRET}
        settings = {"auth": "oidc", "at_home": True, "oidc": client}
        with house(new_sqlite(), **settings) as (application, _), Visitor(application) as visitor:
            state = dict(parse_qsl(urlsplit(begun(visitor)).query))["state"]
            stopping.__exit__()
            answer = back(visitor, f"/login/oidc/callback?state={state}&code=x")
            assert_nobody(visitor, answer, 502, "cannot be reached; try again")
    with house(new_sqlite(), **settings) as (application, _), Visitor(application) as visitor:
        assert_nobody(visitor, back(visitor, "/login/oidc"), 502, "cannot be reached; try again")
        assert visitor.get("/login").status_code == 200


def test_sign_in_logs_and_stores_no_code_state_or_token(
    open_to_all: Application,
    provider: OidcProvider,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)
    caplog.set_level(logging.DEBUG)
    with Visitor(open_to_all) as visitor:
        address = begun(visitor)
        pending = visitor.cookies[PENDING]
        answer = signed_in(address, "Secretive")
        caplog.clear()  # of what the browser of the test says about itself
        assert back(visitor, answer).status_code == 303
        token = visitor.cookies[SESSION]
        replayed = visitor.get(answer, headers={"cookie": f"{PENDING}={pending}"})
        assert replayed.status_code == 401
    sent_back = dict(parse_qsl(urlsplit(answer).query))
    verifier = opened(pending)["pending"]["verifier"]
    nonce = dict(parse_qsl(urlsplit(address).query))["nonce"]
    assert verifier
    keys = {sent_back["code"], sent_back["state"], verifier, nonce, token, pending, provider.client_secret}
    secrets = {*keys, "Secretive"}
    ours = [record for record in caplog.records if record.threadName != "MainThread"]
    printed = capfd.readouterr()
    everything = "\n".join([*(record.getMessage() for record in ours), printed.out, printed.err])
    assert "a sign-in was refused" in everything
    assert {secret for secret in secrets if secret in everything} == set()
    url = open_to_all.settings.database_url
    assert traces(url, secrets) == {"Secretive"}
    with open_to_all.engine.connect() as connection:
        detail = connection.execute(text("SELECT detail FROM audit")).scalars().all()
    assert "Secretive" not in repr(detail)
