"""Cells: functions that write one value, by the type of its column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from chatfeedback.export.columns import Column, Type
from chatfeedback.store.accounts.pseudonyms import DisplayNames

_EPOCH = datetime(1970, 1, 1)  # naive, in UTC

CellWriter = Callable[[Any], Any]
"""Function that writes a value; never called with None."""
CellWriters = Mapping[Type, CellWriter]
"""Cell writer of each type. Annotator columns have none: their display names are written as text."""

_CACHED_NAMES = 4096


def instant_text(micros: int) -> str:
    """Return microseconds since 1970 as ISO 8601 in UTC, always with six digits: `2026-11-20T08:30:00.000000Z`."""
    minute, rest = divmod(micros, 60_000_000)
    return f"{_minute_text(minute)}:{rest // 1_000_000:02}.{rest % 1_000_000:06}Z"


# Formatting instants is the largest cost of a row, and adjacent rows are close in time.
@lru_cache(1024)
def _minute_text(minute: int) -> str:
    return (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


def cell_writers(columns: Sequence[Column], display_name: DisplayNames, cells: CellWriters) -> list[CellWriter]:
    """Return the writer of each column; display names are cached, because an annotator appears in many rows."""
    text = cells["text"]
    annotator = lru_cache(_CACHED_NAMES)(lambda annotator_id: text(display_name(annotator_id)))
    return [annotator if column.type == "annotator" else cells[column.type] for column in columns]
