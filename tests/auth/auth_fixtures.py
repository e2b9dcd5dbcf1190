"""Passwords and addresses for tests of the sign-in, and the person of a session."""

from __future__ import annotations

from chatfeedback.auth.service import AuthService
from chatfeedback.domain.roles import Person

RIGHT, WRONG = "four words nobody guesses", "four words somebody guessed"
HOME, CAFE = "192.0.2.1", "198.51.100.2"


def person(auth_service: AuthService, token: str) -> Person:
    signed_in = auth_service.person(token)
    assert signed_in is not None
    return signed_in
