"""Argon2 with the smallest parameters, for tests that sign people in and are not about how passwords are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import argon2
import pytest

from chatfeedback.access import passwords


@contextmanager
def cheap_hashes() -> Iterator[None]:
    """Hash passwords in a fraction of a millisecond to the end of the block."""
    passwords._nobodys.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield
    passwords._nobodys.cache_clear()
