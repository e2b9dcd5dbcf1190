"""Stored form of events: stable bytes that every later release reads."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_type_hints

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.domain.conversation.events import (
    AlternativeChosen,
    AnnotatorRedacted,
    ConversationCleared,
    ConversationErased,
    ConversationStarted,
    Generation,
    MessageEdited,
    MessageSent,
    Provenance,
    ReplyFinished,
    ReplyRetried,
    ReplyStarted,
    TurnUndone,
)
from chatfeedback.domain.events import BODIES, KINDS, SCHEMA_VERSION, UPCASTERS, Body, body_from, payload_text
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared
from chatfeedback.domain.types import new_id

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy that draws all fields, also those with a default, from values that can be stored."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})


def values(hint: Any) -> st.SearchStrategy[Any]:
    strategies: dict[Any, st.SearchStrategy[Any]] = {
        float: NUMBERS,
        float | None: st.none() | NUMBERS,
        int: INTEGERS,
        int | None: st.none() | INTEGERS,
    }
    if hint in (Generation, Provenance):
        return instances(hint)
    return strategies[hint] if hint in strategies else st.from_type(hint)


def stored(body: Body) -> tuple[str, int, str | None, str]:
    return body.KIND, SCHEMA_VERSION, getattr(body, "message_id", None), payload_text(body)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_event_body_round_trips_with_same_bytes(kind: str, data: st.DataObject) -> None:
    body = data.draw(instances(BODIES[kind]))
    text = payload_text(body)
    again = body_from(*stored(body))
    assert again == body
    assert payload_text(again) == text


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_payload_text_is_canonical_json(kind: str, data: st.DataObject) -> None:
    text = payload_text(data.draw(instances(BODIES[kind])))

    def sorted_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=sorted_object)
    assert orjson.dumps(orjson.loads(text)).decode() == text  # no spaces, nothing escaped that need not be


GENERATION = Generation(
    model="zephyr",
    endpoint="https://models.example/v1",
    provider="a-provider",
    temperature=0.95,
    top_p=0.9,
    max_tokens=512,
    seed=7,
    system_prompt="You are a friendly chatbot",
    sent_ids=("m1", "m2"),
    model_id="org/zephyr",
)
PROVENANCE = Provenance(
    sent_temperature=0.95,
    sent_max_tokens=512,
    reported_model="zephyr-7b-0613",
    system_fingerprint="fp_1",
    reported_provider="together",
    weights_sha256="9a" * 32,
)
NOTHING_KNOWN = (
    '{"reported_model":null,"reported_provider":null,"sent_max_tokens":null,"sent_seed":null,"sent_temperature":null,'
    '"sent_top_p":null,"system_fingerprint":null,"weights_sha256":null}'
)
PINNED = {
    ConversationStarted(): '{"condition":null,"consent_version":null,"external_id":null,"study":null}',
    ConversationStarted(consent_version="2026-11", study="colours", condition="warm", external_id="p-17"): (
        '{"condition":"warm","consent_version":"2026-11","external_id":"p-17","study":"colours"}'
    ),
    MessageSent(message_id="m", parent_id=None, text="Grüße"): '{"altered":false,"parent_id":null,"text":"Grüße"}',
    ReplyStarted(message_id="m", parent_id="p", replaces_id=None, generation=GENERATION): (
        '{"generation":{"endpoint":"https://models.example/v1","max_tokens":512,"model":"zephyr",'
        '"model_id":"org/zephyr","provider":"a-provider","seed":7,"sent_ids":["m1","m2"],'
        '"system_prompt":"You are a friendly chatbot",'
        '"temperature":0.95,"top_p":0.9},"parent_id":"p","replaces_id":null}'
    ),
    ReplyFinished(message_id="m", status="stopped", text="Hel", model="zephyr", duration=1.5): (
        '{"altered":false,"completion_tokens":null,"duration":1.5,"error":null,"finish_reason":null,'
        f'"model":"zephyr","prompt_tokens":null,"provenance":{NOTHING_KNOWN},"sent_ids":null,"status":"stopped",'
        '"text":"Hel","time_to_first_token":null}'
    ),
    ReplyFinished(message_id="m", status="complete", text="Hello", model="zephyr", provenance=PROVENANCE): (
        '{"altered":false,"completion_tokens":null,"duration":null,"error":null,"finish_reason":null,'
        '"model":"zephyr","prompt_tokens":null,"provenance":{"reported_model":"zephyr-7b-0613",'
        '"reported_provider":"together","sent_max_tokens":512,"sent_seed":null,"sent_temperature":0.95,'
        f'"sent_top_p":null,"system_fingerprint":"fp_1","weights_sha256":"{"9a" * 32}"}},"sent_ids":null,'
        '"status":"complete","text":"Hello","time_to_first_token":null}'
    ),
    ReplyRetried(message_id="m", model="zephyr"): '{"model":"zephyr"}',
    TurnUndone(message_id="m", model=None): '{"model":null}',
    MessageEdited(message_id="m", replaces_id="r", parent_id="p", role="assistant", text="Hello", model="zephyr"): (
        '{"altered":false,"model":"zephyr","parent_id":"p","replaces_id":"r","role":"assistant","text":"Hello"}'
    ),
    MessageRated(
        message_id="m",
        value="like",
        reasons=("accurate", "funny"),
        comment=None,
        previous_value=None,
        previous_reasons=(),
        previous_comment="so so",
        model="zephyr",
    ): (
        '{"altered":false,"comment":null,"model":"zephyr","previous_comment":"so so","previous_reasons":[],'
        '"previous_value":null,"reasons":["accurate","funny"],"value":"like"}'
    ),
    RatingCleared(message_id="m", comment=None, previous_value="like", previous_reasons=("funny",), model="zephyr"): (
        '{"comment":null,"model":"zephyr","previous_reasons":["funny"],"previous_value":"like"}'
    ),
    AlternativeChosen(message_id="m", previous_id="p", model="zephyr"): '{"model":"zephyr","previous_id":"p"}',
    ConversationCleared(): "{}",
    ConversationErased(events=7): '{"events":7}',
    AnnotatorRedacted(events=2): '{"events":2}',
}


def test_payload_text_is_pinned_for_each_kind() -> None:
    assert {body.KIND for body in PINNED} == set(KINDS)
    for body, text in PINNED.items():
        assert payload_text(body) == text
        assert body_from(body.KIND, SCHEMA_VERSION, getattr(body, "message_id", None), text) == body


def test_body_from_reads_missing_consent_version_as_none() -> None:
    assert body_from("conversation_started", 1, None, "{}") == ConversationStarted(consent_version=None)


@pytest.mark.parametrize("version", [1, 2])
def test_body_from_fills_fields_that_are_missing_before_schema_version_3(version: int) -> None:
    consent = '{"consent_version":"2026-11"}'
    started = body_from("conversation_started", version, None, consent)
    assert isinstance(started, ConversationStarted)
    assert (started.study, started.condition, started.external_id) == (None, None, None)
    reply = ReplyStarted(message_id="m", parent_id="p", replaces_id=None, generation=GENERATION)
    old = json.loads(payload_text(reply))
    del old["generation"]["model_id"]
    before = replace(reply, generation=replace(GENERATION, model_id=None))
    assert body_from("reply_started", version, "m", json.dumps(old)) == before
    finished = ReplyFinished(message_id="m", status="complete", text="Hello", model="zephyr")
    old = json.loads(payload_text(finished))
    del old["provenance"]
    assert body_from("reply_finished", version, "m", json.dumps(old)) == finished


@pytest.mark.parametrize(("kind", "version"), [("message_translated", 1), ("message_sent", SCHEMA_VERSION + 1)])
def test_body_from_refuses_event_of_newer_release(kind: str, version: int) -> None:
    with pytest.raises(ValueError, match="newer than this release"):
        body_from(kind, version, "m", '{"parent_id":null,"text":"Hello"}')


@pytest.mark.parametrize("payload", ["", "[]", "{}", '{"parent_id":null,"text":"Hello","colour":"red"}'])
def test_body_from_refuses_invalid_payload(payload: str) -> None:
    with pytest.raises(ValueError):
        body_from("message_sent", SCHEMA_VERSION, "m", payload)


def test_body_from_upcasts_old_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    def text_was_called_content(payload: dict[str, Any]) -> dict[str, Any]:
        payload["text"] = payload.pop("content")
        return payload

    monkeypatch.setitem(UPCASTERS, ("message_sent", SCHEMA_VERSION - 1), text_was_called_content)
    old = '{"content":"Hello","parent_id":null}'
    assert body_from("message_sent", SCHEMA_VERSION - 1, "m", old) == MessageSent(
        message_id="m", parent_id=None, text="Hello"
    )


def test_body_from_reads_unchanged_kind_without_upcaster() -> None:
    assert body_from("turn_undone", SCHEMA_VERSION - 1, "m", '{"model":null}') == TurnUndone(message_id="m", model=None)


def test_new_id_sorts_in_order_of_creation() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
