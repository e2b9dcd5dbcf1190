"""Decisions: accepted commands, refused commands, and commands without effect."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.domain.feedback.decide import RatingChange, rate, restorable_reasons
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared
from chatfeedback.domain.text import sanitize, validate_prompt
from chatfeedback.errors import Conflict, InputError, MessageRejected, NotFound, NotRateable, ReplyRunning
from conversation_builder import REASONS, FoldedTalk


@pytest.fixture
def talk() -> FoldedTalk:
    return FoldedTalk()


Structural = Callable[[FoldedTalk, str, int | None], object]
STRUCTURAL: dict[str, Structural] = {
    "send": lambda talk, reply, tree_version: talk.send("More", tree_version),
    "retry": lambda talk, reply, tree_version: talk.retry(reply, tree_version),
    "undo": lambda talk, reply, tree_version: talk.undo(tree_version),
    "edit a prompt": lambda talk, reply, tree_version: talk.edit(
        str(talk.conversation.messages[reply].parent_id), "Hello there", tree_version
    ),
    "edit a reply": lambda talk, reply, tree_version: talk.edit(reply, "Hello to you", tree_version),
    "choose": lambda talk, reply, tree_version: talk.choose(reply, tree_version),
}


@pytest.mark.parametrize("command", STRUCTURAL)
def test_commands_conflict_when_tree_version_is_outdated(talk: FoldedTalk, command: str) -> None:
    reply = talk.ask("Hello", "Hi")
    tree_version = talk.conversation.tree_version
    talk.ask("And?", "Nothing")  # in another tab
    version = talk.conversation.version
    with pytest.raises(Conflict):
        STRUCTURAL[command](talk, reply, tree_version)
    assert talk.conversation.version == version


@pytest.mark.parametrize("command", [command for command in STRUCTURAL if command != "choose"])
def test_commands_are_accepted_when_tree_version_is_current(talk: FoldedTalk, command: str) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "bob", RatingChange(value="like"))  # changes nothing that is shown
    version = talk.conversation.version
    STRUCTURAL[command](talk, reply, talk.conversation.tree_version)
    assert talk.conversation.version > version


@pytest.mark.parametrize("command", STRUCTURAL)
def test_commands_are_refused_while_reply_runs(talk: FoldedTalk, command: str) -> None:
    talk.ask("Hello", "Hi")
    reply = talk.send("And?")
    with pytest.raises(ReplyRunning):
        STRUCTURAL[command](talk, reply, None)


def test_rate_is_accepted_while_reply_runs(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    running = talk.send("And?")
    for reply in (first, running):
        assert len(talk.rate(reply, "bob", RatingChange(value="like"))) == 1


def test_finish_ends_reply_once(talk: FoldedTalk) -> None:
    reply = talk.send("Hello")
    talk.finish(reply, "Hi", "stopped")
    version = talk.conversation.version
    talk.finish(reply, "Hi there", "complete")
    assert (talk.conversation.version, talk.shown()) == (version, ["Hello", "Hi"])


def test_retry_refuses_messages_other_than_last_reply(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    with pytest.raises(InputError, match="last reply"):
        talk.retry(first)
    with pytest.raises(NotFound):
        talk.retry("nowhere")


def test_edit_refuses_messages_that_are_not_shown(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    talk.finish(talk.retry(first), "Good day")
    with pytest.raises(InputError, match="on the screen"):
        talk.edit(first, "Hello to you")


def test_edit_writes_nothing_when_text_is_unchanged(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    version = talk.conversation.version
    talk.edit(reply, "Hi")
    assert talk.conversation.version == version


def test_choose_refuses_messages_other_than_alternatives_of_last_reply(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    second = talk.retry(first)
    talk.finish(second, "Good day")
    talk.ask("And?", "Nothing")
    with pytest.raises(InputError, match="alternative"):
        talk.choose(first)


def test_choose_writes_nothing_when_reply_is_shown_already(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    version = talk.conversation.version
    talk.choose(first)
    assert talk.conversation.version == version


def test_undo_is_refused_and_clear_writes_nothing_in_empty_conversation(talk: FoldedTalk) -> None:
    with pytest.raises(InputError, match="nothing to undo"):
        talk.undo()
    talk.clear()
    assert talk.conversation.version == 0


def test_send_omits_empty_replies_from_messages_for_model(talk: FoldedTalk) -> None:
    talk.ask("Hello", "")
    reply = talk.send("Are you there?")
    generation = talk.conversation.messages[reply].generation
    assert generation is not None
    sent = [talk.conversation.messages[message_id].text for message_id in generation.sent_ids]
    assert sent == ["Hello", "Are you there?"]


# Ratings


def test_rate_writes_nothing_when_state_is_unchanged(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    change = RatingChange(value="like", reasons={"accurate": True}, comment="Yes")
    assert len(talk.rate(reply, "ada", change)) == 1
    assert talk.rate(reply, "ada", change) == ()
    assert talk.rate(reply, "ada", RatingChange()) == ()
    assert talk.rate(reply, "bob", RatingChange(value="")) == ()


def test_rate_records_previous_rating(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like", reasons={"accurate": True}, comment="Yes"))
    (event,) = talk.rate(reply, "ada", RatingChange(value="dislike", comment="No"))
    assert event.body == MessageRated(
        message_id=reply,
        value="dislike",
        reasons=(),
        comment="No",
        previous_value="like",
        previous_reasons=("accurate",),
        previous_comment="Yes",
        model="zephyr",
    )


def test_rate_clears_reasons_and_keeps_comment_when_value_is_cleared(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like", reasons={"accurate": True, "funny": True}, comment="Yes"))
    (event,) = talk.rate(reply, "ada", RatingChange(value=""))
    assert event.body == RatingCleared(
        message_id=reply,
        comment="Yes",
        previous_value="like",
        previous_reasons=("accurate", "funny"),
        model="zephyr",
    )
    now = talk.conversation.ratings[reply, "ada"]
    assert (now.value, now.reasons, now.comment) == (None, (), "Yes")


def test_rate_drops_reasons_that_contradict_changed_value(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like", reasons={"accurate": True, "funny": True}))
    talk.rate(reply, "ada", RatingChange(value="dislike"))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("funny",)


def test_rate_treats_reasons_as_set_and_accepts_comment_alone(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(reasons={"funny": True, "accurate": True}))
    talk.rate(reply, "bob", RatingChange(comment="Hm"))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("accurate", "funny")
    assert talk.conversation.ratings[reply, "bob"].value is None
    talk.rate(reply, "bob", RatingChange(comment=""))
    assert (reply, "bob") not in talk.conversation.ratings


def test_rate_keeps_reasons_that_are_not_mentioned(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(reasons={"accurate": True}))
    talk.rate(reply, "ada", RatingChange(reasons={"funny": True}))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("accurate", "funny")
    talk.rate(reply, "ada", RatingChange(reasons={"accurate": False, "wrong": False}))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("funny",)
    talk.rate(reply, "ada", RatingChange(reasons={"funny": False}))
    assert (reply, "ada") not in talk.conversation.ratings


def test_rate_refuses_unknown_value_or_reason(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    with pytest.raises(InputError, match="like, dislike or nothing"):
        talk.rate(reply, "ada", RatingChange(value="love"))
    with pytest.raises(InputError, match="'rude'"):
        talk.rate(reply, "ada", RatingChange(reasons={"rude": True}))


def test_rate_keeps_reason_that_settings_no_longer_offer(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like", reasons={"accurate": True}))
    remaining = {code: polarity for code, polarity in REASONS.items() if code != "accurate"}
    (body,) = rate(
        talk.conversation,
        RatingChange(reasons={"funny": True}),
        message_id=reply,
        annotator_id="ada",
        reasons=remaining,
    )
    assert isinstance(body, MessageRated)
    assert body.reasons == ("accurate", "funny")


def test_rate_refuses_prompt_and_empty_reply(talk: FoldedTalk) -> None:
    empty = talk.ask("Hello", "")
    prompt = talk.conversation.shown()[0].message_id
    for message_id in (empty, prompt):
        with pytest.raises(NotRateable):
            talk.rate(message_id, "ada", RatingChange(value="like"))


def test_rate_records_no_model_for_human_reply(talk: FoldedTalk) -> None:
    corrected, _ = talk.edit(talk.ask("Hello", "Hi"), "Hello to you")
    (event,) = talk.rate(corrected, "bob", RatingChange(value="like"))
    assert isinstance(event.body, MessageRated)
    assert event.body.model is None


# Sanitization


@given(st.text(st.characters()))
def test_sanitize_replaces_characters_that_cannot_be_stored(text: str) -> None:
    clean, altered = sanitize(text)
    clean.encode()  # no lone surrogate is left
    assert "\0" not in clean
    assert altered == (clean != text)
    assert sanitize(clean) == (clean, False)
    if not any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        assert clean == text.replace("\0", "\ufffd")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("a\udc00\ud800", "a\ufffd\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),  # a pair in two halves, as JavaScript has it
        ("\ufeffa", "\ufeffa"),
        ("naïve 日本 😀", "naïve 日本 😀"),
    ],
)
def test_sanitize_replaces_only_characters_that_cannot_be_stored(text: str, clean: str) -> None:
    assert sanitize(text)[0] == clean


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\x07\x1b", "\u200b\u2060", "\0"])
def test_validate_prompt_refuses_blank_text(text: str) -> None:
    with pytest.raises(MessageRejected, match="nothing to send"):
        validate_prompt(text, max_length=100)


def test_validate_prompt_accepts_text_up_to_maximum_length() -> None:
    assert validate_prompt("a" * 100, max_length=100) == ("a" * 100, False)
    with pytest.raises(MessageRejected, match="101 characters"):
        validate_prompt("a" * 101, max_length=100)


@pytest.mark.parametrize("status", ["complete", "stopped", "interrupted"])
def test_finish_replaces_interrupted_reply_with_longer_text(talk: FoldedTalk, status: str) -> None:
    reply = talk.send("Hello")
    talk.finish(reply, "Once", "interrupted")
    talk.finish(reply, "Once upon a time", status)  # type: ignore[arg-type]
    assert talk.conversation.messages[reply].text == "Once upon a time"
    assert talk.conversation.messages[reply].status == status
    talk.finish(reply, "Once upon a time there was more", status)  # type: ignore[arg-type]
    assert (talk.conversation.messages[reply].text == "Once upon a time") == (status != "interrupted")


def test_finish_keeps_interrupted_reply_when_new_text_is_shorter(talk: FoldedTalk) -> None:
    reply = talk.send("Hello")
    talk.finish(reply, "Once upon", "interrupted")
    talk.finish(reply, "Once", "complete")
    assert talk.conversation.messages[reply].status == "interrupted"


Click = tuple[str, object]
LIKE, DISLIKE, CLEAR = (("value", value) for value in ("like", "dislike", ""))


def ticked(*reasons: str) -> Click:
    return "reasons", dict.fromkeys(reasons, True)


def unticked(*reasons: str) -> Click:
    return "reasons", dict.fromkeys(reasons, False)


@pytest.mark.parametrize(
    ("clicks", "value", "reasons"),
    [
        ([LIKE, ticked("accurate"), DISLIKE, LIKE], "like", ("accurate",)),
        ([LIKE, ticked("accurate"), DISLIKE, ticked("wrong"), LIKE], "like", ("accurate",)),
        ([LIKE, ticked("accurate"), DISLIKE, ticked("wrong"), LIKE, DISLIKE], "dislike", ("wrong",)),
        ([LIKE, ticked("accurate", "funny"), DISLIKE], "dislike", ("funny",)),
        ([LIKE, ticked("accurate", "funny"), DISLIKE, unticked("funny"), LIKE], "like", ("accurate",)),
        ([LIKE, ticked("accurate"), unticked("accurate"), DISLIKE, LIKE], "like", ()),
        ([LIKE, ticked("accurate", "funny"), CLEAR, LIKE], "like", ("accurate", "funny")),
        ([LIKE, ticked("accurate", "funny"), CLEAR, DISLIKE], "dislike", ("funny",)),
        ([LIKE, ticked("accurate"), CLEAR, DISLIKE, CLEAR, LIKE], "like", ("accurate",)),
        ([LIKE, ticked("accurate"), DISLIKE, LIKE, unticked("accurate"), DISLIKE, LIKE], "like", ()),
        ([LIKE, ticked("accurate"), DISLIKE, ("comment", "Hm."), LIKE], "like", ("accurate",)),
    ],
)
def test_rate_restores_reasons_when_their_value_returns(
    talk: FoldedTalk, clicks: list[Click], value: str, reasons: tuple[str, ...]
) -> None:
    reply = talk.ask("Hello", "Hi")
    history: list[MessageRated | RatingCleared] = []
    for name, setting in clicks:
        change = RatingChange(**{name: setting})  # type: ignore[arg-type]
        events = talk.rate(reply, "ada", change, restorable_reasons(history))
        history += [event.body for event in events if isinstance(event.body, MessageRated | RatingCleared)]
    rating = talk.conversation.ratings[reply, "ada"]
    assert (rating.value, rating.reasons) == (value, reasons)


@given(st.lists(st.sampled_from(["like", "dislike", ""]), max_size=8))
def test_rate_restores_same_reasons_after_any_changes_of_value(values: list[str]) -> None:
    talk = FoldedTalk()
    reply = talk.ask("Hello", "Hi")
    history: list[MessageRated | RatingCleared] = []
    for change in (
        RatingChange("like", {"accurate": True, "funny": True}),
        *map(RatingChange, values),
        RatingChange("like"),
    ):
        events = talk.rate(reply, "ada", change, restorable_reasons(history))
        history += [event.body for event in events if isinstance(event.body, MessageRated | RatingCleared)]
    assert talk.conversation.ratings[reply, "ada"].reasons == ("accurate", "funny")


@pytest.fixture
def two(talk: FoldedTalk) -> tuple[str, str]:
    """Replies to the only prompt: the one on view, and the stored head."""
    first = talk.ask("Hello", "Hi")
    second = talk.retry(first)
    talk.finish(second, "Good day")
    return first, second


def kinds(talk: FoldedTalk) -> list[str]:
    return [event.body.KIND for event in talk.events]


def test_send_continues_from_alternative_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    before = len(kinds(talk))
    talk.finish(talk.send("And?", viewed_id=two[0]), "So?")
    assert kinds(talk)[before:] == ["alternative_chosen", "message_sent", "reply_started", "reply_finished"]
    assert talk.shown() == ["Hello", "Hi", "And?", "So?"]


def test_send_chooses_nothing_when_stored_reply_is_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    talk.send("And?", viewed_id=two[1])
    assert "alternative_chosen" not in kinds(talk)


def test_retry_of_alternative_on_view_does_not_choose_it(talk: FoldedTalk, two: tuple[str, str]) -> None:
    third = talk.retry(two[0], viewed_id=two[0])
    talk.finish(third, "Hey")
    assert "alternative_chosen" not in kinds(talk)
    assert talk.conversation.messages[third].replaces_id == two[0]
    assert talk.shown() == ["Hello", "Hey"]


@pytest.mark.parametrize(
    ("edited", "chosen"),
    [("Hi", True), ("Hello", False)],
)
def test_edit_chooses_alternative_on_view_only_when_it_is_edited(
    talk: FoldedTalk, two: tuple[str, str], edited: str, chosen: bool
) -> None:
    (message_id,) = (m.message_id for m in talk.conversation.messages.values() if m.text == edited)
    talk.edit(message_id, "Something else", viewed_id=two[0])
    assert ("alternative_chosen" in kinds(talk)) == chosen


def test_edit_refuses_stored_reply_when_another_one_is_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="on the screen"):
        talk.edit(two[1], "Something else", viewed_id=two[0])


def test_undo_records_reply_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    talk.edit(two[1], "Mine")
    talk.undo(viewed_id=two[0])
    assert kinds(talk)[-1] == "turn_undone" and "alternative_chosen" not in kinds(talk)
    assert talk.events[-1].body.model == "zephyr"  # type: ignore[union-attr]
    assert talk.shown() == []


def test_send_from_alternative_on_view_continues_at_end_of_its_branch(talk: FoldedTalk, two: tuple[str, str]) -> None:
    talk.ask("And?", "So?")
    talk.edit(two[1], "Mine")  # beside a reply after which the conversation went on
    talk.finish(talk.send("More", viewed_id=two[1]), "Enough")
    assert talk.shown() == ["Hello", "Good day", "And?", "So?", "More", "Enough"]
    assert kinds(talk).count("alternative_chosen") == 1


@pytest.mark.parametrize("command", ["send", "retry", "edit", "undo"])
def test_commands_refuse_viewed_message_other_than_alternative_of_last_reply(talk: FoldedTalk, command: str) -> None:
    early = talk.ask("Hello", "Hi")
    last = talk.ask("And?", "So?")
    do = {
        "send": lambda: talk.send("More", viewed_id=early),
        "retry": lambda: talk.retry(last, viewed_id=early),
        "edit": lambda: talk.edit(last, "More", viewed_id=early),
        "undo": lambda: talk.undo(viewed_id=early),
    }
    events = len(talk.events)
    with pytest.raises(InputError):
        do[command]()
    assert len(talk.events) == events
