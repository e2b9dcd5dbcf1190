"""Argon2 with the smallest parameters, for tests that sign people in and are not about how passwords are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import argon2
import pytest

from chatfeedback.auth import passwords

STRONG = passwords._hasher
"""The hasher of passwords outside of tests."""
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@contextmanager
def hashing_with(hasher: argon2.PasswordHasher) -> Iterator[None]:
    """Hash passwords, and the decoy for users without one, with `hasher` to the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", hasher)
        passwords._dummy_hash.cache_clear()
        yield
    passwords._dummy_hash.cache_clear()


def cheap_hashes() -> Iterator[None]:
    """Hash in a fraction of a millisecond. To be the whole of a fixture."""
    with hashing_with(CHEAP):
        yield
