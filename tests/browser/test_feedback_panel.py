"""The panel for reasons and a comment: when it opens, what it quotes, and that nothing typed in it is lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from browser.application import Application, eventually
from browser.chat_page import ChatPage
from browser.page_probe import asked
from chatfeedback.ui.chat import feedback_panel
from openai_server import ScriptedServer


@pytest.mark.talked("one")
def test_panel_opens_with_fitting_reasons_when_reply_is_rated(chat: ChatPage, application: Application) -> None:
    expect(chat.panel).not_to_be_visible()
    chat.vote(0, "like")
    expect(chat.panel).to_be_visible()
    expect(chat.quote).to_have_text("You like You said: one")
    expect(chat.reason("Correct")).to_be_visible()
    expect(chat.reason("Too long")).to_have_count(0)
    chat.reason("Correct").check()
    chat.reason("Good style").check()
    expect(chat.saved).to_have_text("✓ Saved")
    chat.vote(0, "dislike")
    expect(chat.quote).to_have_text("You dislike You said: one")
    expect(chat.reason("Correct")).to_have_count(0)
    chat.reason("Too long").check()
    chat.reason("Unclear").check()
    chat.reason("Too long").uncheck()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one"),
            "message_rated 2: nothing -> like",
            "message_rated 2: like -> like correct",
            "message_rated 2: like correct -> like correct, good_style",
            "message_rated 2: like correct, good_style -> dislike",
            "message_rated 2: dislike -> dislike too_long",
            "message_rated 2: dislike too_long -> dislike too_long, unclear",
            "message_rated 2: dislike too_long, unclear -> dislike unclear",
        ],
    )
    chat.reload()
    chat.select(0)
    expect(chat.reason("Unclear")).to_be_checked()
    expect(chat.reason("Too long")).not_to_be_checked()
    chat.vote(0, "like")
    expect(chat.quote).to_have_text("You like You said: one")
    expect(chat.reason("Correct")).to_be_checked()
    expect(chat.reason("Good style")).to_be_checked()


@pytest.mark.talked("one", "two")
def test_panel_opens_for_clicked_reply_only(chat: ChatPage, application: Application) -> None:
    chat.select(0)
    expect(chat.quote).to_have_text("Feedback on You said: one")
    chat.comment.fill("about the first")
    chat.select(1)
    expect(chat.quote).to_have_text("Feedback on You said: two")
    expect(chat.comment).to_have_value("")
    chat.comment.fill("about the second")
    chat.page.locator("#feedback-close").click()
    expect(chat.panel).not_to_be_visible()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one", "two"),
            "message_rated 2: nothing -> “about the first”",
            "message_rated 4: nothing -> “about the second”",
        ],
    )
    chat.select(0)
    expect(chat.comment).to_have_value("about the first")


@pytest.mark.talked("one")
def test_panel_opens_by_keyboard(chat: ChatPage) -> None:
    chat.prompt.focus()
    for _ in range(30):
        chat.page.keyboard.press("Shift+Tab")
        if chat.page.evaluate("document.activeElement.dataset.testid") == "bot":
            break
    expect(chat.focusable_replies.first).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(chat.quote).to_have_text("Feedback on You said: one")


@pytest.mark.talked("one", "two")
def test_panel_opens_for_last_reply_when_button_is_clicked(chat: ChatPage) -> None:
    chat.page.locator("#feedback-open").click()
    expect(chat.quote).to_have_text("Feedback on You said: two")
    expect(chat.page.locator("#feedback-open")).not_to_be_visible()


class HeldPauses:
    """Pauses in the typing that last until the test ends them."""

    def __init__(self) -> None:
        self.begun = 0
        self._ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def __call__(self) -> None:
        end = asyncio.Event()
        self._ends.append((asyncio.get_running_loop(), end))
        self.begun += 1
        await end.wait()

    def end(self) -> None:
        for loop, end in self._ends:
            loop.call_soon_threadsafe(end.set)


def test_comment_is_saved_when_typing_pauses(
    chat: ChatPage, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = HeldPauses()
    monkeypatch.setattr(feedback_panel, "typing_pause", pauses)
    chat.ask("one")
    chat.select(0)
    chat.comment.press_sequentially("short and clear")
    eventually(lambda: pauses.begun, lambda begun: begun == len("short and clear"), chat.page)
    application.assert_log(chat.page, chat.conversation_id, asked("one"))
    pauses.end()
    expect(chat.saved).to_have_text("✓ Saved")
    expect(chat.comment).to_be_focused()
    application.assert_log(
        chat.page, chat.conversation_id, [*asked("one"), "message_rated 2: nothing -> “short and clear”"]
    )


@pytest.mark.talked("one")
def test_comment_is_saved_when_pasted_or_shortened(chat: ChatPage, application: Application) -> None:
    chat.select(0)
    chat.comment.focus()
    chat.page.keyboard.insert_text("pasted!")  # no key is pressed, as with Ctrl+V or dictation
    log = [*asked("one"), "message_rated 2: nothing -> “pasted!”"]
    application.assert_log(chat.page, chat.conversation_id, log)
    chat.comment.press("Backspace")
    log.append("message_rated 2: “pasted!” -> “pasted”")
    application.assert_log(chat.page, chat.conversation_id, log)


@pytest.mark.parametrize("leave", ["blur", "close", "vote", "send", "conversation", "reload", "tab closed"])
@pytest.mark.talked("one")
def test_comment_is_saved_when_left_in_any_way(
    leave: str, chat: ChatPage, context: BrowserContext, application: Application
) -> None:
    conversation_id = chat.conversation_id
    chat.select(0)
    expect(chat.panel).to_be_visible()
    with chat.page.expect_request_finished(lambda request: '"do not lose me"' in (request.post_data or "")):
        chat.comment.press_sequentially("do not lose me")
    match leave:
        case "blur":
            chat.comment.press("Tab")
        case "close":
            chat.page.locator("#feedback-close").click()
        case "vote":
            chat.vote(0, "like")
        case "send":
            chat.ask("two")
        case "conversation":
            chat.page.locator("#new-conversation").click()
        case "reload":
            chat.reload()
        case "tab closed":
            chat.page.close()
    expected = [(2, "like" if leave == "vote" else None, "do not lose me")]
    watching = context.new_page()

    def ratings() -> list[tuple[int, str | None, str | None]]:
        """Return message number, value and comment of each rating."""
        conversation = application.conversation(conversation_id)
        numbers = {message_id: number for number, message_id in enumerate(conversation.messages, 1)}
        return [(numbers[key[0]], rating.value, rating.comment) for key, rating in conversation.ratings.items()]

    rows = eventually(ratings, lambda rows: rows == expected, watching)
    assert rows == expected


@pytest.mark.talked("one")
def test_comment_stays_when_thumb_is_cleared_and_goes_when_emptied(chat: ChatPage, application: Application) -> None:
    chat.vote(0, "dislike")
    chat.reason("Unclear").check()
    log = [
        *asked("one"),
        "message_rated 2: nothing -> dislike",
        "message_rated 2: dislike -> dislike unclear",
    ]
    application.assert_log(chat.page, chat.conversation_id, log)
    chat.comment.fill("why?")
    chat.comment.blur()
    log.append("message_rated 2: dislike unclear -> dislike unclear “why?”")
    application.assert_log(chat.page, chat.conversation_id, log)
    chat.vote(0, "dislike")
    expect(chat.quote).to_have_text(re.compile("^\\s*Feedback on"))
    expect(chat.reason("Unclear")).not_to_be_checked()
    expect(chat.comment).to_have_value("why?")
    log.append("rating_cleared 2: dislike unclear “why?” -> “why?”")
    application.assert_log(chat.page, chat.conversation_id, log)
    chat.comment.fill("")
    chat.comment.blur()
    log.append("message_rated 2: “why?” -> nothing")
    application.assert_log(chat.page, chat.conversation_id, log)


@pytest.mark.talked("one")
def test_comment_typed_while_reply_streams_stays_with_its_reply(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("a long answer", hold_after=(1, 2))
    chat.send("two")
    chat.expect_texts("one", "You said: one", "two", "a lo")
    chat.select(0)
    chat.comment.press_sequentially("about ")
    script.release()
    chat.expect_texts("one", "You said: one", "two", "a long a")
    chat.comment.press_sequentially("the first")
    script.release()
    chat.wait_until_idle()
    expect(chat.comment).to_have_value("about the first")
    expect(chat.quote).to_have_text("Feedback on You said: one")
    chat.comment.blur()
    expect(chat.saved).to_have_text("✓ Saved")
    rating = application.conversation(chat.conversation_id).ratings
    (key,) = rating
    assert rating[key].comment == "about the first"
    first_reply = list(application.conversation(chat.conversation_id).messages)[1]
    assert key[0] == first_reply


@pytest.mark.talked("one", "two")
def test_panel_closes_when_its_reply_leaves_screen(chat: ChatPage, application: Application) -> None:
    chat.select(1)
    chat.comment.fill("about the second")
    chat.press("Undo", 1)
    expect(chat.panel).not_to_be_visible()
    chat.expect_texts("one", "You said: one")
    chat.select(0)
    expect(chat.comment).to_have_value("")
    # The comment is stored because its box was left, the undo because of the click: they are on their way together.
    log = [*asked("one", "two"), "message_rated 4: nothing -> “about the second”", "turn_undone 3"]
    application.assert_log(chat.page, chat.conversation_id, log, in_order=False)


@pytest.mark.talked("one")
def test_panel_closes_when_prompt_is_sent(chat: ChatPage, model: ScriptedServer) -> None:
    chat.select(0)
    expect(chat.panel).to_be_visible()
    script = model.reply("a long answer", hold_after=1)
    chat.send("two")
    expect(chat.panel).not_to_be_visible()
    chat.select(0)
    expect(chat.quote).to_contain_text("You said: one")
    script.release()
    chat.wait_until_idle()
    expect(chat.quote).to_contain_text("You said: one")  # opened since: it stays


def drag(chat: ChatPage) -> None:
    chat.replies.first.hover()  # waits until it moves no more
    box = chat.replies.first.bounding_box()
    assert box is not None
    mouse, middle = chat.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + 5, middle)
    mouse.down()
    mouse.move(box["x"] + box["width"] - 5, middle, steps=5)
    mouse.up()


def click_twice(chat: ChatPage) -> None:
    chat.replies.first.locator("p").dblclick()


def click_three_times(chat: ChatPage) -> None:
    chat.replies.first.locator("p").click(click_count=3, delay=20)


@pytest.mark.parametrize(
    ("select", "selected"), [(drag, "one two three"), (click_twice, "three"), (click_three_times, "one two three")]
)
@pytest.mark.talked("one two three four five six")
def test_panel_stays_closed_when_text_is_selected(
    chat: ChatPage, select: Callable[[ChatPage], None], selected: str
) -> None:
    select(chat)
    assert selected in chat.page.evaluate("String(getSelection())")
    chat.page.evaluate(
        "new Promise((resolve) => setTimeout(resolve, 300))"
    )  # a click waits for a second one for 250 ms
    chat.wait_until_settled()
    expect(chat.panel).not_to_be_visible()
    chat.page.evaluate("getSelection().removeAllRanges()")
    chat.select(0)
    expect(chat.panel).to_be_visible()


def test_panel_stays_closed_when_code_is_copied(chat: ChatPage, model: ScriptedServer) -> None:
    model.reply("```c\nint x;\n```")
    chat.ask("one")
    chat.replies.first.get_by_role("button", name="Copy").click()
    chat.page.evaluate(
        "new Promise((resolve) => setTimeout(resolve, 300))"
    )  # a click waits for a second one for 250 ms
    chat.wait_until_settled()
    expect(chat.panel).not_to_be_visible()


def test_panel_says_saved_only_when_change_is_stored(chat: ChatPage, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = HeldPauses()
    monkeypatch.setattr(feedback_panel, "typing_pause", pauses)
    saved = chat.saved.get_by_role("status")
    chat.ask("one")
    chat.vote(0, "like")
    expect(saved).to_have_text("✓ Saved")
    chat.comment.fill("not stored yet")
    eventually(lambda: pauses.begun, bool, chat.page)
    expect(saved).to_have_text("Saving…")
    pauses.end()
    expect(saved).to_have_text("✓ Saved")
    held: list[Route] = []
    chat.page.route("**/queue/join?*", lambda route: held.append(route), times=1)
    chat.page.get_by_label("Helpful", exact=True).check()
    expect(saved).to_have_text("Saving…")
    held[0].continue_()
    expect(saved).to_have_text("✓ Saved")


def test_panel_quotes_beginning_of_long_reply(chat: ChatPage, model: ScriptedServer) -> None:
    model.reply("word " * 200, chunk=100)
    chat.ask("one")
    chat.select(0)
    expect(chat.quote).to_have_text(re.compile("Feedback on word word .* word…"))
