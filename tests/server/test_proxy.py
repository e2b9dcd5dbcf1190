"""A proxy in front says who it is: it, and nobody else."""

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
    with house(new_sqlite(), sign_up=request.param, **settings) as found:
        yield found


@pytest.fixture
def application(behind: tuple[Application, dict[str, Somebody]]) -> Application:
    return behind[0]


@pytest.fixture(scope="module")
def elsewhere(new_sqlite: Callable[[], str]) -> Iterator[Application]:
    """Its proxy is another machine."""
    with house(new_sqlite(), auth="proxy", proxy_header=HEADER, trusted_proxies=("192.0.2.1",)) as (found, _):
        yield found


def status(application: Application, *headers: str, path: str = "/config", method: str = "GET") -> int:
    return sent(application, request(path, *headers, method=method)).status


def test_whom_the_proxy_does_not_name_is_nobody(application: Application) -> None:
    for headers in ((), (f"{HEADER}: ",), (f"{HEADER}:   ",), ("X-Forwarded-User: ada",), ("Remote_User: ada",)):
        assert status(application, *headers) == 401


def test_whom_the_proxy_names_has_the_role_of_that_user(application: Application) -> None:
    for name, admin in (("ada", 403), ("rita", 403), ("adam", 200)):
        assert status(application, f"{HEADER}: {name}") == 200
        assert status(application, f"remote-user: {name}", path="/admin") == admin
    assert status(application, f"{HEADER}: rita", path="/export/events.csv") == 200
    assert status(application, f"{HEADER}: ada", path="/export/events.csv") == 403


def test_a_person_who_is_named_twice_is_nobody(application: Application) -> None:
    for second in ("adam", "ada", ""):
        assert status(application, f"{HEADER}: ada", f"{HEADER}: {second}") == 401


def test_a_session_of_before_lets_nobody_in(behind: tuple[Application, dict[str, Somebody]]) -> None:
    application, people = behind
    assert status(application, f"Cookie: chatfeedback_session={people['adam'].token}") == 401


def test_another_role_and_being_disabled_count_at_once(application: Application) -> None:
    users.add(application.engine, "eve", "annotator", actor_id=None)
    assert status(application, f"{HEADER}: eve", path="/admin") == 403
    users.set_role(application.engine, "eve", "admin", actor_id=None)
    assert status(application, f"{HEADER}: eve", path="/admin") == 200
    users.set_disabled(application.engine, "eve", True, actor_id=None)
    assert status(application, f"{HEADER}: eve") == 403


def test_a_name_of_other_letters_is_read_as_the_proxy_wrote_it(application: Application) -> None:
    name = f"Zoë Ünal {application.port}"
    users.add(application.engine, name, "researcher", actor_id=None)
    written = name.encode().decode("latin-1")
    assert status(application, f"{HEADER}: {written}", path="/export/events.csv") == 200


def test_who_is_unknown_comes_in_only_where_people_may_sign_up(application: Application) -> None:
    signs_up = application.settings.sign_up
    assert status(application, f"{HEADER}: grace") == (200 if signs_up else 403)
    found = users.find(application.engine, "grace")
    assert (found.role if found else None) == ("annotator" if signs_up else None)
    known = {listed.user.annotator_id for listed in users.list_all(application.engine)}
    for annotator_id in known:
        assert status(application, f"{HEADER}: {annotator_id}", path="/admin") == 403
    for name in ("x" * 201, "a\x85b", "\xe2\x80\xaeb", "\xff\xfe", "..", "a, b"):
        assert status(application, f"{HEADER}: {name}") in ({200, 403} if signs_up else {403})


def test_there_is_no_form_to_sign_in_and_none_to_sign_out(application: Application) -> None:
    for path in ("/login", "/login?next=//evil.example"):
        answer = sent(application, request(path))
        assert (answer.status, b"location: /\r\n" in answer.headers.lower() + b"\r\n") == (303, True)
    assert status(application, f"{HEADER}: ada", path="/password") == 404
    assert status(application, f"{HEADER}: ada", path="/logout", method="POST") == 400


@pytest.mark.parametrize("path", ["/config", "/", "/admin", "/gradio_api/queue/join", "/nowhere"])
def test_who_does_not_come_through_the_proxy_is_refused_whatever_is_said(elsewhere: Application, path: str) -> None:
    for headers in (
        (),
        (f"{HEADER}: adam",),
        (f"{HEADER}: adam", "X-Forwarded-For: 192.0.2.1"),
        (f"{HEADER}: adam", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"),
    ):
        answer = sent(elsewhere, request(path, *headers))
        assert answer.status == 403
        assert b"through its proxy only" in answer.body


def test_nothing_that_was_refused_here_named_anybody_in_the_audit(elsewhere: Application) -> None:
    assert "adam" not in repr(audit.latest(elsewhere.engine, limit=100))
