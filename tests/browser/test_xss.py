"""XSS: no text runs a script, reaches another server or acts for a user, wherever it is shown.

Every vector of the corpus is a prompt, a reply, a title, a comment, and a line of the table, drawn from the store as
after a reload; most are sent and streamed too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.xss_corpus import ALL, HTML, LATEX, LINKS, MARKDOWN, MERMAID, PICTURES, armed
from browser.xss_traps import Elsewhere, Traps
from chatfeedback.domain.feedback.decide import RatingChange
from conversation_builder import StoredTalk
from openai_server import ScriptedServer

NAMED = "<img src=x onerror=parent.sprung(9000)>"
BATCH = 33
DRAWN = [*ALL, *MERMAID]
SWALLOWING = ("<plaintext", "<xmp", "<textarea", "<title", "<!--", "<noscript", "<template", "<listing")
"""Beginnings of tags that hide the rest of their message."""
EXPECTED = ["Loading ", "Executing ", "Failed to load resource", "{str: "]
"""Console messages about blocked requests and missing pictures, and those of Mermaid about invalid diagrams."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        yield server


@pytest.fixture(scope="module")
def application(new_sqlite: object, model: ScriptedServer) -> Iterator[Application]:
    """Return an application whose names are vectors too."""
    settings = {
        "title": f"Chat {NAMED}</title></script>",
        "annotator": f"Ann {NAMED}",
        "models": [endpoint(model), endpoint(model) | {"name": f"other {NAMED}"}],
        "reasons": [{"code": "bad", "label": f"Bad {NAMED}", "polarity": "any"}],
        "shown_messages": 500,
        "messages_per_minute": 1000,
    }
    with Application(new_sqlite(), **settings).running() as application:  # type: ignore[operator]
        yield application


@pytest.fixture
def context(watched: Watched) -> BrowserContext:
    watched.harmless += EXPECTED
    return watched.context(own=True)


@pytest.fixture
def traps(context: BrowserContext, application: Application, elsewhere: Elsewhere) -> Traps:
    return Traps(context, application.address, elsewhere)


@pytest.fixture
def chat(traps: Traps, context: BrowserContext, application: Application) -> ChatPage:
    return ChatPage(context.new_page(), application.address).open()


@pytest.fixture(scope="module")
def batches(application: Application, elsewhere: Elsewhere) -> list[tuple[str, list[str]]]:
    """Return conversations of BATCH vectors, each as prompt and reply; the last reply is rated, with a comment."""
    stored = []
    texts = [armed(text, number, elsewhere.address) for number, text in enumerate(DRAWN)]
    for start in range(0, len(texts), BATCH):
        talk = StoredTalk(application.store, application.annotator_id)
        part = texts[start : start + BATCH]
        for text in part:
            last = talk.ask(text, text)
        talk.rate(last, talk.actor, RatingChange(value="dislike", comment=part[0]))
        stored.append((talk.conversation_id, part))
    return stored


@pytest.fixture(scope="module")
def singles(application: Application, elsewhere: Elsewhere) -> int:
    """Store a conversation for each vector, rated with the vector as the comment; return their number."""
    texts = [armed(text, number, elsewhere.address) for number, text in enumerate(DRAWN)]
    for text in texts:
        talk = StoredTalk(application.store, application.annotator_id)
        talk.rate(talk.ask(text, text), talk.actor, RatingChange(value="like", comment=text))
    return len(texts)


def begins(texts: Sequence[str]) -> list[str]:
    """Return the first marker word of each text twice, for prompt and reply."""
    return [text.partition("\n")[0] for text in texts for _ in range(2)]


def drawn(page: Page, chatbot: str, texts: Sequence[str]) -> None:
    """Wait until the messages are rendered."""
    expect(page.locator(f"{chatbot} .cf-message")).to_contain_text(begins(texts))


def press_everything(page: Page, chatbot: str) -> None:
    """Point at, focus and press all elements of the messages but web links, which may lead elsewhere.

    The events do not bubble: the application would take each for a click on the reply.
    """
    page.evaluate(
        """within => {
            for (const element of document.querySelectorAll(`${within} .cf-message *`)) {
                if (element.matches('.cf-copy')) continue;
                if (element.localName === 'a' && /^(http|mailto)/.test(element.href)) continue;
                element.focus?.({ preventScroll: true });
                for (const kind of ['pointerover', 'mouseover', 'click', 'toggle', 'animationstart']) {
                    element.dispatchEvent(new MouseEvent(kind, { cancelable: true }));
                }
            }
        }""",
        chatbot,
    )


@pytest.mark.parametrize("number", range(-(-len(DRAWN) // BATCH)))
def test_xss_vectors_do_nothing_in_prompts_and_replies(
    number: int, chat: ChatPage, traps: Traps, batches: list[tuple[str, list[str]]]
) -> None:
    conversation_id, texts = batches[number]
    chat.open(conversation_id)
    drawn(chat.page, "#chatbot", texts)
    press_everything(chat.page, "#chatbot")
    chat.focusable_replies.last.press("Enter")
    expect(chat.quote).to_contain_text(begins(texts)[-1])
    traps.assert_quiet(chat.page)


def test_xss_vectors_do_nothing_in_conversation_list(chat: ChatPage, traps: Traps, singles: int) -> None:
    more = chat.page.locator("#conversations [data-more]")
    while more.count():
        shown = chat.listed.count()
        more.click()
        expect(chat.listed.nth(shown)).to_be_attached()
    assert chat.listed.count() >= singles
    expect(chat.listed.filter(has_text=NAMED.replace("9000", "16")).first).to_be_attached()
    traps.assert_quiet(chat.page)


def test_xss_vectors_do_nothing_in_feedback_table(chat: ChatPage, traps: Traps, singles: int) -> None:
    page = chat.page
    chat.open_analytics()
    shown, older = page.locator("#analytics-range"), page.locator("#analytics-older")
    expect(shown).to_contain_text("1–50 of")
    row_count = 50
    while older.is_enabled():
        traps.assert_quiet(page)
        older.click()
        expect(shown).to_contain_text(f"{row_count + 1}–")
        row_count += 50
    expect(page.locator("#analytics-feedback")).to_contain_text("<script>parent.sprung(0)</script>")
    assert row_count >= singles
    traps.assert_quiet(page)


def test_xss_vectors_do_nothing_in_conversation_beside_table(
    chat: ChatPage, traps: Traps, singles: int, batches: list[tuple[str, list[str]]], application: Application
) -> None:
    page = chat.page
    # Rated last, so that they are the first in the table.
    for conversation_id, texts in batches:
        talk = StoredTalk(application.store, application.annotator_id, conversation_id)
        reply = talk.conversation.head_id
        assert reply is not None
        talk.rate(reply, talk.actor, RatingChange(comment=f"again {texts[0]}"))
    chat.open_analytics()
    rows = page.locator("#analytics-feedback button[data-row]")
    for row, (_, texts) in enumerate(reversed(batches)):
        rows.nth(row).press("Enter")
        drawn(page, "#analytics-conversation", texts)
        press_everything(page, "#analytics-conversation")
        expect(page.locator("#analytics-about")).to_contain_text(f"again {texts[0].partition(chr(10))[0]}")
        traps.assert_quiet(page)


@pytest.mark.parametrize("part", [HTML[:60], HTML[60:], [*LINKS, *PICTURES], [*MARKDOWN, *LATEX, *MERMAID]])
def test_xss_vectors_do_nothing_when_sent_and_streamed(
    part: list[str], chat: ChatPage, traps: Traps, model: ScriptedServer, elsewhere: Elsewhere
) -> None:
    texts = [armed(text, number, elsewhere.address) for number, text in enumerate(part)]
    apart = [text for text in texts if not any(opening in text for opening in SWALLOWING)]
    for start in range(0, len(apart), 30):
        together = "\n\n".join(apart[start : start + 30])
        model.reply(together, chunk=7)
        chat.ask(together)
    first = together.partition("\n")[0]
    for again in (False, True):
        if again:
            chat.reload()
        expect(chat.replies.last).to_contain_text(first)
        expect(chat.messages.nth(-2)).to_contain_text(first)
        press_everything(chat.page, "#chatbot")
        traps.assert_quiet(chat.page)


def test_xss_vector_does_nothing_when_stream_cuts_its_tag_anywhere(
    chat: ChatPage, traps: Traps, model: ScriptedServer
) -> None:
    text = "cut <img src=y onerror='parent.sprung(1)' alt='>'><svg onload=parent.sprung(2)>"
    pieces = len(text) // 4
    script = model.reply(text, chunk=4, hold_after=range(2, pieces))
    chat.send("Show me")
    for _ in range(2, pieces):
        assert script.reached.wait(10)
        script.reached.clear()
        expect(chat.replies.last).to_contain_text("cut")
        traps.assert_quiet(chat.page)
        script.release()
    chat.wait_until_idle()
    traps.assert_quiet(chat.page)


def test_xss_vectors_do_nothing_in_edit_undo_and_put_back(
    chat: ChatPage, traps: Traps, model: ScriptedServer, elsewhere: Elsewhere
) -> None:
    text = "\n\n".join(armed(text, number, elsewhere.address) for number, text in enumerate(HTML[:20] + LINKS[:10]))
    chat.ask("one")
    chat.edit(1, text)
    expect(chat.replies.last).to_contain_text("end29")
    traps.assert_quiet(chat.page)
    chat.edit(0, text)
    chat.wait_until_idle()
    expect(chat.messages.first).to_contain_text("end29")
    chat.ask(text)
    chat.prompt.fill("half a thought")
    chat.press("Undo")
    expect(chat.put_back).to_contain_text("begin0 <script>")
    chat.put_back.click()
    expect(chat.prompt).to_have_value(text)
    chat.prompt.fill("half a thought")
    expect(chat.put_back).to_contain_text("half a thought")
    traps.assert_quiet(chat.page)


def test_xss_vectors_do_nothing_in_model_errors(
    chat: ChatPage, traps: Traps, model: ScriptedServer, elsewhere: Elsewhere
) -> None:
    for number, text in enumerate([*HTML[16:20], *LINKS[:1], *PICTURES[:2], *LATEX[:1]]):
        trouble = armed(text, number, elsewhere.address)
        model.error_in_stream({"message": trouble}, after="" if number % 2 else "so far")
        chat.ask("one")
        expect(chat.status if number % 2 == 0 else chat.replies.last).to_contain_text("parrot")
        traps.assert_quiet(chat.page)


def test_names_are_shown_as_text(chat: ChatPage, traps: Traps, application: Application) -> None:
    expect(chat.page.locator("#chat-title")).to_have_text(f"Chat {NAMED}</title></script>")
    assert chat.page.title() == f"Chat {NAMED}</title></script>"
    chat.page.locator("#model input").click()
    chat.page.get_by_role("option", name=f"other {NAMED}").click()
    chat.ask("one")
    chat.vote(0, "dislike")
    chat.reason(f"Bad {NAMED}").check()
    expect(chat.saved).to_have_text("✓ Saved")
    traps.assert_quiet(chat.page)
    chat.open_analytics()
    expect(chat.page.locator("#analytics-reasons")).to_contain_text(f"Bad {NAMED}")
    expect(chat.page.locator("#analytics-by-model")).to_contain_text(f"other {NAMED}")
    expect(chat.page.locator("#analytics-feedback tbody tr").first).to_contain_text(f"Ann {NAMED}")
    traps.assert_quiet(chat.page)
    chat.open(query=f"?conversation={NAMED}&__theme={NAMED}#{NAMED}")
    traps.assert_quiet(chat.page)


def test_message_covers_no_part_of_page_and_triggers_no_button(
    chat: ChatPage, traps: Traps, model: ScriptedServer, elsewhere: Elsewhere
) -> None:
    away = f"{elsewhere.address}/away"
    ids = ("bridge", "feedback-close", "analytics-close", "prompt", "sidebar")
    links = "".join(f"<a id={one} href='{away}'>{one}</a><map><area id={one} href='{away}'></map>" for one in ids)
    over = f"<a href='{away}' style='position: fixed; inset: 0; z-index: 99999; display: block'>over</a>"
    model.reply(f"Look\n\n<div class='open'>{links}</div>\n\n<div>{over}</div>")
    chat.ask("one")
    expect(chat.replies.last).to_contain_text("over")
    on_top = """box => { const { x, y, width, height } = box.getBoundingClientRect();
        return box.contains(document.elementFromPoint(x + width / 2, y + height / 2)); }"""
    for part in (chat.prompt, chat.page.locator("#chat-title"), chat.page.get_by_role("tab", name="Analytics")):
        assert part.evaluate(on_top)
    chat.vote(0, "like")
    expect(chat.panel).to_be_visible()
    chat.comment.fill("typed")
    expect(chat.saved).to_have_text("✓ Saved")
    chat.comment.press("Escape")
    expect(chat.panel).not_to_be_visible()
    chat.ask("two")
    chat.page.evaluate("chatfeedback.bridge.send('wake')")
    traps.assert_quiet(chat.page)
