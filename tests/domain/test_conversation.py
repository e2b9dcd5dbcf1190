"""Conversation tree: the head, the messages that are shown, and branches that can be chosen again."""

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


def test_conversation_shows_messages_in_order(talk: FoldedTalk) -> None:
    talk.ask("One", "1")
    talk.ask("Two", "2")
    assert talk.shown() == ["One", "1", "Two", "2"]


def test_title_is_first_prompt_shortened_to_one_line(talk: FoldedTalk) -> None:
    talk.ask("  Tell me\nabout " + "rivers " * 40, "Long ones")
    talk.ask("And lakes?", "Deep ones")
    title = talk.conversation.title
    assert title.startswith("Tell me about rivers rivers")
    assert len(title) == TITLE_LENGTH
    assert title.endswith("…")


def test_retry_shows_new_reply_and_keeps_old_one_as_alternative(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    second = talk.retry(first)
    talk.finish(second, "Good day")
    assert talk.shown() == ["Hello", "Good day"]
    assert [m.text for m in talk.conversation.alternatives(second)] == ["Hi", "Good day"]
    assert talk.conversation.messages[second].replaces_id == first
    talk.choose(first)
    assert talk.shown() == ["Hello", "Hi"]


@pytest.mark.parametrize("status", ["failed", "stopped", "left", "interrupted", "complete"])
def test_retry_leaves_old_reply_shown_when_it_ends_without_text(talk: FoldedTalk, status: FinalStatus) -> None:
    first = talk.ask("Hello", "Hi")
    empty = talk.retry(first)
    talk.finish(empty, "", status)
    assert talk.shown() == ["Hello", "Hi"]
    assert [m.message_id for m in talk.conversation.alternatives(first)] == [first]
    assert talk.conversation.messages[empty].status == status


def test_retry_shows_partial_text_when_it_fails(talk: FoldedTalk) -> None:
    retried = talk.retry(talk.ask("Hello", "Hi"))
    talk.finish(retried, "Good d", "failed")
    assert talk.shown() == ["Hello", "Good d"]


def test_empty_first_reply_stays_shown_and_can_be_retried(talk: FoldedTalk) -> None:
    empty = talk.ask("Hello", "")
    assert talk.conversation.head_id == empty
    talk.finish(talk.retry(empty), "Hi")
    assert talk.shown() == ["Hello", "Hi"]


def test_choose_does_not_restore_undone_exchange(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    talk.undo()
    assert talk.shown() == ["Hello", "Hi"]
    second = talk.retry(first)
    talk.finish(second, "Good day")
    talk.choose(first)
    assert talk.shown() == ["Hello", "Hi"]


def test_choose_restores_branch_as_it_was_left(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    talk.ask("Sure?", "Yes")
    corrected, _ = talk.edit(reply, "Hello to you")
    assert talk.shown() == ["Hello", "Hello to you"]
    talk.choose(reply)
    assert talk.shown() == ["Hello", "Hi", "And?", "Nothing", "Sure?", "Yes"]
    assert talk.conversation.messages[corrected].shown is False


def test_choose_restores_branch_without_undone_exchange(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    talk.ask("Sure?", "Yes")
    talk.undo()
    talk.edit(reply, "Hello to you")
    talk.choose(reply)
    assert talk.shown() == ["Hello", "Hi", "And?", "Nothing"]


def test_edit_of_prompt_starts_branch_at_its_position(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    prompt = talk.conversation.shown()[0]
    edited, reply = talk.edit(prompt.message_id, "Hello there")
    talk.finish(reply, "Hi there")
    assert talk.shown() == ["Hello there", "Hi there"]
    assert talk.conversation.messages[edited].replaces_id == prompt.message_id
    assert talk.conversation.title == "Hello there"
    assert {m.text for m in talk.conversation.messages.values() if not m.shown} == {"Hello", "Hi", "And?", "Nothing"}


def test_edit_of_reply_records_human_author_and_no_model(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    corrected, _ = talk.edit(reply, "Hello to you")
    message = talk.conversation.messages[corrected]
    assert (message.role, message.author_id, message.model, message.replaces_id) == ("assistant", "ada", None, reply)
    assert talk.conversation.writing_id is None


def test_undo_hides_last_prompt_and_its_reply(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    talk.undo()
    assert talk.shown() == []
    talk.ask("Hello again", "Hi again")
    assert talk.shown() == ["Hello again", "Hi again"]


def test_ratings_survive_changes_of_tree(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like", reasons={"accurate": True}, comment="Well said"))
    talk.rate(reply, "bob", RatingChange(value="dislike"))
    talk.rate(reply, "cyd", RatingChange(comment="Hm"))
    ratings = talk.conversation.ratings
    tree_version = talk.conversation.tree_version
    second = talk.retry(reply)
    talk.finish(second, "Good day")
    talk.edit(second, "Good evening")
    talk.undo()
    talk.clear()
    assert talk.conversation.ratings == ratings
    assert talk.conversation.tree_version > tree_version


def test_rating_does_not_change_tree_version(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    tree_version = talk.conversation.tree_version
    talk.rate(reply, "bob", RatingChange(value="like"))
    assert talk.conversation.tree_version == tree_version
    assert talk.conversation.version > tree_version


def test_rating_is_last_change_of_each_annotator(talk: FoldedTalk) -> None:
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
def test_finish_keeps_rating_of_reply_without_text_when_rated_before(talk: FoldedTalk, status: FinalStatus) -> None:
    reply = talk.send("Hello")
    talk.rate(reply, "ada", RatingChange("like", {"accurate": True}, "A good start"))
    talk.finish(reply, "", status)
    rating = talk.conversation.ratings[reply, "ada"]
    assert (rating.value, rating.reasons, rating.comment) == ("like", ("accurate",), "A good start")
    assert talk.conversation.messages[reply].status == status


def test_evolve_does_not_change_earlier_conversation(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    before = talk.conversation
    shown = talk.shown()
    talk.ask("And?", "Nothing")
    assert [m.text for m in before.shown()] == shown
    assert len(before.messages) == 2


def test_fold_keeps_other_fields_of_message_when_it_is_hidden(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    before = talk.conversation.messages[reply]
    talk.retry(reply)
    after = talk.conversation.messages[reply]
    assert before.shown and not after.shown
    assert replace(before, shown=False) == after


def test_fold_keeps_provenance_of_reply(talk: FoldedTalk) -> None:
    reply_id = talk.ask("Hello", "Hi")
    outcome = talk.conversation.messages[reply_id].outcome
    assert outcome is not None and outcome.provenance == PROVENANCE


def test_fold_equals_stepwise_evolution(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "bob", RatingChange(value="like"))
    talk.finish(talk.retry(reply), "Good day")
    talk.undo()
    assert fold(talk.conversation.conversation_id, talk.events) == talk.conversation


def test_fold_refuses_event_out_of_sequence(talk: FoldedTalk) -> None:
    talk.ask("Hello", "Hi")
    with pytest.raises(ValueError, match="does not follow version 0"):
        fold(talk.conversation.conversation_id, talk.events[1:])
    stranger = Event("e", "another", 1, "ada", talk.events[0].occurred_at, ConversationStarted())
    with pytest.raises(ValueError, match="does not follow"):
        fold(talk.conversation.conversation_id, [stranger])


def test_conversation_shows_nothing_before_first_event() -> None:
    assert Conversation("c").shown() == []
