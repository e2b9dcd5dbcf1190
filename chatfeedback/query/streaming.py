"""Streaming of rows from the database, a few hundred at a time."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table

from chatfeedback.store.schema import conversations

Row = Sequence[Any]
ROW_BATCH = 500
"""Rows fetched at a time."""
OF_CONVERSATION = ("consent_version", "study", "condition", "external_id")
"""Columns that a row takes from its conversation."""


def streamed(
    connection: Connection, statement: Select[Any], parameters: Mapping[str, Any] | None = None
) -> Generator[Row, None, None]:
    """Yield the rows of a statement, through a server-side cursor on Postgres. Streams may be interleaved.

    A caller that stops early closes the generator while the connection is still open.
    """
    with connection.execute(statement, parameters, execution_options={"yield_per": ROW_BATCH}) as result:
        yield from result


def beside_conversations(selected: Select[Any], table: Table) -> Select[Any]:
    """Join each row of the table with its conversation, so that columns of both can be selected.

    It is an outer join, although every row has a conversation: so the table is read first, in the order of its index.
    """
    joined = table.outerjoin(conversations, conversations.c.conversation_id == table.c.conversation_id)
    return selected.select_from(joined)
