"""Errors of the database: one sentence, without the values of the statement."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from sqlalchemy import Engine, text

from chatfeedback.errors import StoreError
from chatfeedback.store.database.errors import translating
from chatfeedback.store.database.transactions import read_write

SECRET = "what Ada said"


def formatted(error: BaseException) -> str:
    """Return all that a log could show of an error."""
    return "".join(traceback.format_exception(error)).partition("\nEOF")[0]


INSERT = "INSERT INTO annotators (annotator_id, name, created_at) VALUES (:one, :name, :at)"
VALUES = {"one": "1", "name": SECRET, "at": 1}
FAULTS: dict[str, tuple[str, dict[str, object]]] = {
    "a key that is there already": (INSERT, VALUES),
    "a name that is there already": (INSERT, {**VALUES, "one": "2"}),
    "nothing where something must be": (INSERT, {**VALUES, "one": "3", "name": f"{SECRET}!", "at": None}),
    "a word where a number must be": (
        "INSERT INTO users (annotator_id, role, created_at) VALUES ('1', 'admin', :at)",
        {"at": SECRET},
    ),
    "a role that there is not": (
        "INSERT INTO users (annotator_id, role, created_at) VALUES ('1', :role, 1)",
        {"role": SECRET},
    ),
    "somebody who is not there": (
        "INSERT INTO users (annotator_id, role, created_at) VALUES (:who, 'admin', 1)",
        {"who": SECRET},
    ),
    "a column that is not there": ("UPDATE annotators SET nothing = :name", {"name": SECRET}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_store_error_does_not_repeat_values_of_statement(engine: Engine, fault: str) -> None:
    statement, values = FAULTS[fault]
    with engine.begin() as connection:
        connection.execute(text(INSERT), VALUES)
    taken = fault == "a word where a number must be" and engine.dialect.name == "sqlite"
    with nullcontext() if taken else pytest.raises(StoreError) as refused, read_write(engine) as connection:
        connection.execute(text(statement), values)
    if refused is not None:
        assert SECRET not in formatted(refused.value)
        assert "\n" not in str(refused.value)


def test_store_error_does_not_repeat_values_of_raw_driver_statement(engine: Engine) -> None:
    insert = "INSERT INTO annotators (annotator_id, name, created_at) VALUES ({0}, {0}, 1)"
    mark = "?" if engine.dialect.name == "sqlite" else "%s"

    def twice() -> None:
        pooled = engine.raw_connection()
        try:
            cursor = pooled.cursor()
            for _ in range(2):
                cursor.execute(insert.format(mark), (SECRET, SECRET))
        finally:
            pooled.close()

    run: Callable[[], None] = twice
    with pytest.raises(StoreError) as refused, translating():
        run()
    assert SECRET not in formatted(refused.value)
