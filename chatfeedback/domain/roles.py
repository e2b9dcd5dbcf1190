"""Roles and permissions: three roles, and the permissions of each.

A role is a set of permissions and nothing else; callers check `Person.may`. One table maps paths and page functions to
the permission that they require (`server/authorization/policy.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

Role = Literal["annotator", "researcher", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


class Permission(StrEnum):
    """A permission of a role."""

    CHAT = "chat"
    """Own conversations, and ratings of their replies."""
    SEE_OWN = "see own figures"
    SEE_ALL = "see everybody's figures and conversations"
    EXPORT = "export"
    SEE_NAMES = "see annotators' names"
    """Names instead of pseudonyms, also in exports."""
    ADMINISTER = "administer"
    """Users, erasure and the audit."""


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    "annotator": frozenset({Permission.CHAT, Permission.SEE_OWN}),
    "researcher": frozenset({Permission.SEE_OWN, Permission.SEE_ALL, Permission.EXPORT}),
    "admin": frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Authenticated sender of a request."""

    annotator_id: str
    name: str
    role: Role
    session_id: str | None = None
    """None without a session: without sign-in, or with a proxy that authenticates each request."""
    consent_version: str | None = None
    """Newest consent text that the person has agreed to."""

    def may(self, permission: Permission) -> bool:
        """Return True if the role has the permission."""
        return permission in PERMISSIONS[self.role]


class Open(StrEnum):
    """Requirement that no permission of a role is needed for."""

    PUBLIC = "public"
    SIGNED_IN = "signed in"
    """Also before agreement to the consent text."""
    PAGE = "signed in, and agreed"
    """Every person who may use the page at all."""


Requirement = Permission | Open
"""Requirement of a path or a page function."""
