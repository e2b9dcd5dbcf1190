"""Sign-in by a proxy or a provider, and consent."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from auth.auth_fixtures import HOME, RIGHT, person
from chatfeedback.auth.service import AuthService
from chatfeedback.domain.roles import Person
from chatfeedback.errors import Conflict, NotAllowed
from chatfeedback.store.accounts import annotators, users
from chatfeedback.store.accounts.users import User
from concurrently import together


def test_a_proxy_names_known_users_and_ids_are_no_names(auth_service: AuthService, engine: Engine) -> None:
    rita = users.add(engine, "rita", "researcher", actor_id=None)
    assert auth_service.person_from_proxy("rita") == Person(rita.annotator_id, "rita", "researcher")
    for unknown in ("nobody", "RITA", rita.annotator_id):
        with pytest.raises(NotAllowed, match="no account here yet"):
            auth_service.person_from_proxy(unknown)
    users.set_disabled(engine, "rita", True, actor_id=None)
    with pytest.raises(NotAllowed, match="disabled"):
        auth_service.person_from_proxy("rita")


@pytest.mark.parametrize("name", ["x" * 201, "ri\x85ta", "ri\nta", "\u202eatir"])
def test_a_name_that_cannot_be_one_is_refused_and_makes_nobody(engine: Engine, name: str) -> None:
    auth_service = AuthService(engine, sign_up=True)
    with pytest.raises(NotAllowed, match="cannot be one"):
        auth_service.person_from_proxy(name)
    assert users.list_all(engine) == []


def test_with_sign_up_whoever_is_vouched_for_becomes_an_annotator_once(engine: Engine) -> None:
    auth_service = AuthService(engine, sign_up=True)
    grace = auth_service.person_from_proxy("grace")
    assert (grace.role, auth_service.person_from_proxy("grace")) == ("annotator", grace)


def test_with_sign_up_a_name_that_is_taken_gets_a_number_and_nothing_of_its_owners(engine: Engine, ada: User) -> None:
    local = annotators.ensure(engine, "local")
    auth_service = AuthService(engine, sign_up=True)
    for subject, name, expected in [
        ("1", "ada", "ada (2)"),
        ("2", "ada", "ada (3)"),
        ("1", "another name", "ada (2)"),
        ("3", "local", "local (2)"),
    ]:
        found = person(auth_service, auth_service.sign_in_with("https://one.example", subject, name))
        assert (found.name, found.role) == (expected, "annotator")
        assert found.annotator_id not in (ada.annotator_id, local)


def test_a_first_visit_in_two_tabs_makes_one_person(engine: Engine) -> None:
    auth_service = AuthService(engine, sign_up=True)
    tokens = together([lambda: auth_service.sign_in_with("https://one.example", "17", "grace")] * 4)
    assert {person(auth_service, token).name for token in tokens} == {"grace"}


def test_without_sign_up_only_who_was_linked_is_let_in(auth_service: AuthService, engine: Engine, ada: User) -> None:
    users.link(engine, "ada", "https://one.example", "17", actor_id=None)
    assert person(auth_service, auth_service.sign_in_with("https://one.example", "17", "whatever")).name == "ada"
    for issuer, subject in [("https://two.example", "17"), ("https://one.example", "18"), ("proxy", "17")]:
        with pytest.raises(NotAllowed):
            auth_service.sign_in_with(issuer, subject, "somebody")


def test_the_name_at_a_provider_proves_nothing(auth_service: AuthService, ada: User) -> None:
    with pytest.raises(NotAllowed, match="no account here yet"):
        auth_service.sign_in_with("https://one.example", "99", "ada")


# Consent


def test_one_agrees_to_the_text_that_is_shown_now_and_to_no_other(engine: Engine, ada: User) -> None:
    auth_service = AuthService(engine, consent_version="v2")
    token = auth_service.sign_in("ada", RIGHT, HOME)
    assert person(auth_service, token).consent_version is None
    with pytest.raises(Conflict, match="changed meanwhile"):
        auth_service.consent(person(auth_service, token), "v1")
    assert person(auth_service, token).consent_version is None
    auth_service.consent(person(auth_service, token), "v2")
    assert person(auth_service, token).consent_version == "v2"
    assert person(AuthService(engine, consent_version="v3"), token).consent_version is None


def test_the_local_person_is_an_admin_and_is_asked_to_agree_too(engine: Engine) -> None:
    auth_service = AuthService(engine, consent_version="v2")
    local = auth_service.local("me")
    assert (local().role, local().session_id, local().consent_version) == ("admin", None, None)
    auth_service.consent(local(), "v2")
    assert local().consent_version == "v2"
    assert AuthService(engine, consent_version="v2").local("me")().consent_version == "v2"
