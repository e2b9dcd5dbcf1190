"""Faults of models, handlers and the store: one sentence in the chat, no typed text is lost, and Retry works."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.application import Application, endpoint
from browser.chat_page import ChatPage
from browser.page_probe import asked
from chatfeedback.services.chat import ChatService
from chatfeedback.services.feedback import FeedbackService
from chatfeedback.store.database import engine
from chatfeedback.ui.gradio_internals import FAULT
from log_assertions import faults
from openai_server import ScriptedServer, delta

LONGEST = 50
MAX_REPLY_CHARS = 100


@pytest.fixture(scope="module")
def application(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    models = [endpoint(model, attempts=2, max_reply_chars=MAX_REPLY_CHARS)]
    with Application(new_sqlite(), models=models, max_message_chars=LONGEST).running() as application:
        yield application


NOTHING = "There is nothing to send: type a message first."
UNFIT = {
    "": NOTHING,
    "x" * (LONGEST + 1): "This message has 51 characters; at most 50 are allowed. Shorten it and send again.",
    "  \n ": NOTHING,
    "y" * (LONGEST + 2): "This message has 52 characters; at most 50 are allowed. Shorten it and send again.",
    "\x07\x1b\x7f": NOTHING,
}
"""Prompts that cannot be sent, each with the sentence that says why; no two in a row have the same."""


def test_prompt_that_cannot_be_sent_is_refused_and_kept(chat: ChatPage, application: Application) -> None:
    before = application.conversation_ids()
    for text, sentence in UNFIT.items():
        chat.prompt.fill(text)
        chat.prompt.press("Enter")
        expect(chat.notice).to_have_text(sentence)
        expect(chat.prompt).to_have_value(text)
    assert application.conversation_ids() == before
    chat.ask("x" * LONGEST)
    expect(chat.notice).not_to_be_visible()
    application.assert_log(chat.page, chat.conversation_id, asked("x" * LONGEST))


def unknown_model(model: ScriptedServer) -> str:
    model.fail(404, {"error": {"message": "no such thing", "code": "model_not_found"}})
    return (
        f"The endpoint {model.url} does not know the model 'parrot'; check its name, and that the address is right "
        "(most end in /v1)."
    )


def refused_key(model: ScriptedServer) -> str:
    model.fail(401, {"error": {"message": "invalid api key sk-12345678"}})
    return f"The model 'parrot' at {model.url} wants a key; give it one with api_key_env."


def too_many_requests(model: ScriptedServer) -> str:
    model.fail(429, {"error": {"message": "slow down"}}, retry_after="60")
    return (
        f"The model 'parrot' at {model.url} takes no more requests, or its quota is used up; try again in 60 seconds."
    )


def html_page_instead(model: ScriptedServer) -> str:
    for _ in range(2):
        model.fail(500, "<html><body><h1>Internal Server Error</h1></body></html>")
    return f"The model 'parrot' at {model.url} failed with HTTP status 500; try Retry."


def empty_reply(model: ScriptedServer) -> str:
    model.reply("")
    return "The model sent an empty reply; try Retry."


def without_address(sentence: str, model: ScriptedServer) -> str:
    """Return the sentence as an annotator reads it."""
    return sentence.replace(f" at {model.url}", "").replace(model.url, "…")


def test_model_fault_is_explained_and_recorded_and_retry_works(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    for fault in (unknown_model, refused_key, too_many_requests, html_page_instead, empty_reply):
        _fails_and_goes_on(chat, application, model, fault(model))
        chat.clear()


def _fails_and_goes_on(chat: ChatPage, application: Application, model: ScriptedServer, sentence: str) -> None:
    chat.ask("Hello")
    chat.expect_texts("Hello", f"⚠️ {without_address(sentence, model)}")
    log = [*asked("Hello")[:-1], f"reply_finished 2 failed ({sentence}): "]
    application.assert_log(chat.page, chat.conversation_id, log)
    for button in ("Like", "Dislike", "Edit"):
        expect(chat.buttons(-1).get_by_role("button", name=button, exact=True)).not_to_be_visible()
    chat.press("Retry")
    chat.expect_texts("Hello", "You said: Hello")
    chat.wait_until_idle()
    log += ["reply_retried 2", "reply_started 3 after 1 instead of 2, parrot told 1"]
    log += ["reply_finished 3 complete: You said: Hello"]
    application.assert_log(chat.page, chat.conversation_id, log)
    chat.ask("More")
    assert [message["content"] for message in model.requests[-1]["messages"][1:]] == [
        "Hello",
        "You said: Hello",
        "More",
    ]


def test_reply_fails_when_model_does_not_begin_to_answer(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model, first_token_seconds=1.5)])
    chat = ChatPage(context.new_page(), application.address).open()
    model.hang()
    chat.ask("Hello")
    sentence = (
        f"The model 'parrot' at {model.url} did not begin to answer in 1.5 seconds; try Retry, or allow more with "
        "first_token_seconds."
    )
    chat.expect_texts("Hello", f"⚠️ {without_address(sentence, model)}")
    log = [*asked("Hello")[:-1], f"reply_finished 2 failed ({sentence}): "]
    application.assert_log(chat.page, chat.conversation_id, log)
    chat.press("Retry")
    chat.expect_texts("Hello", "You said: Hello")
    chat.wait_until_idle()


def test_model_is_called_again_with_notice_when_busy(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    model.fail(503)
    script = model.reply("You said: Hello", hold_after=0)
    chat.send("Hello")
    # The notice about the wait is too short to be seen for certain.
    expect(chat.notice).to_have_text("The model was busy or unavailable; trying again now.")
    script.release()
    chat.expect_texts("Hello", "You said: Hello")
    chat.wait_until_idle()
    expect(chat.notice).not_to_be_visible()
    application.assert_log(chat.page, chat.conversation_id, asked("Hello"))


def broken_stream(model: ScriptedServer) -> tuple[str, str]:
    model.break_after("one two ")
    return "one two ", "broke off the connection before its reply was complete; try Retry."


def endless_reply(model: ScriptedServer) -> tuple[str, str]:
    model.stream(*[delta("one two ")] * 13, None)
    reason = "wrote more than 100 characters and was cut off there; try Retry, or allow more with max_reply_chars."
    return "one two " * 12 + "one ", reason


def nonsense_in_middle(model: ScriptedServer) -> tuple[str, str]:
    model.stream(delta("one two "), "{", "[DONE]")
    return "one two ", "sent something in the middle of its reply that cannot be read (JSONDecodeError); try Retry."


def test_reply_keeps_text_so_far_when_it_fails_in_middle(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    for fault in (broken_stream, endless_reply, nonsense_in_middle):
        _keeps_the_text(chat, application, model, *fault(model))
        chat.clear()


def _keeps_the_text(chat: ChatPage, application: Application, model: ScriptedServer, kept: str, reason: str) -> None:
    chat.ask("Count")
    chat.expect_texts("Count", kept.strip())
    sentence = f"The model 'parrot' at {model.url} {reason}"
    expect(chat.status).to_have_text(f"{without_address(sentence, model)} The text so far is kept.")
    log = [*asked("Count")[:-1], f"reply_finished 2 failed ({sentence}): {kept}"]
    application.assert_log(chat.page, chat.conversation_id, log)
    chat.vote(0, "like")
    chat.expect_thumbs("like")
    chat.press("Retry")
    chat.expect_texts("Count", "You said: Count")
    chat.wait_until_idle()
    expect(chat.position).to_have_text("Reply 2 of 2")


@pytest.mark.talked("one")
def test_handler_error_shows_toast_and_keeps_typed_text(
    chat: ChatPage, application: Application, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chat.vote(0, "like")
    expect(chat.panel).to_be_visible()
    toast = chat.page.locator(".toast-body")

    def broken(*_given: Any, **_more: Any) -> Any:
        raise RuntimeError

    with monkeypatch.context() as bug:
        bug.setattr(ChatService, "send", broken)
        bug.setattr(FeedbackService, "rate", broken)
        chat.prompt.fill("precious prompt")
        chat.prompt.press("Enter")
        expect(toast).to_contain_text(FAULT)
        toast.get_by_test_id("toast-close").click()
        expect(toast).to_have_count(0)
        chat.comment.fill("precious comment")
        expect(toast).to_contain_text(FAULT)
        expect(chat.comment).to_have_value("precious comment")
        expect(chat.prompt).to_have_value("precious prompt")
    assert len(faults(caplog)) == 2
    caplog.clear()  # or this test would fail by them
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one", "precious prompt", "You said: precious prompt")
    chat.wait_until_idle()


# The store


@contextmanager
def locked(application: Application) -> Iterator[None]:
    """Lock the database on another connection, so that nothing can be written."""
    path = application.settings.database_url.partition("///")[2]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Application], model: ScriptedServer) -> Application:
    """Return an application that waits only briefly for a locked database."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    return serve(models=[endpoint(model)])


BUSY = "The database is busy or cannot be written now; try again."


def test_prompt_stays_in_box_when_it_cannot_be_stored(context: BrowserContext, impatient: Application) -> None:
    chat = ChatPage(context.new_page(), impatient.address).open()
    with locked(impatient):
        chat.prompt.fill("precious")
        chat.prompt.press("Enter")
        expect(chat.notice).to_be_visible()
        expect(chat.prompt).to_have_value("precious")
        chat.expect_texts()
    chat.prompt.press("Enter")
    chat.expect_texts("precious", "You said: precious")
    chat.wait_until_idle()
    expect(chat.notice).not_to_be_visible()
    impatient.assert_log(chat.page, chat.conversation_id, asked("precious"))


def test_thumb_and_comment_show_refusal_when_they_cannot_be_stored(
    context: BrowserContext, impatient: Application
) -> None:
    chat = ChatPage(context.new_page(), impatient.address).open()
    chat.ask("one")
    chat.vote(0, "dislike")
    chat.expect_thumbs("dislike")
    expect(chat.panel).to_be_visible()
    close, refusal = chat.page.locator("#feedback-close"), chat.saved.get_by_role("alert")
    with locked(impatient):
        chat.vote(0, "like")
        expect(chat.notice).to_be_visible()
        chat.expect_thumbs("dislike")
        chat.comment.fill("precious")
        expect(refusal).to_contain_text("Not saved.")
        for leave in (chat.comment.blur, close.click):  # one after the other: each refusal is another alert
            before = refusal.get_attribute("data-said") or ""
            leave()
            expect(refusal).not_to_have_attribute("data-said", before)
            expect(refusal).to_contain_text("Not saved.")
        expect(chat.comment).to_have_value("precious")
    close.click()
    expect(chat.panel).not_to_be_visible()
    log = [*asked("one"), "message_rated 2: nothing -> dislike", "message_rated 2: dislike -> dislike “precious”"]
    impatient.assert_log(chat.page, chat.conversation_id, log)


def test_reply_that_ends_while_database_is_locked_is_stored_later(
    context: BrowserContext, impatient: Application, model: ScriptedServer
) -> None:
    chat = ChatPage(context.new_page(), impatient.address).open()
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    with locked(impatient):
        expect(chat.notice).to_be_visible()
        script.release()
        chat.expect_texts("Count", "one two three four")
    chat.wait_until_idle()
    log = [line.replace("You said: Count", "one two three four") for line in asked("Count")]
    impatient.assert_log(chat.page, chat.conversation_id, log)
    expect(chat.notice).not_to_be_visible()
