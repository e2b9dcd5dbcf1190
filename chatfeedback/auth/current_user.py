"""The current user: the person whom the server let in with a request."""

from __future__ import annotations

from starlette.types import Scope

from chatfeedback.domain.roles import Person


def person_in(scope: Scope) -> Person | None:
    """Whom the gate let in with a request; None when it let it in without asking."""
    person = scope.get("state", {}).get("person")
    return person if isinstance(person, Person) else None


def set_person(scope: Scope, person: Person | None) -> None:
    """Set the person of a request; None for a request that needs none."""
    scope.setdefault("state", {})["person"] = person


TOKEN = "csrf"  # noqa: S105 - the name of a field
