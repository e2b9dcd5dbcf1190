"""Passwords: which are accepted, and what is kept of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.auth import passwords
from chatfeedback.errors import InputError
from cheap_hashes import CHEAP, cheap_hashes, hashing_with

PHRASE = "four words nobody guesses"


@pytest.fixture
def cheap() -> Iterator[None]:
    """Hash cheaply in one test; the others are about the cost of a hash."""
    yield from cheap_hashes()


def test_hash_password_uses_argon2id_with_current_parameters_and_own_salt() -> None:
    one, two = passwords.hash_password(PHRASE, "ada"), passwords.hash_password(PHRASE, "ada")
    parameters = argon2.extract_parameters(one)
    assert parameters == argon2.profiles.RFC_9106_LOW_MEMORY
    assert parameters.type is argon2.Type.ID
    assert one != two
    assert PHRASE not in one


@pytest.mark.usefixtures("cheap")
def test_verify_ignores_unicode_composition() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zwölf Übergrößen") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert passwords.verify(passwords.hash_password(composed, "ada"), decomposed)
    assert passwords.verify(passwords.hash_password(decomposed, "ada"), composed)
    # Full-width letters, as an input method writes them.
    assert passwords.verify(passwords.hash_password("correct horse door", "ada"), "ｃｏｒｒｅｃｔ horse door")


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("other", [PHRASE.upper(), f"{PHRASE} ", f" {PHRASE}", PHRASE[:-1], "", "\0", "x" * 100_000])
def test_verify_refuses_another_password(other: str) -> None:
    assert not passwords.verify(passwords.hash_password(PHRASE, "ada"), other)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "has 15 to 1000 characters"),
        ("x1!Y%kö8qwe7Ü?", "has 15 to 1000 characters"),
        ("four words " * 100, "has 15 to 1000 characters"),
        ("aaaaaaaaaaaaaaaa", "too easy"),
        ("123456789012345", "too easy"),
        ("password12345678", "too easy"),
        ("Password123456!", "too easy"),
        ("P@ssw0rdP@ssw0rd", "too easy"),
        ("qwertyuiopasdfghjkl", "too easy"),
        ("iloveyou iloveyou", "too easy"),
        ("1 2 3 4 5 6 7 8", "too easy"),
        ("１２３４５６７８９０１２３４５", "too easy"),
        (" " * 20, "too easy"),
        ("chatfeedback2026", "too easy"),
        ("lovelace19900101", "too easy"),
        ("a" * 1000, "too easy"),
        ("abababababababab", "too easy"),
        ("Ada LovelaceAda Lovelace", "too easy"),
        ("ADA LOVELACE1234", "too easy"),
    ],
)
def test_hash_password_refuses_wrong_length_and_easy_password_without_repeating_it(password: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        passwords.hash_password(password, "Ada Lovelace")
    assert not password or password not in str(refused.value)


@pytest.mark.usefixtures("cheap")
def test_hash_password_accepts_shortest_and_longest_and_counts_each_character() -> None:
    for password in ("wpk rz5 hqv tum", f"{PHRASE} ".ljust(1000, "x")):
        kept = passwords.hash_password(password, "ada")
        assert passwords.verify(kept, password)
        assert not passwords.verify(kept, password + "x")
        assert not passwords.verify(kept, password[:-1])


@pytest.mark.usefixtures("cheap")
def test_verify_refuses_missing_and_damaged_hashes() -> None:
    kept = passwords.hash_password(PHRASE, "ada")
    for stored in (None, "", "!", PHRASE, kept[:-5], kept.replace("argon2id", "argon2x"), kept.rpartition("$")[0]):
        assert not passwords.verify(stored, PHRASE)
        assert not passwords.verify(stored, "")


def test_rehash_if_needed_renews_old_hash_only() -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PHRASE)
    better = passwords.rehash_if_needed(old, PHRASE)
    assert better is not None
    assert argon2.extract_parameters(better) == argon2.profiles.RFC_9106_LOW_MEMORY
    assert passwords.verify(better, PHRASE)
    assert passwords.rehash_if_needed(better, PHRASE) is None


@given(st.text(st.characters(), max_size=60), st.text(st.characters(), max_size=60))
def test_hash_password_and_verify_handle_any_text(password: str, name: str) -> None:
    with hashing_with(CHEAP):
        try:
            kept = passwords.hash_password(password, name)
        except InputError:
            assert not passwords.verify(None, password)
        else:
            assert passwords.verify(kept, password)
