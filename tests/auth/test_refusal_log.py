"""Refusal log: what is recorded of many refusals, in the log and in the audit."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine, text

from chatfeedback.auth.refusal_log import MAX_PER_MINUTE, RefusalLog
from chatfeedback.store.database.availability import log_error


@pytest.fixture
def refusals(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> RefusalLog:
    """Return a refusal log in a minute that does not end."""
    monkeypatch.setattr("chatfeedback.auth.refusal_log.time.monotonic", lambda: 90.0)
    return RefusalLog(engine, log_error)


def audited(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM audit WHERE action = 'refused'")).scalar_one())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_record_logs_and_audits_limited_number_per_person_and_code(
    refusals: RefusalLog, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(MAX_PER_MINUTE * 3):
        refusals.record("ada", "file")
    assert len(caplog.messages) == audited(engine) == MAX_PER_MINUTE
    assert set(caplog.messages[:-1]) == {"refused: file (ada)"}
    assert caplog.messages[-1] == "refused: file (ada); further ones of this minute are not recorded"
    refusals.record("ada", "function")
    refusals.record("bob", "file")
    assert caplog.messages[MAX_PER_MINUTE:] == ["refused: function (ada)", "refused: file (bob)"]
    assert audited(engine) == MAX_PER_MINUTE + 2


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_record_begins_again_with_each_minute(
    refusals: RefusalLog, engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(1, 4):
        monkeypatch.setattr("chatfeedback.auth.refusal_log.time.monotonic", lambda minute=minute: 60.0 * minute)
        for _ in range(MAX_PER_MINUTE + 1):
            refusals.record("ada", "file")
        assert len(caplog.messages) == audited(engine) == MAX_PER_MINUTE * minute


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_too_many_sign_ins_are_one_line_a_minute(refusals: RefusalLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        refusals.too_many_sign_ins()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "too many attempts to sign in; the last ones were not looked at; "
            "further ones of this minute are not recorded",
        )
    ]
