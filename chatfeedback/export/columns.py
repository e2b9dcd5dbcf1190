"""What a column of an export holds.

Rows carry values as the database has them: an instant is an integer of microseconds, JSON is canonical text. The type
of the column tells a writer what to make of them; None is a missing value of any type. Of an annotator the value is
the id, and what is written is what she is called in this export.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Type = Literal["text", "integer", "number", "boolean", "instant", "json", "annotator"]


class Column(NamedTuple):
    """A column; docs/data.md says what it means."""

    name: str
    type: Type = "text"
