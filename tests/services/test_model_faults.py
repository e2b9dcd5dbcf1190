"""Faults of models: each is recorded as one sentence with status and partial text, and can be retried."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from tenacity import wait_none

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.inference import retries
from chatfeedback.inference.client import Endpoint
from conversation_builder import People
from openai_server import ScriptedServer, delta
from services.service_harness import PATIENCE_SECONDS, Room, escaped, held, last, open_room, texts

pytestmark = pytest.mark.sqlite

MAX_REPLY_CHARS = 60
SILENCE_SECONDS = 0.9
"""Short for a test that waits, long for a server that answers."""
ATTEMPTS = 3
PAUSE_SECONDS = 18


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF", wait_none())


@pytest.fixture
def endpoint(server: ScriptedServer) -> Endpoint:
    """Endpoint with the default number of attempts, and with short replies."""
    return Endpoint("zephyr", base_url=server.url, api_key="sk-not-for-the-log", max_reply_chars=MAX_REPLY_CHARS)


@dataclass(frozen=True)
class Fault:
    """Fault of the server: the error that is logged, a part of its sentence, and the text that is kept."""

    happens: Callable[[ScriptedServer], object]
    kind: str
    says: str
    kept: str = ""
    passes: bool = False
    """Transient: the request is repeated, so the fault has to happen each time."""
    endured: dict[str, float] = field(default_factory=dict)


BEFORE, BETWEEN = {"first_token_seconds": SILENCE_SECONDS}, {"timeout_seconds": SILENCE_SECONDS}
CUT = b'data: {"choices": [{"delta": {"content": "wor'
DEEP = '{"choices":' + "[" * 100_000 + "]" * 100_000 + "}"
FAULTS = {
    "refused": Fault(
        lambda server: server.fail(400, {"error": "no tools"}), "ModelFailed", "HTTP status 400: “no tools”"
    ),
    "401": Fault(lambda server: server.fail(401), "KeyRefused", "refused its key"),
    "402": Fault(lambda server: server.fail(402), "RateLimited", "its quota is used up; try again in a while"),
    "403": Fault(lambda server: server.fail(403), "KeyRefused", "refused its key"),
    "404": Fault(lambda server: server.fail(404), "ModelUnknown", "does not know the model 'zephyr'"),
    "429": Fault(lambda server: server.fail(429), "RateLimited", "takes no more requests", passes=True),
    "429 for a minute": Fault(
        lambda server: server.fail(429, retry_after="60"), "RateLimited", "try again in 60 seconds."
    ),
    "500": Fault(lambda server: server.fail(500, "oops"), "ModelFailed", "failed with HTTP status 500", passes=True),
    "503": Fault(lambda server: server.fail(503), "ModelFailed", "failed with HTTP status 503", passes=True),
    "504": Fault(lambda server: server.fail(504), "ModelTimeout", "took too long to answer", passes=True),
    "no answer": Fault(
        lambda server: server.hang(), "ModelTimeout", "did not begin to answer in 0.9 seconds", endured=BEFORE
    ),
    "no first piece": Fault(
        lambda server: server.reply("late", hold_after=0),
        "ModelTimeout",
        "did not begin to answer in 0.9 seconds",
        endured=BEFORE,
    ),
    "silence": Fault(
        lambda server: server.reply("half a reply", hold_after=2),
        "ModelTimeout",
        "was silent for 0.9 seconds in the middle of its reply",
        "half a r",
        endured=BETWEEN,
    ),
    "broken before the first piece": Fault(
        lambda server: server.stream(breaks=True), "StreamBroken", "broke off the connection", passes=True
    ),
    "broken": Fault(lambda server: server.break_after("half a w"), "StreamBroken", "broke off", "half a w"),
    "ended": Fault(lambda server: server.stream(delta("half a w")), "StreamBroken", "broke off", "half a w"),
    "cut within a word": Fault(
        lambda server: server.stream(delta("half a "), CUT, breaks=True), "StreamBroken", "broke off", "half a "
    ),
    "cut within the bytes of a character": Fault(
        lambda server: server.stream(delta("na"), CUT + b"\xc3", breaks=True), "StreamBroken", "broke off", "na"
    ),
    "cut within a pair of surrogates": Fault(
        lambda server: server.stream(escaped("smile \ud83d"), breaks=True), "StreamBroken", "broke off", "smile \ufffd"
    ),
    "no JSON": Fault(lambda server: server.stream("{half"), "ModelFailed", "did not answer like a chat model"),
    "no JSON in the middle": Fault(
        lambda server: server.stream(delta("half"), "{half"), "ModelFailed", "in the middle of its reply", "half"
    ),
    "no text in the middle": Fault(
        lambda server: server.stream(delta("half"), {"choices": [{"delta": {"content": [1]}}]}),
        "ModelFailed",
        "in the middle of its reply",
        "half",
    ),
    "deeply nested in the middle": Fault(
        lambda server: server.stream(delta("half"), DEEP), "ModelFailed", "in the middle of its reply", "half"
    ),
    "a number for text in the middle": Fault(
        lambda server: server.stream(delta("half"), delta(7)), "ModelFailed", "in the middle of its reply", "half"
    ),
    "a huge line in the middle": Fault(
        lambda server: server.stream(delta("half"), "x" * 2**21), "ModelFailed", "in the middle of its reply", "half"
    ),
    "a deeply nested error": Fault(
        lambda server: server.fail(400, DEEP, content_type="application/json"), "ModelFailed", "HTTP status 400; try"
    ),
    "an error with status 200": Fault(
        lambda server: server.fail(200, {"error": {"message": "out of memory", "code": 418}}),
        "ModelFailed",
        "failed with HTTP status 418: “out of memory”",
    ),
    "a list of errors": Fault(
        lambda server: server.fail(400, '[{"error": {"message": "no tools"}}]', content_type="application/json"),
        "ModelFailed",
        "HTTP status 400: “no tools”",
    ),
    "a refused value": Fault(
        lambda server: server.fail(400, {"error": {"message": "temperature must be at most 1"}}),
        "ModelFailed",
        "change temperature in the settings of this model",
    ),
    "no chat": Fault(lambda server: server.fail(200, "<html>"), "ModelFailed", "did not answer like a chat model"),
    "an error in the middle": Fault(
        lambda server: server.error_in_stream({"message": "out of memory", "code": 500}, after="half"),
        "ModelFailed",
        "failed with HTTP status 500: “out of memory”",
        "half",
    ),
    "endless": Fault(
        lambda server: server.stream(*[delta("word ")] * 13, None),
        "ReplyEndless",
        "wrote more than 60 characters and was cut off there",
        "word " * 12,
    ),
    "no token": Fault(lambda server: server.reply(""), "EmptyReply", "The model sent an empty reply"),
    "nothing but blanks": Fault(lambda server: server.reply(" \n\t "), "EmptyReply", "The model sent an empty reply"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_reply_records_fault_with_partial_text_and_can_be_retried(
    database_url: str,
    people: People,
    endpoint: Endpoint,
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    caplog.set_level(logging.INFO, logger="chatfeedback")
    fault = FAULTS[name]
    for _ in range(ATTEMPTS if fault.passes else 1):
        fault.happens(server)
    async with open_room(database_url, people, [replace(endpoint, **fault.endured)]) as room:
        conversation = await room.ask("Is anybody there?")
        assert_recorded(room, conversation, fault)
        assert len(server.requests) == (ATTEMPTS if fault.passes else 1)
        assert await room.now(conversation) == conversation
        assert_logged(caplog, conversation, fault, attempts=len(server.requests))

        server.reply("Here I am.")
        again = await room.ended(await room.retry(conversation))
    assert (last(again).status, last(again).text, last(again).outcome.error) == ("complete", "Here I am.", None)
    assert last(again).replaces_id == last(conversation).message_id


def assert_recorded(room: Room, conversation: Conversation, fault: Fault) -> None:
    failed, recorded = last(conversation), room.finished(conversation)
    assert (failed.status, failed.text) == (recorded.status, recorded.text) == ("failed", fault.kept)
    assert texts(conversation) == ["Is anybody there?", fault.kept]
    assert failed.outcome.error == recorded.error
    assert fault.says in recorded.error
    assert_sentence(recorded.error)


def assert_logged(caplog: pytest.LogCaptureFixture, conversation: Conversation, fault: Fault, *, attempts: int) -> None:
    """Assert a line for each repeated attempt and one for the reply, without any text of the conversation."""
    *repeated, ended = [record.getMessage() for record in caplog.records if record.name.startswith("chatfeedback")]
    reply = f"reply {last(conversation).message_id} of conversation {conversation.conversation_id}"
    assert ended == f"{reply} by the model 'zephyr' failed: {fault.kind}"
    assert len(repeated) == attempts - 1
    assert all(f"the model 'zephyr' did not begin to answer: {fault.kind}," in line for line in repeated)


def assert_sentence(error: str) -> None:
    """Assert that the error is one sentence, without a key, HTML or a Python object."""
    assert error.endswith(".") and error == " ".join(error.split())
    assert not [word for word in ("sk-", "<html", "Traceback", "object at 0x", "{") if word in error]


# Refused parameters


async def test_reply_records_what_was_sent_after_refusal_of_parameters(
    room: Room, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="chatfeedback")
    server.fail(400, {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."}})
    server.fail(422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]})
    server.fail(400, {"object": "error", "message": "System role not supported"})
    for conversation in (await room.ask(), await room.ask()):
        recorded, sent = room.finished(conversation), server.requests[-1]
        assert recorded.status == "complete"
        assert recorded.request_changes == (
            "max_tokens as max_completion_tokens",
            "seed left out",
            "system prompt in the first user message",
        )
        assert (recorded.provenance.sent_max_tokens, recorded.provenance.sent_seed) == (None, None)
        assert recorded.provenance.sent_temperature == sent["temperature"]
        assert sent["max_completion_tokens"] and [message["role"] for message in sent["messages"]] == ["user"]
    assert len(server.requests) == 5
    assert len([record for record in caplog.records if "from now on" in record.getMessage()]) == 3


async def test_reply_records_no_changes_when_request_is_accepted(room: Room) -> None:
    assert room.finished(await room.ask()).request_changes == ()


# Repeated attempts


async def test_reply_is_complete_when_faults_pass_before_first_chunk(room: Room, server: ScriptedServer) -> None:
    server.fail(503)
    server.stream(breaks=True)
    conversation = await room.ask()
    assert (last(conversation).status, last(conversation).text) == ("complete", "Answer 3 to: Hello")
    assert last(conversation).outcome.error is None
    assert len({str(request) for request in server.requests}) == 1, "the same is asked, the seed too"


async def test_watch_reports_pause_and_new_attempt_until_model_answers(room: Room, server: ScriptedServer) -> None:
    server.fail(503, retry_after="1")
    script = server.reply("Here I am.", hold_after=(0, 1))
    conversation = await room.send()
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    async with asyncio.timeout(PATIENCE_SECONDS):
        pausing = await anext(progress async for progress in watching if progress.notice)
        assert (pausing.text, pausing.notice) == (
            "",
            "The model is busy or unavailable; the next attempt starts in a second.",
        )
        repeated = await anext(progress async for progress in watching if progress.notice != pausing.notice)
        assert (repeated.text, repeated.notice) == ("", "The model was busy or unavailable; trying again now.")
        await held(script)
        script.release()
        assert (await anext(progress async for progress in watching if progress.text)).notice is None
        script.release()
        assert last([progress async for progress in watching][-1].conversation).status == "complete"


@pytest.fixture
async def pausing(room: Room, server: ScriptedServer) -> Conversation:
    """Conversation whose reply is in the pause that the server has asked for."""
    server.fail(503, retry_after=str(PAUSE_SECONDS))
    conversation = await room.send()
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    async with asyncio.timeout(PAUSE_SECONDS), contextlib.aclosing(watching) as updates:
        warning = await anext(progress async for progress in updates if progress.notice)
    assert warning.notice == f"The model is busy or unavailable; the next attempt starts in {PAUSE_SECONDS} seconds."
    return conversation


async def test_stop_ends_reply_at_once_in_pause_between_attempts(
    room: Room, server: ScriptedServer, pausing: Conversation
) -> None:
    async with asyncio.timeout(PAUSE_SECONDS / 2):
        stopped = await room.stop(pausing)
    assert (last(stopped).status, last(stopped).text, last(stopped).outcome.error) == ("stopped", "", None)
    assert len(server.requests) == 1


async def test_close_ends_reply_at_once_in_pause_between_attempts(
    room: Room, server: ScriptedServer, pausing: Conversation
) -> None:
    async with asyncio.timeout(PAUSE_SECONDS / 2):
        await room.service.close()
    assert (room.finished(pausing).status, room.finished(pausing).text) == ("interrupted", "")
    assert len(server.requests) == 1
