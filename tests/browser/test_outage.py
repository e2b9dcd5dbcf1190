"""Outages of the database while users are at the page: nothing is lost, and the page goes on by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, make_url, text

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.looks import SIZES, check_page, in_each_scheme, keep_picture
from browser.page_probe import asked
from browser.users import Visitor
from openai_server import ScriptedServer

SENTENCE = "The database is unavailable. What you have sent is kept here, and stored as soon as it is back."
COUNT_READINESS_REQUESTS = """(() => {
    const fetchAsEver = window.fetch;
    const free = new Promise((resolve) => { window.letGo = resolve; });
    Object.assign(window, { held: false, questions: 0, refused: 0 });
    window.fetch = async (resource, options) => {
        const isQuestion = String(resource.url ?? resource).includes("/readyz");
        if (isQuestion && window.held) {
            window.questions++;
            await free;
        }
        const answer = await fetchAsEver(resource, options);
        if (answer.status === 503 && !isQuestion) window.refused++;
        return answer;
    };
})();"""
"""Script that counts the requests for /readyz; while `held` is set, they get no answer before `letGo`."""


@pytest.fixture
def application(
    serve: Callable[..., Application], model: ScriptedServer, request: pytest.FixtureRequest
) -> Iterator[Application]:
    """Return an application on Postgres with sign-in, where each request reads the database."""
    server = request.getfixturevalue("postgres_server")
    name = server.create_database(template=request.getfixturevalue("_migrated_postgres"))
    yield serve(server.url(name), auth="password", models=[endpoint(model)])


@pytest.fixture
def away(application: Application) -> Iterator[Callable[[bool], None]]:
    """Return a function that takes the database away, or gives it back."""
    url = make_url(application.settings.database_url)
    engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")

    def set_away(away: bool) -> None:
        with engine.connect() as connection:
            connection.execute(text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS {not away}'))
            ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(text(ending), {"name": url.database})

    yield set_away
    set_away(False)
    engine.dispose()


@pytest.fixture
def own() -> bool:
    """Return True if the test changes the context of `chat` permanently."""
    return False


@pytest.fixture
def chat(visits: Callable[..., Visitor], application: Application, watched: Watched, own: bool) -> ChatPage:
    watched.harmless.append("Failed to load resource: the server responded with a status of 503")
    chat = visits("annotator", application, own=own).comes_in()
    chat.ask("one")
    chat.wait_until_settled()
    return chat


def test_page_stores_requests_sent_during_outage_when_database_is_back(
    chat: ChatPage, application: Application, away: Callable[[bool], None], folder: Path
) -> None:
    notice = chat.page.get_by_role("alert").filter(has_text=SENTENCE)
    away(True)
    chat.vote(0, "like")
    expect(notice).to_be_visible()
    chat.vote(0, "dislike")
    chat.vote(0, "like")
    chat.prompt.fill("precious")
    chat.prompt.press("Enter")
    chat.prompt.press("Enter")
    expect(chat.prompt).to_have_value("precious")
    for size, viewport in SIZES.items():
        chat.page.set_viewport_size(viewport)  # type: ignore[arg-type]
        for scheme in in_each_scheme(chat.page):
            keep_picture(chat.page, folder, size, scheme, "away")
            box = notice.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"]
    away(False)
    chat.expect_texts("one", "You said: one", "precious", "You said: precious")
    chat.wait_until_idle()
    expect(notice).not_to_be_visible()
    expect(chat.prompt).to_have_value("")
    chat.expect_thumbs("like", "")
    rated = [f"message_rated 2: {one}" for one in ("nothing -> like", "like -> dislike", "dislike -> like")]
    talk = [
        "message_sent 3 after 2: precious",
        "reply_started 4 after 3, parrot told 1 2 3",
        "reply_finished 4 complete: You said: precious",
    ]
    application.assert_log(chat.page, chat.conversation_id, [*asked("one"), *rated, *talk], in_order=False)
    log = [event.body.KIND for event in application.events(chat.conversation_id)]
    assert log.count("message_sent") == 2


def test_prompt_corrected_during_outage_stays_in_box(
    chat: ChatPage, model: ScriptedServer, away: Callable[[bool], None]
) -> None:
    script = model.reply("one two three", hold_after=1)
    away(True)
    for text_typed in ("precious", "precious!"):
        chat.prompt.fill(text_typed)
        chat.prompt.press("Enter")
    expect(chat.page.get_by_role("alert").filter(has_text=SENTENCE)).to_be_visible()
    away(False)
    expect(chat.messages.nth(2)).to_have_text("precious")
    expect(chat.prompt).to_have_value("precious!")
    script.release()
    chat.wait_until_idle()
    expect(chat.prompt).to_have_value("precious!")


def test_page_reloaded_during_outage_comes_back_with_draft(
    chat: ChatPage, application: Application, away: Callable[[bool], None], folder: Path
) -> None:
    conversation = chat.conversation_id
    chat.prompt.fill("precious")
    away(True)
    chat.page.reload()
    notice = chat.page.get_by_role("alert")
    expect(notice).to_have_text(
        "This page comes back by itself as soon as the database does. What you have typed in the chat is kept."
    )
    check_page(chat.page, folder, "away-loaded-again")
    with chat.page.expect_response(lambda answer: answer.request.is_navigation_request()) as again:
        pass
    assert again.value.status == 503
    away(False)
    chat.wait_until_rendered()
    chat.expect_texts("one", "You said: one")
    expect(chat.prompt).to_have_value("precious")
    assert chat.conversation_id == conversation


def test_stream_opened_during_outage_waits_for_database(chat: ChatPage, away: Callable[[bool], None]) -> None:
    notice = chat.page.get_by_role("alert").filter(has_text=SENTENCE)
    away(True)
    chat.page.evaluate("""() => {
        const asked = new Request(new URL("gradio_api/app_id", document.baseURI)); // as Gradio opens its stream
        fetch(asked).then((answer) => { window.answered = answer.status; });
    }""")
    expect(notice).to_be_visible()
    assert chat.page.evaluate("() => window.answered") is None
    away(False)
    chat.page.wait_for_function("() => window.answered === 200")
    expect(notice).not_to_be_visible()


@pytest.mark.parametrize("own", [True], ids=["own context"])
def test_page_sends_one_readiness_request_at_once_during_outage(chat: ChatPage, away: Callable[[bool], None]) -> None:
    """Three calls wait for the database here."""
    notice = chat.page.get_by_role("alert").filter(has_text=SENTENCE)
    chat.page.add_init_script(COUNT_READINESS_REQUESTS)
    chat.page.clock.install()
    chat.reload().wait_until_settled()
    chat.page.evaluate("() => { window.held = true; }")
    away(True)
    chat.page.evaluate("""() => {
        window.answered = 0;
        for (const _ of Array(3)) fetch("/gradio_api/app_id").then(() => window.answered++);
    }""")
    expect(notice).to_be_visible()
    chat.page.wait_for_function("() => window.refused >= 3")
    chat.page.clock.run_for(10_000)
    assert chat.page.evaluate("() => window.questions") == 1
    away(False)
    chat.page.evaluate("() => window.letGo()")
    chat.page.wait_for_function("() => window.answered === 3")
    expect(notice).not_to_be_visible()
