"""Users who sign in: each a user of the database with their own browser context."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, expect
from sqlalchemy import text

from browser.application import Application
from browser.chat_page import ChatPage
from chatfeedback.server.authentication.authenticators import COOKIE, cookie_name
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.accounts.users import User
from chatfeedback.store.database.engine import open_engine

DAY = timedelta(days=1)
PASSWORD = "four words of mine"
LOGIN = re.compile(r"/login(\?|$)")
CONSENT = re.compile(r"/consent(\?|$)")


class Visitor:
    """User at a browser. Their actions happen in `page`, their first tab."""

    def __init__(self, application: Application, user: User, context: BrowserContext) -> None:
        self.application = application
        self.user = user
        self.context = context
        self.page = context.new_page()
        self.name = self.page.get_by_label("Name", exact=True)
        self.password = self.page.get_by_label("Password", exact=True)
        self.error = self.page.get_by_role("alert")
        self.account = self.page.get_by_role("navigation", name="Account")

    def goes_to(self, conversation_id: str | None = None) -> Visitor:
        """Open the page, or a conversation on it, as from a link."""
        query = f"?conversation={conversation_id}" if conversation_id else ""
        self.page.goto(f"{self.application.address}{query}")
        return self

    def signs_in(self, name: str | None = None, password: str = PASSWORD) -> Visitor:
        """Fill in the sign-in form by keyboard and submit it."""
        expect(self.page).to_have_url(LOGIN)
        self.name.fill(self.user.name if name is None else name)
        self.password.fill(password)
        self.password.press("Enter")
        return self

    def chats(self) -> ChatPage:
        """Return the Chat tab in their browser tab, once it is rendered."""
        return ChatPage(self.page, self.application.address).wait_until_rendered()

    def comes_in(self, conversation_id: str | None = None) -> ChatPage:
        """Open the page with a session that is already signed in; `signs_in` uses the form."""
        sessions = Sessions(self.application.engine, lifetime=DAY, idle=DAY)
        address = self.application.address
        name = cookie_name(COOKIE, {"scheme": urlsplit(address).scheme})
        token = sessions.begin(self.user.annotator_id, "password")
        self.context.add_cookies([{"name": name, "value": token, "url": address}])
        return self.goes_to(conversation_id).chats()

    def opens_panel(self) -> ChatPage:
        """Open a conversation of "one" and "two" with the panel open for the first reply.

        The page does not notice the end of the session by itself.
        """
        chat = self.comes_in(self.has_talked("one", "two"))
        chat.block_version_polling()
        chat.select(0)
        expect(chat.panel).to_be_visible()
        chat.wait_until_settled()
        return chat

    def has_talked(self, *prompts: str) -> str:
        """Store a conversation of these prompts, each with the reply of the scripted model; return its id."""
        return self.application.store_talk(*prompts, annotator_id=self.user.annotator_id)

    def signs_out(self) -> None:
        self.account.get_by_role("button", name="Sign out").click()
        expect(self.page).to_have_url(LOGIN)

    def cookies(self) -> dict[str, str]:
        """Return the cookies of their browser."""
        return {str(cookie.get("name")): str(cookie.get("value")) for cookie in self.context.cookies()}

    def ends_sessions(self, statement: str) -> None:
        """End the session without the browser."""
        run(self.application, f"{statement} WHERE annotator_id = '{self.user.annotator_id}'")


def add_user(application: Application, role: str, password_hash: str, name: str | None = None) -> User:
    """Create a user; the name gives the role by default."""
    engine = open_engine(application.settings.database_url)
    try:
        number = len(users.list_all(engine))
        chosen = name or f"{role} {number}"
        return users.add(engine, chosen, role, actor_id=None, password_hash=password_hash)  # type: ignore[arg-type]
    finally:
        engine.dispose()


def run(application: Application, statement: str) -> None:
    """Execute SQL for which there is no command."""
    engine = open_engine(application.settings.database_url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def tabs(page: Page) -> list[str]:
    """Return the names of the visible tabs."""
    return [name for tab in page.get_by_role("tab").all() if (name := tab.inner_text().strip())]
