"""Each change of people and each sign-in is in the audit: with ids, and without a word that anybody said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from chatfeedback.errors import Conflict
from chatfeedback.store.accounts import audit, sessions, users
from chatfeedback.store.accounts.sessions import Sessions

NAME, HASH, SUBJECT = "Ada Lovelace", "a hash of a password", "subject-of-ada"


def told(engine: Engine) -> list[tuple[object, ...]]:
    return [
        (entry.action, entry.actor_id, entry.subject_id, entry.detail)
        for entry in reversed(audit.latest(engine, limit=1000))
    ]


def test_whatever_is_done_to_people_is_recorded_with_who_did_it(engine: Engine) -> None:
    eve = users.add(engine, "eve", "admin", actor_id=None).annotator_id
    ada = users.add(
        engine, NAME, "annotator", actor_id=eve, password_hash=HASH, identity=("https://one.example", SUBJECT)
    ).annotator_id
    kept = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    tokens = [kept.begin(ada, method) for method in ("password", "oidc")]
    found = kept.person(tokens[0], None)
    assert found is not None
    assert found[0].session_id is not None
    kept.end(found[0].session_id)
    users.consent(engine, ada, "v1")
    users.consent(engine, ada, "v1")  # nothing new
    users.set_role(engine, NAME, "researcher", actor_id=eve)
    users.set_role(engine, NAME, "researcher", actor_id=eve)  # nothing new
    users.set_password(engine, NAME, f"{HASH}, another", actor_id=ada)
    kept.begin(ada, "password")
    assert sessions.end_all(engine, ada, actor_id=eve) == 1
    users.set_disabled(engine, NAME, True, actor_id=eve)
    users.set_disabled(engine, NAME, True, actor_id=eve)  # nothing new
    users.set_disabled(engine, NAME, False, actor_id=None)
    users.link(engine, NAME, "https://two.example", SUBJECT, actor_id=eve)
    assert told(engine) == [
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


def test_a_change_that_is_refused_leaves_no_entry(engine: Engine) -> None:
    users.add(engine, "eve", "admin", actor_id=None)
    before = told(engine)
    for refused in (
        lambda: users.add(engine, "eve", "admin", actor_id=None),
        lambda: users.set_role(engine, "eve", "annotator", actor_id=None),
        lambda: users.set_disabled(engine, "eve", True, actor_id=None),
    ):
        with pytest.raises(Conflict):
            refused()
    assert told(engine) == before


def test_the_newest_entries_come_first_and_page_by_page(engine: Engine) -> None:
    for number in range(7):
        users.add(engine, f"user {number}", "annotator", actor_id=None)
    newest = audit.latest(engine, limit=3)
    following = audit.latest(engine, limit=3, before=newest[-1].position)
    last = audit.latest(engine, limit=3, before=following[-1].position)
    seen = [*newest, *following, *last]
    assert [len(page) for page in (newest, following, last)] == [3, 3, 1]
    assert [entry.position for entry in seen] == sorted((entry.position for entry in seen), reverse=True)
    assert seen == audit.latest(engine, limit=10)
