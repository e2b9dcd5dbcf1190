"""Thumbs on any reply: set, changed, cleared, and kept while the conversation changes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from browser.application import Application, HeldCommits, endpoint, eventually
from browser.chat_page import ChatPage
from browser.page_probe import asked, told
from openai_server import ScriptedServer


def test_thumbs_work_on_every_reply(chat: ChatPage, application: Application) -> None:
    for prompt in ("one", "two", "three"):
        chat.ask(prompt)
    chat.vote(2, "like")
    chat.expect_thumbs("", "", "like")
    chat.vote(0, "dislike")
    chat.expect_thumbs("dislike", "", "like")
    chat.vote(1, "like")
    chat.expect_thumbs("dislike", "like", "like")
    log = asked("one", "two", "three")
    log += ["message_rated 6: nothing -> like", "message_rated 2: nothing -> dislike"]
    application.assert_log(chat.page, chat.conversation_id, [*log, "message_rated 4: nothing -> like"])


@pytest.mark.talked("one")
def test_thumb_can_be_changed_and_second_click_clears_it(chat: ChatPage, application: Application) -> None:
    chat.vote(0, "like")
    chat.expect_thumbs("like")
    chat.vote(0, "dislike")
    chat.expect_thumbs("dislike")
    chat.vote(0, "dislike")
    chat.expect_thumbs("")
    chat.vote(0, "like")
    chat.expect_thumbs("like")
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
def test_thumbs_survive_new_message_edit_reload_and_reopening(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    chat.vote(0, "like")
    chat.vote(1, "dislike")
    chat.expect_thumbs("like", "dislike")
    script = model.reply("a long answer", hold_after=1)
    chat.send("three")
    assert script.reached.wait(10)
    chat.expect_texts("one", "You said: one", "two", "You said: two", "three", "a lo")
    chat.expect_thumbs("like", "dislike", "")
    script.release()
    chat.wait_until_idle()
    chat.expect_thumbs("like", "dislike", "")
    chat.edit(4, "four")
    chat.expect_texts("one", "You said: one", "two", "You said: two", "four", "You said: four")
    chat.expect_thumbs("like", "dislike", "")
    chat.wait_until_idle()
    chat.reload()
    chat.expect_thumbs("like", "dislike", "")
    chat.clear()
    chat.listed.first.click()
    chat.expect_texts("one", "You said: one", "two", "You said: two", "four", "You said: four")
    chat.expect_thumbs("like", "dislike", "")


@pytest.mark.talked("one")
def test_thumbs_work_while_reply_streams(chat: ChatPage, application: Application, model: ScriptedServer) -> None:
    script = model.reply("a long answer", hold_after=(1, 2))
    chat.send("two")
    chat.expect_texts("one", "You said: one", "two", "a lo")
    chat.vote(0, "like")
    chat.vote(1, "dislike")
    chat.expect_thumbs("like", "dislike")
    script.release()
    chat.expect_texts("one", "You said: one", "two", "a long a")
    chat.expect_thumbs("like", "dislike")
    script.release()
    chat.wait_until_idle()
    chat.expect_texts("one", "You said: one", "two", "a long answer")
    chat.expect_thumbs("like", "dislike")
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
def test_thumb_lands_on_rendered_reply_when_retry_replaces_it_meanwhile(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    chat.wait_until_settled()
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
    ((rated, _annotator_id),) = application.conversation(chat.conversation_id).ratings
    assert application.conversation(chat.conversation_id).messages[rated].text == "You said: two"
    script.release()
    chat.page.unroute("**/queue/data?*")
    chat.wait_until_idle()


def test_thumbs_are_all_logged_in_order_when_ten_clicks_precede_first_commit(
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
    expected = ["like", "like", ""]
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
    chat.expect_thumbs(*expected)
    chat.reload()
    chat.expect_thumbs(*expected)


def test_thumb_rates_edited_reply_while_edit_is_still_being_stored(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer, slow_commits: None
) -> None:
    application = serve(models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    chat.ask("one")
    chat.edit(1, "What I would have said")
    chat.expect_texts("one", "What I would have said")
    chat.vote(0, "like")
    expect(chat.quote).to_have_text(re.compile("You like What I would have said"))
    chat.expect_thumbs("like")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one"),
            "message_edited 3 after 1 instead of 2 as assistant: What I would have said",
            "message_rated 3: nothing -> like",
        ],
    )


def test_thumb_stored_late_does_not_paint_conversation_opened_meanwhile(
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
    chat.expect_texts("one", "You said: one")
    (_, second) = application.conversation_ids()
    application.assert_log(chat.page, second, [*asked("two"), "message_rated 2: nothing -> like"])
    # A later click is answered, so the updates of the vote are on the screen by now.
    chat.select(0)
    expect(chat.quote).to_contain_text("Feedback on You said: one")
    chat.expect_thumbs("")
    application.assert_log(chat.page, first, [*asked("one"), "conversation_cleared"])


def test_panel_says_that_its_reply_is_being_written(chat: ChatPage, model: ScriptedServer) -> None:
    script = model.reply("one two", hold_after=1)
    chat.prompt.fill("Count")
    chat.prompt.press("Enter")
    chat.expect_texts("Count", "one")
    chat.vote(0, "like")
    expect(chat.quote).to_have_text("You like the reply that is being written")
    script.release()
    chat.wait_until_idle()
    chat.expect_texts("Count", "one two")
