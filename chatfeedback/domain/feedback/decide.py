"""Decisions about feedback: the new events for a rating, or a refusal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from chatfeedback.domain.conversation.decide import message_of
from chatfeedback.domain.conversation.state import Conversation, Rating
from chatfeedback.domain.events import Body
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared, RatingValue
from chatfeedback.errors import NotOffered, NotRateable


class RatingChange(NamedTuple):
    """The part of a rating that an annotator sets; None leaves a field, "" clears it.

    `reasons` maps the codes that change to whether they are chosen. Other codes stay: another tab may have chosen them.
    """

    value: str | None = None
    reasons: Mapping[str, bool] = MappingProxyType({})
    comment: str | None = None
    altered: bool = False


def rate(
    conversation: Conversation,
    change: RatingChange,
    *,
    message_id: str,
    annotator_id: str,
    reasons: Mapping[str, str],
    restorable_reasons: Collection[str] = (),
) -> tuple[Body, ...]:
    """Return the events that set the rating, whatever it was; `()` if nothing changes.

    Args:
        conversation: Current state.
        change: Fields to set.
        message_id: The reply.
        annotator_id: The annotator who rates.
        reasons: The configured codes and their polarity.
        restorable_reasons: Reasons to restore with a value that they go with, as returned by `restorable_reasons`.

    Raises:
        NotRateable: The message is not a reply with text.
        NotOffered: The value or a reason is unknown.
    """
    message = message_of(conversation, message_id)
    if message.role != "assistant":
        raise NotRateable("Only a reply can be rated.")
    if not (message.text or message.status == "writing"):
        raise NotRateable("This reply has no text that could be rated; press Retry for another one.")
    before = conversation.ratings.get((message_id, annotator_id))
    value = _value(change.value, before)
    codes = _codes(change.reasons, before, value, reasons, restorable_reasons)
    comment = (before.comment if before else None) if change.comment is None else (change.comment or None)
    old = (before.value, before.reasons, before.comment) if before else (None, (), None)
    if value is None and old[0] is not None and not codes and comment == old[2]:
        return (
            RatingCleared(
                message_id=message_id,
                comment=comment,
                previous_value=old[0],
                previous_reasons=old[1],
                model=message.model,
            ),
        )
    if (value, codes, comment) == old:
        return ()
    return (
        MessageRated(
            message_id=message_id,
            value=value,
            reasons=codes,
            comment=comment,
            altered=change.altered,
            previous_value=old[0],
            previous_reasons=old[1],
            previous_comment=old[2],
            model=message.model,
        ),
    )


def restorable_reasons(ratings: Iterable[MessageRated | RatingCleared]) -> frozenset[str]:
    """Return the reasons that were removed by a change of the value, not by hand.

    A like with reasons that is changed to a dislike by mistake, and back, gets its reasons back.

    Args:
        ratings: The ratings of one reply by one annotator, oldest first.
    """
    aside: set[str] = set()
    for rating in ratings:
        value, reasons = (rating.value, rating.reasons) if isinstance(rating, MessageRated) else (None, ())
        gone = set(rating.previous_reasons) - set(reasons)
        aside = (aside | gone if value != rating.previous_value else aside - gone) - set(reasons)
    return frozenset(aside)


def _value(requested: str | None, before: Rating | None) -> RatingValue | None:
    match requested:
        case None:
            return before.value if before else None
        case "":
            return None
        case "like" | "dislike":
            return requested
    raise NotOffered("A rating is like, dislike or nothing.")


def _codes(
    changes: Mapping[str, bool],
    before: Rating | None,
    value: RatingValue | None,
    polarity: Mapping[str, str],
    restorable_reasons: Collection[str],
) -> tuple[str, ...]:
    """Return the reason codes, without those of the opposite polarity. Codes retired from the settings may stay.

    A new value restores the reasons that were set aside for it; removing the value removes the reasons.
    """
    codes = set(before.reasons) if before else set()
    known = codes | polarity.keys()
    if value != (before.value if before else None):
        codes = codes.union(restorable_reasons) if value is not None else set()
    if unknown := sorted(changes.keys() - known.union(restorable_reasons)):
        raise NotOffered(f"{unknown[0]!r} is not one of the reasons offered here.")
    codes.update(code for code, is_chosen in changes.items() if is_chosen)
    codes.difference_update(code for code, is_chosen in changes.items() if not is_chosen)
    return tuple(sorted(c for c in codes if value is None or polarity.get(c, "any") in ("any", value)))
