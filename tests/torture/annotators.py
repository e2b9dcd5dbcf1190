"""Annotators: simulated users of the running application, each with one open page, who act at random.

The seed fixes the random numbers of each annotator, but not their actions: these also depend on the page, which other
annotators and killed servers change. Every text is typed once in a run.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gradio_pages import Gone, HandlerSpec, RequestRejected, Site
from torture.feedback import Unsure
from torture.ledger import Ledger
from torture.torture_session import Sitting

COOKIE = "chatfeedback_session"
LONGEST = 12
"""Messages on the screen, after which a new conversation is begun."""
ENDINGS = ("", "\n  and a second line, indented", " – “naïve”, 日本語 and 🙂", " \\frac{1}{2} & <b>bold</b>")
"""Of what is typed, so that not every text is plain."""


class Gate:
    """Gate that lets annotators act, or makes them wait."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._acting: list[Annotator] = []

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    async def quiet(self) -> None:
        """Wait until no annotator acts."""
        await self._quiet.wait()

    def unanswered(self) -> list[str]:
        """Return what the annotators do who still wait for an answer."""
        return [annotator.doing for annotator in self._acting]

    @asynccontextmanager
    async def acting(self, annotator: Annotator) -> AsyncIterator[None]:
        """Wait until the annotator may act; they do one thing in the block."""
        while not self._open.is_set():
            await self._open.wait()
        self._acting.append(annotator)
        self._quiet.clear()
        try:
            yield
        finally:
            self._acting.remove(annotator)
            if not self._acting:
                self._quiet.set()


class Annotator:
    """Simulated user. `token`: of their session, which outlives every restart of the server.

    `functions`: of the page, filled in by the annotator who opens one first.
    """

    def __init__(
        self,
        name: str,
        token: str,
        address: str,
        seed: str,
        kept: Ledger,
        gate: Gate,
        functions: dict[tuple[str, str], HandlerSpec],
    ) -> None:
        self._name = name
        self._address = address
        self._cookies = {COOKIE: token}
        self._random = random.Random(f"{seed} {name}")
        self._ledger = kept
        self._gate = gate
        self._functions = functions
        self._typed = itertools.count(1)
        self._stamps = itertools.count(1)
        self._conversations: dict[str, None] = {}
        """In the order in which they were begun."""
        self.doing = ""

    async def work(self) -> None:
        """Open a page, act a few times, and open another one, until cancelled."""
        while True:
            try:
                async with self._opened() as site:
                    await self._visit(site)
            except (Gone, RequestRejected, Unsure) as error:
                if isinstance(error, RequestRejected):
                    self._ledger.refusals[f"status {error.args[0]}"] += 1
                await asyncio.sleep(self._random.uniform(0.1, 0.5))  # as long as it takes to press F5

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Site]:
        async with self._gate.acting(self):
            self.doing = "opens the page"
            site = Site(self._address, self._cookies)
            # All pages are alike: to ask for each of them what is on it would cost more than all that is done there.
            if not self._functions:
                self._functions.update((await site.__aenter__()).functions)
            site.functions = self._functions
        try:
            yield site
        finally:
            await site.http.aclose()

    async def _visit(self, site: Site) -> None:
        old = list(self._conversations)
        conversation_id = self._random.choice(old) if old and self._random.random() < 0.5 else None
        sitting = Sitting(
            self._name, site.page(conversation_id), self._ledger, self._random, self._new_text, self._stamps
        )
        async with self._gate.acting(self):
            self.doing = f"opens conversation {conversation_id}"
            await sitting.open()
        if sitting.view.writing or sitting.view.refusal:
            # A reply of a dead process ends when its lease has expired; meanwhile there is more to do elsewhere.
            raise Unsure
        for _ in range(self._random.randint(4, 20)):
            await asyncio.sleep(self._random.uniform(0, 0.1))
            async with self._gate.acting(self):
                act = self._choice(sitting)
                self.doing = f"{act.__name__} in {sitting.view.address or 'a new conversation'}"
                await act()
            if sitting.view.address:
                self._conversations.setdefault(sitting.view.address)

    def _choice(self, sitting: Sitting) -> Callable[[], Awaitable[None]]:
        """Return an action that is possible now."""
        view = sitting.view
        is_long = len(view.bubbles) >= LONGEST
        weights: dict[Callable[[], Awaitable[None]], int] = {}
        if not is_long:
            weights |= {sitting.send: 6}
        if sitting.has_acted:
            weights |= {sitting.begin_anew: 6 if is_long else 1}
        if view.prompts:
            weights |= {sitting.edit_prompt: 2, sitting.undo: 2}
        if view.replies:
            weights |= {sitting.vote: 6, sitting.edit_reply: 2, sitting.comment: 3, sitting.give_reasons: 3}
        if view.is_answered:
            weights |= {sitting.retry: 3}
        if view.position:
            weights |= {sitting.choose: 4}
        (act,) = self._random.choices(list(weights), list(weights.values()))
        return act

    def _new_text(self, kind: str) -> str:
        """Return a text that was never typed before."""
        return f"{kind} {self._name}-{next(self._typed)}{self._random.choice(ENDINGS)}"
