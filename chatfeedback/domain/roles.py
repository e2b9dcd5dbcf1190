"""Who may do what: three roles, and what each of them is allowed.

A role is a set of permissions and nothing else; whoever decides asks `Person.may`. What a permission opens, which
address and which function of a page, is written down in one table (`server/authorization/policy.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

Role = Literal["annotator", "researcher", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


class Permission(StrEnum):
    """One thing that a person may or may not do."""

    CHAT = "chat"
    """Hold conversations of one's own, and rate their replies."""
    SEE_OWN = "see own figures"
    SEE_ALL = "see everybody's figures and conversations"
    EXPORT = "export"
    SEE_NAMES = "see annotators' names"
    """Instead of their pseudonyms, also in exports."""
    ADMINISTER = "administer"
    """Users, erasure and the audit."""


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    "annotator": frozenset({Permission.CHAT, Permission.SEE_OWN}),
    "researcher": frozenset({Permission.SEE_OWN, Permission.SEE_ALL, Permission.EXPORT}),
    "admin": frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever sent a request."""

    annotator_id: str
    name: str
    role: Role
    session_id: str | None = None
    """None where there is no session: without sign-in, or where a proxy vouches for each request."""
    consent_version: str | None = None
    """Of the newest consent text that this person has agreed to."""

    def may(self, permission: Permission) -> bool:
        """Whether the role allows it."""
        return permission in PERMISSIONS[self.role]


class Open(StrEnum):
    """What needs no permission of a role."""

    ANYBODY = "anybody"
    SIGNED_IN = "signed in"
    """Also before the consent text was agreed to."""
    PAGE = "signed in, and agreed"
    """Everybody who may use the page at all."""


Requirement = Permission | Open
