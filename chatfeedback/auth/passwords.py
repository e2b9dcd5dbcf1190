"""Passwords: what they must be like, and how they are kept.

Argon2id (RFC 9106) with the parameters that argon2-cffi recommends; a hash of older parameters is made anew at the
next sign-in. What may be a password follows NIST SP 800-63B: length counts, nothing is said about kinds of characters,
any Unicode is taken, normalised.
"""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from chatfeedback.errors import InputError

SHORTEST, LONGEST = 12, 1000
"""Characters."""

_hasher = PasswordHasher()


@cache
def _nobodys() -> str:
    """The hash that stands for that of somebody who has none. It takes its time: made when it is wanted first."""
    return _hasher.hash(secrets.token_bytes(32))


def hashed(password: str, name: str) -> str:
    """The hash of a new password for the user `name`. Raises InputError for one that is too easy to guess."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InputError(f"A password has {SHORTEST} to {LONGEST} characters; take a few words that only you would.")
    without_name = password.casefold().replace(name.casefold(), "")
    if len(set(password)) < 5 or len(without_name) < SHORTEST // 2:
        raise InputError("This password is too easy to guess; take a few words that only you would.")
    return _hasher.hash(_normal(password))


def verified(stored: str | None, password: str) -> bool:
    """Whether this is the password. Takes as long for somebody who has none."""
    try:
        _hasher.verify(_nobodys() if stored is None else stored, _normal(password[: LONGEST + 1]))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def rehash_if_needed(stored: str, password: str) -> str | None:
    """A hash with today's parameters of a password that was right, None when the stored one has them."""
    return _hasher.hash(_normal(password)) if _hasher.check_needs_rehash(stored) else None


def _normal(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
