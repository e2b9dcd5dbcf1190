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


def test_only_the_newest_messages_are_drawn_and_an_index_names_what_was_drawn() -> None:
    conversation = talked(5).conversation
    view = rendering.view_state(conversation, limit=4)
    assert texts(rendering.bubbles(conversation, view)) == ["Question 3", "Answer 3", "Question 4", "Answer 4"]
    assert rendering.earlier_count(conversation, view) == 6
    assert conversation.messages[view.message_id(1)].text == "Answer 3"


def test_words_that_were_redacted_are_said_to_be_erased_and_not_taken_for_a_failure() -> None:
    talk = talked(1)
    talk.edit(talk.conversation.shown()[1].message_id, "Corrected")
    conversation = talk.conversation
    for message in conversation.shown():
        conversation.messages[message.message_id] = replace(message, text="")
    view = rendering.view_state(conversation, limit=4)
    assert texts(rendering.bubbles(conversation, view)) == ["This text was erased."] * 2


def test_a_page_goes_on_to_begin_where_it_begins_so_that_an_index_keeps_its_meaning() -> None:
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
def test_an_index_that_was_not_drawn_is_refused(index: object) -> None:
    with pytest.raises(InputError):
        rendering.view_state(talked(2).conversation, limit=50).message_id(index)


@pytest.mark.parametrize("liked", ["Like", "like", 1, 0, None, "Harmful", [], {}])
def test_a_vote_that_gradio_does_not_send_is_refused(liked: object) -> None:
    with pytest.raises(InputError):
        rendering.rating_value(liked)


def test_the_three_answers_of_gradio_are_like_dislike_and_cleared() -> None:
    assert [rendering.rating_value(liked) for liked in (True, False, "")] == ["like", "dislike", ""]


def test_leading_spaces_and_blank_lines_of_a_message_are_drawn_as_they_are() -> None:
    talk = FoldedTalk()
    talk.ask("    indented\n\n\n", "  answer\n")
    conversation = talk.conversation
    assert texts(rendering.bubbles(conversation, rendering.view_state(conversation, 50))) == [
        "    indented\n\n\n",
        "  answer\n",
    ]


def test_votes_on_their_way_are_shown_before_they_are_stored() -> None:
    talk = talked(2)
    first, second = (message.message_id for message in talk.conversation.shown() if message.role == "assistant")
    talk.rate(first, "ada", RatingChange(value="like"))
    view = rendering.view_state(talk.conversation, 50)

    def thumbs(in_flight: dict[str, str]) -> list[str | None]:
        return rendering.feedback_values(talk.conversation, view, "ada", in_flight)

    assert thumbs({}) == ["Like", None]
    assert thumbs({first: "", second: "dislike"}) == [None, "Dislike"]


def test_a_reply_without_text_says_why_and_what_to_do() -> None:
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
def test_without_addresses_leaves_out_where_a_server_is(sentence: str, read: str) -> None:
    assert rendering.without_urls(sentence) == read


def test_bubbles_name_addresses_only_to_those_who_may_see_them() -> None:
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
    ("status", "said"),
    [
        ("complete", ""),
        ("stopped", "Stopped"),
        ("left", "no page was open"),
        ("interrupted", "interrupted"),
        ("failed", "The model failed."),
    ],
)
def test_the_status_line_tells_how_the_last_reply_ended(status: str, said: str) -> None:
    talk = FoldedTalk()
    talk.finish(talk.send("Hello"), "Some text", status)  # type: ignore[arg-type]
    line = rendering.status_line(talk.conversation)
    assert said in line
    assert bool(line) == bool(said)


def test_alternatives_are_offered_from_the_second_reply_on_and_never_while_one_is_written() -> None:
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


def test_a_quote_is_one_line_of_bounded_length() -> None:
    assert rendering.excerpt("one\n\n two\tthree") == "one two three"
    assert len(rendering.excerpt("word " * 1000)) <= 160


def test_alternatives_of_last_names_the_stored_one_when_the_one_on_view_is_none_of_them() -> None:
    talk = talked(1)
    first = str(talk.conversation.head_id)
    talk.finish(talk.retry(first), "Another answer")
    alternatives, shown = rendering.alternatives_of_last(talk.conversation, "an alternative of an earlier reply")
    assert alternatives[shown].message_id == talk.conversation.head_id
