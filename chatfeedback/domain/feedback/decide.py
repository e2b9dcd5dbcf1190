"""Decisions about feedback."""

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
    """The part of a rating that a person sets; None leaves it, "" clears it.

    `reasons`: of each that is named, whether it is chosen. The others stay, which may have been chosen on another page.
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
    set_aside: Collection[str] = (),
) -> tuple[Body, ...]:
    """The rating that is wanted, whatever it was. `reasons`: the configured codes and their polarity.

    `set_aside`: reasons that come back with a new value that they go with (see the function of that name). Raises
    NotRateable for anything but a reply with text, NotOffered for an unknown value or reason.
    """
    message = message_of(conversation, message_id)
    if message.role != "assistant":
        raise NotRateable("Only a reply can be rated.")
    if not (message.text or message.status == "writing"):
        raise NotRateable("This reply has no text that could be rated; press Retry for another one.")
    before = conversation.ratings.get((message_id, annotator_id))
    value = _value(change.value, before)
    codes = _codes(change.reasons, before, value, reasons, set_aside)
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


def set_aside(ratings: Iterable[MessageRated | RatingCleared]) -> frozenset[str]:
    """Return the reasons that went with a change of the value, and not by hand; the ratings of a reply, oldest first.

    A like with reasons that becomes a dislike by mistake, and a like again, has its reasons back.
    """
    aside: set[str] = set()
    for rating in ratings:
        value, reasons = (rating.value, rating.reasons) if isinstance(rating, MessageRated) else (None, ())
        gone = set(rating.previous_reasons) - set(reasons)
        aside = (aside | gone if value != rating.previous_value else aside - gone) - set(reasons)
    return frozenset(aside)


def _value(wanted: str | None, before: Rating | None) -> RatingValue | None:
    match wanted:
        case None:
            return before.value if before else None
        case "":
            return None
        case "like" | "dislike":
            return wanted
    raise NotOffered("A rating is like, dislike or nothing.")


def _codes(
    wanted: Mapping[str, bool],
    before: Rating | None,
    value: RatingValue | None,
    polarity: Mapping[str, str],
    set_aside: Collection[str],
) -> tuple[str, ...]:
    """Return the reasons, without those that speak against the value. Codes retired from the settings may stay.

    A new value brings back those that were set aside for it; a value that is taken away takes the reasons along.
    """
    codes = set(before.reasons) if before else set()
    known = codes | polarity.keys()
    if value != (before.value if before else None):
        codes = codes.union(set_aside) if value is not None else set()
    if unknown := sorted(wanted.keys() - known.union(set_aside)):
        raise NotOffered(f"{unknown[0]!r} is not one of the reasons offered here.")
    codes.update(code for code, is_chosen in wanted.items() if is_chosen)
    codes.difference_update(code for code, is_chosen in wanted.items() if not is_chosen)
    return tuple(sorted(c for c in codes if value is None or polarity.get(c, "any") in ("any", value)))
