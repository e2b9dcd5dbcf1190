"""Requests of a page to Gradio's queue, so that a test can wait for their end."""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from playwright.sync_api import Page, Request

PATIENCE = 20.0
"""Seconds until a page must be quiet."""
# The end of one request may lead to another: our scripts wait for 50 ms at most, Gradio for its next frame.
TURN = "() => new Promise(done => setTimeout(() => requestAnimationFrame(() => setTimeout(done)), 60))"


class Traffic:
    """Open requests of a page to the queue, and their total number."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: set[Request] = set()
        self._begun = 0
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def wait_for_end(self) -> None:
        """Wait until no request is open and the page has had time to start another one.

        Raises AssertionError at the timeout.
        """
        until = time.monotonic() + PATIENCE
        begun = -1
        while self._open or begun != self._begun:
            assert time.monotonic() < until, f"these are still open: {[request.url for request in self._open]}"
            begun = self._begun
            self._page.evaluate(TURN)

    def _begin(self, request: Request) -> None:
        if "/gradio_api/queue/" in request.url:
            self._open.add(request)
            self._begun += 1

    def _end(self, request: Request) -> None:
        self._open.discard(request)


_known: WeakKeyDictionary[Page, Traffic] = WeakKeyDictionary()


def traffic(page: Page) -> Traffic:
    """Return the traffic of a page since the first call of this function."""
    if page not in _known:
        _known[page] = Traffic(page)
    return _known[page]
