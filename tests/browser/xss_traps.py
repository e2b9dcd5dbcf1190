"""XSS traps: detect scripts, dialogs, windows and requests to another server that a text causes in a page.

`Traps` sets them on all pages of a context. `assert_quiet` fails for a triggered trap, and for forbidden elements in
the parts of a page that show texts of people and models.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from playwright.sync_api import BrowserContext, Page, Request

UNSAFE = "/unsafe.html"
SET = """
window.ran = []; window.refused = [];
const home = window.parent; // what is refused in a frame is told by its page too
window.sprung = number => window.ran.push(number);
for (const name of ['alert', 'confirm', 'prompt', 'print', 'open']) window[name] = () => { window.ran.push(name); };
document.addEventListener('securitypolicyviolation', event => {
    home.refused.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
"""
SHOWN = ", ".join(
    f"{part} *"
    for part in (
        *("#chatbot .message-content", "#analytics-conversation .message-content", "#conversations", "#position"),
        *("#feedback-panel", "#status", "#notice", "#analytics-feedback", "#analytics-about", "#analytics-reasons"),
        *("#analytics-by-model", "#chat-head", "#account"),
    )
)
FOREIGN = """shown => {
    const elements = 'script, iframe, frame, object, embed, form, base, meta, link, area, template, gradio-app, portal';
    const addresses = ['href', 'xlink:href', 'src', 'action', 'formaction', 'data'];
    const good = ['http:', 'https:', 'mailto:'];
    // Of these no address is gone to; whether they are fetched, another trap tells.
    const picture = element => ['img', 'image', 'video', 'audio', 'source', 'input'].includes(element.localName);
    const bad = (element, name) => {
        const address = element.getAttribute(name);
        if (address === null || picture(element)) return false;
        let url;
        try { url = new URL(address, document.baseURI); } catch { return true; }
        return !good.includes(url.protocol);
    };
    const opens = element => element.localName === 'a' && /^http/.test(element.getAttribute('href') ?? '')
        && !/noopener/.test(element.getAttribute('rel') ?? '');
    return [...document.querySelectorAll(shown)].filter(element =>
        element.matches(elements)
        || (element.localName === 'style' && !element.closest('#analytics-about'))
        || [...element.attributes].some(one => /^on/i.test(one.name))
        || addresses.some(name => bad(element, name))
        || element.hasAttribute('formaction') || element.hasAttribute('ping') || element.hasAttribute('autofocus')
        || (element.id && element.closest('.md, .cf-message'))
        || opens(element)
    ).map(element => element.outerHTML.slice(0, 200));
}"""


class Elsewhere:
    """Another server, which no request of a page may reach. `requests`: those that reached it.

    It has one page, `unsafe`, without any protection.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                unsafe = self.path == UNSAFE
                if not unsafe:
                    requests.append(f"{self.command} {self.path}")
                with suppress(ConnectionError):  # the page may be closed already
                    self.send_response(200 if unsafe else 204)
                    self.send_header("Content-Type", "text/html")
                    self.end_headers()
                    self.wfile.write(b"<p>Unsafe" if unsafe else b"")

            do_POST = do_GET

            def log_message(self, *_words: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def unsafe(self) -> str:
        return f"{self.address}{UNSAFE}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class Traps:
    """Traps on all pages of a context. `address`: that of the application, the only permitted host."""

    def __init__(self, context: BrowserContext, address: str, elsewhere: Elsewhere) -> None:
        self._context = context
        self._address = address
        self._elsewhere = elsewhere
        self._begun = len(elsewhere.requests)
        self._left: list[str] = []
        context.add_init_script(SET)
        # A request that the Content-Security-Policy blocks is reported as failed and never sent.
        context.on("requestfinished", self._note)

    def _note(self, request: Request) -> None:
        if not request.url.startswith((self._address, "data:", "blob:")):
            self._left.append(request.url)

    def sprung(self, page: Page) -> list[object]:
        """Return the scripts that ran, the pages that were opened and the navigations."""
        ran = page.evaluate("window.ran ?? ['another document']")
        more = ["another page"] if len(self._context.pages) > 1 else []
        away = [] if page.url.startswith(self._address) else [page.url]
        return [*ran, *more, *away, *self._left, *self._elsewhere.requests[self._begun :]]

    def assert_quiet(self, page: Page) -> None:
        """Check that no trap was triggered and no forbidden element is there."""
        assert [*self.sprung(page), *page.evaluate(FOREIGN, SHOWN)] == []
        assert len(page.frames) == 1
