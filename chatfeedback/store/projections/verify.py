"""Verification of a database: schema, append-only triggers, accounts, log and projections.

Everything is read in one snapshot, so that a running application cannot make a sound database look broken. The log is
replayed conversation by conversation, and each is compared with its rows in the projections. A second pass in the other
direction finds rows that no event explains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, Table, exists, inspect, select

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import StoreCorrupt
from chatfeedback.store.accounts import verify as accounts
from chatfeedback.store.log import append_only
from chatfeedback.store.projections import conversation as projections
from chatfeedback.store.projections.replay import replay
from chatfeedback.store.schema import (
    PROJECTIONS,
    conversations,
    events,
    messages,
    metadata,
    rating_reasons,
    ratings,
    reply_drafts,
)

MAX_PROBLEMS = 50
_CONVERSATION_BATCH = 100
_INDEXES = {index.name for table in metadata.tables.values() for index in table.indexes}


def find_problems(connection: Connection) -> list[str]:
    """Return one sentence for each problem: at most MAX_PROBLEMS, then one with the number of further problems."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with connection.begin():
        schema = list(_schema_differences(connection))
        # With another schema, the rows cannot be interpreted.
        rows = () if schema else chain(accounts.problems(connection), _log_problems(connection))
        problems = chain(schema, append_only.problems(connection), rows)
        sentences = list(islice(problems, MAX_PROBLEMS))
        if more := sum(1 for _ in problems):
            sentences.append(f"There are {more:,} more problems.")
        return sentences


def _log_problems(connection: Connection) -> Iterator[str]:
    batch: list[Conversation] = []
    for conversation in replay(connection):
        if isinstance(conversation, StoreCorrupt):
            yield str(conversation)
            continue
        batch.append(conversation)
        if len(batch) == _CONVERSATION_BATCH:
            yield from _row_differences(connection, batch)
            batch.clear()
    yield from _row_differences(connection, batch)
    yield from _surplus_rows(connection)


# The schema


def _schema_differences(connection: Connection) -> Iterator[str]:
    options = {"compare_type": True, "include_name": _is_own_object}
    for difference in compare_metadata(MigrationContext.configure(connection, opts=options), metadata):
        # The differences of one column come as a list.
        for entry in difference if isinstance(difference, list) else [difference]:
            yield f"The schema differs from that of this release: {_describe_difference(entry)}."
    # Alembic compares neither primary keys nor check constraints.
    inspector = inspect(connection)
    for table in metadata.tables.values():
        if not inspector.has_table(table.name):
            continue
        key = inspector.get_pk_constraint(table.name)["constrained_columns"]
        if key != [column.name for column in table.primary_key.columns]:
            yield f"The schema differs from that of this release: primary key of {table.name} is {key or 'missing'}."
        expected = {
            str(constraint.name)
            for constraint in table.constraints
            if isinstance(constraint, CheckConstraint) and constraint.name
        }
        for name in sorted(
            expected - {str(constraint["name"]) for constraint in inspector.get_check_constraints(table.name)}
        ):
            yield f"The schema differs from that of this release: constraint {name} of {table.name} is missing."


def _is_own_object(name: str | None, kind: str, _parents: Any) -> bool:
    # Other programs may have tables in this database, and indexes of their own on our tables.
    return {"table": name in metadata.tables, "index": name in _INDEXES}.get(kind, True)


def _describe_difference(entry: tuple[Any, ...]) -> str:
    verb, _, noun = str(entry[0]).partition("_")
    if verb == "modify":
        _, _, table, column, _, present, expected = entry
        return f"{noun} of {table}.{column} is {present!r}, not {expected!r}"
    item = entry[-1]
    name = item.name if isinstance(item, Table) else f"{item.name} of {item.table.name}"
    return f"{noun} {name} is missing" if verb == "add" else f"{noun} {name} is surplus"


# The projections


def _row_differences(connection: Connection, batch: list[Conversation]) -> Iterator[str]:
    """Yield the differences between these conversations and their stored rows."""
    expected: dict[Table, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
    for conversation in batch:
        for table, rows in projections.rows_of(conversation).items():
            expected[table].update((_key(table, row), row) for row in rows)
    ids = [conversation.conversation_id for conversation in batch]
    for table in PROJECTIONS:
        stored = {_key(table, row): row for row in _stored(connection, table, ids)}
        for key in sorted(expected[table].keys() - stored.keys()):
            yield f"{_row_name(table, key)} is missing: the log has it."
        for key in sorted(stored.keys() - expected[table].keys()):
            yield f"{_row_name(table, key)} is surplus: the log does not have it."
        for key in sorted(stored.keys() & expected[table].keys()):
            differing = [name for name, value in expected[table][key].items() if stored[key][name] != value]
            if differing:
                yield f"{_row_name(table, key)} differs from the log in {', '.join(differing)}."


def _stored(connection: Connection, table: Table, conversation_ids: list[str]) -> Iterator[dict[str, Any]]:
    query = select(table)
    if table is rating_reasons:
        query = query.join(messages, messages.c.message_id == rating_reasons.c.message_id)
        table = messages
    rows = connection.execute(query.where(table.c.conversation_id.in_(conversation_ids))).mappings()
    return (dict(row) for row in rows)


def _surplus_rows(connection: Connection) -> Iterator[str]:
    """Yield rows of conversations and messages that are not in the log."""
    for table in (conversations, messages, ratings):
        yield from _orphans(connection, table, ~exists().where(events.c.conversation_id == table.c.conversation_id))
    known = exists().where(conversations.c.conversation_id == reply_drafts.c.conversation_id)
    yield from _orphans(connection, reply_drafts, ~known)
    yield from _orphans(
        connection, rating_reasons, ~exists().where(messages.c.message_id == rating_reasons.c.message_id)
    )


def _orphans(connection: Connection, table: Table, condition: Any) -> Iterator[str]:
    keys = connection.execute(
        select(*table.primary_key.columns).where(condition).order_by(*table.primary_key.columns),
        execution_options={"yield_per": 1000},
    )
    return (f"{_row_name(table, tuple(key))} is surplus: the log does not have it." for key in keys)


def _key(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key.columns)


def _row_name(table: Table, key: tuple[Any, ...]) -> str:
    return f"The row {' '.join(map(str, key))} of {table.name}"
