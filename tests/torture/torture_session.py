"""Visit of an annotator to the Chat tab: each possible action, as a user would do it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

from torture import ledger
from torture.feedback import Feedback, Unsure
from torture.ledger import Deed
from torture.view import View


class Sitting(Feedback):
    """Actions that lead to a reply or paint the conversation, besides the feedback."""

    async def send(self) -> None:
        text = self._new_text("prompt")
        await self._converse(
            "prompt",
            "submit",
            [text, None, None, ""],
            None,
            ledger.sent(text),
            lambda view: view.bubbles[-1].text == text,
        )

    async def retry(self) -> None:
        prompts, before = self.view.prompts, self.view.bubbles
        last = {"index": prompts[-1], "value": before[prompts[-1]].text}
        await self._converse(
            "chatbot",
            "retry",
            [None, None],
            last,
            ledger.retried(before[prompts[-1]].text),
            lambda view: view.bubbles == before[:-1] or view.bubbles[-1].text != before[-1].text,
        )

    async def undo(self) -> None:
        prompts, before = self.view.prompts, self.view.bubbles
        last = {"index": prompts[-1], "value": before[prompts[-1]].text}
        await self._converse(
            "chatbot",
            "undo",
            ["", None],
            last,
            ledger.undone(before[prompts[-1]].text),
            lambda view: view.bubbles == before[: prompts[-1]],
        )

    async def edit_prompt(self) -> None:
        await self._edit(self._random.choice(self.view.prompts), self._new_text("prompt"))

    async def edit_reply(self) -> None:
        await self._edit(self._random.choice(self.view.replies), self._new_text("edited reply"))

    async def _edit(self, index: int, text: str) -> None:
        old = self.view.bubbles[index].text
        data = {"index": index, "value": text, "previous_value": old}
        await self._converse(
            "chatbot", "edit", [None, None], data, ledger.edited(text), lambda view: view.bubbles[index].text == text
        )

    async def choose(self) -> None:
        before, prompt = self.view.position, self.view.prompt_of(len(self.view.bubbles) - 1)
        which = "next" if before.startswith("Reply 1 ") else "previous"
        async with aclosing(self._page.call(which, "click", [None])) as messages:
            async for message in messages:
                self._see(message.painted)
        looked = self.view.position
        if self.view.refusal or looked in ("", before):
            raise Unsure
        deed = ledger.chosen(prompt)
        await self._converse("keep", "click", [None], None, deed, lambda view: view.position == looked)

    async def begin_anew(self) -> None:
        deed = ledger.cleared(self.view.address)
        await self._converse("new-conversation", "click", [None], None, deed, lambda view: not view.address)
        self.has_acted = False

    async def _converse(
        self, elem_id: str, event: str, data: list[Any], event_data: Any, deed: Deed, is_done: Callable[[View], bool]
    ) -> None:
        """Call a handler, acknowledge the deed as soon as that is painted, and follow the reply, if there is one."""
        view, painted, has_voted = self.view, False, False
        where = view.address
        self._ledger.attempt(deed)
        async with aclosing(self._page.call(elem_id, event, data, event_data)) as messages:
            async for message in messages:
                self._see(message.painted)
                if message.painted and not painted:
                    painted = True
                    self._must_not_be_refused(message)
                    if not is_done(view):
                        raise Unsure
                    where = where or view.address
                    self._acknowledge(deed, where)
                elif painted and not message.is_last and not has_voted and self._chance(0.1):
                    has_voted = await self._interfere()
        if view.refusal or not message.success:
            raise Unsure
        if not view.writing and view.is_answered and view.bubbles[-1].text.startswith("reply "):
            self._ledger.was_shown(view.prompt_of(len(view.bubbles) - 1), view.bubbles[-1].text, self._where(where))
        if has_voted:
            raise Unsure  # what was painted before the vote may have come after it, without its thumb

    async def _interfere(self) -> bool:
        """Act while a reply is written; return True after a vote on it."""
        if self._chance(0.4) or not self.view.is_answered:
            await self._page.done("prompt", "stop", [None])
            return False
        with suppress(Unsure):
            await self.vote(len(self.view.bubbles) - 1)
        return True
