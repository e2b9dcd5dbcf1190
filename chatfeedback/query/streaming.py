"""Rows as they come from the database, a few hundred at a time."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table

from chatfeedback.store.schema import conversations

Row = Sequence[Any]
ROW_BATCH = 500
OF_CONVERSATION = ("consent_version", "study", "condition", "external_id")
"""Columns that a row has from its conversation."""


def streamed(
    connection: Connection, statement: Select[Any], parameters: Mapping[str, Any] | None = None
) -> Generator[Row, None, None]:
    """The rows of a statement, through a server-side cursor on Postgres. Several streams may be read in turns.

    Whoever leaves a stream before its end closes it while the connection is still open.
    """
    with connection.execute(statement, parameters, execution_options={"yield_per": ROW_BATCH}) as result:
        yield from result


def beside_conversations(selected: Select[Any], table: Table) -> Select[Any]:
    """A selection of the table's rows, beside each that of its conversation, so that its columns can be added.

    An outer join, though every row has a conversation: the table is then read first, in the order of its index.
    """
    joined = table.outerjoin(conversations, conversations.c.conversation_id == table.c.conversation_id)
    return selected.select_from(joined)
