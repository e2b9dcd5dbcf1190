"""Passwords: policy and hashing.

Hashes are Argon2id (RFC 9106) with the parameters that argon2-cffi recommends; a hash with older parameters is renewed
at the next sign-in. The policy follows NIST SP 800-63B: a minimum length, no rules on kinds of characters, any Unicode,
normalised.
"""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from chatfeedback.errors import InputError

MIN_CHARS, MAX_CHARS = 12, 1000
"""Length of a password."""

_hasher = PasswordHasher()


@cache
def _dummy_hash() -> str:
    """Return the hash to verify against if a user has none. Hashing is slow: done on first use."""
    return _hasher.hash(secrets.token_bytes(32))


def hash_password(password: str, name: str) -> str:
    """Hash a new password of the user `name`. Raises InputError for one that is too easy to guess."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InputError(f"A password has {MIN_CHARS} to {MAX_CHARS} characters; take a few words that only you would.")
    without_name = password.casefold().replace(name.casefold(), "")
    if len(set(password)) < 5 or len(without_name) < MIN_CHARS // 2:
        raise InputError("This password is too easy to guess; take a few words that only you would.")
    return _hasher.hash(_normalize(password))


def verify(stored: str | None, password: str) -> bool:
    """Return True if the password matches. Without a stored hash it takes as long, against timing attacks."""
    try:
        _hasher.verify(_dummy_hash() if stored is None else stored, _normalize(password[: MAX_CHARS + 1]))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def rehash_if_needed(stored: str, password: str) -> str | None:
    """Return a hash of the correct password with current parameters; None if the stored one has them."""
    return _hasher.hash(_normalize(password)) if _hasher.check_needs_rehash(stored) else None


def _normalize(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
