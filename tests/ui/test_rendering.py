"""Rendering of a conversation, and resolution of an index from the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.errors import InputError
from chatfeedback.ui.chat import rendering
from conversation_builder import FoldedTalk


def talked(turns: int) -> FoldedTalk:
    talk = FoldedTalk()
    for turn in range(turns):
        talk.ask(f"Question {turn}", f"Answer {turn}")
    return talk


def texts(bubbles: list[rendering.Bubble]) -> list[str]:
    return [bubble.text for bubble in bubbles]


def test_view_state_has_newest_messages_and_resolves_their_index() -> None:
    conversation = talked(5).conversation
    view = rendering.view_state(conversation, limit=4)
    assert texts(rendering.bubbles(conversation, view)) == ["Question 3", "Answer 3", "Question 4", "Answer 4"]
    assert rendering.earlier_count(conversation, view) == 6
    assert conversation.messages[view.message_id(1)].text == "Answer 3"


def test_bubbles_show_redacted_text_as_erased() -> None:
    talk = talked(1)
    talk.edit(talk.conversation.shown()[1].message_id, "Corrected")
    conversation = talk.conversation
    for message in conversation.shown():
        conversation.messages[message.message_id] = replace(message, text="")
    view = rendering.view_state(conversation, limit=4)
    assert texts(rendering.bubbles(conversation, view)) == ["This text was erased."] * 2


def test_view_state_keeps_its_first_message_when_conversation_grows() -> None:
    talk = talked(5)
    before = rendering.view_state(talk.conversation, limit=4)
    talk.ask("Question 5", "Answer 5")
    after = rendering.view_state(talk.conversation, 4, before)
    assert after.ids[:4] == before.ids
    assert len(after.ids) == 6
    longer = rendering.view_state(talk.conversation, 8, after)
    assert len(longer.ids) == 8, "who asks for more gets more"
    elsewhere = talked(3).conversation
    assert len(rendering.view_state(elsewhere, 4, after).ids) == 4
    talk.edit(talk.conversation.shown()[0].message_id, "Begin anew")
    assert len(rendering.view_state(talk.conversation, 4, after).ids) == 2, "what it began with is gone"


@pytest.mark.parametrize("index", [4, -1, True, "1", None, 1.0, [1, 0]])
def test_message_id_refuses_index_that_was_not_rendered(index: object) -> None:
    with pytest.raises(InputError):
        rendering.view_state(talked(2).conversation, limit=50).message_id(index)


@pytest.mark.parametrize("liked", ["Like", "like", 1, 0, None, "Harmful", [], {}])
def test_rating_value_refuses_values_that_gradio_does_not_send(liked: object) -> None:
    with pytest.raises(InputError):
        rendering.rating_value(liked)


def test_rating_value_maps_values_of_gradio_to_like_dislike_and_cleared() -> None:
    assert [rendering.rating_value(liked) for liked in (True, False, "")] == ["like", "dislike", ""]


def test_bubbles_keep_leading_spaces_and_blank_lines() -> None:
    talk = FoldedTalk()
    talk.ask("    indented\n\n\n", "  answer\n")
    conversation = talk.conversation
    assert texts(rendering.bubbles(conversation, rendering.view_state(conversation, 50))) == [
        "    indented\n\n\n",
        "  answer\n",
    ]


def test_feedback_values_show_ratings_in_flight() -> None:
    talk = talked(2)
    first, second = (message.message_id for message in talk.conversation.shown() if message.role == "assistant")
    talk.rate(first, "ada", RatingChange(value="like"))
    view = rendering.view_state(talk.conversation, 50)

    def thumbs(in_flight: dict[str, str]) -> list[str | None]:
        return rendering.feedback_values(talk.conversation, view, "ada", in_flight)

    assert thumbs({}) == ["Like", None]
    assert thumbs({first: "", second: "dislike"}) == [None, "Dislike"]


def test_bubbles_explain_replies_without_text() -> None:
    talk = FoldedTalk()
    for status in ("failed", "stopped", "left", "interrupted"):
        talk.finish(talk.send("Hello"), "", status)  # type: ignore[arg-type]
    conversation = talk.conversation
    shown = texts(rendering.bubbles(conversation, rendering.view_state(conversation, 50)))
    assert shown[1] == "⚠️ The model failed."
    assert all("Retry" in text for text in shown[3::2])


@pytest.mark.parametrize(
    ("sentence", "read"),
    [
        ("The model 'a' at http://10.0.0.1:8000/v1 failed; try Retry.", "The model 'a' failed; try Retry."),
        (
            "The endpoint https://x.y/v1 does not know the model 'a'; check.",
            "The endpoint … does not know the model 'a'; check.",
        ),
        ("failed: “see http://intranet/help” and http://b:1/c.", "failed: “see …” and …"),
        ("The model 'a' at Hugging Face failed.", "The model 'a' at Hugging Face failed."),
    ],
)
def test_without_urls_leaves_out_addresses_of_servers(sentence: str, read: str) -> None:
    assert rendering.without_urls(sentence) == read


def test_bubbles_show_urls_only_on_request() -> None:
    talk = FoldedTalk()
    reply = talk.send("Hello")
    talk.finish(reply, "", "failed")
    message = talk.conversation.messages[reply]
    assert message.outcome is not None
    failed = replace(message, outcome=replace(message.outcome, error="The model 'a' at http://10.0.0.1/v1 failed."))
    conversation = replace(talk.conversation, messages={**talk.conversation.messages, reply: failed})
    view = rendering.view_state(conversation, 50)
    assert texts(rendering.bubbles(conversation, view))[1] == "⚠️ The model 'a' failed."
    assert (
        texts(rendering.bubbles(conversation, view, show_urls=True))[1]
        == "⚠️ The model 'a' at http://10.0.0.1/v1 failed."
    )


@pytest.mark.parametrize(
    ("status", "part"),
    [
        ("complete", ""),
        ("stopped", "Stopped"),
        ("left", "no page was open"),
        ("interrupted", "interrupted"),
        ("failed", "The model failed."),
    ],
)
def test_status_line_says_how_last_reply_ended(status: str, part: str) -> None:
    talk = FoldedTalk()
    talk.finish(talk.send("Hello"), "Some text", status)  # type: ignore[arg-type]
    line = rendering.status_line(talk.conversation)
    assert part in line
    assert bool(line) == bool(part)


def test_alternatives_of_last_is_empty_before_second_reply_and_while_reply_is_written() -> None:
    talk = talked(1)
    assert rendering.alternatives_of_last(talk.conversation) == ([], 0)
    old = talk.conversation.head_id
    assert old is not None
    new = talk.retry(old)
    assert rendering.alternatives_of_last(talk.conversation) == ([], 0)
    talk.finish(new, "Another answer")
    alternatives, shown = rendering.alternatives_of_last(talk.conversation)
    assert [message.text for message in alternatives] == ["Answer 0", "Another answer"]
    assert shown == 1


def test_excerpt_is_one_line_of_bounded_length() -> None:
    assert rendering.excerpt("one\n\n two\tthree") == "one two three"
    assert len(rendering.excerpt("word " * 1000)) <= 160


def test_alternatives_of_last_falls_back_to_stored_one_when_viewed_one_is_unknown() -> None:
    talk = talked(1)
    first = str(talk.conversation.head_id)
    talk.finish(talk.retry(first), "Another answer")
    alternatives, shown = rendering.alternatives_of_last(talk.conversation, "an alternative of an earlier reply")
    assert alternatives[shown].message_id == talk.conversation.head_id
