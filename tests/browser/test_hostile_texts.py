"""Compare the visible text of 3,000 messages in a browser with the plain text that a parser gives of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from browser.application import Application, endpoint
from browser.chat_page import ChatPage
from browser.hostile_texts import OF_EACH_KIND, Text, corpus, is_read
from conversation_builder import StoredTalk
from openai_server import ScriptedServer

TEXTS = 3000
ON_A_PAGE = 500
VISIBLE_TEXTS = """() => [...document.querySelectorAll('#chatbot .cf-message')].map(message => {
    for (const formula of message.querySelectorAll('.cf-math')) {
        formula.textContent = formula.querySelector('annotation')?.textContent ?? formula.textContent;
    }
    return message.innerText;
})"""
"""Script that returns the visible text of each message, a formula by its TeX."""


@pytest.fixture(scope="module")
def application(new_sqlite: object, model: ScriptedServer) -> Iterator[Application]:
    settings = {"annotator": "Ann", "models": [endpoint(model)], "shown_messages": ON_A_PAGE}
    with Application(new_sqlite(), **settings).running() as application:  # type: ignore[operator]
        yield application


def test_page_shows_visible_text_of_every_hostile_text(chat: ChatPage, application: Application) -> None:
    texts = corpus(TEXTS)
    wrong: list[tuple[Text, str]] = []
    for start in range(0, len(texts), ON_A_PAGE):
        part = texts[start : start + ON_A_PAGE]
        talk = StoredTalk(application.store, application.annotator_id)
        for prompt, reply in zip(part[::2], part[1::2], strict=True):
            talk.ask(prompt.source, reply.source)
        chat.open(talk.conversation_id)
        expect(chat.messages).to_have_count(len(part))
        formulas = chat.page.locator(".cf-math:not(:has(.katex))")
        expect(formulas).to_have_count(0)
        visible_texts = chat.page.evaluate(VISIBLE_TEXTS)
        wrong += [
            (text, visible) for text, visible in zip(part, visible_texts, strict=True) if not is_read(text, visible)
        ]
    assert wrong == []
    counts = Counter(text.kind for text in texts)
    assert len(texts) >= TEXTS
    assert min(counts.values()) >= OF_EACH_KIND
