"""Back and Forward of the browser walk through the conversations that were opened, as clicks in the list would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import BrowserContext, expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.page_probe import asked
from chatfeedback.store.erasure.erasure import erase_conversation
from openai_server import ScriptedServer


def back(chat: ChatPage) -> None:
    """Press Back, within the page."""
    chat.page.evaluate("history.back()")


def forward(chat: ChatPage) -> None:
    chat.page.evaluate("history.forward()")


def click(chat: ChatPage, conversation_id: str) -> None:
    chat.page.locator(f'[data-conversation="{conversation_id}"]').click()


def new(chat: ChatPage) -> None:
    chat.page.get_by_role("button", name="New conversation", exact=True).click()


def expect_open(chat: ChatPage, conversation_id: str, *texts: str) -> None:
    """Check the messages, the address and the mark in the list."""
    chat.expect_texts(*texts)
    expect(chat.page).to_have_url(f"{chat.address}?conversation={conversation_id}" if conversation_id else chat.address)
    current = chat.page.locator("#conversations [aria-current=true]")
    expect(current).to_have_count(1 if conversation_id else 0)
    if conversation_id:
        expect(current).to_have_attribute("data-conversation", conversation_id)


def open_and_begin_new(chat: ChatPage, conversation_id: str, *texts: str) -> None:
    """Open a conversation from the list, then click New conversation."""
    click(chat, conversation_id)
    expect_open(chat, conversation_id, *texts)
    new(chat)
    expect_open(chat, "")


@pytest.fixture
def talks(application: Application, chat: ChatPage) -> dict[str, tuple[str, ...]]:
    """Store three conversations; return their texts by id, and "" for a new one."""
    texts = {application.store_talk(word): (word, f"You said: {word}") for word in ("one", "two", "three")}
    chat.open()
    return {**texts, "": ()}


def test_back_and_forward_show_conversations_that_were_opened(
    chat: ChatPage, talks: dict[str, tuple[str, ...]]
) -> None:
    first, second, _third, _new = talks
    click(chat, first)
    expect_open(chat, first, *talks[first])
    click(chat, second)
    expect_open(chat, second, *talks[second])
    chat.prompt.fill("half a thought")
    back(chat)
    expect_open(chat, first, *talks[first])
    expect(chat.prompt).to_have_value("half a thought")
    expect(chat.prompt).to_be_focused()
    back(chat)
    expect_open(chat, "")
    forward(chat)
    forward(chat)
    expect_open(chat, second, *talks[second])
    expect(chat.prompt).to_have_value("half a thought")


def test_first_prompt_adds_no_entry_and_back_shows_conversation_before(
    chat: ChatPage, application: Application, talks: dict[str, tuple[str, ...]]
) -> None:
    first = next(iter(talks))
    open_and_begin_new(chat, first, *talks[first])
    chat.ask("four")
    fourth = chat.conversation_id
    back(chat)
    expect_open(chat, first, *talks[first])
    forward(chat)
    expect_open(chat, fourth, "four", "You said: four")
    chat.ask("more")
    application.assert_log(chat.page, fourth, asked("four", "more"))
    application.assert_log(chat.page, first, [*asked("one"), "conversation_cleared"])


@pytest.mark.parametrize("button", ["New conversation", "Clear"])
def test_back_after_new_conversation_shows_the_one_before(
    chat: ChatPage, talks: dict[str, tuple[str, ...]], button: str
) -> None:
    first = next(iter(talks))
    click(chat, first)
    expect_open(chat, first, *talks[first])
    chat.page.get_by_role("button", name=button, exact=True).click()
    expect_open(chat, "")
    back(chat)
    expect_open(chat, first, *talks[first])
    chat.vote(0, "like")
    chat.expect_thumbs("like")


def test_back_and_forward_work_after_reload(chat: ChatPage, talks: dict[str, tuple[str, ...]]) -> None:
    first, second, third, _new = talks
    for conversation_id in (first, second, third):
        click(chat, conversation_id)
        expect_open(chat, conversation_id, *talks[conversation_id])
    back(chat)
    expect_open(chat, second, *talks[second])
    chat.reload()
    expect_open(chat, second, *talks[second])
    back(chat)
    expect_open(chat, first, *talks[first])
    forward(chat)
    forward(chat)
    expect_open(chat, third, *talks[third])


def test_back_at_first_conversation_leaves_application(context: BrowserContext, application: Application) -> None:
    page = context.new_page()
    page.goto(f"{application.address}healthz")
    chat = ChatPage(page, application.address)
    chat.open(application.store_talk("one"))
    chat.expect_texts("one", "You said: one")
    page.go_back()
    expect(page).to_have_url(f"{application.address}healthz")
    page.go_forward()
    chat.wait_until_rendered().expect_texts("one", "You said: one")


def test_click_on_open_conversation_adds_no_entry(chat: ChatPage, talks: dict[str, tuple[str, ...]]) -> None:
    first = next(iter(talks))
    before = chat.page.evaluate("history.length")
    for _ in range(2):
        click(chat, first)
        expect_open(chat, first, *talks[first])
        chat.wait_until_settled()
    assert chat.page.evaluate("history.length") == before + 1


def test_back_to_erased_conversation_shows_notice_and_new_one(
    chat: ChatPage, application: Application, talks: dict[str, tuple[str, ...]]
) -> None:
    first, second, _third, _new = talks
    open_and_begin_new(chat, first, *talks[first])
    click(chat, second)
    expect_open(chat, second, *talks[second])
    erase_conversation(application.engine, first, None)
    back(chat)
    expect_open(chat, "")
    back(chat)
    expect(chat.notice).to_be_visible()
    expect_open(chat, "")
    forward(chat)
    forward(chat)
    expect_open(chat, second, *talks[second])


def test_open_reply_goes_on_when_back_and_forward_are_pressed(
    chat: ChatPage, model: ScriptedServer, talks: dict[str, tuple[str, ...]]
) -> None:
    first = next(iter(talks))
    open_and_begin_new(chat, first, *talks[first])
    script = model.reply("a long answer", hold_after=1)
    chat.send("five")
    chat.expect_texts("five", "a lo")
    fifth = chat.conversation_id
    back(chat)
    expect_open(chat, first, *talks[first])
    expect(chat.send_button).to_be_visible()
    forward(chat)
    expect_open(chat, fifth, "five", "a lo")
    expect(chat.stop_button).to_be_visible()
    script.release()
    expect_open(chat, fifth, "five", "a long answer")


@dataclass
class History:
    """Model of a browser's history of one page."""

    entries: list[str] = field(default_factory=lambda: [""])
    at: int = 0

    @property
    def open(self) -> str:
        return self.entries[self.at]

    def go(self, conversation_id: str) -> None:
        """Open a conversation: the entries after this one are gone."""
        if conversation_id != self.open:
            self.entries = [*self.entries[: self.at + 1], conversation_id]
            self.at += 1

    def step(self, by: int) -> bool:
        """Go by some entries; return False where there are none."""
        if not 0 <= self.at + by < len(self.entries):
            return False
        self.at += by
        return True


GO = "step => new Promise(done => { addEventListener('popstate', done, { once: true }); history.go(step); })"
STEPS = st.one_of(st.sampled_from(["new", "reload"]), st.integers(0, 2), st.sampled_from(["-1", "+1", "-2", "-1-1+1"]))


@given(walk=st.lists(STEPS, min_size=4, max_size=8))
@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_history_follows_any_walk(
    walk: list[str | int], context: BrowserContext, application: Application, walked: Callable[[], dict[str, str]]
) -> None:
    words = walked()
    ids = [conversation_id for conversation_id in words if conversation_id]
    chat = ChatPage(context.new_page(), application.address).open()
    history = History()
    for step in walk:
        match step:
            case int():
                history.go(ids[step])
                click(chat, ids[step])
            case "new":
                history.go("")
                new(chat)
            case "reload":
                chat.reload()
            case _:
                by = [int(step[at : at + 2]) for at in range(0, len(step), 2)]
                steps = [one for one in by if history.step(one)]
                for one in steps:  # the server has no time to answer the steps between
                    chat.page.evaluate(GO, one)
        word = words[history.open]
        expect_open(chat, history.open, *((word, f"You said: {word}") if word else ()))
    chat.page.close()


@pytest.fixture(scope="module")
def walked(application: Application) -> Callable[[], dict[str, str]]:
    """Return a function that returns three conversations, by id, with their prompts; "" for a new one."""
    stored: dict[str, str] = {}

    def talks() -> dict[str, str]:
        if not stored:
            stored.update({application.store_talk(word): word for word in ("red", "green", "blue")})
            stored[""] = ""
        return stored

    return talks
