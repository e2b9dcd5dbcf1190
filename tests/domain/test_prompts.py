"""Prompt ids, and the ids that are derived from them for one annotator."""

from __future__ import annotations

from uuid import UUID

import pytest

from chatfeedback.domain import prompts

PROMPT = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        7,
        PROMPT[:-1],
        PROMPT + "0",
        PROMPT.upper(),
        PROMPT + "\n",
        f" {PROMPT[1:]}",
        "g" * 32,
        "\0" * 32,
        "\ud800" * 32,
        "٣" * 32,
        "0" * 1_000_000,
        "6b1f0e0c-2a0f-4f0e-9c39-0d9d3a5e7b14",
        [PROMPT],
    ],
)
def test_page_id_is_none_for_invalid_value(value: object) -> None:
    assert prompts.page_id(value) is None


def test_page_id_accepts_id_of_page() -> None:
    assert prompts.page_id(PROMPT) == PROMPT
    page_id = prompts.new_page_id()
    assert prompts.page_id(page_id) == page_id != prompts.new_page_id()


def test_derived_ids_are_stable_across_releases() -> None:
    conversation_id = prompts.conversation_id("ada", PROMPT)
    assert conversation_id == "e7f5a870-15f2-5116-bb95-2b94bd60a4ff"
    assert prompts.event_id("ada", conversation_id, PROMPT) == "b90a5c37-3622-5d6c-a6f2-f0e60f2dbbfc"


def test_derived_ids_differ_by_annotator_conversation_and_prompt() -> None:
    ids = [
        *(prompts.conversation_id(annotator, prompt) for annotator in ("ada", "bob") for prompt in (PROMPT, "0" * 32)),
        *(
            prompts.event_id(annotator, conversation, prompt)
            for annotator in ("ada", "bob")
            for conversation in ("one", "two")
            for prompt in (PROMPT, "0" * 32)
        ),
    ]
    assert len(set(ids)) == len(ids)
    assert all(str(UUID(one)) == one for one in ids)
