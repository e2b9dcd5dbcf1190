"""Columns of an export.

Rows carry values as the database has them: an instant is an integer of microseconds, JSON is canonical text. The type
of the column tells the format how to write it; None is a missing value of any type. The value of an annotator column
is the id; the format writes the display name of this export.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Type = Literal["text", "integer", "number", "boolean", "instant", "json", "annotator"]
"""Type of the values of a column."""


class Column(NamedTuple):
    """Column of an export; docs/data.md defines its meaning."""

    name: str
    type: Type = "text"
