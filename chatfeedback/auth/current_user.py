"""Current user: the person that the middleware has authenticated for a request."""

from __future__ import annotations

from starlette.types import Scope

from chatfeedback.domain.roles import Person


def person_in(scope: Scope) -> Person | None:
    """Return the authenticated person of a request; None for a request that needs no authentication."""
    person = scope.get("state", {}).get("person")
    return person if isinstance(person, Person) else None


def set_person(scope: Scope, person: Person | None) -> None:
    """Set the person of a request; None for a request that needs none."""
    scope.setdefault("state", {})["person"] = person


CSRF_FIELD = "csrf"
