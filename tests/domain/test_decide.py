"""What may happen next, what is refused, and what changes nothing."""

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
    "send": lambda talk, reply, seen: talk.send("More", seen),
    "retry": lambda talk, reply, seen: talk.retry(reply, seen),
    "undo": lambda talk, reply, seen: talk.undo(seen),
    "edit a prompt": lambda talk, reply, seen: talk.edit(
        str(talk.conversation.messages[reply].parent_id), "Hello there", seen
    ),
    "edit a reply": lambda talk, reply, seen: talk.edit(reply, "Hello to you", seen),
    "choose": lambda talk, reply, seen: talk.choose(reply, seen),
}


@pytest.mark.parametrize("what", STRUCTURAL)
def test_a_page_that_is_out_of_date_gets_a_conflict(talk: FoldedTalk, what: str) -> None:
    reply = talk.ask("Hello", "Hi")
    seen = talk.conversation.tree_version
    talk.ask("And?", "Nothing")  # in another tab
    version = talk.conversation.version
    with pytest.raises(Conflict):
        STRUCTURAL[what](talk, reply, seen)
    assert talk.conversation.version == version


@pytest.mark.parametrize("what", [what for what in STRUCTURAL if what != "choose"])
def test_a_page_that_is_up_to_date_may_go_on(talk: FoldedTalk, what: str) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "bob", RatingChange(value="like"))  # changes nothing that is shown
    version = talk.conversation.version
    STRUCTURAL[what](talk, reply, talk.conversation.tree_version)
    assert talk.conversation.version > version


@pytest.mark.parametrize("what", STRUCTURAL)
def test_while_a_reply_is_being_written_the_conversation_stands_still(talk: FoldedTalk, what: str) -> None:
    talk.ask("Hello", "Hi")
    reply = talk.send("And?")
    with pytest.raises(ReplyRunning):
        STRUCTURAL[what](talk, reply, None)


def test_a_rating_is_taken_while_a_reply_is_being_written(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    running = talk.send("And?")
    for reply in (first, running):
        assert len(talk.rate(reply, "bob", RatingChange(value="like"))) == 1


def test_a_reply_ends_once(talk: FoldedTalk) -> None:
    reply = talk.send("Hello")
    talk.finish(reply, "Hi", "stopped")
    version = talk.conversation.version
    talk.finish(reply, "Hi there", "complete")
    assert (talk.conversation.version, talk.shown()) == (version, ["Hello", "Hi"])


def test_only_the_last_reply_can_be_retried(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    talk.ask("And?", "Nothing")
    with pytest.raises(InputError, match="last reply"):
        talk.retry(first)
    with pytest.raises(NotFound):
        talk.retry("nowhere")


def test_only_a_message_on_the_screen_can_be_edited(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    talk.finish(talk.retry(first), "Good day")
    with pytest.raises(InputError, match="on the screen"):
        talk.edit(first, "Hello to you")


def test_an_edit_that_changes_nothing_writes_nothing(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    version = talk.conversation.version
    talk.edit(reply, "Hi")
    assert talk.conversation.version == version


def test_only_an_alternative_of_the_last_reply_can_be_chosen(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    second = talk.retry(first)
    talk.finish(second, "Good day")
    talk.ask("And?", "Nothing")
    with pytest.raises(InputError, match="alternative"):
        talk.choose(first)


def test_choosing_what_is_shown_writes_nothing(talk: FoldedTalk) -> None:
    first = talk.ask("Hello", "Hi")
    version = talk.conversation.version
    talk.choose(first)
    assert talk.conversation.version == version


def test_an_empty_conversation_has_nothing_to_undo_or_clear(talk: FoldedTalk) -> None:
    with pytest.raises(InputError, match="nothing to undo"):
        talk.undo()
    talk.clear()
    assert talk.conversation.version == 0


def test_what_is_sent_is_the_thread_without_replies_that_stayed_empty(talk: FoldedTalk) -> None:
    talk.ask("Hello", "")
    reply = talk.send("Are you there?")
    generation = talk.conversation.messages[reply].generation
    assert generation is not None
    sent = [talk.conversation.messages[message_id].text for message_id in generation.sent_ids]
    assert sent == ["Hello", "Are you there?"]


# Ratings


def test_a_rating_that_changes_nothing_writes_nothing(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    wish = RatingChange(value="like", reasons={"accurate": True}, comment="Yes")
    assert len(talk.rate(reply, "ada", wish)) == 1
    assert talk.rate(reply, "ada", wish) == ()
    assert talk.rate(reply, "ada", RatingChange()) == ()
    assert talk.rate(reply, "bob", RatingChange(value="")) == ()


def test_a_rating_carries_the_previous_one(talk: FoldedTalk) -> None:
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


def test_clearing_the_thumb_takes_its_reasons_and_keeps_the_comment(talk: FoldedTalk) -> None:
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


def test_a_changed_thumb_drops_the_reasons_that_speak_against_it(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(value="like", reasons={"accurate": True, "funny": True}))
    talk.rate(reply, "ada", RatingChange(value="dislike"))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("funny",)


def test_reasons_are_a_set_and_a_comment_may_stand_alone(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(reasons={"funny": True, "accurate": True}))
    talk.rate(reply, "bob", RatingChange(comment="Hm"))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("accurate", "funny")
    assert talk.conversation.ratings[reply, "bob"].value is None
    talk.rate(reply, "bob", RatingChange(comment=""))
    assert (reply, "bob") not in talk.conversation.ratings


def test_rate_leaves_the_reasons_that_are_not_named(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, "ada", RatingChange(reasons={"accurate": True}))
    talk.rate(reply, "ada", RatingChange(reasons={"funny": True}))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("accurate", "funny")
    talk.rate(reply, "ada", RatingChange(reasons={"accurate": False, "wrong": False}))
    assert talk.conversation.ratings[reply, "ada"].reasons == ("funny",)
    talk.rate(reply, "ada", RatingChange(reasons={"funny": False}))
    assert (reply, "ada") not in talk.conversation.ratings


def test_an_unknown_value_or_reason_is_refused(talk: FoldedTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    with pytest.raises(InputError, match="like, dislike or nothing"):
        talk.rate(reply, "ada", RatingChange(value="love"))
    with pytest.raises(InputError, match="'rude'"):
        talk.rate(reply, "ada", RatingChange(reasons={"rude": True}))


def test_a_reason_that_was_retired_from_the_settings_may_stay(talk: FoldedTalk) -> None:
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


def test_only_a_reply_with_text_can_be_rated(talk: FoldedTalk) -> None:
    empty = talk.ask("Hello", "")
    prompt = talk.conversation.shown()[0].message_id
    for message_id in (empty, prompt):
        with pytest.raises(NotRateable):
            talk.rate(message_id, "ada", RatingChange(value="like"))


def test_a_rating_of_a_text_by_a_human_names_no_model(talk: FoldedTalk) -> None:
    corrected, _ = talk.edit(talk.ask("Hello", "Hi"), "Hello to you")
    (event,) = talk.rate(corrected, "bob", RatingChange(value="like"))
    assert isinstance(event.body, MessageRated)
    assert event.body.model is None


# Texts from outside


@given(st.text(st.characters()))
def test_what_no_database_keeps_becomes_a_replacement_character(text: str) -> None:
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
def test_everything_else_is_kept(text: str, clean: str) -> None:
    assert sanitize(text)[0] == clean


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\x07\x1b", "\u200b\u2060", "\0"])
def test_a_message_without_anything_to_read_is_rejected(text: str) -> None:
    with pytest.raises(MessageRejected, match="nothing to send"):
        validate_prompt(text, max_length=100)


def test_a_message_may_be_exactly_as_long_as_allowed() -> None:
    assert validate_prompt("a" * 100, max_length=100) == ("a" * 100, False)
    with pytest.raises(MessageRejected, match="101 characters"):
        validate_prompt("a" * 101, max_length=100)


@pytest.mark.parametrize("status", ["complete", "stopped", "interrupted"])
def test_who_was_taken_for_dead_and_comes_back_with_more_text_has_the_last_word(talk: FoldedTalk, status: str) -> None:
    reply = talk.send("Hello")
    talk.finish(reply, "Once", "interrupted")
    talk.finish(reply, "Once upon a time", status)  # type: ignore[arg-type]
    assert talk.conversation.messages[reply].text == "Once upon a time"
    assert talk.conversation.messages[reply].status == status
    talk.finish(reply, "Once upon a time there was more", status)  # type: ignore[arg-type]
    assert (talk.conversation.messages[reply].text == "Once upon a time") == (status != "interrupted")


def test_an_interrupted_reply_is_not_replaced_by_less_text(talk: FoldedTalk) -> None:
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
def test_rate_brings_back_the_reasons_that_went_with_the_value(
    talk: FoldedTalk, clicks: list[Click], value: str, reasons: tuple[str, ...]
) -> None:
    reply = talk.ask("Hello", "Hi")
    said: list[MessageRated | RatingCleared] = []
    for name, wanted in clicks:
        change = RatingChange(**{name: wanted})  # type: ignore[arg-type]
        events = talk.rate(reply, "ada", change, restorable_reasons(said))
        said += [event.body for event in events if isinstance(event.body, MessageRated | RatingCleared)]
    rating = talk.conversation.ratings[reply, "ada"]
    assert (rating.value, rating.reasons) == (value, reasons)


@given(st.lists(st.sampled_from(["like", "dislike", ""]), max_size=8))
def test_rate_gives_the_same_for_the_same_value_whatever_was_clicked_between(values: list[str]) -> None:
    talk = FoldedTalk()
    reply = talk.ask("Hello", "Hi")
    said: list[MessageRated | RatingCleared] = []
    for change in (
        RatingChange("like", {"accurate": True, "funny": True}),
        *map(RatingChange, values),
        RatingChange("like"),
    ):
        events = talk.rate(reply, "ada", change, restorable_reasons(said))
        said += [event.body for event in events if isinstance(event.body, MessageRated | RatingCleared)]
    assert talk.conversation.ratings[reply, "ada"].reasons == ("accurate", "funny")


@pytest.fixture
def two(talk: FoldedTalk) -> tuple[str, str]:
    """The replies to the only prompt: the one to be looked at, and the one that is stored as the last one."""
    first = talk.ask("Hello", "Hi")
    second = talk.retry(first)
    talk.finish(second, "Good day")
    return first, second


def kinds(talk: FoldedTalk) -> list[str]:
    return [event.body.KIND for event in talk.events]


def test_send_goes_on_from_the_alternative_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    before = len(kinds(talk))
    talk.finish(talk.send("And?", viewed_id=two[0]), "So?")
    assert kinds(talk)[before:] == ["alternative_chosen", "message_sent", "reply_started", "reply_finished"]
    assert talk.shown() == ["Hello", "Hi", "And?", "So?"]


def test_send_chooses_nothing_when_the_stored_reply_is_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    talk.send("And?", viewed_id=two[1])
    assert "alternative_chosen" not in kinds(talk)


def test_retry_of_the_alternative_on_view_does_not_choose_it(talk: FoldedTalk, two: tuple[str, str]) -> None:
    third = talk.retry(two[0], viewed_id=two[0])
    talk.finish(third, "Hey")
    assert "alternative_chosen" not in kinds(talk)
    assert talk.conversation.messages[third].replaces_id == two[0]
    assert talk.shown() == ["Hello", "Hey"]


@pytest.mark.parametrize(
    ("edited", "chosen"),
    [("Hi", True), ("Hello", False)],
)
def test_edit_chooses_the_alternative_on_view_when_it_is_edited(
    talk: FoldedTalk, two: tuple[str, str], edited: str, chosen: bool
) -> None:
    (message_id,) = (m.message_id for m in talk.conversation.messages.values() if m.text == edited)
    talk.edit(message_id, "Something else", viewed_id=two[0])
    assert ("alternative_chosen" in kinds(talk)) == chosen


def test_edit_refuses_the_stored_reply_when_another_one_is_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="on the screen"):
        talk.edit(two[1], "Something else", viewed_id=two[0])


def test_undo_says_which_reply_was_on_view(talk: FoldedTalk, two: tuple[str, str]) -> None:
    talk.edit(two[1], "Mine")
    talk.undo(viewed_id=two[0])
    assert kinds(talk)[-1] == "turn_undone" and "alternative_chosen" not in kinds(talk)
    assert talk.events[-1].body.model == "zephyr"  # type: ignore[union-attr]
    assert talk.shown() == []


def test_an_alternative_that_goes_on_is_seen_and_gone_on_from_to_its_end(
    talk: FoldedTalk, two: tuple[str, str]
) -> None:
    talk.ask("And?", "So?")
    talk.edit(two[1], "Mine")  # beside a reply after which the conversation went on
    talk.finish(talk.send("More", viewed_id=two[1]), "Enough")
    assert talk.shown() == ["Hello", "Good day", "And?", "So?", "More", "Enough"]
    assert kinds(talk).count("alternative_chosen") == 1


@pytest.mark.parametrize("what", ["send", "retry", "edit", "undo"])
def test_what_is_no_alternative_of_the_last_reply_cannot_be_on_view(talk: FoldedTalk, what: str) -> None:
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
        do[what]()
    assert len(talk.events) == events
