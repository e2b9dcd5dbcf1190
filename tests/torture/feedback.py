"""Actions of an annotator on thumbs and on the panel for reasons and a comment.

A deed is noted before the server is asked for it, and acknowledged when the page is told: when a prompt, an edit or
what a click leads to is painted, when a thumb is answered without a refusal, when the panel says "Saved".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from gradio_pages import EventMessage, Page
from torture import ledger
from torture.ledger import Deed, Ledger
from torture.view import View

VALUES: dict[str, bool | str] = {"like": True, "dislike": False, "": ""}
"""Values of a thumb, and their form in an event of Gradio."""


class Unsure(Exception):
    """Exception: an action was refused, or its outcome is unknown, and the page has to be loaded again."""


class Feedback:
    """Open page of an annotator. `texts`: something new to type, each time. `stamps`: grow from page to page."""

    def __init__(
        self,
        name: str,
        page: Page,
        kept: Ledger,
        chance: random.Random,
        texts: Callable[[str], str],
        stamps: Iterator[int],
    ) -> None:
        self.view = View()
        self.has_acted = False
        """In the conversation on the screen, since it was opened."""
        self._name = name
        self._page = page
        self._ledger = kept
        self._random = chance
        self._new_text = texts
        self._stamps = stamps

    async def open(self) -> None:
        """Open the conversation that the address names, or none; do not wait for a running reply."""
        async with aclosing(self._page.call("", "load")) as drawn:
            async for message in drawn:
                self._see(message.painted)
                if message.painted:
                    return

    async def vote(self, index: int | None = None) -> None:
        view = self.view
        index = self._random.choice(view.replies) if index is None else index
        value = self._random.choice([value for value in VALUES if value != view.thumb_of(index)])
        about, view.panel = view.panel.about if view.panel else "", None
        deed = ledger.voted(view.prompt_of(index), value)
        clicked = {"index": index, "value": [view.bubbles[index].text], "liked": VALUES[value]}
        self._ledger.attempt(deed)
        await self._answered("chatbot", "like", [None, about, ""], clicked)
        view.thumb_is(index, value)
        self._acknowledge(deed, view.address)

    async def _open_panel(self) -> None:
        view = self.view
        index = self._random.choice(view.replies)
        about = view.panel.about if view.panel else ""
        await self._answered(
            "chatbot", "select", [None, about, ""], {"index": index, "value": view.bubbles[index].text}
        )

    async def comment(self) -> None:
        await self._open_panel()
        if (panel := self.view.panel) is None:
            return
        text = self._new_text("comment")
        deed = ledger.commented(panel.message_id, text)
        way = self._random.choice([("feedback-comment", "blur"), ("bridge", "input"), ("feedback-close", "click")])
        self._ledger.attempt(deed)
        await self._save(*way, [panel.about, text, next(self._stamps)], deed)
        if way[0] == "feedback-close":
            self.view.panel = None

    async def give_reasons(self) -> None:
        await self._open_panel()
        if (panel := self.view.panel) is None or not panel.offered:
            return
        index = self._random.randrange(len(panel.offered))
        code = panel.offered[index]
        codes = sorted({*panel.chosen} ^ {code})
        deed = ledger.gave_reasons(panel.message_id, codes)
        self._ledger.attempt(deed)
        event_data = {"index": index, "value": code, "selected": code in codes}
        await self._save("feedback-reasons", "select", [panel.about], deed, event_data)
        panel.chosen = codes

    async def _save(self, elem_id: str, event: str, data: list[Any], deed: Deed, event_data: Any = None) -> None:
        self.view.saved = ""
        await self._answered(elem_id, event, data, event_data)
        # Without anything left in the rating there is nothing that could be called saved.
        if "Saved" in self.view.saved or (deed[0] == "gave reasons" and len(deed) == 2):
            self._acknowledge(deed, self.view.address)

    async def _answered(self, elem_id: str, event: str, data: list[Any], event_data: Any) -> None:
        """Call a handler and wait for the answer.

        Raises:
            Unsure: After a refusal.
        """
        self.view.notice = ""
        message = await self._page.done(elem_id, event, data, event_data)
        self._see(message.painted)
        self._must_not_be_refused(message)

    def _see(self, painted: Mapping[str, Any]) -> None:
        """Take in an update and follow the address: after a restart, the server knows only that of the page."""
        self.view.see(painted)
        self._page.goes_to(self.view.address)

    def _must_not_be_refused(self, message: EventMessage) -> None:
        if message.success and not self.view.refusal:
            return
        self._ledger.refusals[self.view.refusal.partition(">")[2].partition("<")[0] or message.kind] += 1
        raise Unsure

    def _acknowledge(self, deed: Deed, conversation_id: str) -> None:
        self.has_acted = True
        self._ledger.acknowledge(deed, self._where(conversation_id))

    def _where(self, conversation_id: str) -> str:
        return f"conversation {conversation_id}, {self._name}"

    def _chance(self, share: float) -> bool:
        return self._random.random() < share
