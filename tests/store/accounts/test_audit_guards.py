"""Guards of the audit: the database refuses to change it, as it refuses to change the log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from chatfeedback.errors import StoreError
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log import append_only
from chatfeedback.store.maintenance import check
from schemas import REVISIONS

COLUMNS = "occurred_at, action, actor_id, subject_id, detail"
ENTRY = f"INSERT INTO audit ({COLUMNS}) VALUES (1, 'signed_in', 'ada', NULL, '{{}}')"
BOTH = [
    "UPDATE audit SET detail = detail",
    "UPDATE audit SET actor_id = NULL WHERE actor_id = 'ada'",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE position = 1",
]
SQLITE = [
    f"REPLACE INTO audit (position, {COLUMNS}) VALUES (1, 2, 'x', NULL, NULL, '')",
    f"INSERT OR REPLACE INTO audit (position, {COLUMNS}) VALUES (1, 2, 'x', NULL, NULL, '')",
]
POSTGRES = [
    "TRUNCATE audit",
    "WITH gone AS (DELETE FROM audit RETURNING *) SELECT count(*) FROM gone",
    f"INSERT INTO audit (position, {COLUMNS}) OVERRIDING SYSTEM VALUE VALUES (1, 2, 'x', NULL, NULL, '')",
]


@pytest.fixture
def audited(database_url: str) -> Iterator[Engine]:
    """Engine of a database with one entry in its audit."""
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text(ENTRY))
    yield engine
    engine.dispose()


def test_audit_refuses_change_and_deletion_of_entry(audited: Engine) -> None:
    with audited.connect() as connection:
        before = connection.execute(text("SELECT * FROM audit")).all()
    for statement in BOTH + (SQLITE if audited.dialect.name == "sqlite" else POSTGRES):
        with (
            pytest.raises(DBAPIError, match=r"never changed or deleted|already stored|unique"),
            audited.begin() as changed,
        ):
            changed.execute(text(statement))
    with audited.connect() as connection:
        assert connection.execute(text("SELECT * FROM audit")).all() == before != []


def test_append_only_problems_name_missing_guard_of_audit(audited: Engine, database_url: str) -> None:
    assert check(database_url) == []
    sqlite = audited.dialect.name == "sqlite"
    for trigger in (append_only.SQLITE_TRIGGERS if sqlite else append_only.POSTGRES_TRIGGERS)["audit"]:
        with audited.connect() as connection, connection.begin() as change:
            connection.execute(text(f"DROP TRIGGER {trigger}" + ("" if sqlite else " ON audit")))
            assert append_only.problems(connection) == [
                f"The trigger {trigger} on the table audit is missing, disabled or altered: audit could be changed."
            ]
            change.rollback()


def test_downgrade_requires_destroy_data_flag_when_it_drops_audit(audited: Engine, database_url: str) -> None:
    audited.dispose()
    with pytest.raises(StoreError, match="--destroy-data"):
        migrate.downgrade(database_url, "0001")
    assert check(database_url) == []
    assert migrate.downgrade(database_url, "0001", destroy_data=True) == (REVISIONS[-1], "0001")
    assert migrate.upgrade(database_url) == ("0001", REVISIONS[-1])
    assert check(database_url) == []
