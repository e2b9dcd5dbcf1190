"""A person whose replica is killed while it writes to her: the page comes back by itself, at the other one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from playwright.sync_api import expect

import nginx
from browser.application import endpoint
from browser.people import Visitor
from browser.telling import asked
from browser.watched import Watched
from chatfeedback.store import users
from openai_server import ScriptedServer
from replicas.fleet import Fleet, Person, eventually

FOLDER = os.environ.get("CHATFEEDBACK_SCREENSHOTS")  # read now: the tests run without such variables


@pytest.fixture
def fleet(postgres_server: Any, model: ScriptedServer) -> Iterator[Fleet]:
    program, name = nginx.wanted(), postgres_server.create_database()
    with (
        TemporaryDirectory(prefix="chatfeedback-replicas-") as folder,
        Fleet(program, Path(folder), postgres_server.url(name), models=[endpoint(model)]) as fleet,
    ):
        yield fleet
    postgres_server.drop_database(name)


def test_a_page_whose_replica_is_killed_comes_back_by_itself_and_goes_on(
    fleet: Fleet, model: ScriptedServer, watched: Watched, password_hash: str, tmp_path: Path
) -> None:
    watched.server_goes_away()
    ada = users.add(fleet.engine, "ada", "annotator", actor_id=None, password_hash=password_hash)
    visitor = Visitor(fleet, ada, watched.context(ignore_https_errors=True))
    chat = visitor.comes_in()
    chat.ask("one")
    chat.vote(0, "like")
    chat.thumbs("like")
    model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("one", "You said: one", "Count", "one two")
    conversation_id = chat.conversation_id
    chat.prompt.fill("half a thought")
    eventually(fleet.drafts, lambda drafts: drafts[conversation_id][0] == "one two ")

    dying = fleet.replica_of(Person(ada.annotator_id, visitor.cookies()))
    dying.kill()

    # At first the other replica does not know that nobody writes this reply any more.
    ended = "This reply was interrupted; the text so far is kept. Retry asks for another one."
    expect(chat.status).to_have_text(ended, timeout=45_000)
    chat.shows("one", "You said: one", "Count", "one two")
    chat.thumbs("like", "")
    expect(chat.prompt).to_have_value("half a thought")
    assert chat.conversation_id == conversation_id
    visitor.page.screenshot(path=Path(FOLDER or tmp_path) / "after-the-death-of-a-replica.png")
    chat.prompt.press("Enter")
    chat.shows("one", "You said: one", "Count", "one two", "half a thought", "You said: half a thought")
    chat.idle()

    log = asked("one", "Count", "half a thought")
    log[log.index("reply_finished 4 complete: You said: Count")] = "reply_finished 4 interrupted: one two "
    log.insert(4, "message_rated 2: nothing -> like")
    assert fleet.events(conversation_id) == log
