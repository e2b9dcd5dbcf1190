"""Assignment of new conversations to a study: from the signed link that opened the page, else from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from chatfeedback.auth import links
from chatfeedback.domain.conversation.events import Assignment


class Assignments:
    """Resolver of assignments. `key` signs the links; `default` fills fields that a link does not set."""

    def __init__(self, key: bytes, default: Assignment) -> None:
        self._key = key
        self._default = default

    def from_query(self, query: Mapping[str, str]) -> Assignment:
        """Return the assignment for a page with this query. Raises InputError for an invalid signature."""
        if (token := query.get(links.PARAMETER)) is None:
            return self._default
        claims = asdict(links.verify(self._key, token))
        return Assignment(**{name: claims[name] or value for name, value in asdict(self._default).items()})
