"""Thumbs: on any reply, taken back, changed, and kept whatever else happens."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from browser.application import Application, HeldCommits, endpoint, eventually
from browser.chat_page import ChatPage
from browser.page_probe import asked, told
from openai_server import ScriptedServer


def test_every_reply_can_be_voted_on_also_an_older_one(chat: ChatPage, application: Application) -> None:
    for prompt in ("one", "two", "three"):
        chat.ask(prompt)
    chat.vote(2, "like")
    chat.thumbs("", "", "like")
    chat.vote(0, "dislike")
    chat.thumbs("dislike", "", "like")
    chat.vote(1, "like")
    chat.thumbs("dislike", "like", "like")
    log = asked("one", "two", "three")
    log += ["message_rated 6: nothing -> like", "message_rated 2: nothing -> dislike"]
    application.assert_log(chat.page, chat.conversation_id, [*log, "message_rated 4: nothing -> like"])


@pytest.mark.talked("one")
def test_a_vote_can_be_changed_and_a_second_click_takes_it_back(chat: ChatPage, application: Application) -> None:
    chat.vote(0, "like")
    chat.thumbs("like")
    chat.vote(0, "dislike")
    chat.thumbs("dislike")
    chat.vote(0, "dislike")
    chat.thumbs("")
    chat.vote(0, "like")
    chat.thumbs("like")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one"),
            "message_rated 2: nothing -> like",
            "message_rated 2: like -> dislike",
            "rating_cleared 2: dislike -> nothing",
            "message_rated 2: nothing -> like",
        ],
    )


@pytest.mark.talked("one", "two")
def test_votes_survive_a_new_message_an_edit_a_reload_and_reopening(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    chat.vote(0, "like")
    chat.vote(1, "dislike")
    chat.thumbs("like", "dislike")
    script = model.reply("a long answer", hold_after=1)
    chat.send("three")
    assert script.reached.wait(10)
    chat.shows("one", "You said: one", "two", "You said: two", "three", "a lo")
    chat.thumbs("like", "dislike", "")
    script.release()
    chat.idle()
    chat.thumbs("like", "dislike", "")
    chat.edit(4, "four")
    chat.shows("one", "You said: one", "two", "You said: two", "four", "You said: four")
    chat.thumbs("like", "dislike", "")
    chat.idle()
    chat.reload()
    chat.thumbs("like", "dislike", "")
    chat.clear()
    chat.listed.first.click()
    chat.shows("one", "You said: one", "two", "You said: two", "four", "You said: four")
    chat.thumbs("like", "dislike", "")


@pytest.mark.talked("one")
def test_a_vote_while_a_reply_streams_breaks_neither(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("a long answer", hold_after=(1, 2))
    chat.send("two")
    chat.shows("one", "You said: one", "two", "a lo")
    chat.vote(0, "like")
    chat.vote(1, "dislike")
    chat.thumbs("like", "dislike")
    script.release()
    chat.shows("one", "You said: one", "two", "a long a")
    chat.thumbs("like", "dislike")
    script.release()
    chat.idle()
    chat.shows("one", "You said: one", "two", "a long answer")
    chat.thumbs("like", "dislike")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one"),
            "message_sent 3 after 2: two",
            "reply_started 4 after 3, parrot told 1 2 3",
            "message_rated 2: nothing -> like",
            "message_rated 4: nothing -> dislike",
            "reply_finished 4 complete: a long answer",
        ],
    )


@pytest.mark.talked("one", "two")
def test_a_vote_lands_on_the_reply_that_was_seen_when_retry_draws_another_one_meanwhile(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    chat.settled()
    held: list[Route] = []
    chat.page.route("**/queue/data?*", lambda route: held.append(route))  # no painting comes
    script = model.reply("You said: two, differently", hold_after=1)
    chat.press("Retry")
    assert script.reached.wait(10)
    chat.vote(1, "dislike")
    eventually(
        lambda: application.conversation(chat.conversation_id).ratings,
        bool,
        chat.page,
    )
    ((rated, _who),) = application.conversation(chat.conversation_id).ratings
    assert application.conversation(chat.conversation_id).messages[rated].text == "You said: two"
    script.release()
    chat.page.unroute("**/queue/data?*")
    chat.idle()


def test_ten_clicks_before_the_first_is_stored_are_all_in_the_log_in_order(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer, held_commits: HeldCommits
) -> None:
    application = serve(models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    for prompt in ("one", "two", "three"):
        chat.ask(prompt)
    clicks = [
        *((0, "like"), (1, "dislike"), (2, "like"), (0, "dislike"), (1, "dislike")),
        *((2, "dislike"), (0, "dislike"), (1, "like"), (2, "dislike"), (0, "like")),
    ]
    with held_commits.held():
        for reply, value in clicks:
            # The server takes a click up, and that is all that it does so far.
            with chat.page.expect_response(re.compile("/queue/join")):
                chat.vote(reply, value)
        assert told(application.events(chat.conversation_id)) == asked("one", "two", "three")
    wanted = ["like", "like", ""]
    log = asked("one", "two", "three")
    lines = eventually(
        lambda: told(application.events(chat.conversation_id)),
        lambda lines: len(lines) >= len(log) + 10,
        chat.page,
    )
    assert lines == [
        *log,
        "message_rated 2: nothing -> like",
        "message_rated 4: nothing -> dislike",
        "message_rated 6: nothing -> like",
        "message_rated 2: like -> dislike",
        "rating_cleared 4: dislike -> nothing",
        "message_rated 6: like -> dislike",
        "rating_cleared 2: dislike -> nothing",
        "message_rated 4: nothing -> like",
        "rating_cleared 6: dislike -> nothing",
        "message_rated 2: nothing -> like",
    ]
    expect(chat.quote).to_contain_text("You said: one")  # the last click has painted its answer
    chat.thumbs(*wanted)
    chat.reload()
    chat.thumbs(*wanted)


def test_a_vote_on_an_edit_that_is_still_being_stored_is_one_on_the_edit(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer, slow_commits: None
) -> None:
    application = serve(models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    chat.ask("one")
    chat.edit(1, "What I would have said")
    chat.shows("one", "What I would have said")
    chat.vote(0, "like")
    expect(chat.quote).to_have_text(re.compile("You like What I would have said"))
    chat.thumbs("like")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one"),
            "message_edited 3 after 1 instead of 2 as assistant: What I would have said",
            "message_rated 3: nothing -> like",
        ],
    )


def test_a_slow_vote_does_not_paint_the_conversation_that_was_opened_meanwhile(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer, slow_commits: None
) -> None:
    application = serve(models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    chat.ask("one")
    first = chat.conversation_id
    chat.clear()
    chat.ask("two")
    chat.vote(0, "like")
    chat.page.locator(f'#conversations [data-conversation="{first}"]').click()
    chat.shows("one", "You said: one")
    (_, second) = application.conversation_ids()
    application.assert_log(chat.page, second, [*asked("two"), "message_rated 2: nothing -> like"])
    # A later click is answered: whatever the vote painted is on the screen by now.
    chat.select(0)
    expect(chat.quote).to_contain_text("Feedback on You said: one")
    chat.thumbs("")
    application.assert_log(chat.page, first, [*asked("one"), "conversation_cleared"])


def test_the_panel_of_a_reply_that_is_being_written_says_so(chat: ChatPage, model: ScriptedServer) -> None:
    script = model.reply("one two", hold_after=1)
    chat.prompt.fill("Count")
    chat.prompt.press("Enter")
    chat.shows("Count", "one")
    chat.vote(0, "like")
    expect(chat.quote).to_have_text("You like the reply that is being written")
    script.release()
    chat.idle()
    chat.shows("Count", "one two")
