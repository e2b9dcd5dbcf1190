"""Health, readiness and metrics of the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, make_url, text

from browser.application import Application, endpoint, eventually
from chatfeedback.domain.conversation.events import ReplyFinished
from chatfeedback.server import health
from openai_server import ScriptedServer
from server.http_client import ON_SQLITE
from users import PLAIN, Somebody, house

TOKEN = "a-token-for-the-metrics"


def get(application: Application, path: str, **options: Any) -> httpx.Response:
    return httpx.get(f"{application.address}{path}", timeout=30, verify=PLAIN, **options)


def running(url: str, **settings: Any) -> Iterator[Application]:
    """Serve without sign-in to the end of the block."""
    application = Application(url, **settings)

    async def start() -> None:
        application.start()

    asyncio.run(start())
    try:
        yield application
    finally:
        application.close()


serving = contextmanager(running)


def figures(answer: httpx.Response) -> dict[str, float]:
    """Return every sample by its name and labels."""
    return {
        " ".join([sample.name, *map(str, sample.labels.values())]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def failures(application: Application) -> list[str]:
    """Return the errors of failed replies, oldest conversation first."""
    log = [event.body for one in application.conversation_ids() for event in application.events(one)]
    return [body.error or "" for body in log if isinstance(body, ReplyFinished) and body.status == "failed"]


def test_health_routes_say_alive_and_ready_and_name_nothing(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "DATABASE_TIMEOUT_SECONDS", 60)  # a busy machine takes its time
    assert get(application, "healthz").json() == {"status": "alive"}
    ready = get(application, "readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["database"]) == (200, "ready", "ready")
    known = make_url(application.settings.database_url)
    for name in (str(known.database), application.settings.models[0].name, str(known.host)):
        assert name not in ready.text


@pytest.mark.process
def test_readiness_waits_until_local_model_is_loaded(new_sqlite: Callable[[], str]) -> None:
    with serving(new_sqlite()) as application:
        first = get(application, "readyz")
        assert first.json()["models"]["loading"] == first.json()["models"]["ready"] ^ 1
        loaded = eventually(lambda: get(application, "readyz"), lambda answer: answer.status_code == 200)
        assert loaded.json() == {
            "status": "ready",
            "database": "ready",
            "models": {"ready": 1, "loading": 0, "failing": 0},
        }


@ON_SQLITE
def test_readiness_reports_failing_model_and_stays_ready(
    inhabited: tuple[Application, dict[str, Somebody]], model: ScriptedServer
) -> None:
    application, people = inhabited
    model.fail(404)
    tab = people["ada"].tab()
    tab.call("ChatHandlers.send", ["Hello", None, None, ""])
    readiness = get(application, "readyz")
    assert (readiness.status_code, readiness.json()["models"]) == (200, {"ready": 0, "loading": 0, "failing": 1})
    people["ada"].tab().call("ChatHandlers.send", ["Hello", None, None, ""])
    assert get(application, "readyz").json()["models"] == {"ready": 1, "loading": 0, "failing": 0}


@ON_SQLITE
def test_readiness_ignores_too_long_conversations_and_empty_replies(
    inhabited: tuple[Application, dict[str, Somebody]], model: ScriptedServer
) -> None:
    application, people = inhabited
    for fault, sentence in (
        (lambda: model.fail(400, {"error": {"message": "the maximum context length is 4096"}}), "is too long"),
        (lambda: model.reply(""), "an empty reply"),
    ):
        fault()
        people["ada"].tab().call("ChatHandlers.send", ["Hello", None, None, ""])
        assert sentence in failures(application)[-1]
        assert get(application, "readyz").json()["models"] == {"ready": 1, "loading": 0, "failing": 0}


@ON_SQLITE
def test_readiness_keeps_model_failing_after_too_long_conversation(
    inhabited: tuple[Application, dict[str, Somebody]], model: ScriptedServer
) -> None:
    application, people = inhabited
    model.fail(404)
    people["ada"].tab().call("ChatHandlers.send", ["Hello", None, None, ""])
    model.fail(413)
    people["ada"].tab().call("ChatHandlers.send", ["Hello", None, None, ""])
    assert get(application, "readyz").json()["models"] == {"ready": 0, "loading": 0, "failing": 1}
    people["ada"].tab().call("ChatHandlers.send", ["Hello", None, None, ""])
    assert get(application, "readyz").json()["models"] == {"ready": 1, "loading": 0, "failing": 0}


def test_readiness_fails_for_database_of_another_release(application: Application) -> None:
    def set_to(revision: str) -> None:
        with application.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")

    with application.engine.connect() as connection:
        now = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    set_to("0001")
    try:
        readiness = get(application, "readyz")
        assert (readiness.status_code, readiness.json()["database"]) == (503, "of another release")
        assert get(application, "healthz").status_code == 200
    finally:
        set_to(str(now))
    assert get(application, "readyz").status_code == 200


# A file has no names and passwords.
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_readiness_fails_and_names_no_database_when_connections_are_refused(
    database_url: str, model: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(database_url)
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")

    def call_it(now: str, then: str) -> None:
        with server.connect() as connection:
            ending = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
            while connection.execute(ending, {"name": now}).rowcount:
                pass
            connection.exec_driver_sql(f'ALTER DATABASE "{now}" RENAME TO "{then}"')

    with house(database_url, models=[endpoint(model)]) as (application, people):
        call_it(str(url.database), f"{url.database}_away")
        try:
            refused = people["ada"].get("/config")
            assert (refused.status_code, "refuses connections" in refused.text) == (503, True)
            readiness = get(application, "readyz")
            assert (readiness.status_code, readiness.json()["database"]) == (503, "unavailable")
            opened = people["ada"].get("/", headers={"accept": "text/html"})
            sent = people["ada"].post("/consent", headers={"accept": "text/html"})
            assert (opened.status_code, sent.status_code) == (503, 503)
            assert ["refresh" in answer.headers for answer in (opened, sent)] == [True, False], "nothing is sent again"
            assert str(url.database) not in refused.text + readiness.text + opened.text + sent.text
            assert f'database "{url.database}" does not exist' in caplog.text, "whoever runs the server is told"
        finally:
            call_it(f"{url.database}_away", str(url.database))
        back = eventually(lambda: get(application, "readyz"), lambda response: response.status_code == 200)
        assert back.status_code == 200
    server.dispose()


def test_request_is_answered_with_upgrade_hint_when_table_is_missing(
    application: Application, people: dict[str, Somebody]
) -> None:
    def rename(now: str, then: str) -> None:
        with application.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {now} RENAME TO {then}")

    rename("sessions", "sessions_of_another_release")
    try:
        refused = people["ada"].tab().join("ChatHandlers.send", ["Hello", None, None, ""])
        assert (refused.status_code, "run `chatfeedback db upgrade` first" in refused.text) == (503, True)
    finally:
        rename("sessions_of_another_release", "sessions")
    assert people["ada"].get("/config").status_code == 200


@contextmanager
def cancelled_by_the_server(application: Application) -> Iterator[None]:
    """Have Postgres cancel the first statement about sessions, as by its `statement_timeout`."""
    waiting = text(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def cancel() -> None:
        with application.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            eventually(lambda: connection.execute(waiting).all(), bool)

    with ThreadPoolExecutor() as beside, application.engine.begin() as connection:
        connection.execute(text("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"))
        done = beside.submit(cancel)
        yield
        done.result()


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_readiness_stays_when_database_refuses_one_statement(database_url: str, model: ScriptedServer) -> None:
    with house(database_url, models=[endpoint(model)]) as (application, people):
        with cancelled_by_the_server(application):
            refused = people["ada"].tab().join("ChatHandlers.send", ["Hello", None, None, ""])
        assert (refused.status_code, "The database refused this (canceling" in refused.text) == (500, True)
        assert get(application, "readyz").status_code == 200
        assert people["ada"].get("/config").status_code == 200


def test_host_check_is_left_out_for_probes_and_for_metrics_with_token(
    new_sqlite: Callable[[], str], model: ScriptedServer
) -> None:
    replica = {"Host": "172.30.86.11:7861"}
    settings = {"public_url": "https://chat.example.org", "metrics_token": TOKEN, "models": [endpoint(model)]}
    with house(new_sqlite(), **settings) as (application, _):
        token = {"Authorization": f"Bearer {TOKEN}"}
        for path in ("healthz", "readyz", "metrics"):
            assert get(application, path, headers={**replica, **token}).status_code == 200
        assert get(application, "login", headers=replica).status_code == 421
    with serving(new_sqlite(), models=[endpoint(model)]) as application:
        # Without a token, a site that has itself resolved to this machine would read them.
        assert get(application, "metrics", headers=replica).status_code == 421


def test_metrics_require_their_token(new_sqlite: Callable[[], str]) -> None:
    with house(new_sqlite(), metrics_token=TOKEN) as (application, people):
        refused = [{}, {"Authorization": "Bearer another-token"}, {"Authorization": TOKEN}]
        for headers in refused:
            answer = get(application, "metrics", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert people["adam"].get("/metrics").status_code == 401
        shown = get(application, "metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (shown.status_code, shown.headers["content-type"].split(";")[0]) == (200, "text/plain")


@ON_SQLITE
def test_metrics_are_absent_with_sign_in_when_no_token_is_set(application: Application) -> None:
    answer = get(application, "metrics")
    assert (answer.status_code, answer.text) == (404, "Set metrics_token to have metrics here.\n")


@pytest.fixture
def alone(database_url: str, model: ScriptedServer) -> Iterator[Application]:
    """Return an application without sign-in, on either database."""
    yield from running(database_url, models=[endpoint(model)])


def like(text: str) -> dict[str, Any]:
    return {"index": 1, "value": [text], "liked": True}


def test_metrics_agree_with_log(alone: Application, model: ScriptedServer) -> None:
    person = Somebody(alone, "local", alone.annotator_id, None)
    tab = person.tab()
    tab.call("ChatHandlers.send", ["Hello", None, None, ""])
    tab.call("FeedbackHandlers.like", [None, "", ""], event_data=like("You said: Hello"))
    model.fail(404)
    person.tab().call("ChatHandlers.send", ["Hello again", None, None, ""])
    shown = figures(get(alone, "metrics"))
    log = [event for one in alone.conversation_ids() for event in alone.events(one)]
    for kind, count in Counter(event.body.KIND for event in log).items():
        assert shown[f"chatfeedback_events_total {kind}"] == count
    assert shown["chatfeedback_replies_total parrot complete"] == 1
    assert shown["chatfeedback_replies_total parrot failed"] == 1
    assert shown["chatfeedback_model_errors_total parrot"] == 1
    assert shown["chatfeedback_time_to_first_token_seconds_count parrot"] == 1
    # Each prompt, the end of each reply, and the vote were a commit.
    assert shown["chatfeedback_commit_seconds_count"] == 5
    assert (shown["chatfeedback_open_streams"], shown["chatfeedback_queue"]) == (0, 0)
    assert (shown["chatfeedback_database_up"], shown["chatfeedback_outages"]) == (1, 0)
    assert shown["process_resident_memory_bytes"] > 0
    person.http.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_metrics_count_replies_being_written(alone: Application, model: ScriptedServer) -> None:
    script = model.reply("one two", hold_after=1)
    person = Somebody(alone, "local", alone.annotator_id, None)
    joined = person.tab().join("ChatHandlers.send", ["Hello", None, None, ""])
    assert joined.status_code == 200
    open_streams = lambda: figures(get(alone, "metrics"))["chatfeedback_open_streams"]  # noqa: E731
    assert eventually(open_streams, lambda count: count == 1) == 1
    script.release()
    assert eventually(open_streams, lambda count: count == 0) == 0
    person.http.close()
