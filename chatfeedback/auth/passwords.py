"""Passwords: policy and hashing.

Hashes are Argon2id (RFC 9106) with the parameters that argon2-cffi recommends; a hash with older parameters is renewed
at the next sign-in. The policy for new passwords follows NIST SP 800-63B-4: a minimum length of 15 characters, no rules
on kinds of characters, any Unicode, normalised, and none that is commonly used or expected. For the last, the guesses
that a password takes are estimated from lists of common passwords, names and words (Wheeler, "zxcvbn: Low-Budget
Password Strength Estimation", USENIX Security 2016).
"""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from chatfeedback.errors import InputError

MIN_CHARS, MAX_CHARS = 15, 1000
"""Length of a new password."""
MIN_GUESSES = 10**8
"""Guesses that a new password must take; with fewer it is too easy to guess (the paper's score 3)."""
_MAX_ESTIMATED = 72
"""First characters of a password that are looked at for the estimate: it takes quadratic time."""

_hasher = PasswordHasher()


@cache
def _dummy_hash() -> str:
    """Return the hash to verify against if a user has none. Hashing is slow: done on first use."""
    return _hasher.hash(secrets.token_bytes(32))


def hash_password(password: str, name: str) -> str:
    """Hash a new password of the user `name`. Raises InputError for one that is too easy to guess."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InputError(f"A password has {MIN_CHARS} to {MAX_CHARS} characters; take a few words that only you would.")
    if not _is_hard_to_guess(password, name):
        raise InputError("This password is too easy to guess; take a few words that only you would.")
    return _hasher.hash(_normalize(password))


def _is_hard_to_guess(password: str, name: str) -> bool:
    from zxcvbn import zxcvbn  # its lists take a tenth of a second to load

    known = ["".join(name.split()), *name.split(), "chatfeedback"]
    letters = "".join(unicodedata.normalize("NFKC", password).split())  # spaces do not make it harder
    return bool(letters) and bool(zxcvbn(letters[:_MAX_ESTIMATED], known)["guesses"] >= MIN_GUESSES)


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
