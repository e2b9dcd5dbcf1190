"""Users: accounts, roles and identities, and at least one admin."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from chatfeedback.errors import Conflict, NotFound
from chatfeedback.store.accounts import annotators, users
from chatfeedback.store.accounts.users import User
from concurrently import together


def add(engine: Engine, name: str, role: users.Role = "annotator") -> User:
    return users.add(engine, name, role, actor_id=None)


def admins(engine: Engine) -> list[str]:
    listed = [listed.user for listed in users.list_all(engine)]
    return [user.name for user in listed if user.role == "admin" and not user.disabled_at]


def test_find_accepts_name_or_id_and_find_by_name_only_name(engine: Engine) -> None:
    ada = add(engine, "ada")
    assert users.find(engine, "ada") == users.find(engine, ada.annotator_id) == ada
    assert users.by_id(engine, ada.annotator_id) == users.find_by_name(engine, "ada") == ada
    for user in (
        users.find_by_name(engine, ada.annotator_id),
        users.by_id(engine, "ada"),
        users.find(engine, "Ada"),
        users.find(engine, ""),
    ):
        assert user is None


def test_find_by_name_returns_user_whose_name_is_id_of_another(engine: Engine) -> None:
    ada = add(engine, "ada", "admin")
    mallory = add(engine, ada.annotator_id)
    assert users.find_by_name(engine, ada.annotator_id) == mallory


def test_add_refuses_existing_name_and_stores_nothing(engine: Engine) -> None:
    add(engine, "ada")
    with pytest.raises(Conflict, match="a user 'ada' already"):
        users.add(engine, "ada", "admin", actor_id=None, password_hash="x", identity=("issuer", "subject"))
    (listed,) = users.list_all(engine)
    assert (listed.user.role, listed.user.password_hash, listed.issuers) == ("annotator", None, ())
    assert users.find_by_identity(engine, "issuer", "subject") is None


def test_add_stores_one_of_concurrent_users_with_same_name(engine: Engine) -> None:
    results = together([lambda: add(engine, "ada")] * 4)
    assert sum(isinstance(one, User) for one in results) == 1
    assert sum(isinstance(one, Conflict) for one in results) == 3
    assert len(users.list_all(engine)) == 1


def test_add_keeps_id_of_existing_annotator(engine: Engine) -> None:
    annotator_id = annotators.ensure(engine, "local")
    assert users.find(engine, "local") is None
    assert add(engine, "local", "admin").annotator_id == annotator_id


def test_identity_belongs_to_one_user(engine: Engine) -> None:
    ada, bob = add(engine, "ada"), add(engine, "bob")
    users.link(engine, "ada", "https://one.example", "17", actor_id=None)
    users.link(engine, "ada", "https://two.example", "17", actor_id=None)
    with pytest.raises(Conflict, match="another user already"):
        users.link(engine, "bob", "https://one.example", "17", actor_id=None)
    users.link(engine, "bob", "https://one.example", "18", actor_id=None)
    for issuer, subject, expected in [
        ("https://one.example", "17", ada),
        ("https://two.example", "17", ada),
        ("https://one.example", "18", bob),
        ("https://two.example", "18", None),
        ("https://one.example/", "17", None),
        ("https://one.example", "17 ", None),
    ]:
        assert users.find_by_identity(engine, issuer, subject) == expected
    assert [listed.issuers for listed in users.list_all(engine)] == [
        ("https://one.example", "https://two.example"),
        ("https://one.example",),
    ]


def test_add_stores_nothing_when_identity_is_taken(engine: Engine) -> None:
    users.add(engine, "ada", "annotator", actor_id=None, identity=("issuer", "17"))
    with pytest.raises(Conflict):
        users.add(engine, "bob", "annotator", actor_id=None, identity=("issuer", "17"))
    assert users.find(engine, "bob") is None
    assert annotators.find(engine, "bob") is None


def test_last_admin_can_be_neither_demoted_nor_disabled(engine: Engine) -> None:
    add(engine, "adam", "admin")
    add(engine, "eve", "admin")
    users.set_disabled(engine, "eve", True, actor_id=None)
    with pytest.raises(Conflict, match="'adam' is the only admin; make another user an admin first"):
        users.set_disabled(engine, "adam", True, actor_id=None)
    for role in ("researcher", "annotator"):
        with pytest.raises(Conflict, match="only admin"):
            users.set_role(engine, "adam", role, actor_id=None)
    assert admins(engine) == ["adam"]
    users.set_role(engine, "eve", "annotator", actor_id=None)  # a disabled admin does not count
    users.set_disabled(engine, "eve", False, actor_id=None)
    users.set_role(engine, "eve", "admin", actor_id=None)
    users.set_role(engine, "adam", "annotator", actor_id=None)
    assert admins(engine) == ["eve"]


@pytest.mark.parametrize("turn", range(5))
def test_last_admin_remains_when_admins_demote_or_disable_each_other(engine: Engine, turn: int) -> None:
    names = [f"admin {number}" for number in range(4)]
    people = [add(engine, name, "admin") for name in names]
    done = together(
        [
            lambda name=name, by=by: (
                users.set_role(engine, name, "researcher", actor_id=by.annotator_id)
                if by is people[turn % 4]
                else users.set_disabled(engine, name, True, actor_id=by.annotator_id)
            )
            for name, by in zip(names, [*people[1:], people[0]], strict=True)
        ]
    )
    assert [type(one) for one in done].count(Conflict) == 1
    assert [one for one in done if one is not None and not isinstance(one, Conflict)] == []
    assert len(admins(engine)) == 1


@pytest.mark.parametrize("name", ["nobody", "", "%", "ADA", "ada "])
def test_changes_raise_not_found_for_name_of_no_user(engine: Engine, name: str) -> None:
    add(engine, "ada")
    annotators.ensure(engine, "nobody")  # an annotator who is no user
    for change in (
        lambda: users.set_role(engine, name, "admin", actor_id=None),
        lambda: users.set_disabled(engine, name, True, actor_id=None),
        lambda: users.set_password(engine, name, "x", actor_id=None),
        lambda: users.link(engine, name, "issuer", "1", actor_id=None),
    ):
        with pytest.raises(NotFound, match="There is no user"):
            change()


def test_rehash_replaces_hash_only_when_it_is_unchanged(engine: Engine) -> None:
    ada = users.add(engine, "ada", "annotator", actor_id=None, password_hash="old")
    users.rehash(engine, ada.annotator_id, "another", "new")
    assert users.find(engine, "ada") == ada
    users.rehash(engine, ada.annotator_id, "old", "new")
    assert users.find(engine, "ada") == ada._replace(password_hash="new")


def test_consent_counts_for_one_user_and_one_version(engine: Engine) -> None:
    ada, bob = add(engine, "ada"), add(engine, "bob")
    for _ in range(2):
        users.consent(engine, ada.annotator_id, "v2")
    assert users.has_consented(engine, ada.annotator_id, "v2")
    assert not users.has_consented(engine, ada.annotator_id, "v1")
    assert not users.has_consented(engine, bob.annotator_id, "v2")
