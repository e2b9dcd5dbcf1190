"""What one says at the door, and who one is then."""

from __future__ import annotations

from chatfeedback.auth.service import AuthService
from chatfeedback.domain.roles import Person

RIGHT, WRONG = "four words nobody guesses", "four words somebody guessed"
HOME, CAFE = "192.0.2.1", "198.51.100.2"


def person(auth_service: AuthService, token: str) -> Person:
    found = auth_service.person(token)
    assert found is not None
    return found
