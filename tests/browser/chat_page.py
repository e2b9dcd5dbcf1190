"""Page object of the Chat tab: the actions of a person and the content of the screen."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from browser.traffic import traffic

MESSAGES = "#chatbot .cf-message"
THUMBS = """replies => [...document.querySelectorAll('#chatbot .message-buttons-left')].map(buttons => {
    const chosen = name => buttons.querySelector(`button[aria-label="${name}"]`) !== null;
    return chosen('Liked') ? 'like' : chosen('Disliked') ? 'dislike' : '';
})"""


class ChatPage:
    """One tab of one browser."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        traffic(page)  # records requests from now on
        self.address = address
        self.prompt = page.locator("#prompt textarea")
        self.send_button = page.get_by_role("button", name="Send", exact=True)
        self.stop_button = page.get_by_role("button", name="Stop", exact=True)
        self.messages = page.locator(MESSAGES)
        self.replies = page.locator("#chatbot .bot-row .cf-message")
        self.focusable_replies = page.locator("#chatbot [data-testid=bot]")
        """Replies as elements in the tab order."""
        self.notice = page.locator("#notice [role=alert]")
        self.status = page.locator("#status [role=status]")
        self.earlier = page.locator("#earlier")
        self.previous = page.locator("#previous")
        self.following = page.locator("#next")
        self.position = page.locator("#position")
        self.keep = page.locator("#keep")
        self.put_back = page.locator("#put-back")
        self.listed = page.locator("#conversations .cf-title")
        self.panel = page.locator("#feedback-panel")
        self.quote = page.locator("#feedback-quote")
        self.comment = page.locator("#feedback-comment textarea")
        self.saved = page.locator("#feedback-saved")
        self.comment_on_last = page.locator("#feedback-open")

    # Navigation

    def open(self, conversation_id: str | None = None, query: str = "") -> ChatPage:
        """Open the page, as from a link, and wait until it is rendered."""
        search = query or (f"?conversation={conversation_id}" if conversation_id else "")
        self.page.goto(f"{self.address}{search}")
        return self.wait_until_rendered()

    def open_analytics(self) -> None:
        """Click the Analytics tab; only once the sidebar is open, which moves the tabs."""
        self.wait_until_settled()
        self.page.get_by_role("tab", name="Analytics").click()

    def reload(self) -> ChatPage:
        self.page.reload()
        return self.wait_until_rendered()

    def wait_until_rendered(self) -> ChatPage:
        """Wait until the server has rendered the page, which includes the list of conversations."""
        expect(self.page.locator("#conversations").locator(".cf-list, .cf-empty").first).to_be_attached()
        return self

    @property
    def conversation_id(self) -> str:
        """Conversation id in the URL, as soon as there is one."""
        expect(self.page).to_have_url(re.compile(r"[?&]conversation="))
        (conversation_id,) = parse_qs(urlsplit(self.page.url).query)["conversation"]
        return conversation_id

    def block_version_polling(self) -> None:
        """Block the polling for changes by other pages."""
        self.page.route("**/conversations/*/version", lambda route: route.fulfill(json={"version": 0}))

    # Actions

    def send(self, text: str) -> None:
        """Type a prompt and press Enter; return when it is on the screen and its reply has begun."""
        before, replies = self.messages.count(), self.replies.count()
        self.prompt.fill(text)
        self.prompt.press("Enter")
        expect(self.messages.nth(before)).to_be_visible()
        expect(self.stop_button.or_(self.replies.nth(replies)).first).to_be_visible()

    def ask(self, text: str) -> None:
        """Send a prompt and wait for the whole reply."""
        self.send(text)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until no reply is streaming."""
        expect(self.send_button).to_be_visible()

    def wait_until_settled(self) -> None:
        """Wait until all calls are answered: from then on, the page sends nothing by itself."""
        traffic(self.page).wait_for_end()

    def stop(self) -> None:
        self.stop_button.click()
        self.wait_until_idle()

    def buttons(self, reply: int) -> Locator:
        """Return the row of buttons under a reply, by index; negative from the last."""
        return self.page.locator("#chatbot .message-buttons-left").nth(reply)

    def press(self, name: str, reply: int = -1) -> None:
        """Click a button under a reply: Like, Liked, Dislike, Disliked, Retry or Undo."""
        self.buttons(reply).get_by_role("button", name=name, exact=True).click()

    def vote(self, reply: int, value: str) -> None:
        """Click a thumb, "like" or "dislike", selected or not."""
        names = {"like": ("Like", "Liked"), "dislike": ("Dislike", "Disliked")}[value]
        either = ", ".join(f'button[aria-label="{name}"]' for name in names)
        self.buttons(reply).locator(either).click()

    def edit(self, message: int, text: str) -> None:
        """Edit a message, by index: open it, replace its text and submit."""
        self.page.locator("#chatbot .message-buttons").nth(message).get_by_role("button", name="Edit").click()
        self.page.locator("#chatbot textarea.edit-textarea").fill(text)
        self.page.locator("#chatbot").get_by_role("button", name="Submit").click()

    def select(self, reply: int) -> None:
        """Click on a reply."""
        self.replies.nth(reply).click()

    def reason(self, label: str) -> Locator:
        return self.panel.get_by_label(label, exact=True)

    def clear(self) -> None:
        self.page.get_by_role("button", name="Clear", exact=True).click()
        expect(self.messages).to_have_count(0)

    # Checks

    def expect_texts(self, *texts: str) -> None:
        """Check the visible texts of all messages, prompts and replies."""
        expect(self.messages).to_have_text(list(texts))

    def expect_thumbs(self, *values: str) -> None:
        """Check the selected thumb of each reply: "like", "dislike" or ""."""
        self.page.wait_for_function(f"wanted => JSON.stringify(({THUMBS})()) === JSON.stringify(wanted)", arg=values)
