"""What may be a password, and what is kept of one."""

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
    """For one test only: the others are about what a hash costs."""
    yield from cheap_hashes()


def test_what_is_kept_is_argon2id_with_todays_parameters_and_a_salt_of_its_own() -> None:
    one, two = passwords.hash_password(PHRASE, "ada"), passwords.hash_password(PHRASE, "ada")
    parameters = argon2.extract_parameters(one)
    assert parameters == argon2.profiles.RFC_9106_LOW_MEMORY
    assert parameters.type is argon2.Type.ID
    assert one != two
    assert PHRASE not in one


@pytest.mark.usefixtures("cheap")
def test_a_password_is_the_same_however_its_letters_were_put_together() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zwölf Übergrößen") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert passwords.verify(passwords.hash_password(composed, "ada"), decomposed)
    assert passwords.verify(passwords.hash_password(decomposed, "ada"), composed)
    # Full-width letters, as an input method writes them.
    assert passwords.verify(passwords.hash_password("correct horse", "ada"), "ｃｏｒｒｅｃｔ horse")


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("other", [PHRASE.upper(), f"{PHRASE} ", f" {PHRASE}", PHRASE[:-1], "", "\0", "x" * 100_000])
def test_another_password_is_not_the_same(other: str) -> None:
    assert not passwords.verify(passwords.hash_password(PHRASE, "ada"), other)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "has 12 to 1000 characters"),
        ("x1!Y%kö8qwe", "has 12 to 1000 characters"),
        ("four words " * 100, "has 12 to 1000 characters"),
        ("aaaaaaaaaaaaaaaa", "too easy"),
        ("abababababababab", "too easy"),
        ("Ada LovelaceAda Lovelace", "too easy"),
        ("ADA LOVELACE1234", "too easy"),
    ],
)
def test_a_password_that_is_too_short_or_too_easy_is_refused_without_being_repeated(password: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        passwords.hash_password(password, "Ada Lovelace")
    assert not password or password not in str(refused.value)


@pytest.mark.usefixtures("cheap")
def test_the_shortest_and_the_longest_password_are_taken_and_each_character_counts() -> None:
    for password in ("abcdefghijkl", "abcdefghij" * 100):
        kept = passwords.hash_password(password, "ada")
        assert passwords.verify(kept, password)
        assert not passwords.verify(kept, password + "x")
        assert not passwords.verify(kept, password[:-1])


@pytest.mark.usefixtures("cheap")
def test_who_has_no_password_or_a_damaged_hash_is_not_let_in() -> None:
    kept = passwords.hash_password(PHRASE, "ada")
    for stored in (None, "", "!", PHRASE, kept[:-5], kept.replace("argon2id", "argon2x"), kept.rpartition("$")[0]):
        assert not passwords.verify(stored, PHRASE)
        assert not passwords.verify(stored, "")


def test_an_old_hash_is_made_anew_and_a_new_one_is_not() -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PHRASE)
    better = passwords.rehash_if_needed(old, PHRASE)
    assert better is not None
    assert argon2.extract_parameters(better) == argon2.profiles.RFC_9106_LOW_MEMORY
    assert passwords.verify(better, PHRASE)
    assert passwords.rehash_if_needed(better, PHRASE) is None


@given(st.text(st.characters(), max_size=60), st.text(st.characters(), max_size=60))
def test_whatever_is_typed_is_an_answer_and_no_fault(password: str, name: str) -> None:
    with hashing_with(CHEAP):
        try:
            kept = passwords.hash_password(password, name)
        except InputError:
            assert not passwords.verify(None, password)
        else:
            assert passwords.verify(kept, password)
