"""What is shown: the tree, the head, and the branches that one can come back to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatfeedback.domain.conversation.events import ConversationStarted
from chatfeedback.domain.conversation.evolve import TITLE_LENGTH, fold
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Event
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.types import FinalStatus
from conversation_builder import PROVENANCE, FoldedTalk


@pytest.fixture
def talk() -> FoldedTalk:
    return FoldedTalk()


def test_a_conversation_is_shown_in_the_order_in_which_it_was_held(talk: FoldedTalk) -> None:
    talk.ask("One", "1")
    talk.ask("Two", "2")
    assert talk.shown() == ["One", "1", "Two", "2"]


def test_the_title_is_the_first_prompt_on_one_short_line(talk: FoldedTalk) -> None:
    talk.ask("  Tell me\nabout " + "rivers " * 40, "Long ones")
    talk.ask("And lakes?", "Deep ones")
    title = talk.conversation.title
    assert title.startswith("Tell me about rivers rivers")
    assert len(title) == TITLE_LENGTH
    assert title.endswith("…")


def test_a_retry_shows_the_new_reply_and_keeps_the_old_one_beside_it(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    second = talk.retry(first)
    talk.finish(second, "Good day")
    assert talk.shown() == ["Hello", "Good day"]
    assert [m.text for m in talk.conversation.alternatives(second)] == ["Hi", "Good day"]
    assert talk.conversation.messages[second].replaces_id == first
    talk.choose(first)
    assert talk.shown() == ["Hello", "Hi"]


@pytest.mark.parametrize("status", ["failed", "stopped", "left", "interrupted", "complete"])
def test_a_retry_that_brings_no_text_leaves_the_old_reply_shown(talk: FoldedTalk, status: FinalStatus) -> None:
    first = talk.ask("Hello", "Hi")
    empty = talk.retry(first)
    talk.finish(empty, "", status)
    assert talk.shown() == ["Hello", "Hi"]
    assert [m.message_id for m in talk.conversation.alternatives(first)] == [first]
    assert talk.conversation.messages[empty].status == status


def test_a_retry_that_fails_half_way_shows_what_came(talk: FoldedTalk) -> None:
    retried = talk.retry(talk.ask("Hello", "Hi"))
    talk.finish(retried, "Good d", "failed")
    assert talk.shown() == ["Hello", "Good d"]


def test_a_first_reply_that_stays_empty_stays_on_the_screen_to_be_retried(talk: FoldedTalk) -> None:
    empty = talk.ask("Hello", "")
    assert talk.conversation.head_id == empty
    talk.finish(talk.retry(empty), "Hi")
    assert talk.shown() == ["Hello", "Hi"]


def test_an_undone_exchange_does_not_come_back_by_choosing_an_alternative(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    talk.undo()
    assert talk.shown() == ["Hello", "Hi"]
    second = talk.retry(first)
    talk.finish(second, "Good day")
    talk.choose(first)
    assert talk.shown() == ["Hello", "Hi"]


def test_going_back_to_a_branch_finds_it_where_it_was_left(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    talk.ask("Sure?", "Yes")
    corrected, _ = talk.edit(reply, "Hello to you")
    assert talk.shown() == ["Hello", "Hello to you"]
    talk.choose(reply)
    assert talk.shown() == ["Hello", "Hi", "And?", "Nothing", "Sure?", "Yes"]
    assert talk.conversation.messages[corrected].shown is False


def test_a_branch_that_was_left_after_an_undo_is_found_as_the_undo_left_it(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    talk.ask("Sure?", "Yes")
    talk.undo()
    talk.edit(reply, "Hello to you")
    talk.choose(reply)
    assert talk.shown() == ["Hello", "Hi", "And?", "Nothing"]


def test_an_edited_prompt_branches_where_it_stood(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    prompt = talk.conversation.shown()[0]
    edited, reply = talk.edit(prompt.message_id, "Hello there")
    talk.finish(reply, "Hi there")
    assert talk.shown() == ["Hello there", "Hi there"]
    assert talk.conversation.messages[edited].replaces_id == prompt.message_id
    assert talk.conversation.title == "Hello there"
    assert {m.text for m in talk.conversation.messages.values() if not m.shown} == {"Hello", "Hi", "And?", "Nothing"}


def test_a_corrected_reply_has_its_human_author_and_counts_for_no_model(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    corrected, _ = talk.edit(reply, "Hello to you")
    message = talk.conversation.messages[corrected]
    assert (message.role, message.author_id, message.model, message.replaces_id) == ("assistant", "ada", None, reply)
    assert talk.conversation.writing_id is None


def test_undo_takes_the_last_prompt_and_all_that_followed(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    talk.undo()
    assert talk.shown() == []
    talk.ask("Hello again", "Hi again")
    assert talk.shown() == ["Hello again", "Hi again"]


def test_ratings_stay_whatever_happens_to_what_is_shown(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like", reasons={"accurate": True}, comment="Well said"))
    talk.rate(reply, "bob", RatingChange(value="dislike"))
    talk.rate(reply, "cyd", RatingChange(comment="Hm"))
    ratings = talk.conversation.ratings
    seen = talk.conversation.tree_version
    second = talk.retry(reply)
    talk.finish(second, "Good day")
    talk.edit(second, "Good evening")
    talk.undo()
    talk.clear()
    assert talk.conversation.ratings == ratings
    assert talk.conversation.tree_version > seen


def test_a_rating_does_not_change_what_other_pages_have_seen(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    seen = talk.conversation.tree_version
    talk.rate(reply, "bob", RatingChange(value="like"))
    assert talk.conversation.tree_version == seen
    assert talk.conversation.version > seen


def test_the_last_word_of_each_annotator_is_the_rating(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like"))
    first = talk.conversation.ratings[reply, "ada"]
    talk.rate(reply, "ada", RatingChange(value="dislike"))
    now = talk.conversation.ratings[reply, "ada"]
    assert (now.value, now.created_at, now.event_id) == ("dislike", first.created_at, talk.events[-1].event_id)
    assert now.updated_at > first.updated_at
    talk.rate(reply, "ada", RatingChange(value=""))
    assert (reply, "ada") not in talk.conversation.ratings


@pytest.mark.parametrize("status", ["failed", "stopped", "left", "interrupted", "complete"])
def test_finish_keeps_the_rating_of_a_reply_without_text_when_it_was_rated_before(
    talk: FoldedTalk, status: FinalStatus
) -> None:
    reply = talk.send("Hello")
    talk.rate(reply, "ada", RatingChange("like", {"accurate": True}, "A good start"))
    talk.finish(reply, "", status)
    rating = talk.conversation.ratings[reply, "ada"]
    assert (rating.value, rating.reasons, rating.comment) == ("like", ("accurate",), "A good start")
    assert talk.conversation.messages[reply].status == status


def test_a_conversation_remembers_what_an_evolution_left_alone(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    before = talk.conversation
    shown = talk.shown()
    talk.ask("And?", "Nothing")
    assert [m.text for m in before.shown()] == shown
    assert len(before.messages) == 2


def test_fold_keeps_all_other_fields_of_a_message_when_it_moves(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    before = talk.conversation.messages[reply]
    talk.retry(reply)
    after = talk.conversation.messages[reply]
    assert before.shown and not after.shown
    assert replace(before, shown=False) == after


def test_fold_keeps_the_provenance_of_a_reply(talk: FoldedTalk) -> None:
    reply_id = talk.ask("Hello", "Hi")
    outcome = talk.conversation.messages[reply_id].outcome
    assert outcome is not None and outcome.provenance == PROVENANCE


def test_folding_all_at_once_gives_what_folding_step_by_step_gave(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "bob", RatingChange(value="like"))
    talk.finish(talk.retry(reply), "Good day")
    talk.undo()
    assert fold(talk.conversation.conversation_id, talk.events) == talk.conversation


def test_an_event_that_does_not_follow_is_refused(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    with pytest.raises(ValueError, match="does not follow version 0"):
        fold(talk.conversation.conversation_id, talk.events[1:])
    stranger = Event("e", "another", 1, "ada", talk.events[0].occurred_at, ConversationStarted())
    with pytest.raises(ValueError, match="does not follow"):
        fold(talk.conversation.conversation_id, [stranger])


def test_nothing_is_shown_of_a_conversation_that_has_not_begun() -> None:
    assert Conversation("c").shown() == []
