"""Prompts that the page sends twice are stored once, also when the answer comes late or never."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from browser.application import Application, endpoint, eventually
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.page_probe import asked, told
from browser.traffic import traffic
from openai_server import ScriptedServer

JOIN, ANSWERS = "**/queue/join?*", "**/queue/data?*"


def press_enter(times: int) -> Callable[[ChatPage], None]:
    def press(chat: ChatPage) -> None:
        for _ in range(times):
            chat.prompt.press("Enter")

    return press


PRESSES: dict[str, Callable[[ChatPage], None]] = {
    "Enter twice": press_enter(2),
    "Enter three times": press_enter(3),
    "a double click on Send": lambda chat: chat.send_button.dblclick(),
    "Enter and Send": lambda chat: (chat.prompt.press("Enter"), chat.send_button.click())[0],
}


@pytest.fixture
def far(context: BrowserContext, application: Application) -> ChatPage:
    """Return a tab whose requests take 700 ms."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    chat = ChatPage(page, application.address).open()
    slow = {"offline": False, "latency": 700, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", slow)
    return chat


class Held:
    """Hold for the requests of a page to a URL pattern; those held when the page is left get no answer."""

    def __init__(self, page: Page, pattern: str) -> None:
        self.holding = True
        self._page, self._pattern = page, pattern

    def __enter__(self) -> Held:
        traffic(self._page).wait_for_end()  # a stream that is open already would bring the answers
        self._page.route(self._pattern, self._take)
        return self

    def __exit__(self, *_error: object) -> None:
        self._page.unroute(self._pattern)  # lets them go

    def _take(self, route: Route) -> None:
        if not self.holding:
            route.continue_()


def stored(application: Application, page: Page, *lines: str) -> str:
    """Wait until the log of the newest conversation is this, and return its id."""

    def log() -> list[str]:
        ids = application.conversation_ids()
        return told(application.events(ids[-1])) if ids else []

    assert eventually(log, list(lines).__eq__, page) == list(lines)
    return application.conversation_ids()[-1]


@pytest.mark.parametrize(("action", "is_new"), list(zip(PRESSES, [True, False, False, True], strict=True)))
def test_prompt_is_stored_once_when_answers_are_late(
    far: ChatPage, application: Application, action: str, is_new: bool
) -> None:
    before = [] if is_new else ["before"]
    for text in before:
        far.ask(text)
    conversations = len(application.conversation_ids())
    far.prompt.fill("one")
    PRESSES[action](far)
    far.expect_texts(*(line for text in [*before, "one"] for line in (text, f"You said: {text}")))
    far.wait_until_idle()
    far.wait_until_settled()
    expect(far.prompt).to_have_value("")
    application.assert_log(far.page, far.conversation_id, asked(*before, "one"))
    assert len(application.conversation_ids()) == conversations + is_new


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
def test_prompt_is_stored_once_when_repeat_comes_after_its_reply(
    chat: ChatPage, application: Application, is_new: bool
) -> None:
    before = [] if is_new else ["before"]
    for text in before:
        chat.ask(text)
    chat.prompt.fill("one")
    with Held(chat.page, ANSWERS):
        chat.prompt.press("Enter")
        stored(application, chat.page, *asked(*before, "one"))
        chat.prompt.press("Enter")
    chat.expect_texts(*(line for text in [*before, "one"] for line in (text, f"You said: {text}")))
    chat.wait_until_idle()
    chat.wait_until_settled()
    expect(chat.prompt).to_have_value("")
    application.assert_log(chat.page, chat.conversation_id, asked(*before, "one"))


def test_prompt_with_same_text_is_new_when_typed_again(chat: ChatPage, application: Application) -> None:
    for _ in range(3):
        chat.ask("one")
    application.assert_log(chat.page, chat.conversation_id, asked("one", "one", "one"))


@pytest.mark.talked("one")
def test_prompt_with_same_text_is_new_when_put_back_by_undo(chat: ChatPage, application: Application) -> None:
    for _ in range(2):
        chat.press("Undo")
        expect(chat.prompt).to_have_value("one")
        chat.prompt.press("Enter")
        chat.expect_texts("one", "You said: one")
        chat.wait_until_idle()
    lines = told(application.events(chat.conversation_id))
    assert [line.partition(" ")[0] for line in lines].count("message_sent") == 3


def test_prompt_with_same_text_is_new_when_undone_after_reload(chat: ChatPage, application: Application) -> None:
    chat.ask("before")
    chat.prompt.fill("one")
    with Held(chat.page, ANSWERS) as answers:
        chat.prompt.press("Enter")
        stored(application, chat.page, *asked("before", "one"))
        answers.holding = False
        chat.reload()
    expect(chat.prompt).to_have_value("one")
    chat.press("Undo")
    expect(chat.messages).to_have_count(2)
    chat.prompt.press("Enter")
    chat.expect_texts("before", "You said: before", "one", "You said: one")
    chat.wait_until_idle()
    lines = told(application.events(chat.conversation_id))
    assert [line.partition(" ")[0] for line in lines].count("message_sent") == 3


@pytest.mark.parametrize("text", ["one", "two\nlines, “quoted” & <b>", "nul \0 and \ufffd"])
def test_prompt_is_recognized_when_page_was_reloaded_before_its_answer(
    chat: ChatPage, application: Application, model: ScriptedServer, text: str
) -> None:
    script = model.reply("one two", hold_after=1)
    chat.prompt.fill(text)
    with Held(chat.page, ANSWERS) as answers:
        chat.prompt.press("Enter")
        assert script.reached.wait(10)
        conversation_id = application.conversation_ids()[-1]
        answers.holding = False
        chat.reload()
    expect(chat.prompt).to_have_value(text)
    chat.prompt.press("Enter")
    expect(chat.replies).to_have_text(["one"])
    expect(chat.prompt).to_have_value("")
    script.release()
    expect(chat.replies).to_have_text(["one two"])
    chat.wait_until_idle()
    assert chat.conversation_id == conversation_id
    kinds = [event.body.KIND for event in application.events(conversation_id)]
    assert kinds == ["conversation_started", "message_sent", "reply_started", "reply_finished"]


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
def test_prompt_is_recognized_when_server_was_restarted(
    watched: Watched, serve: Callable[..., Application], model: ScriptedServer, is_new: bool
) -> None:
    watched.harmless.append("Failed to load resource")
    application = serve(models=[endpoint(model)])
    chat = ChatPage(watched.context().new_page(), application.address).open()
    before = [] if is_new else ["before"]
    for text in before:
        chat.ask(text)
    chat.prompt.fill("one")
    with Held(chat.page, ANSWERS) as answers:
        chat.prompt.press("Enter")
        conversation_id = stored(application, chat.page, *asked(*before, "one"))
        application.stop()
        application.start()
        answers.holding = False
        chat.reload()
    expect(chat.prompt).to_have_value("one")
    chat.prompt.press("Enter")
    chat.expect_texts(*(line for text in [*before, "one"] for line in (text, f"You said: {text}")))
    expect(chat.prompt).to_have_value("")
    chat.wait_until_idle()
    application.assert_log(chat.page, conversation_id, asked(*before, "one"))
    assert application.conversation_ids() == [conversation_id]
