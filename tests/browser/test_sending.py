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
    """Return an application whose commits take half a second longer."""
    return serve(models=[endpoint(model)])


def begun(prompt: str) -> list[str]:
    """Return the log after this first prompt was sent and its reply has started."""
    return [
        "conversation_started",
        f"message_sent 1 after the start: {prompt}",
        "reply_started 2 after 1, parrot told 1",
    ]


def test_prompt_gets_reply_and_both_are_logged(chat: ChatPage, application: Application) -> None:
    chat.ask("Hello")
    chat.expect_texts("Hello", "You said: Hello")
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


def test_send_button_sends_and_shift_enter_adds_line(chat: ChatPage, application: Application) -> None:
    chat.prompt.press_sequentially("one")
    chat.prompt.press("Shift+Enter")
    chat.prompt.press_sequentially("two")
    chat.send_button.click()
    expect(chat.messages).to_have_count(2)
    chat.wait_until_idle()
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("one\ntwo"), "reply_finished 2 complete: You said: one\ntwo"]
    )


def test_reply_is_painted_repeatedly_but_at_most_five_times_per_second(
    chat: ChatPage, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "tokens_per_second", 100)
    text = " ".join(f"word{number}" for number in range(60))
    model.reply(text, chunk=2)
    chat.page.evaluate(WATCH_LAST_REPLY)
    chat.ask("Count")
    chat.expect_texts("Count", text)
    painted = chat.page.evaluate("window.painted")
    texts = [one["text"] for one in painted]
    assert all(text.startswith(shown.rstrip()) for shown in texts), texts
    assert [len(shown) for shown in texts] == sorted(len(shown) for shown in texts)
    seconds = (painted[-1]["at"] - painted[0]["at"]) / 1000
    assert 4 <= len(texts) <= 5 * seconds + 3


def test_stop_keeps_text_so_far_and_ends_model_call(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    chat.stop()
    assert script.left.wait(10)
    chat.expect_texts("Count", "one two")
    expect(chat.status).to_have_text("Stopped; the text so far is kept.")
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 stopped: one two "])


def test_stop_before_first_word_leaves_empty_reply_that_can_be_retried(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("never", hold_after=0)
    chat.send("Hello")
    assert script.reached.wait(10)
    chat.stop()
    assert script.left.wait(10)
    chat.expect_texts("Hello", "⏹ Stopped before the first word. Press Retry for another reply.")
    model.reply("Here I am")
    chat.press("Retry")
    chat.expect_texts("Hello", "Here I am")
    chat.wait_until_idle()
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


def test_reload_during_reply_attaches_to_it_again(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    chat.reload()
    chat.expect_texts("Count", "one two")
    expect(chat.stop_button).to_be_visible()
    script.release()
    chat.expect_texts("Count", "one two three four")
    chat.wait_until_idle()
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two three four"]
    )


def test_second_tab_attaches_to_running_reply_and_can_stop_it(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    other = ChatPage(context.new_page(), application.address).open(chat.conversation_id)
    other.expect_texts("Count", "one two")
    other.stop()
    for tab in (other, chat):
        expect(tab.status).to_have_text("Stopped; the text so far is kept.")
        tab.expect_texts("Count", "one two")
        tab.wait_until_idle()
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 stopped: one two "])


def test_draft_typed_while_reply_streams_stays_and_can_be_sent_afterwards(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    chat.prompt.press_sequentially("and then?")
    chat.prompt.press("Enter")
    expect(chat.notice).to_have_text(
        "A reply is still being written; wait for it or press Stop."
    )  # before the reply may end
    script.release()
    chat.expect_texts("Count", "one two three four")
    chat.wait_until_idle()
    expect(chat.prompt).to_have_value("and then?")
    chat.prompt.press("Enter")
    chat.expect_texts("Count", "one two three four", "and then?", "You said: and then?")
    chat.wait_until_idle()
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


def test_prompt_sent_before_first_render_is_kept(context: BrowserContext, application: Application) -> None:
    page, held = context.new_page(), list[Route]()
    page.route("**/queue/join?*", lambda route: held.append(route))
    page.goto(application.address)
    chat = ChatPage(page, application.address)
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    page.unroute_all()
    chat.expect_texts("one", "You said: one")
    chat.wait_until_idle()
    chat.ask("two")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    application.assert_log(page, chat.conversation_id, asked("one", "two"))
    expect(chat.listed.first).to_have_text("one")


def test_draft_typed_while_prompt_is_being_sent_stays(context: BrowserContext, slow: Application) -> None:
    chat = ChatPage(context.new_page(), slow.address).open()
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    chat.prompt.fill("two")
    chat.expect_texts("one", "You said: one")
    chat.wait_until_idle()
    expect(chat.prompt).to_have_value("two")
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    expect(chat.prompt).to_have_value("")
    chat.wait_until_idle()
    slow.assert_log(chat.page, chat.conversation_id, asked("one", "two"))


def test_enter_sends_nothing_while_reply_is_written(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two", hold_after=1)
    chat.send("Count")
    chat.prompt.fill("and then?")
    chat.prompt.press("Enter")
    expect(chat.notice).to_have_text("A reply is still being written; wait for it or press Stop.")
    script.release()
    chat.wait_until_idle()
    chat.expect_texts("Count", "one two")
    expect(chat.notice).not_to_be_attached()
    expect(chat.prompt).to_have_value("and then?")
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two"])


def test_prompt_submitted_twice_at_once_is_sent_once(context: BrowserContext, slow: Application) -> None:
    chat = ChatPage(context.new_page(), slow.address).open()
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one")
    chat.wait_until_idle()
    expect(chat.notice).not_to_be_attached()
    slow.assert_log(chat.page, chat.conversation_id, asked("one"))


def test_enter_during_reply_of_another_tab_is_refused_and_draft_is_kept(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    other = ChatPage(context.new_page(), application.address).open(chat.conversation_id)
    other.expect_texts("Count", "one two")
    other.prompt.fill("too early")
    other.prompt.press("Enter")
    expect(other.notice).to_have_text("A reply is still being written; wait for it or press Stop.")
    expect(other.prompt).to_have_value("too early")
    script.release()
    other.expect_texts("Count", "one two three four")
    other.wait_until_idle()
    expect(other.prompt).to_have_value("too early")
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two three four"]
    )


def test_reply_ends_as_left_when_no_page_watches_it(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model)], reply_linger_seconds=0.5)
    script = model.reply("one two three four", hold_after=2)
    chat = ChatPage(context.new_page(), application.address).open()
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    conversation_id = chat.conversation_id
    chat.page.close()
    assert script.left.wait(20)
    again = ChatPage(context.new_page(), application.address)
    application.assert_log(again.page, conversation_id, [*begun("Count"), "reply_finished 2 left: one two "])
    again.open(conversation_id)
    again.expect_texts("Count", "one two")
    expect(again.status).to_have_text(re.compile("ended because no page was open"))
    again.wait_until_idle()
