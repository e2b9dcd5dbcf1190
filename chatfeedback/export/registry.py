"""Registry of datasets and formats: commands, links of the page and tests follow from its entries.

To add one, write its module in `tables/` or `formats/`, enter it here, and document it in docs/data.md. Modules are
imported when an entry is used, so that commands start quickly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, NamedTuple, TypeVar

from chatfeedback.export.dataset import Dataset
from chatfeedback.export.format import Format

T = TypeVar("T")


class Entry(NamedTuple):
    """Entry of a registry. `summary`: what it is, for the help of the command."""

    summary: str
    module: str


class Registry(Mapping[str, T], Generic[T]):
    """Registered objects by their name in commands and links; each is the `attribute` of its module."""

    def __init__(self, attribute: str, entries: Mapping[str, Entry]) -> None:
        self._attribute = attribute
        self._entries = entries

    def __getitem__(self, name: str) -> T:
        """Import the module of an entry and return its object."""
        registered: T = getattr(import_module(self._entries[name].module), self._attribute)
        return registered

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def help(self) -> str:
        """All names with their summaries, as one line."""
        return "; ".join(f"`{name}`: {entry.summary}" for name, entry in self._entries.items()) + "."


DATASETS: Registry[Dataset] = Registry(
    "DATASET",
    {
        "events": Entry("all that happened", "chatfeedback.export.tables.events"),
        "messages": Entry("each version of each message", "chatfeedback.export.tables.messages"),
        "feedback": Entry("a row per rating", "chatfeedback.export.tables.feedback"),
    },
)
FORMATS: Registry[Format] = Registry(
    "FORMAT",
    {
        "csv": Entry("texts exactly as stored", "chatfeedback.export.formats.csv"),
        "spreadsheet": Entry("a CSV in which no text is a formula", "chatfeedback.export.formats.spreadsheet"),
        "jsonl": Entry("a JSON object per line", "chatfeedback.export.formats.jsonl"),
    },
)
