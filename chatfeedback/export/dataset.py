"""Dataset: the columns of an export, and how to read its rows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from chatfeedback.export.columns import Column

if TYPE_CHECKING:  # the registry is imported by the command line, which starts without the store
    from sqlalchemy import Connection, Select, Table

    from chatfeedback.query.filters import ResolvedFilters
    from chatfeedback.query.streaming import Row


class Dataset(NamedTuple):
    """An export: its columns, and how to read its rows."""

    columns: tuple[Column, ...]
    table: Table
    """Table with one row for each row of the export."""
    instant: str
    annotator: str
    """Columns of the table for the filters `since`, `until` and `annotator`."""
    rows: Callable[[Connection, Select[Any]], Generator[Row, None, None]]
    """Yields the rows in their order, for a selection of the table's rows."""

    def selected(self, filters: ResolvedFilters) -> Select[Any]:
        """Return a selection of the table's rows that pass the resolved filters; without columns and order."""
        # No index on these columns: the export is in another order, and sorting its rows would take memory that grows
        # with the result.
        from sqlalchemy import select

        from chatfeedback.query.sql_filters import conditions, without_index

        columns = self.table.c
        return select().where(
            *conditions(
                filters,
                instant=without_index(columns[self.instant]),
                model=without_index(columns["model"]),
                annotator=without_index(columns[self.annotator]),
                conversation=columns["conversation_id"],
            )
        )

    def total(self, connection: Connection, filters: ResolvedFilters) -> int:
        """Return the number of rows of the export."""
        from sqlalchemy import func

        query = self.selected(filters).select_from(self.table).add_columns(func.count())
        return int(connection.execute(query).scalar_one())
