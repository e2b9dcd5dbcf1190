"""Tab state: server-side state of an open page, besides the `ViewState` in its `gr.State`.

One handler at a time renders a page: a new render turn cancels the turn before it, and starts after the last update of
that turn. Votes that are not stored yet are kept, so that no update in between takes back a click.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from math import inf
from time import monotonic
from typing import Any, TypeVar

from chatfeedback.domain.types import new_id
from chatfeedback.ui.chat.rendering import ViewState

T = TypeVar("T")
TURN_TIMEOUT_SECONDS = 2.0
"""Longest wait for the end of the turn before."""
REACTION_SECONDS = 1.0
"""Time until an update has reached the page and the person has seen it."""
LISTED_STEP = 100
"""Conversations that are added to the list at once."""


class RenderTurn:
    """Turn: the right to render a page until the next turn cancels it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.done = asyncio.Event()


class TabState:
    """State of one open page of one annotator."""

    def __init__(self) -> None:
        self.loaded = False
        """True once the page has called `ChatHandlers.load`."""
        self.view: ViewState | None = None
        """The view that was rendered last. A handler that started earlier may hold an older `gr.State`."""
        self.version = 0
        """Version of the rendered conversation: all changes up to it are rendered."""
        self.is_writing = False
        """True while the rendered conversation has a running reply, which the page follows."""
        self.sending_id: str | None = None
        """Id of the prompt that is being stored and not rendered yet."""
        self.warned_to_wait = False
        """True if a notice told the person to wait for the reply; it is removed at the end of the reply."""
        self.prompted_since_panel = False
        """True if a prompt was stored since the feedback panel was opened, so that its reply is an earlier one."""
        self.pending_votes: dict[str, str] = {}
        """Last clicked value that is not stored yet, by message id."""
        self.votes_in_flight = 0
        self.vote_clicks = 0
        """Number of clicks on thumbs."""
        self.reasons: set[str] | None = None
        """Codes that are selected in the panel, as the page shows them; None if unknown."""
        self.panel_target = ""
        """Target of the open feedback panel (`Panel.target`); "" if the panel is closed, or unknown."""
        self._followed_at = -inf
        self.vote_lock = asyncio.Lock()
        """Serializes the votes in the order of the clicks."""
        self.list_limit = LISTED_STEP
        """Number of conversations in the list."""
        self.comment_stamp = 0.0
        """Stamp of the newest comment, so that only the last one of a burst is stored."""
        self._told: dict[str, Any] = {"page": new_id(), "number": 0}
        """Newest value of the bridge (`tell`)."""
        self._turn: RenderTurn | None = None
        self._next_render = asyncio.Event()

    def set_view(self, view: ViewState, *, version: int = 0, is_writing: bool = False) -> None:
        """Store the view that is being rendered; `version`: see the attribute."""
        self.view, self.version, self.is_writing, self.sending_id = view, version, is_writing, None
        if self._turn is not None:
            self._turn.started.set()
        self._next_render.set()
        self._next_render = asyncio.Event()

    def advance_version(self, conversation_id: str, before: int, after: int) -> None:
        """Set the version after a rating by this page itself, so that the page need not follow it.

        If another page has stored something in between, the version stays: that is still to be rendered.
        """
        if self.view is not None and self.view.conversation_id == conversation_id and self.version == before:
            self.version = after

    @property
    def rendered_version(self) -> str:
        """Conversation id and rendered version, separated by a blank, for the page; "" without a conversation."""
        view = self.view
        return f"{view.conversation_id} {self.version}" if view and view.conversation_id and self.version else ""

    def tell(self, **fields: str) -> str:
        """Set fields of the bridge, and return its value with the newest of each, as JSON.

        `number` tells the page which of two values is newer, if both are of the same `page`: after a restart of the
        server there is a new one. A text, because Gradio sends the difference between two updates, and a page that is
        busy applies it to an object before it has read it.
        """
        self._told |= {**fields, "number": self._told["number"] + 1}
        return json.dumps(self._told)

    @property
    def next_render(self) -> asyncio.Event:
        """Event that is set by the next render."""
        return self._next_render

    @property
    def busy(self) -> bool:
        """True while a handler of the page renders it, or is about to."""
        return self.is_acting or self.is_writing or self.sending_id is not None or self.votes_in_flight > 0

    def mark_followed(self) -> None:
        """Store the time at which messages of another page are rendered."""
        self._followed_at = monotonic()

    @property
    def just_followed(self) -> bool:
        """True while a click is still about the messages before those of another page were rendered."""
        return monotonic() - self._followed_at < REACTION_SECONDS

    @property
    def is_acting(self) -> bool:
        """True while a turn has begun and nothing of it is rendered yet."""
        return self._turn is not None and not self._turn.started.is_set()

    def has_moved_on(self, view: ViewState) -> bool:
        """Return True if another view was rendered since, so that an update for `view` comes too late."""
        return self.view is not None and self.view != view

    @contextlib.asynccontextmanager
    async def render_turn(self) -> AsyncGenerator[RenderTurn, None]:
        """Cancel the turn before, wait for its end, and hold the turn for this block."""
        turn, previous = RenderTurn(), self._turn
        self._turn = turn
        if previous is not None:
            previous.cancelled.set()
            # The turn of a lost connection may never end.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(previous.done.wait(), TURN_TIMEOUT_SECONDS)
        try:
            yield turn
        finally:
            turn.started.set()
            turn.done.set()
            if self._turn is turn:
                self._turn = None

    def close(self) -> None:
        """Cancel the turn: Gradio itself would notice only at the next update that the page is gone."""
        if self._turn is not None:
            self._turn.cancelled.set()


class TabStates:
    """States of the open pages, by annotator and by the session hash that the browser sends."""

    def __init__(self) -> None:
        self._tabs: dict[tuple[str, str], TabState] = {}

    def get_or_create(self, annotator_id: str, session_hash: str) -> TabState:
        """Return the state of a page. A browser cannot reach the page of another annotator, whatever it sends."""
        return self._tabs.setdefault((annotator_id, session_hash), TabState())

    def remove(self, annotator_id: str, session_hash: str) -> None:
        """Remove the state of a page that was closed, and cancel its turn."""
        tab = self._tabs.pop((annotator_id, session_hash), None)
        if tab is not None:
            tab.close()


async def until_cancelled(cancelled: asyncio.Event, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yield the items until they end or `cancelled` is set, whichever comes first."""
    cancellation = asyncio.create_task(cancelled.wait())
    try:
        while not cancelled.is_set():
            step = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({step, cancellation}, return_when=asyncio.FIRST_COMPLETED)
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
        cancellation.cancel()
