"""Whether a database is as it must be: its schema, the guards of the log, the log itself, what is made from the log.

Everything is read in one snapshot, so that a running application cannot make a sound database look broken. The log
is replayed conversation by conversation, and each is compared with its rows in the projections; a second look, the
other way round, finds rows that no event accounts for.
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
    """One sentence for each problem, at most MOST_SENTENCES and one that says how many more there are."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with connection.begin():
        schema = list(_schema(connection))
        # With other tables than ours there is no telling what their rows would mean.
        problems = chain(schema, append_only.problems(connection), () if schema else _problems(connection))
        found = list(islice(problems, MAX_PROBLEMS))
        if more := sum(1 for _ in problems):
            found.append(f"There are {more:,} more problems.")
        return found


def _problems(connection: Connection) -> Iterator[str]:
    batch: list[Conversation] = []
    for conversation in replay(connection):
        if isinstance(conversation, StoreCorrupt):
            yield str(conversation)
            continue
        batch.append(conversation)
        if len(batch) == _CONVERSATION_BATCH:
            yield from _differences(connection, batch)
            batch.clear()
    yield from _differences(connection, batch)
    yield from _surplus(connection)


# The schema


def _schema(connection: Connection) -> Iterator[str]:
    options = {"compare_type": True, "include_name": _is_ours}
    for difference in compare_metadata(MigrationContext.configure(connection, opts=options), metadata):
        # A list holds the differences of one column.
        for entry in difference if isinstance(difference, list) else [difference]:
            yield f"The schema differs from that of this release: {_difference(entry)}."
    # What the comparison leaves out.
    present = inspect(connection)
    for table in metadata.tables.values():
        if not present.has_table(table.name):
            continue
        key = present.get_pk_constraint(table.name)["constrained_columns"]
        if key != [column.name for column in table.primary_key.columns]:
            yield f"The schema differs from that of this release: primary key of {table.name} is {key or 'missing'}."
        wanted = {str(one.name) for one in table.constraints if isinstance(one, CheckConstraint) and one.name}
        for name in sorted(wanted - {str(one["name"]) for one in present.get_check_constraints(table.name)}):
            yield f"The schema differs from that of this release: constraint {name} of {table.name} is missing."


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    # Others may keep tables beside ours, and indexes of their own on ours.
    return {"table": name in metadata.tables, "index": name in _INDEXES}.get(kind, True)


def _difference(entry: tuple[Any, ...]) -> str:
    verb, _, noun = str(entry[0]).partition("_")
    if verb == "modify":
        _, _, table, column, _, present, wanted = entry
        return f"{noun} of {table}.{column} is {present!r}, not {wanted!r}"
    thing = entry[-1]
    name = thing.name if isinstance(thing, Table) else f"{thing.name} of {thing.table.name}"
    return f"{noun} {name} is missing" if verb == "add" else f"{noun} {name} is surplus"


# The projections


def _differences(connection: Connection, batch: list[Conversation]) -> Iterator[str]:
    """What differs between these conversations and the rows that are stored of them."""
    wanted: dict[Table, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
    for conversation in batch:
        for table, rows in projections.rows_of(conversation).items():
            wanted[table].update((_key(table, row), row) for row in rows)
    ids = [conversation.conversation_id for conversation in batch]
    for table in PROJECTIONS:
        stored = {_key(table, row): row for row in _stored(connection, table, ids)}
        for key in sorted(wanted[table].keys() - stored.keys()):
            yield f"{_row(table, key)} is missing: the log has it."
        for key in sorted(stored.keys() - wanted[table].keys()):
            yield f"{_row(table, key)} is surplus: the log does not have it."
        for key in sorted(stored.keys() & wanted[table].keys()):
            differing = [name for name, value in wanted[table][key].items() if stored[key][name] != value]
            if differing:
                yield f"{_row(table, key)} differs from the log in {', '.join(differing)}."


def _stored(connection: Connection, table: Table, conversation_ids: list[str]) -> Iterator[dict[str, Any]]:
    query = select(table)
    if table is rating_reasons:
        query = query.join(messages, messages.c.message_id == rating_reasons.c.message_id)
        table = messages
    rows = connection.execute(query.where(table.c.conversation_id.in_(conversation_ids))).mappings()
    return (dict(row) for row in rows)


def _surplus(connection: Connection) -> Iterator[str]:
    """Rows of conversations and messages that the log knows nothing of."""
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
    return (f"{_row(table, tuple(key))} is surplus: the log does not have it." for key in keys)


def _key(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key.columns)


def _row(table: Table, key: tuple[Any, ...]) -> str:
    return f"The row {' '.join(map(str, key))} of {table.name}"
