"""The Content-Security-Policy of the page: it stops what a sanitiser would let through, and no action of a user."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import expect

from browser.application import Application, eventually
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.xss_traps import FOREIGN, Elsewhere, Traps
from openai_server import ScriptedServer

RICH = r"""# A heading

```python
print("code")
```

| name | value |
|------|-------|
| a    | 1     |

Inline \(a^2\) and

$$\int_0^1 \sqrt{x}\,dx$$

```mermaid
graph TD
A --> B
```
"""
ATTACKS = {
    "a handler": "<img src=/nowhere.png onerror=sprung(1)>",
    "a handler of what is open": "<details open ontoggle=sprung(2)></details>",
    "a frame": "<iframe srcdoc='<script>parent.sprung(3)</script>'></iframe>",
    "a frame of a script": "<iframe src='javascript:parent.sprung(4)'></iframe>",
    "a link": "<a id=attack href='javascript:sprung(5)'>link</a>",
    "a form": "<form action='javascript:sprung(6)'><button id=attack>send</button></form>",
    "a picture from elsewhere": "<img src='ELSEWHERE/pixel'>",
    "a style from elsewhere": "<style>@import 'ELSEWHERE/style.css'; body { background: url(ELSEWHERE/back) }</style>",
    "a frame from elsewhere": "<iframe src='ELSEWHERE/frame'></iframe>",
    "an object": "<object data='ELSEWHERE/object'></object><embed src='ELSEWHERE/embedded'>",
    "a film": "<video src='ELSEWHERE/film' autoplay></video>",
    # The last one: the browser begins to leave the page.
    "a form that goes elsewhere": "<form method=post action='ELSEWHERE/form'><button id=attack>send</button></form>",
}
INSERT = """html => {
    const place = document.createElement('div');
    document.body.prepend(place);
    place.innerHTML = html;
    document.querySelector('#attack')?.click();
}"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        yield server


def test_traps_spring_on_unprotected_page(watched: Watched, elsewhere: Elsewhere) -> None:
    watched.harmless.append("Failed to load resource")
    for name, attack in ATTACKS.items():
        context = watched.context(own=True)
        traps = Traps(context, elsewhere.unsafe, elsewhere)
        page = context.new_page()
        page.goto(elsewhere.unsafe)
        page.evaluate(INSERT, attack.replace("ELSEWHERE", elsewhere.address))
        assert eventually(partial(traps.sprung, page), bool, page) != [], name


def test_csp_stops_every_attack_without_sanitiser(
    watched: Watched, application: Application, elsewhere: Elsewhere
) -> None:
    watched.harmless += ["Loading ", "Executing ", "Running ", "Framing ", "Sending ", "Failed to load resource"]
    context = watched.context(own=True)
    traps = Traps(context, application.address, elsewhere)
    chat = ChatPage(context.new_page(), application.address).open()
    for attack in ATTACKS.values():
        chat.page.evaluate("window.refused = []")
        chat.page.evaluate(INSERT, attack.replace("ELSEWHERE", elsewhere.address))
        chat.page.wait_for_function("window.refused.length > 0")
    assert traps.sprung(chat.page) == []


def test_foreign_elements_in_message_are_detected(chat: ChatPage, watched: Watched) -> None:
    watched.harmless += ["Executing ", "Failed to load"]
    chat.ask("one")
    bad = (
        "<p onclick=x></p><a href='java\tscript:x'></a><form></form><style></style><i id=bridge></i>"
        "<a href='http://x'></a>"
    )
    chat.page.evaluate("html => { document.querySelector('#chatbot .message-content').innerHTML = html; }", bad)
    elements = chat.page.evaluate(FOREIGN, "#chatbot .message-content *")
    assert len(elements) == 5
    chat.page.evaluate("document.querySelector('#chatbot .message-content').classList.add('md')")
    assert len(chat.page.evaluate(FOREIGN, "#chatbot .message-content *")) == 6


def test_csp_is_not_violated_by_any_action_of_page(
    watched: Watched, application: Application, model: ScriptedServer
) -> None:
    refused: list[str] = []
    context = watched.context(own=True)
    context.expose_function("refusedByPolicy", lambda what: refused.append(what))
    context.add_init_script(
        "document.addEventListener('securitypolicyviolation', event =>"
        " refusedByPolicy(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`))"
    )
    chat = ChatPage(context.new_page(), application.address).open()
    page = chat.page
    model.reply(RICH, chunk=20)
    chat.ask("Show me")
    expect(chat.replies.last.locator(".katex")).to_have_count(2)
    expect(chat.replies.last.locator("pre code").first).to_be_visible()
    chat.replies.last.get_by_title("Copy code").first.click()
    script = model.reply("stopped before the end", hold_after=2)
    chat.send("two")
    assert script.reached.wait(10)
    chat.stop()
    chat.press("Retry")
    expect(chat.position).to_have_text("Reply 2 of 2")
    chat.previous.click()
    chat.edit(2, "three")
    expect(chat.replies.last).to_have_text("You said: three")
    chat.wait_until_idle()
    chat.vote(0, "dislike")
    chat.reason("Too long").check()
    chat.comment.fill("Says too much")
    expect(chat.saved).to_have_text("✓ Saved")
    chat.comment.press("Escape")
    page.locator("#new-conversation").click()
    expect(chat.messages).to_have_count(0)
    chat.listed.first.click()
    expect(chat.messages.first).to_be_visible()
    chat.press("Undo")
    chat.open_analytics()
    expect(page.locator("#analytics-per-day svg")).to_be_visible()
    page.locator("#analytics-feedback button[data-row]").first.press("Enter")
    expect(page.locator("#analytics-conversation .katex").first).to_be_visible()
    with page.expect_download():
        page.locator("#analytics-download a").first.click()
    chat.reload()
    model.fail(500)
    chat.ask("four")
    expect(page.locator("#chatbot .avatar-container img").first).to_be_visible()
    fonts = "[...document.fonts].filter(font => font.status === 'loaded').length"
    assert page.evaluate(fonts) > 0, "LaTeX has fonts of its own"
    assert refused == []
