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


def test_person_from_proxy_accepts_names_of_known_users_only(auth_service: AuthService, engine: Engine) -> None:
    rita = users.add(engine, "rita", "researcher", actor_id=None)
    assert auth_service.person_from_proxy("rita") == Person(rita.annotator_id, "rita", "researcher")
    for unknown in ("nobody", "RITA", rita.annotator_id):
        with pytest.raises(NotAllowed, match="no account here yet"):
            auth_service.person_from_proxy(unknown)
    users.set_disabled(engine, "rita", True, actor_id=None)
    with pytest.raises(NotAllowed, match="disabled"):
        auth_service.person_from_proxy("rita")


@pytest.mark.parametrize("name", ["x" * 201, "ri\x85ta", "ri\nta", "\u202eatir"])
def test_person_from_proxy_refuses_invalid_name_and_creates_no_user(engine: Engine, name: str) -> None:
    auth_service = AuthService(engine, sign_up=True)
    with pytest.raises(NotAllowed, match="cannot be one"):
        auth_service.person_from_proxy(name)
    assert users.list_all(engine) == []


def test_person_from_proxy_creates_annotator_once_with_sign_up(engine: Engine) -> None:
    auth_service = AuthService(engine, sign_up=True)
    grace = auth_service.person_from_proxy("grace")
    assert (grace.role, auth_service.person_from_proxy("grace")) == ("annotator", grace)


def test_sign_up_adds_number_to_taken_name_and_creates_another_user(engine: Engine, ada: User) -> None:
    local = annotators.ensure(engine, "local")
    auth_service = AuthService(engine, sign_up=True)
    for subject, name, expected in [
        ("1", "ada", "ada (2)"),
        ("2", "ada", "ada (3)"),
        ("1", "another name", "ada (2)"),
        ("3", "local", "local (2)"),
    ]:
        signed_in = person(auth_service, auth_service.sign_in_with("https://one.example", subject, name))
        assert (signed_in.name, signed_in.role) == (expected, "annotator")
        assert signed_in.annotator_id not in (ada.annotator_id, local)


def test_sign_up_creates_one_user_for_concurrent_first_visits(engine: Engine) -> None:
    auth_service = AuthService(engine, sign_up=True)
    tokens = together([lambda: auth_service.sign_in_with("https://one.example", "17", "grace")] * 4)
    assert {person(auth_service, token).name for token in tokens} == {"grace"}


def test_sign_in_with_accepts_only_linked_subject_without_sign_up(
    auth_service: AuthService, engine: Engine, ada: User
) -> None:
    users.link(engine, "ada", "https://one.example", "17", actor_id=None)
    assert person(auth_service, auth_service.sign_in_with("https://one.example", "17", "whatever")).name == "ada"
    for issuer, subject in [("https://two.example", "17"), ("https://one.example", "18"), ("proxy", "17")]:
        with pytest.raises(NotAllowed):
            auth_service.sign_in_with(issuer, subject, "somebody")


def test_sign_in_with_ignores_name_at_provider(auth_service: AuthService, ada: User) -> None:
    with pytest.raises(NotAllowed, match="no account here yet"):
        auth_service.sign_in_with("https://one.example", "99", "ada")


# Consent


def test_consent_is_recorded_for_current_version_only(engine: Engine, ada: User) -> None:
    auth_service = AuthService(engine, consent_version="v2")
    token = auth_service.sign_in("ada", RIGHT, HOME)
    assert person(auth_service, token).consent_version is None
    with pytest.raises(Conflict, match="changed meanwhile"):
        auth_service.consent(person(auth_service, token), "v1")
    assert person(auth_service, token).consent_version is None
    auth_service.consent(person(auth_service, token), "v2")
    assert person(auth_service, token).consent_version == "v2"
    assert person(AuthService(engine, consent_version="v3"), token).consent_version is None


def test_local_person_is_admin_and_must_consent(engine: Engine) -> None:
    auth_service = AuthService(engine, consent_version="v2")
    local = auth_service.local("me")
    assert (local().role, local().session_id, local().consent_version) == ("admin", None, None)
    auth_service.consent(local(), "v2")
    assert local().consent_version == "v2"
    assert AuthService(engine, consent_version="v2").local("me")().consent_version == "v2"
