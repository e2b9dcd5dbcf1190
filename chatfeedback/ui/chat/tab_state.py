"""What the server remembers of an open page besides what is drawn on it.

One thing at a time paints a page: a new painting ends the one before it, and starts only when that has painted its
last. And the votes that are on their way into the store, so that no update in between takes back a click.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from math import inf
from time import monotonic
from typing import TypeVar

from chatfeedback.ui.chat.rendering import ViewState

T = TypeVar("T")
PATIENCE_SECONDS = 2.0
REACTION_SECONDS = 1.0
"""For a painting to reach the page, and a person to see it."""
LISTED_STEP = 100


class RenderTurn:
    """The right to paint a page, until the next painting asks for it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.done = asyncio.Event()


class TabState:
    """One open page of one annotator."""

    def __init__(self) -> None:
        self.loaded = False
        """Whether it has asked what to draw first."""
        self.view: ViewState | None = None
        """What was painted last. A handler may have started before that and hold an older `gr.State`."""
        self.version = 0
        """Of the conversation that is drawn: up to it, everything is painted."""
        self.writing = False
        """Whether that ended with a reply that is being written; the page follows it."""
        self.sending: str | None = None
        """The id of the prompt that is on its way into the store, and not painted yet."""
        self.warned_to_wait = False
        """Whether she was told to wait for the reply; that is taken back when it has ended."""
        self.prompted = False
        """A prompt was stored since the feedback panel was opened: the panel is about an earlier reply."""
        self.votes: dict[str, str] = {}
        """By message id: the last value wanted that is not stored yet."""
        self.votes_in_flight = 0
        self.clicks = 0
        """On thumbs."""
        self.reasons: set[str] | None = None
        """The codes that are chosen in the panel, as the page shows them; None if that is not known."""
        self.panel_of = ""
        """The reply that the feedback panel is open for, as the page has it; "" when it is closed, or not known."""
        self._followed_at = -inf
        self.voting = asyncio.Lock()
        """Held by one vote at a time, in the order of the clicks."""
        self.listed = LISTED_STEP
        """How many conversations the list shows."""
        self.typed = 0.0
        """The stamp of the newest comment, so that only the last one of a burst is stored."""
        self._turn: RenderTurn | None = None
        self._next = asyncio.Event()

    def shows(self, view: ViewState, *, version: int = 0, writing: bool = False) -> None:
        """Notes what is being painted."""
        self.view, self.version, self.writing, self.sending = view, version, writing, None
        if self._turn is not None:
            self._turn.started.set()
        self._next.set()
        self._next = asyncio.Event()

    def rated(self, conversation_id: str, before: int, after: int) -> None:
        """Note that this page itself has taken the conversation from one version to another one.

        What others have stored in between is still to be painted.
        """
        if self.view is not None and self.view.conversation_id == conversation_id and self.version == before:
            self.version = after

    @property
    def rendered_version(self) -> str:
        """The conversation on the screen and the version up to which it is painted, for the page; "" without one."""
        view = self.view
        return f"{view.conversation_id} {self.version}" if view and view.conversation_id and self.version else ""

    @property
    def next_render(self) -> asyncio.Event:
        """Set when something else is painted than now."""
        return self._next

    @property
    def busy(self) -> bool:
        """True while it does something that paints it, or is about to."""
        return self.acting or self.writing or self.sending is not None or self.votes_in_flight > 0

    def follows(self) -> None:
        """Note that messages of another page are being painted."""
        self._followed_at = monotonic()

    @property
    def just_followed(self) -> bool:
        """True while a click is one on the messages that stood there before those of another page were painted."""
        return monotonic() - self._followed_at < REACTION_SECONDS

    @property
    def acting(self) -> bool:
        """Whether something is being done that is not painted yet."""
        return self._turn is not None and not self._turn.started.is_set()

    def moved_on(self, view: ViewState) -> bool:
        """Whether something else was painted since, so that an answer about `view` comes too late to be painted."""
        return self.view is not None and self.view != view

    @contextlib.asynccontextmanager
    async def render_turn(self) -> AsyncGenerator[RenderTurn, None]:
        """Waits until nothing else paints this page, and holds the right to."""
        mine, before = RenderTurn(), self._turn
        self._turn = mine
        if before is not None:
            before.cancelled.set()
            # The painting of a connection that went away may never come to its end.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(before.done.wait(), PATIENCE_SECONDS)
        try:
            yield mine
        finally:
            mine.started.set()
            mine.done.set()
            if self._turn is mine:
                self._turn = None

    def close(self) -> None:
        """Ends the painting: Gradio itself would notice that the page is gone only at the next thing to paint."""
        if self._turn is not None:
            self._turn.cancelled.set()


class TabStates:
    """The open pages, by annotator and by the id that the browser gave its page."""

    def __init__(self) -> None:
        self._tabs: dict[tuple[str, str], TabState] = {}

    def of(self, annotator_id: str, session: str) -> TabState:
        """The page, made at first sight. Another annotator's page is out of reach whatever the browser sends."""
        return self._tabs.setdefault((annotator_id, session), TabState())

    def forget(self, annotator_id: str, session: str) -> None:
        """The page was closed."""
        tab = self._tabs.pop((annotator_id, session), None)
        if tab is not None:
            tab.close()


async def until(cancelled: asyncio.Event, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The items until they end or `cancelled` is set, whichever comes first."""
    done = asyncio.create_task(cancelled.wait())
    try:
        while not cancelled.is_set():
            step = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({step, done}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not step.done():
                    step.cancel()
                    await asyncio.wait({step})
            if step.cancelled():
                return
            try:
                item = step.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        done.cancel()
