"""Contexts of the browser in which nothing goes wrong unnoticed."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 800}
HARMLESS = [
    # What Gradio says of its own requests that a reload or a closed tab cuts off.
    "AbortError: signal is aborted without reason",
    "Unexpected error Connection errored out.",
    "Unexpected error 404: Not Found",
]
UNREACHABLE = [
    # What a browser says of any request while the server or the network is away, and Gradio of its streams.
    "Failed to load resource: net::ERR_",
    "Unexpected error Cancelled via cancel scope",
    "TypeError: network error",
    "TypeError: Failed to fetch",
    "Unexpected error Connection to the server was lost.",
]


class Watched:
    """Makes contexts; `errors` are those that their pages reported: in the console, uncaught, or by a dialog."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.errors: list[str] = []
        self.harmless = list(HARMLESS)

    def context(self, **options: Any) -> BrowserContext:
        """A person of her own: nothing is shared with other contexts."""
        context = self._browser.new_context(**{"locale": "en-US", "viewport": DESKTOP, **options})
        context.set_default_timeout(15_000)
        context.on("console", self._note)
        context.on("weberror", lambda error: self._add(str(error.error)))
        context.on("dialog", self._refuse)
        self._contexts.append(context)
        return context

    def server_goes_away(self) -> None:
        """From here on, a request that is not answered is no error."""
        self.harmless += UNREACHABLE

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _refuse(self, dialog: Dialog) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._add(f"{message.text} ({message.location.get('url')})")

    def _add(self, error: str) -> None:
        if not error.startswith(tuple(self.harmless)):
            self.errors.append(error)
