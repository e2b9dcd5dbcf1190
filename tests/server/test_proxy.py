"""Sign-in by a proxy in front: the proxy names the user, and no other client can."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from browser.application import Application
from chatfeedback.store.accounts import audit, users
from server.http_client import request, sent
from users import Somebody, house

HEADER = "Remote-User"


@pytest.fixture(scope="module", params=[False, True], ids=["known users only", "sign-up"])
def behind(
    request: pytest.FixtureRequest, new_sqlite: Callable[[], str]
) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    settings = {"auth": "proxy", "proxy_header": HEADER, "trusted_proxies": ("127.0.0.1",)}
    with house(new_sqlite(), sign_up=request.param, **settings) as started:
        yield started


@pytest.fixture
def application(behind: tuple[Application, dict[str, Somebody]]) -> Application:
    return behind[0]


@pytest.fixture(scope="module")
def elsewhere(new_sqlite: Callable[[], str]) -> Iterator[Application]:
    """Return an application whose proxy is another machine."""
    with house(new_sqlite(), auth="proxy", proxy_header=HEADER, trusted_proxies=("192.0.2.1",)) as (started, _):
        yield started


def status(application: Application, *headers: str, path: str = "/config", method: str = "GET") -> int:
    return sent(application, request(path, *headers, method=method)).status


def test_request_without_user_header_is_not_signed_in(application: Application) -> None:
    for headers in ((), (f"{HEADER}: ",), (f"{HEADER}:   ",), ("X-Forwarded-User: ada",), ("Remote_User: ada",)):
        assert status(application, *headers) == 401


def test_user_named_by_proxy_has_their_role(application: Application) -> None:
    for name, admin in (("ada", 403), ("rita", 403), ("adam", 200)):
        assert status(application, f"{HEADER}: {name}") == 200
        assert status(application, f"remote-user: {name}", path="/admin") == admin
    assert status(application, f"{HEADER}: rita", path="/export/events.csv") == 200
    assert status(application, f"{HEADER}: ada", path="/export/events.csv") == 403


def test_request_with_two_user_headers_is_not_signed_in(application: Application) -> None:
    for second in ("adam", "ada", ""):
        assert status(application, f"{HEADER}: ada", f"{HEADER}: {second}") == 401


def test_session_cookie_is_ignored_with_proxy_auth(behind: tuple[Application, dict[str, Somebody]]) -> None:
    application, people = behind
    assert status(application, f"Cookie: chatfeedback_session={people['adam'].token}") == 401


def test_role_change_and_disabling_take_effect_at_once(application: Application) -> None:
    users.add(application.engine, "eve", "annotator", actor_id=None)
    assert status(application, f"{HEADER}: eve", path="/admin") == 403
    users.set_role(application.engine, "eve", "admin", actor_id=None)
    assert status(application, f"{HEADER}: eve", path="/admin") == 200
    users.set_disabled(application.engine, "eve", True, actor_id=None)
    assert status(application, f"{HEADER}: eve") == 403


def test_user_header_is_decoded_as_utf8(application: Application) -> None:
    name = f"Zoë Ünal {application.port}"
    users.add(application.engine, name, "researcher", actor_id=None)
    written = name.encode().decode("latin-1")
    assert status(application, f"{HEADER}: {written}", path="/export/events.csv") == 200


def test_unknown_user_is_accepted_only_with_sign_up(application: Application) -> None:
    signs_up = application.settings.sign_up
    assert status(application, f"{HEADER}: grace") == (200 if signs_up else 403)
    user = users.find(application.engine, "grace")
    assert (user.role if user else None) == ("annotator" if signs_up else None)
    known = {listed.user.annotator_id for listed in users.list_all(application.engine)}
    for annotator_id in known:
        assert status(application, f"{HEADER}: {annotator_id}", path="/admin") == 403
    for name in ("x" * 201, "a\x85b", "\xe2\x80\xaeb", "\xff\xfe", "..", "a, b"):
        assert status(application, f"{HEADER}: {name}") in ({200, 403} if signs_up else {403})


def test_sign_in_and_sign_out_forms_are_absent_with_proxy_auth(application: Application) -> None:
    for path in ("/login", "/login?next=//evil.example"):
        answer = sent(application, request(path))
        assert (answer.status, b"location: /\r\n" in answer.headers.lower() + b"\r\n") == (303, True)
    assert status(application, f"{HEADER}: ada", path="/password") == 404
    assert status(application, f"{HEADER}: ada", path="/logout", method="POST") == 400


@pytest.mark.parametrize("path", ["/config", "/", "/admin", "/gradio_api/queue/join", "/nowhere"])
def test_request_around_proxy_is_refused_with_any_headers(elsewhere: Application, path: str) -> None:
    for headers in (
        (),
        (f"{HEADER}: adam",),
        (f"{HEADER}: adam", "X-Forwarded-For: 192.0.2.1"),
        (f"{HEADER}: adam", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"),
    ):
        answer = sent(elsewhere, request(path, *headers))
        assert answer.status == 403
        assert b"through its proxy only" in answer.body
    assert "adam" not in repr(audit.latest(elsewhere.engine, limit=100))
