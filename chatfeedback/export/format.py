"""Format: how rows become the lines of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from chatfeedback.export.columns import Column

if TYPE_CHECKING:  # the registry is imported by the command line, which starts without the store
    from chatfeedback.query.streaming import Row
    from chatfeedback.store.accounts.pseudonyms import DisplayNames


class Format(NamedTuple):
    """File format of an export."""

    suffix: str
    """Suffix of the files, without the leading dot."""
    media_type: str
    lines: Callable[[Sequence[Column], Iterable[Row], DisplayNames], Iterator[bytes]]
    link: str
    """Label of the link to a file in this format."""
    is_for_people: bool = False
    """True: the page offers it first, and with names of annotators too."""
