"""Several models to choose from, and one whose answers are certain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from browser.application import Application, endpoint
from browser.chat_page import ChatPage
from openai_server import ScriptedServer


@pytest.fixture(scope="module")
def application(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    models = [endpoint(model), endpoint(model, "owl", temperature=0, max_tokens=99, system_prompt="Be wise")]
    with Application(new_sqlite(), models=models).running() as application:
        yield application


def choose(chat: ChatPage, name: str) -> None:
    chat.page.locator("#model input").click()
    chat.page.get_by_role("option", name=name).click()


def test_model_choice_is_used_and_recorded(chat: ChatPage, application: Application, model: ScriptedServer) -> None:
    chat.ask("one")
    choose(chat, "owl")
    chat.ask("two")
    assert [request["model"] for request in model.requests[-2:]] == ["parrot", "owl"]
    assert (model.requests[-1]["temperature"], model.requests[-1]["max_tokens"]) == (0, 99)
    assert model.requests[-1]["messages"][0] == {"role": "system", "content": "Be wise"}
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            "conversation_started",
            "message_sent 1 after the start: one",
            "reply_started 2 after 1, parrot told 1",
            "reply_finished 2 complete: You said: one",
            "message_sent 3 after 2: two",
            "reply_started 4 after 3, owl told 1 2 3",
            "reply_finished 4 complete: You said: two",
        ],
    )
    reply = application.conversation(chat.conversation_id).shown()[-1]
    assert reply.generation is not None and reply.outcome is not None
    assert (reply.generation.temperature, reply.generation.max_tokens) == (0, 99)
    assert (reply.generation.system_prompt, reply.generation.endpoint) == ("Be wise", model.url)
    assert (reply.generation.seed, reply.outcome.finish_reason) == (model.requests[-1]["seed"], "stop")
    assert (reply.outcome.prompt_tokens, reply.outcome.completion_tokens) == (11, 7)
    assert 0 < (reply.outcome.time_to_first_token or 0) <= (reply.outcome.duration or 0)


def test_retry_with_another_model_records_that_model(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    chat.ask("one")
    choose(chat, "owl")
    model.reply("Hoo")
    chat.press("Retry")
    chat.expect_texts("one", "Hoo")
    chat.wait_until_idle()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            "conversation_started",
            "message_sent 1 after the start: one",
            "reply_started 2 after 1, parrot told 1",
            "reply_finished 2 complete: You said: one",
            "reply_retried 2",
            "reply_started 3 after 1 instead of 2, owl told 1",
            "reply_finished 3 complete: Hoo",
        ],
    )


def test_retry_at_temperature_zero_warns_of_same_answer(chat: ChatPage, model: ScriptedServer) -> None:
    choose(chat, "owl")
    chat.ask("one")
    script = model.reply("You said: one", hold_after=1)
    chat.press("Retry")
    expect(chat.notice).to_have_text("At temperature 0 the model gives the same answer again.")
    script.release()
    chat.wait_until_idle()
    expect(chat.position).to_have_text("Reply 2 of 2")


def test_retry_at_temperature_zero_does_not_warn_for_reply_of_another_model(
    chat: ChatPage, model: ScriptedServer
) -> None:
    chat.ask("one")
    choose(chat, "owl")
    script = model.reply("Hoo", hold_after=1)
    chat.press("Retry")
    chat.expect_texts("one", "Hoo")
    expect(chat.notice).not_to_be_visible()
    script.release()
    chat.wait_until_idle()


def test_model_choice_follows_opened_conversation(chat: ChatPage, model: ScriptedServer) -> None:
    picker = chat.page.locator("#model input")
    chat.ask("one")
    first = chat.conversation_id
    chat.clear()
    choose(chat, "owl")
    chat.ask("two")
    chat.reload()
    expect(picker).to_have_value("owl")
    chat.page.locator(f'#conversations button[data-conversation="{first}"]').click()
    chat.expect_texts("one", "You said: one")
    expect(picker).to_have_value("parrot")


def test_model_choice_survives_new_conversation(chat: ChatPage, model: ScriptedServer) -> None:
    choose(chat, "owl")
    chat.ask("one")
    chat.clear()
    chat.ask("two")
    assert model.requests[-1]["model"] == "owl"
