"""Policy: every address and every function of the running application, called in every role, by hand.

The expected statuses are written down here and nowhere computed. An address or a function that is not in these tables
fails the tests: a new one needs its entry.
"""

from __future__ import annotations

from typing import Any

import pytest

from browser.application import Application
from server.http_client import ON_SQLITE
from server.route_paths import routes
from users import NOBODY, ROLES, Somebody, blocks_of

pytestmark = ON_SQLITE

EVERYBODY = (NOBODY, *ROLES)
METHODS = ("GET", "POST", "DELETE")

# Statuses for nobody, the annotators, the researcher and the admin. Every other address: 401 without
# sign-in, and 404 with it.
PAGE = (401, 200, 200, 200)
OPEN = (200, 200, 200, 200)
ABSENT = (404, 404, 404, 404)
ADMIN = (401, 403, 403, 200)
EXPECTED: dict[tuple[str, str], tuple[int, int, int, int]] = {
    ("GET", "/"): PAGE,
    ("HEAD", "/"): PAGE,
    ("GET", "/conversations/x/version"): (401, 404, 403, 404),  # by whose it is, see test_following
    ("GET", "/config"): PAGE,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): ABSENT,  # without a token that is set
    ("GET", "/favicon.ico"): OPEN,
    ("GET", "/pages/pages.css"): OPEN,
    ("GET", "/theme.css"): OPEN,
    ("GET", "/assets/nothing.js"): ABSENT,
    ("GET", "/static/nothing.js"): ABSENT,
    ("GET", "/manifest.json"): OPEN,
    ("GET", "/gradio_api/startup-events"): PAGE,
    ("GET", "/gradio_api/app_id"): PAGE,
    ("GET", "/gradio_api/heartbeat/{own}"): PAGE,
    ("GET", "/gradio_api/queue/data?session_hash={own}"): PAGE,
    ("GET", "/gradio_api/file={avatar}"): PAGE,
    ("POST", "/gradio_api/queue/join"): (401, 415, 415, 415),  # by the function, see below
    ("GET", "/login"): OPEN,
    ("POST", "/login"): (400, 400, 400, 400),  # without its token
    ("GET", "/login/oidc"): ABSENT,  # people sign in with passwords here
    ("GET", "/login/oidc/callback"): ABSENT,
    ("POST", "/logout"): (401, 400, 400, 400),
    ("GET", "/password"): PAGE,
    ("POST", "/password"): (401, 400, 400, 400),
    ("GET", "/admin"): ADMIN,
    ("GET", "/admin/users/nobody"): (401, 403, 403, 404),
    ("POST", "/admin/users"): (401, 403, 403, 400),  # without its token
    ("POST", "/admin/users/nobody/role"): (401, 403, 403, 404),
    ("POST", "/admin/users/nobody/password"): (401, 403, 403, 404),
    ("GET", "/admin/erase"): ADMIN,
    ("POST", "/admin/erase"): (401, 403, 403, 400),
    ("GET", "/admin/audit"): ADMIN,
    ("GET", "/admin/nothing"): (401, 403, 403, 404),
    ("GET", "/export/feedback.csv"): (401, 403, 200, 200),
    ("GET", "/export/feedback.spreadsheet.csv"): (401, 403, 200, 200),
    ("GET", "/export/feedback.csv?annotators=names"): (401, 403, 403, 200),
    ("GET", "/export/messages.jsonl"): (401, 403, 200, 200),
    ("GET", "/export/events.csv"): (401, 403, 200, 200),
}

# Statuses of a call of a function by nobody, the annotators, the researcher and the admin.
ANY = (401, 200, 200, 200)
CHAT = (401, 200, 403, 200)
FUNCTIONS: dict[str, tuple[int, int, int, int]] = {
    "AccountHandlers.load": ANY,
    "AccountHandlers.begin_with_figures": ANY,
    "ChatHandlers.load": ANY,
    "ChatHandlers.unload": ANY,
    "open_sidebar": ANY,
    "wake": ANY,
    "ChatHandlers.send": CHAT,
    "ChatHandlers.stop": CHAT,
    "ChatHandlers.retry": CHAT,
    "ChatHandlers.undo": CHAT,
    "ChatHandlers.edit": CHAT,
    "ChatHandlers.new": CHAT,
    "ChatHandlers.open": CHAT,
    "ChatHandlers.visit": CHAT,
    "ChatHandlers.earlier": CHAT,
    "ChatHandlers.view_previous": CHAT,
    "ChatHandlers.view_next": CHAT,
    "ChatHandlers.keep": CHAT,
    "ChatHandlers.put_back": CHAT,
    "FeedbackHandlers.like": CHAT,
    "FeedbackHandlers.take_back": CHAT,
    "FeedbackHandlers.select": CHAT,
    "FeedbackHandlers.open_last": CHAT,
    "FeedbackHandlers.choose_reason": CHAT,
    "FeedbackHandlers.type_comment": CHAT,
    "FeedbackHandlers.leave_comment": CHAT,
    "FeedbackHandlers.close": CHAT,
    "FeedbackHandlers.keep": CHAT,
    "FeedbackHandlers.send_again": CHAT,
    "FeedbackHandlers.follow": CHAT,
    "AnalyticsHandlers.refresh": ANY,
    "AnalyticsHandlers.watch": ANY,
    "AnalyticsHandlers.tick": ANY,
    "AnalyticsHandlers.newer": ANY,
    "AnalyticsHandlers.older": ANY,
    "AnalyticsHandlers.open": ANY,
    "AnalyticsHandlers.close": ANY,
}


# Data of a call, where it is more than null for each input.
_MESSAGE = {"index": 0, "value": "Hello"}
CALLS: dict[str, tuple[list[Any] | None, Any]] = {
    "ChatHandlers.send": (["", None, None, ""], None),  # an empty prompt is refused by the function itself
    "ChatHandlers.retry": (None, _MESSAGE),
    "ChatHandlers.undo": (["", None], _MESSAGE),
    "ChatHandlers.edit": (None, {"index": 0, "value": "Hello", "previous_value": "Hallo"}),
    "ChatHandlers.open": (None, {"more": True}),
    "ChatHandlers.visit": (None, {"message": "visit", "conversation": "", "number": 1}),
    "ChatHandlers.put_back": (["", None], None),
    "FeedbackHandlers.like": ([None, "", ""], {"index": 0, "value": ["Hello"], "liked": True}),
    "FeedbackHandlers.take_back": (None, None),
    "FeedbackHandlers.select": ([None, "", ""], _MESSAGE),
    "FeedbackHandlers.choose_reason": ([""], {"index": 0, "value": "correct", "selected": True}),
    "FeedbackHandlers.type_comment": (["", "", 1], None),
    "FeedbackHandlers.leave_comment": (["", "", 1], None),
    "FeedbackHandlers.close": (["", "", 1], None),
    "FeedbackHandlers.keep": ([None, ""], None),
    "FeedbackHandlers.follow": ([None, ""], {"message": "newer_version"}),
    "FeedbackHandlers.send_again": ([None, ""], {"message": "unsaved_feedback", "about": "", "value": "like"}),
    "AnalyticsHandlers.watch": ([False], None),
    "AnalyticsHandlers.refresh": (["", "", "", ""], {"value": "Analytics", "index": 1}),
    "AnalyticsHandlers.open": (None, {"row": 0}),
}


def by_person(expected: tuple[int, int, int, int]) -> dict[str, int]:
    nobody, annotator, researcher, admin = expected
    return {"nobody": nobody, "ada": annotator, "bob": annotator, "rita": researcher, "adam": admin}


def filled(path: str) -> str:
    """Return a path with its parameters replaced by values."""
    for parameter, value in {
        "{path:path}": "x.js",
        "{path_or_url:path}": "/etc/passwd",
        "{url_path:path}": "x",
    }.items():
        path = path.replace(parameter, value)
    while "{" in path:
        before, _, rest = path.partition("{")
        path = f"{before}x{rest.partition('}')[2]}"
    return path


def test_routes_answer_each_role_as_listed(application: Application, people: dict[str, Somebody]) -> None:
    parts = blocks_of(application).config["components"]
    shown = next(part["props"]["avatar_images"] for part in parts if part["props"].get("avatar_images"))[0]["path"]
    differences = {}
    for (method, address), expected in EXPECTED.items():
        for name, person in people.items():
            path = address.format(own=f"page{name}", avatar=shown)
            status = person.request(method, path).status_code
            if status != by_person(expected)[name]:
                differences[method, address, name] = status, by_person(expected)[name]
    assert differences == {}


def test_routes_that_are_not_listed_are_closed_to_all_roles(
    application: Application, people: dict[str, Somebody]
) -> None:
    assert application.app is not None
    paths = {filled(path) for path in routes(application.app.routes)}
    assert len(paths) > 60, "this does not look like all routes of Gradio"
    paths |= {f"{path.rstrip('/')}/" for path in paths}
    known = {(method, address.partition("?")[0]) for method, address in EXPECTED}
    opened = {}
    for path in sorted(paths):
        for method in METHODS if not path.endswith("/") else METHODS[:1]:
            if (method, path) in known or any(path.startswith(prefix) for prefix in OF_A_KIND):
                continue
            for name in (NOBODY, "ada", "rita", "adam"):
                status = people[name].request(method, path).status_code
                if status != (401 if name == NOBODY else 404):
                    opened[method, path, name] = status
    assert opened == {}


OF_A_KIND = ("/assets/", "/static/", "/pages/", "/export/", "/gradio_api/heartbeat/", "/gradio_api/file=", "/admin")
"""Prefixes of addresses of which one of the same kind is written above."""


@pytest.mark.parametrize("name", EVERYBODY)
def test_functions_answer_each_role_as_listed(people: dict[str, Somebody], name: str) -> None:
    tab = people[name].tab()
    statuses = {}
    for function in FUNCTIONS:
        data, event_data = CALLS.get(function, (None, None))
        statuses[function] = tab.join(function, data, event_data=event_data).status_code
    assert statuses == {function: by_person(expected)[name] for function, expected in FUNCTIONS.items()}


def test_function_table_lists_every_function_of_page(application: Application) -> None:
    table = {function.fn.__qualname__ for function in blocks_of(application).fns.values() if function.fn is not None}
    assert table == FUNCTIONS.keys()


@pytest.mark.parametrize("name", EVERYBODY)
def test_call_of_browser_only_or_unknown_function_is_refused(
    application: Application, people: dict[str, Somebody], name: str
) -> None:
    scripts = [index for index, function in blocks_of(application).fns.items() if function.fn is None]
    assert scripts
    for index in [*scripts, -1, 10_000, "0", 0.0, True, None, [0], {"fn_index": 0}]:
        answer = people[name].tab().join("wake", [], fn_index=index)
        assert answer.status_code == (401 if name == NOBODY else 404), index
