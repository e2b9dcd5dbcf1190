"""Feedback events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

RatingValue = Literal["like", "dislike"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRated:
    """A rating of a reply by the actor was set; it carries the previous one."""

    KIND: ClassVar = "message_rated"
    message_id: str
    value: RatingValue | None
    reasons: tuple[str, ...]
    """Reason codes, sorted."""
    comment: str | None
    altered: bool = False
    previous_value: RatingValue | None
    previous_reasons: tuple[str, ...]
    previous_comment: str | None
    model: str | None
    """None for text by a human, which counts for no model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingCleared:
    """The thumb and its reasons were removed; a comment stays."""

    KIND: ClassVar = "rating_cleared"
    message_id: str
    comment: str | None
    previous_value: RatingValue
    previous_reasons: tuple[str, ...]
    model: str | None
