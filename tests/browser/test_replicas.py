"""Replicas that are taken out or killed during a reply: the page comes back by itself, at the other one."""

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
from browser.browser_context import Watched
from browser.page_probe import asked
from browser.users import Visitor
from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import users
from openai_server import ScriptedServer
from replicas.fleet import Fleet, Person, Replica, eventually

FOLDER = os.environ.get("CHATFEEDBACK_SCREENSHOTS")  # read now: the tests run without such variables


@pytest.fixture(scope="module")
def fleet(postgres_server: Any, model: ScriptedServer) -> Iterator[Fleet]:
    program, name = nginx.wanted(), postgres_server.create_database()
    with (
        TemporaryDirectory(prefix="chatfeedback-replicas-") as folder,
        Fleet(program, Path(folder), postgres_server.url(name), models=[endpoint(model)]) as fleet,
    ):
        yield fleet
    postgres_server.drop_database(name)


@pytest.fixture
def ada(fleet: Fleet, watched: Watched, password_hash: str) -> Visitor:
    """Return an annotator at a browser who has not signed in."""
    watched.server_goes_away()
    watched.harmless.append("Failed to load resource: the server responded with a status of 502")
    user = users.add(fleet.engine, f"ada {new_id()}", "annotator", actor_id=None, password_hash=password_hash)
    return Visitor(fleet, user, watched.context(ignore_https_errors=True))


def replica_of(ada: Visitor, fleet: Fleet) -> Replica:
    return fleet.replica_of(Person(ada.user.annotator_id, ada.cookies()))


def test_page_finishes_its_reply_and_goes_on_at_other_replica_when_its_own_is_taken_out(
    fleet: Fleet, model: ScriptedServer, ada: Visitor
) -> None:
    chat = ada.comes_in()
    chat.ask("one")
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("one", "You said: one", "Count", "one two")
    before = replica_of(ada, fleet)
    fleet.front.take_out(before.port)
    eventually(lambda: replica_of(ada, fleet), lambda now: now is not before)
    script.release()
    chat.expect_texts("one", "You said: one", "Count", "one two three four")
    chat.wait_until_idle()
    chat.prompt.fill("two")
    chat.prompt.press("Enter")
    expect(chat.notice).to_contain_text("check the newest state")
    expect(chat.prompt).to_have_value("two")
    chat.ask("two")
    chat.expect_texts("one", "You said: one", "Count", "one two three four", "two", "You said: two")

    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    expect(chat.replies.last).to_have_text("one two")
    fleet.front.put_back()
    eventually(lambda: replica_of(ada, fleet), lambda now: now is before)
    chat.stop()  # which the one replica is told, while the other one writes
    expect(chat.status).to_have_text("Stopped; the text so far is kept.")
    log = asked("one", "Count", "two", "Count")
    log[log.index("reply_finished 4 complete: You said: Count")] = "reply_finished 4 complete: one two three four"
    log[log.index("reply_finished 8 complete: You said: Count")] = "reply_finished 8 stopped: one two "
    assert fleet.events(chat.conversation_id) == log


def test_page_comes_back_by_itself_when_its_replica_is_killed(
    fleet: Fleet, model: ScriptedServer, ada: Visitor, tmp_path: Path
) -> None:
    chat = ada.comes_in()
    chat.ask("one")
    chat.vote(0, "like")
    chat.expect_thumbs("like")
    model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("one", "You said: one", "Count", "one two")
    conversation_id = chat.conversation_id
    chat.prompt.fill("half a thought")
    eventually(fleet.drafts, lambda drafts: drafts[conversation_id][0] == "one two ")

    replica_of(ada, fleet).kill()

    # The other replica recovers the reply only when its lease has expired.
    ended = "This reply was interrupted; the text so far is kept. Retry asks for another one."
    expect(chat.status).to_have_text(ended, timeout=45_000)
    chat.expect_texts("one", "You said: one", "Count", "one two")
    chat.expect_thumbs("like", "")
    expect(chat.prompt).to_have_value("half a thought")
    assert chat.conversation_id == conversation_id
    ada.page.screenshot(path=Path(FOLDER or tmp_path) / "after-the-death-of-a-replica.png")
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one", "Count", "one two", "half a thought", "You said: half a thought")
    chat.wait_until_idle()

    log = asked("one", "Count", "half a thought")
    log[log.index("reply_finished 4 complete: You said: Count")] = "reply_finished 4 interrupted: one two "
    log.insert(4, "message_rated 2: nothing -> like")
    assert fleet.events(conversation_id) == log


def test_prompt_stays_in_box_and_is_stored_once_when_replica_dies_during_its_request(
    fleet: Fleet, ada: Visitor
) -> None:
    fleet.heal()
    chat = ada.comes_in()
    chat.ask("one")
    chat.wait_until_settled()
    dying = replica_of(ada, fleet)
    dying.freeze()
    chat.prompt.fill("two")
    with chat.page.expect_request(lambda request: "/gradio_api/queue/join" in request.url):
        chat.prompt.press("Enter")
    with chat.page.expect_event("domcontentloaded", timeout=60_000):  # it loads itself again
        dying.kill()
    chat.wait_until_rendered()
    expect(chat.prompt).to_have_value("two")
    chat.expect_texts("one", "You said: one")
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    chat.wait_until_idle()
    assert fleet.events(chat.conversation_id) == asked("one", "two")
