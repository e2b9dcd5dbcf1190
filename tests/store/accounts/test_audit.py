"""Audit: each change of accounts and each sign-in, with ids and without names or secrets."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from chatfeedback.errors import Conflict
from chatfeedback.store.accounts import audit, sessions, users
from chatfeedback.store.accounts.sessions import Sessions

NAME, HASH, SUBJECT = "Ada Lovelace", "a hash of a password", "subject-of-ada"


def entries(engine: Engine) -> list[tuple[object, ...]]:
    return [
        (entry.action, entry.actor_id, entry.subject_id, entry.detail)
        for entry in reversed(audit.latest(engine, limit=1000))
    ]


def test_audit_records_changes_of_accounts_with_actor_and_without_secrets(engine: Engine) -> None:
    eve = users.add(engine, "eve", "admin", actor_id=None).annotator_id
    ada = users.add(
        engine, NAME, "annotator", actor_id=eve, password_hash=HASH, identity=("https://one.example", SUBJECT)
    ).annotator_id
    session_store = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    tokens = [session_store.begin(ada, method) for method in ("password", "oidc")]
    result = session_store.person(tokens[0], None)
    assert result is not None
    assert result[0].session_id is not None
    session_store.end(result[0].session_id)
    users.consent(engine, ada, "v1")
    users.consent(engine, ada, "v1")  # nothing new
    users.set_role(engine, NAME, "researcher", actor_id=eve)
    users.set_role(engine, NAME, "researcher", actor_id=eve)  # nothing new
    users.set_password(engine, NAME, f"{HASH}, another", actor_id=ada)
    session_store.begin(ada, "password")
    assert sessions.end_all(engine, ada, actor_id=eve) == 1
    users.set_disabled(engine, NAME, True, actor_id=eve)
    users.set_disabled(engine, NAME, True, actor_id=eve)  # nothing new
    users.set_disabled(engine, NAME, False, actor_id=None)
    users.link(engine, NAME, "https://two.example", SUBJECT, actor_id=eve)
    assert entries(engine) == [
        ("user_added", None, eve, {"role": "admin"}),
        ("user_added", eve, ada, {"role": "annotator"}),
        ("identity_linked", eve, ada, {"issuer": "https://one.example"}),
        ("signed_in", ada, None, {"method": "password"}),
        ("signed_in", ada, None, {"method": "oidc"}),
        ("signed_out", ada, None, {}),
        ("consented", ada, None, {"version": "v1"}),
        ("role_changed", eve, ada, {"before": "annotator", "after": "researcher"}),
        ("password_changed", ada, ada, {}),
        ("signed_in", ada, None, {"method": "password"}),
        ("sessions_ended", eve, ada, {"sessions": 1}),
        ("user_disabled", eve, ada, {}),
        ("user_enabled", None, ada, {}),
        ("identity_linked", eve, ada, {"issuer": "https://two.example"}),
    ]
    everything = repr(audit.latest(engine, limit=1000))
    for secret in (NAME, "eve", HASH, SUBJECT, *tokens):
        assert secret not in everything


def test_audit_has_no_entry_of_refused_change(engine: Engine) -> None:
    users.add(engine, "eve", "admin", actor_id=None)
    before = entries(engine)
    for refused in (
        lambda: users.add(engine, "eve", "admin", actor_id=None),
        lambda: users.set_role(engine, "eve", "annotator", actor_id=None),
        lambda: users.set_disabled(engine, "eve", True, actor_id=None),
    ):
        with pytest.raises(Conflict):
            refused()
    assert entries(engine) == before


def test_audit_latest_returns_newest_entries_first_page_by_page(engine: Engine) -> None:
    for number in range(7):
        users.add(engine, f"user {number}", "annotator", actor_id=None)
    newest = audit.latest(engine, limit=3)
    following = audit.latest(engine, limit=3, before=newest[-1].position)
    last = audit.latest(engine, limit=3, before=following[-1].position)
    all_entries = [*newest, *following, *last]
    assert [len(page) for page in (newest, following, last)] == [3, 3, 1]
    assert [entry.position for entry in all_entries] == sorted((entry.position for entry in all_entries), reverse=True)
    assert all_entries == audit.latest(engine, limit=10)
