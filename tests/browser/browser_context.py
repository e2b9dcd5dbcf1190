"""Browser contexts that record every error of their pages."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NoReturn

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Error, Page, WebError

from browser.traffic import traffic

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 800}
TIMEOUT_MS = 15_000
HARMLESS = [
    # Messages of Gradio about its own requests that a reload or a closed tab aborts.
    "AbortError: signal is aborted without reason",
    "Unexpected error Connection errored out.",
    "Unexpected error 404: Not Found",
]
UNREACHABLE = [
    # Messages of a browser about requests without a server or network, and of Gradio about its streams.
    "Failed to load resource: net::ERR_",
    "Unexpected error Cancelled via cancel scope",
    "TypeError: network error",
    "TypeError: Failed to fetch",
    "Unexpected error Connection to the server was lost.",
]
LASTING = ("add_init_script", "expose_function", "expose_binding", "route", "grant_permissions")
LASTING_OF_THE_CLOCK = ("install", "pause_at", "set_fixed_time", "set_system_time")
"""Methods of a context and its clock with a permanent effect. The clock of a page is that of its context."""


class Contexts:
    """Pool of contexts that tests reuse, so that Gradio's scripts are cached. Nothing else is left in them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: dict[str, list[BrowserContext]] = defaultdict(list)

    def take(self, options: dict[str, Any]) -> BrowserContext:
        """Return an idle context with these options: no page, no cookie, no storage."""
        idle = self._idle[_key(options)]
        return idle.pop() if idle else self._keep_clean(self.new(options))

    def new(self, options: dict[str, Any]) -> BrowserContext:
        """Return a context that is not shared with another test."""
        # A headless browser cannot ask, and denies permissions that a real one grants at a click.
        context = self._browser.new_context(**{"permissions": ["clipboard-write"], **options})
        context.set_default_timeout(TIMEOUT_MS)
        return context

    def give_back(self, context: BrowserContext, options: dict[str, Any]) -> None:
        """Close the pages of a context of `take`, and clear its storage."""
        for page in context.pages:
            page.close()
        context.set_offline(False)
        context.set_storage_state({"cookies": [], "origins": []})
        self._idle[_key(options)].append(context)

    def close(self) -> None:
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    @staticmethod
    def _keep_clean(context: BrowserContext) -> BrowserContext:
        def refuse(*_arguments: object, **_options: object) -> NoReturn:
            raise AssertionError("this would stay in the context for other tests: take watched.context(own=True)")

        for name in LASTING:
            setattr(context, name, refuse)
        for name in LASTING_OF_THE_CLOCK:
            setattr(context.clock, name, refuse)
        return context


class Watched:
    """Factory of contexts. `errors`: console errors, uncaught exceptions and dialogs of their pages."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self._taken: list[tuple[BrowserContext, dict[str, Any]]] = []
        self._own: list[BrowserContext] = []
        self.errors: list[str] = []
        self.harmless = list(HARMLESS)

    def context(self, *, own: bool = False, **options: Any) -> BrowserContext:
        """Return a context that shares nothing with others. `own`: the test may change it permanently."""
        options = {"locale": "en-US", "viewport": DESKTOP, **options}
        if own:
            context = self._contexts.new(options)
            self._own.append(context)
        else:
            context = self._contexts.take(options)
            self._taken.append((context, options))
        context.on("console", self._note)
        context.on("weberror", self._note_uncaught)
        context.on("dialog", self._refuse)
        context.on("page", traffic)
        return context

    def server_goes_away(self) -> None:
        """Ignore errors of unanswered requests from now on."""
        self.harmless += UNREACHABLE

    def content(self) -> list[tuple[str, str]]:
        """Return the address of each open page, and its elements as a screen reader finds them."""
        contexts = [*self._own, *(context for context, _options in self._taken)]
        return [(page.url, _elements(page)) for context in contexts for page in context.pages]

    def close(self) -> None:
        """Close all pages; errors that they report meanwhile count too."""
        for context in self._own:
            context.close()
        for context, options in self._taken:
            self._contexts.give_back(context, options)
            context.remove_listener("console", self._note)
            context.remove_listener("weberror", self._note_uncaught)
            context.remove_listener("dialog", self._refuse)
            context.remove_listener("page", traffic)

    def _refuse(self, dialog: Dialog) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._add(f"{message.text} ({message.location.get('url')})")

    def _note_uncaught(self, error: WebError) -> None:
        self._add(f"{error.error}\n{error.error.stack}")

    def _add(self, error: str) -> None:
        if not error.startswith(tuple(self.harmless)):
            self.errors.append(error)


def _elements(page: Page) -> str:
    try:
        return page.locator("body").aria_snapshot(timeout=TIMEOUT_MS)
    except Error as error:  # the page may be what failed
        return f"The page cannot be read: {error}"


def _key(options: dict[str, Any]) -> str:
    return json.dumps(options, sort_keys=True, default=str)
