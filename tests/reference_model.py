"""Reference model of a conversation, as one would write it down on paper: a list of every screen there ever was.

It shares no idea with the program: no tree, no head, no events. A branch is found again by looking for the latest
screen on which its first message stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conversation_builder import REASONS

Screen = tuple[str, ...]
"""Ids of messages, oldest first."""


@dataclass
class Opinion:
    """Feedback of one person on one reply."""

    value: str = ""
    reasons: set[str] = field(default_factory=set)
    comment: str = ""

    def says_something(self) -> bool:
        return bool(self.value or self.reasons or self.comment)


class Paper:
    """Model that the program is compared with. Each method does what a person did, if it was allowed."""

    def __init__(self) -> None:
        self.screens: list[Screen] = [()]
        self.texts: dict[str, str] = {}
        self.roles: dict[str, str] = {}
        self.before: dict[str, Screen] = {}
        """Messages that stood on the screen above a message when it was made."""
        self.opinions: dict[tuple[str, str], Opinion] = {}
        self.writing: str | None = None
        self.instead_of: str | None = None
        """Reply that the one being written is to replace."""

    @property
    def screen(self) -> Screen:
        return self.screens[-1]

    def _write(self, message_id: str, role: str, text: str, before: Screen) -> Screen:
        self.texts[message_id], self.roles[message_id], self.before[message_id] = text, role, before
        return (*before, message_id)

    def _start(self, reply_id: str, before: Screen, instead_of: str | None = None) -> None:
        self.screens.append(self._write(reply_id, "assistant", "", before))
        self.writing, self.instead_of = reply_id, instead_of

    def send(self, text: str, message_id: str, reply_id: str) -> None:
        self._start(reply_id, self._write(message_id, "user", text, self.screen))

    def finish(self, text: str) -> None:
        assert self.writing is not None
        self.texts[self.writing] = text
        if not text and self.instead_of and self.texts[self.instead_of]:
            self.screens.append((*self.screen[:-1], self.instead_of))
        self.writing = None

    def retry(self, reply_id: str) -> None:
        self._start(reply_id, self.screen[:-1], instead_of=self.screen[-1])

    def undo(self) -> None:
        last_prompt = max(place for place, message_id in enumerate(self.screen) if self.roles[message_id] == "user")
        self.screens.append(self.screen[:last_prompt])

    def edit(self, message_id: str, text: str, edited_id: str, reply_id: str) -> None:
        before = self.screen[: self.screen.index(message_id)]
        edited = self._write(edited_id, self.roles[message_id], text, before)
        if self.roles[message_id] == "user":
            self._start(reply_id, edited)
        else:
            self.screens.append(edited)

    def choose(self, message_id: str) -> None:
        self.screens.append(next(screen for screen in reversed(self.screens) if message_id in screen))

    def alternatives(self) -> list[str]:
        """Return the alternatives of the last reply, in the order in which they were made."""
        if not self.screen or self.roles[self.screen[-1]] != "assistant":
            return []
        last = self.screen[-1]
        return [
            other
            for other, before in self.before.items()
            if before == self.screen[:-1] and self.roles[other] == "assistant" and (self.texts[other] or other == last)
        ]

    def corrigible(self) -> list[str]:
        """Return the replies on the screen that something follows."""
        return [m for m in self.screen[:-1] if self.roles[m] == "assistant" and self.texts[m] not in ("", "Corrected")]

    def rateable(self) -> list[str]:
        return [m for m, role in self.roles.items() if role == "assistant" and (self.texts[m] or m == self.writing)]

    def rate(
        self, message_id: str, annotator_id: str, value: str | None, reasons: Mapping[str, bool], comment: str | None
    ) -> bool:
        """Change a rating; return True if anything changed."""
        old = self.opinions.get((message_id, annotator_id), Opinion())
        new = Opinion(old.value, set(old.reasons), old.comment)
        if value is not None:
            new.value = value
            if not value and old.value:
                new.reasons = set()
        for reason, is_chosen in reasons.items():
            if is_chosen:
                new.reasons.add(reason)
            else:
                new.reasons.discard(reason)
        if new.value:
            new.reasons = {reason for reason in new.reasons if REASONS[reason] in ("any", new.value)}
        if comment is not None:
            new.comment = comment
        self.opinions.pop((message_id, annotator_id), None)
        if new.says_something():
            self.opinions[message_id, annotator_id] = new
        return new != old
