"""The study that a page's new conversations are assigned to: by the link that opened it, else by the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from chatfeedback.auth import links
from chatfeedback.domain.conversation.events import Assignment


class Assignments:
    """`key`: what links are signed with. `default`: for what a link does not say."""

    def __init__(self, key: bytes, default: Assignment) -> None:
        self._key = key
        self._default = default

    def of(self, query: Mapping[str, str]) -> Assignment:
        """Return the assignment of a page with this query. Raises InputError for a link that was not signed here."""
        if (token := query.get(links.PARAMETER)) is None:
            return self._default
        said = asdict(links.read(self._key, token))
        return Assignment(**{name: said[name] or value for name, value in asdict(self._default).items()})
