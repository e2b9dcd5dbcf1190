"""The version of a conversation, as open pages ask for it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from browser.application import Application
from people import NOBODY, Somebody
from talking import StoredTalk
from web.visiting import ON_SQLITE

pytestmark = ON_SQLITE


@pytest.fixture
def talk(application: Application, people: dict[str, Somebody]) -> StoredTalk:
    """A conversation of Ada's."""
    talk = StoredTalk(application.store, people["ada"].annotator_id or "")
    talk.ask("Hello", "Hi.")
    return talk


def test_version_is_told_to_the_owner_and_counts_ratings(
    application: Application, people: dict[str, Somebody], talk: StoredTalk
) -> None:
    address = f"/conversations/{talk.conversation_id}/version"
    before = people["ada"].get(address).json()
    assert before == {"version": application.conversation(talk.conversation_id).version}
    tab = people["ada"].tab()
    reply = list(application.conversation(talk.conversation_id).messages)[-1]
    tab.call("FeedbackHandlers.leave_comment", [f"{talk.conversation_id} {reply}", "good", 1])
    assert people["ada"].get(address).json() == {"version": before["version"] + 1}


@pytest.mark.parametrize(("name", "status"), [(NOBODY, 401), ("bob", 403), ("rita", 403), ("adam", 403)])
def test_version_is_refused_to_anyone_else(
    people: dict[str, Somebody], talk: StoredTalk, name: str, status: int
) -> None:
    answer = people[name].get(f"/conversations/{talk.conversation_id}/version")
    assert answer.status_code == status
    assert "version" not in answer.text


@pytest.mark.parametrize("conversation_id", ["nothing", "%00", "\u2028", "x" * 500])
def test_version_of_an_unknown_conversation_is_not_found(people: dict[str, Somebody], conversation_id: str) -> None:
    assert people["ada"].get(f"/conversations/{conversation_id}/version").status_code == 404


def test_version_does_not_keep_a_session_alive(
    application: Application, people: dict[str, Somebody], talk: StoredTalk
) -> None:
    long_ago = f"UPDATE sessions SET seen_at = seen_at - {int(timedelta(hours=1).total_seconds() * 1e6)}"
    seen = f"SELECT seen_at FROM sessions WHERE annotator_id = '{people['ada'].annotator_id}'"
    with application.engine.begin() as connection:
        connection.execute(text(long_ago))
        before = connection.scalar(text(seen))
    assert people["ada"].get(f"/conversations/{talk.conversation_id}/version").status_code == 200
    with application.engine.connect() as connection:
        assert connection.scalar(text(seen)) == before
    assert people["ada"].get("/config").status_code == 200
    with application.engine.connect() as connection:
        assert connection.scalar(text(seen)) > before
