"""A prompt and its reply: streamed, stopped, watched from other tabs, left alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from browser.application import Application, endpoint
from browser.chat_page import ChatPage
from browser.page_probe import asked
from openai_server import ScriptedServer

WATCH_LAST_REPLY = """() => {
    window.painted = [];
    new MutationObserver(() => {
        const text = [...document.querySelectorAll('#chatbot [data-testid=bot]')].at(-1)?.innerText ?? '';
        if (text && text !== window.painted.at(-1)?.text) window.painted.push({ at: performance.now(), text });
    }).observe(document.querySelector('#chatbot'), { childList: true, subtree: true, characterData: true });
}"""


@pytest.fixture
def slow(serve: Callable[..., Application], model: ScriptedServer, slow_commits: None) -> Application:
    """One whose commits take half a second longer."""
    return serve(models=[endpoint(model)])


def begun(prompt: str) -> list[str]:
    """The log when this first prompt was sent and its reply has started."""
    return [
        "conversation_started",
        f"message_sent 1 after the start: {prompt}",
        "reply_started 2 after 1, parrot told 1",
    ]


def test_a_prompt_gets_a_reply_and_both_are_in_the_log(chat: ChatPage, application: Application) -> None:
    chat.ask("Hello")
    chat.shows("Hello", "You said: Hello")
    expect(chat.prompt).to_have_value("")
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Hello"), "reply_finished 2 complete: You said: Hello"]
    )
    chat.ask("And more")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *begun("Hello"),
            "reply_finished 2 complete: You said: Hello",
            "message_sent 3 after 2: And more",
            "reply_started 4 after 3, parrot told 1 2 3",
            "reply_finished 4 complete: You said: And more",
        ],
    )


def test_the_button_sends_and_shift_enter_makes_a_new_line(chat: ChatPage, application: Application) -> None:
    chat.prompt.press_sequentially("one")
    chat.prompt.press("Shift+Enter")
    chat.prompt.press_sequentially("two")
    chat.send_button.click()
    expect(chat.messages).to_have_count(2)
    chat.idle()
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("one\ntwo"), "reply_finished 2 complete: You said: one\ntwo"]
    )


def test_a_reply_is_painted_again_and_again_but_at_most_five_times_a_second(
    chat: ChatPage, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "tokens_per_second", 100)
    text = " ".join(f"word{number}" for number in range(60))
    model.reply(text, chunk=2)
    chat.page.evaluate(WATCH_LAST_REPLY)
    chat.ask("Count")
    chat.shows("Count", text)
    painted = chat.page.evaluate("window.painted")
    texts = [one["text"] for one in painted]
    assert all(text.startswith(shown.rstrip()) for shown in texts), texts
    assert [len(shown) for shown in texts] == sorted(len(shown) for shown in texts)
    seconds = (painted[-1]["at"] - painted[0]["at"]) / 1000
    assert 4 <= len(texts) <= 5 * seconds + 3


def test_stop_keeps_the_text_so_far_and_ends_the_models_work(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    chat.stop()
    assert script.left.wait(10)
    chat.shows("Count", "one two")
    expect(chat.status).to_have_text("Stopped; the text so far is kept.")
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 stopped: one two "])


def test_stop_before_the_first_word_leaves_an_empty_reply_that_can_be_retried(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("never", hold_after=0)
    chat.send("Hello")
    assert script.reached.wait(10)
    chat.stop()
    assert script.left.wait(10)
    chat.shows("Hello", "⏹ Stopped before the first word. Press Retry for another reply.")
    model.reply("Here I am")
    chat.press("Retry")
    chat.shows("Hello", "Here I am")
    chat.idle()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *begun("Hello"),
            "reply_finished 2 stopped: ",
            "reply_retried 2",
            "reply_started 3 after 1 instead of 2, parrot told 1",
            "reply_finished 3 complete: Here I am",
        ],
    )
    expect(chat.position).not_to_be_visible()


def test_a_reload_in_the_middle_of_a_reply_attaches_to_it_again(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    chat.reload()
    chat.shows("Count", "one two")
    expect(chat.stop_button).to_be_visible()
    script.release()
    chat.shows("Count", "one two three four")
    chat.idle()
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two three four"]
    )


def test_a_second_tab_attaches_to_a_running_reply_and_can_stop_it(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    other = ChatPage(context.new_page(), application.address).open(chat.conversation_id)
    other.shows("Count", "one two")
    other.stop()
    for tab in (other, chat):
        expect(tab.status).to_have_text("Stopped; the text so far is kept.")
        tab.shows("Count", "one two")
        tab.idle()
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 stopped: one two "])


def test_what_is_typed_while_a_reply_streams_stays_and_is_sent_afterwards(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    chat.prompt.press_sequentially("and then?")
    chat.prompt.press("Enter")
    expect(chat.notice).to_have_text(
        "A reply is still being written; wait for it or press Stop."
    )  # before the reply may end
    script.release()
    chat.shows("Count", "one two three four")
    chat.idle()
    expect(chat.prompt).to_have_value("and then?")
    chat.prompt.press("Enter")
    chat.shows("Count", "one two three four", "and then?", "You said: and then?")
    chat.idle()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *begun("Count"),
            "reply_finished 2 complete: one two three four",
            "message_sent 3 after 2: and then?",
            "reply_started 4 after 3, parrot told 1 2 3",
            "reply_finished 4 complete: You said: and then?",
        ],
    )


def test_a_prompt_that_is_sent_before_the_page_has_asked_what_to_draw_stays(
    context: BrowserContext, application: Application
) -> None:
    page, held = context.new_page(), list[Route]()
    page.route("**/queue/join?*", lambda route: held.append(route))
    page.goto(application.address)
    chat = ChatPage(page, application.address)
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    page.unroute_all()
    chat.shows("one", "You said: one")
    chat.idle()
    chat.ask("two")
    chat.shows("one", "You said: one", "two", "You said: two")
    application.assert_log(page, chat.conversation_id, asked("one", "two"))
    expect(chat.listed.first).to_have_text("one")


def test_what_is_typed_while_a_prompt_is_on_its_way_stays(context: BrowserContext, slow: Application) -> None:
    chat = ChatPage(context.new_page(), slow.address).open()
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    chat.prompt.fill("two")
    chat.shows("one", "You said: one")
    chat.idle()
    expect(chat.prompt).to_have_value("two")
    chat.prompt.press("Enter")
    chat.shows("one", "You said: one", "two", "You said: two")
    expect(chat.prompt).to_have_value("")
    chat.idle()
    slow.assert_log(chat.page, chat.conversation_id, asked("one", "two"))


def test_enter_while_a_reply_is_written_sends_nothing(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two", hold_after=1)
    chat.send("Count")
    chat.prompt.fill("and then?")
    chat.prompt.press("Enter")
    expect(chat.notice).to_have_text("A reply is still being written; wait for it or press Stop.")
    script.release()
    chat.idle()
    chat.shows("Count", "one two")
    expect(chat.notice).not_to_be_attached()
    expect(chat.prompt).to_have_value("and then?")
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two"])


def test_a_prompt_that_is_sent_twice_at_once_is_sent_once(context: BrowserContext, slow: Application) -> None:
    chat = ChatPage(context.new_page(), slow.address).open()
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    chat.prompt.press("Enter")
    chat.shows("one", "You said: one")
    chat.idle()
    expect(chat.notice).not_to_be_attached()
    slow.assert_log(chat.page, chat.conversation_id, asked("one"))


def test_enter_during_a_reply_that_another_tab_started_is_refused_and_the_text_kept(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    other = ChatPage(context.new_page(), application.address).open(chat.conversation_id)
    other.shows("Count", "one two")
    other.prompt.fill("too early")
    other.prompt.press("Enter")
    expect(other.notice).to_have_text("A reply is still being written; wait for it or press Stop.")
    expect(other.prompt).to_have_value("too early")
    script.release()
    other.shows("Count", "one two three four")
    other.idle()
    expect(other.prompt).to_have_value("too early")
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two three four"]
    )


def test_a_reply_that_nobody_watches_any_more_ends_as_left(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model)], reply_linger_seconds=0.5)
    script = model.reply("one two three four", hold_after=2)
    chat = ChatPage(context.new_page(), application.address).open()
    chat.send("Count")
    chat.shows("Count", "one two")
    conversation_id = chat.conversation_id
    chat.page.close()
    assert script.left.wait(20)
    again = ChatPage(context.new_page(), application.address)
    application.assert_log(again.page, conversation_id, [*begun("Count"), "reply_finished 2 left: one two "])
    again.open(conversation_id)
    again.shows("Count", "one two")
    expect(again.status).to_have_text(re.compile("ended because no page was open"))
    again.idle()
