"""Annotators at a server in trouble: each sends prompt after prompt, and records the answer of the page to each.

async with crowd(application, tokens) as annotators:
    await annotators.until(lambda: len(annotators.accepted) >= 10)
"""

from __future__ import annotations

import asyncio
import html
import itertools
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from browser.application import Application
from chatfeedback.domain.conversation.events import MessageSent
from gradio_pages import Gone, Page, Site
from gradio_pages import RequestRejected as NotAnswered

PATIENCE = 90.0


class Crowd:
    """Outcome of the prompts: `accepted`, those that a page showed as sent, and `refused`, with the sentences."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._news = asyncio.Event()
        self._numbers = itertools.count()
        self.late = asyncio.Event()
        """Event that lets one more annotator begin, whose page is open already."""
        self.accepted: list[str] = []
        self.refused: dict[str, str] = {}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is checked at each outcome of a prompt."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news = asyncio.Event()
                await self._news.wait()

    async def talk(self, token: str, begin: asyncio.Event | None = None) -> None:
        """Send prompts until cancelled."""
        async with Site(self._application.address, {"chatfeedback_session": token}) as site:
            page = site.page()
            if begin is not None:
                await begin.wait()
            while True:
                text = f"prompt-{next(self._numbers)}."
                try:
                    await self._send(page, text)
                except Gone:  # it was sent, and its outcome is unknown: a browser loads the page again
                    page = site.page()
                self._news.set()

    async def _send(self, page: Page, text: str) -> None:
        painted: dict[str, Any] = {}
        try:
            async for update in page.call("prompt", "submit", [text, None, None, ""]):
                painted = update.painted or painted
                if text not in self.accepted and text in str(painted.get("chatbot")):
                    self.accepted.append(text)
                    self._news.set()
        except NotAnswered as refusal:
            status, sentence = refusal.args
            assert status == 503, sentence
            self.refused[text] = sentence
            await asyncio.sleep(0.05)  # faster than any user clicks
            return
        if text not in self.accepted:
            self.refused[text] = html.unescape(re.sub("<[^>]*>", "", str(painted.get("notice"))))

    def check(self) -> None:
        """Check that accepted prompts are stored once, and refused ones are not, unless their sentence allows it."""
        stored = [
            event.body.text
            for conversation_id in self._application.conversation_ids()
            for event in self._application.events(conversation_id)
            if isinstance(event.body, MessageSent)
        ]
        assert sorted(set(stored)) == sorted(stored), "something is stored twice"
        assert set(self.accepted) <= set(stored), "something that was accepted is lost"
        for text, sentence in self.refused.items():
            assert text not in stored or "perhaps after it had stored this" in sentence, f"{text}: {sentence}"


@asynccontextmanager
async def crowd(application: Application, tokens: Sequence[str]) -> AsyncIterator[Crowd]:
    """Keep an annotator for each session busy to the end of the block."""
    annotators = Crowd(application)
    talking = [asyncio.create_task(annotators.talk(token)) for token in tokens]
    talking.append(asyncio.create_task(annotators.talk(tokens[0], annotators.late)))
    try:
        yield annotators
        assert not any(task.done() for task in talking), [task.exception() for task in talking if task.done()]
    finally:
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
