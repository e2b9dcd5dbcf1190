"""Rendering of messages: Markdown, code, tables and LaTeX; harmful HTML does nothing; no character is lost."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.page_probe import asked
from openai_server import ScriptedServer

RICH = r"""# A heading

Some **bold** text with `code` and a [link](https://example.org/).

- one
- two

```python
def answer():
    return 42
```

| name | value |
|------|-------|
| a    | 1     |

Inline \(a^2 + b^2\) and displayed:

$$\int_0^1 x\,dx = \frac{1}{2}$$
"""
HARMFUL = """Look <b>here</b>
<script>window.harmed = 'script'</script>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=" onload="window.harmed = 'image'">
<svg onload="window.harmed = 'svg'"></svg>
<iframe srcdoc="<script>parent.harmed = 'frame'</script>"></iframe>
<a href="javascript:window.harmed = 'link'">press me</a>
<details open ontoggle="window.harmed = 'details'"><summary>more</summary>less</details>
"""
LEFT_OVER = """() => [
    ...document.querySelectorAll('#chatbot [data-testid] *, #conversations *, #feedback-panel *')
].filter(
    element => ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED'].includes(element.tagName)
        || [...element.attributes].some(one => /^on/i.test(one.name) || /^javascript:/i.test(one.value.trim()))
).map(element => element.outerHTML)"""


def test_markdown_code_tables_and_latex_are_rendered(chat: ChatPage, model: ScriptedServer) -> None:
    model.reply(RICH, chunk=40)
    chat.ask("Show me")
    reply = chat.replies.last
    expect(reply.locator("h1")).to_have_text("A heading")
    expect(reply.locator("strong")).to_have_text("bold")
    expect(reply.locator("li")).to_have_text(["one", "two"])
    expect(reply.locator("pre code")).to_contain_text("    return 42")
    expect(reply.locator("td")).to_have_text(["a", "1"])
    expect(reply.locator(".katex")).to_have_count(2)
    expect(reply.locator(".katex-display")).to_have_count(1)
    expect(reply.locator("a")).to_have_attribute("href", "https://example.org/")


@pytest.mark.parametrize("source", ["prompt", "reply", "edit"])
def test_html_in_message_does_no_harm(
    chat: ChatPage, application: Application, model: ScriptedServer, source: str
) -> None:
    model.reply(HARMFUL if source == "reply" else "A reply", chunk=40)
    chat.ask(HARMFUL if source == "prompt" else "A prompt")
    if source == "edit":
        chat.edit(1, HARMFUL)
    rendered = chat.messages.nth(0 if source == "prompt" else 1)
    expect(rendered).to_contain_text(HARMFUL.splitlines()[0])
    chat.vote(0, "like")
    expect(chat.quote).to_be_visible()
    if source == "reply":
        expect(chat.quote).to_contain_text("<script>")
    rendered.get_by_text("press me").last.click()
    chat.reload()
    expect(rendered).to_contain_text(HARMFUL.splitlines()[0])
    assert chat.page.evaluate("window.harmed") is None
    assert chat.page.evaluate(LEFT_OVER) == []
    stored = [message.text for message in application.conversation(chat.conversation_id).shown()]
    assert HARMFUL in stored


def test_prompt_reaches_model_log_and_edit_box_unchanged(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    text = "    four spaces before\n\ttab\n\nand after   \nüñî 😀 中文 \u200d &amp; <b>"
    chat.ask(text)
    assert model.requests[-1]["messages"][-1]["content"] == text
    application.assert_log(chat.page, chat.conversation_id, asked(text))
    chat.page.locator("#chatbot .message-buttons").first.get_by_role("button", name="Edit").click()
    expect(chat.page.locator("#chatbot textarea.edit-textarea")).to_have_value(text)


def test_title_shows_markup_as_typed_and_quote_shows_visible_text(chat: ChatPage, model: ScriptedServer) -> None:
    model.reply("<i>slanted</i> **bold**")
    chat.ask("<u>under</u> & *over*")
    expect(chat.listed.first).to_have_text("<u>under</u> & *over*")
    chat.select(0)
    expect(chat.quote).to_contain_text("<i>slanted</i> bold")


def test_prices_are_not_rendered_as_formula(chat: ChatPage, model: ScriptedServer) -> None:
    model.reply("It was $5 and is $10 today.")
    chat.ask("What is it?")
    chat.expect_texts("What is it?", "It was $5 and is $10 today.")


def test_copy_and_edit_give_stored_text(chat: ChatPage, model: ScriptedServer) -> None:
    chat.page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    for text in ("a<b and c>d", "&lt; &amp;lt; <br>", "# One\n\n```html\n<p>$$</p>\n```\n\n  two  "):
        _is_copied_and_edited(chat, model, text)
        chat.clear()


def _is_copied_and_edited(chat: ChatPage, model: ScriptedServer, text: str) -> None:
    model.reply(text)
    chat.ask(text)
    for number in (0, 1):
        buttons = chat.page.locator("#chatbot .message-buttons").nth(number)
        buttons.get_by_role("button", name="Copy message").click()
        chat.page.wait_for_function("window.copied !== undefined")
        assert chat.page.evaluate("window.copied") == text
        chat.page.evaluate("delete window.copied")
        buttons.get_by_role("button", name="Edit").click()
        expect(chat.page.locator("#chatbot textarea.edit-textarea")).to_have_value(text)
        chat.page.locator("#chatbot").get_by_role("button", name="Cancel").click()
    chat.page.get_by_role("button", name="Copy conversation").click()
    chat.page.wait_for_function("window.copied !== undefined")
    assert chat.page.evaluate("window.copied").count(text) == 2
    chat.page.evaluate("delete window.copied")
