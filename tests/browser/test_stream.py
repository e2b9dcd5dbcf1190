"""The stream over which a page gets its answers: it ends, begins again, and comes late, and nothing is lost by that."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Route, expect

from browser.application import Application
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.page_probe import asked
from chatfeedback.ui.chat import feedback_panel
from openai_server import ScriptedServer

HOLD_JOIN = """() => {
    const fetchAsEver = window.fetch;
    window.heard = '';
    const release = new Promise(resolve => { window.release = resolve; });
    window.fetch = async (resource, options) => {
        const url = resource.url ?? String(resource);
        const answer = await fetchAsEver(resource, options);
        if (url.includes('/queue/join') && String(options?.body).includes('Count')) await release;
        if (!url.includes('/queue/data')) return answer;
        return new Response(answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(new TransformStream({
            transform(text, page) { window.heard += text; page.enqueue(text); },
        })).pipeThrough(new TextEncoderStream()), { headers: answer.headers });
    };
}"""
SLOW_ENDS = """(() => {
    const fetchAsEver = window.fetch;
    window.streams = { begun: 0, ended: 0, cutOff: 0 };
    window.fetch = async (resource, options) => {
        const answer = await fetchAsEver(resource, options);
        if (!(resource.url ?? String(resource)).includes('/queue/data') || !answer.ok) return answer;
        streams.begun += 1;
        let over = false;
        (options?.signal ?? resource.signal).addEventListener('abort', () => {
            if (!over) streams.cutOff += 1;
            over = true;
        });
        const end = async () => {
            await new Promise(resolve => setTimeout(resolve, 300));
            if (!over) streams.ended += 1;
            over = true;
        };
        return new Response(answer.body.pipeThrough(new TransformStream({ flush: end })), { headers: answer.headers });
    };
})()"""
"""The server takes its time between the last message of a stream and its end. (What the browser itself reports tells
nothing: Chromium calls an answer with `Cache-Control: no-store` failed although it came to its end.)"""
BREAKS = """(() => {
    const fetchAsEver = window.fetch;
    let breaking = '';
    window.breakNext = (how) => new Promise((broken) => { breaking = { how, broken }; });
    const broken = () => {
        const { how } = breaking;
        breaking.broken();
        breaking = '';
        return how;
    };
    const transformer = {
        transform(text, page) {
            const isEnd = breaking && text.includes('"close_stream"');
            page.enqueue(isEnd ? text.slice(0, text.lastIndexOf('data: ')) : text);
        },
        flush(page) {
            if (breaking && broken() === 'breaks') page.error(new TypeError('network error'));
        },
    };
    window.fetch = async (resource, options) => {
        const opens = (resource.url ?? String(resource)).includes('/queue/data');
        const begins = opens && breaking && !['breaks', 'ends'].includes(breaking.how);
        if (begins && breaking.how === 'is refused') throw new TypeError('Failed to fetch', broken());
        if (begins) return new Response('', { status: broken() });
        const answer = await fetchAsEver(resource, options);
        if (!opens || !answer.ok) return answer;
        const text = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(new TransformStream(transformer));
        return new Response(text.pipeThrough(new TextEncoderStream()), { headers: answer.headers });
    };
})()"""
"""Under the scripts of the page. `breakNext` answers when that has happened to a stream: it `breaks` or `ends` without
its last message, or it cannot be opened, because it `is refused` or is answered with a status.
"""
FRAMES = """count => new Promise(resolve => {
    const next = () => count-- ? requestAnimationFrame(next) : resolve();
    next();
})"""
HOLD_ENDS = """() => {
    const fetchAsEver = window.fetch;
    window.fetch = async (resource, options) => {
        const answer = await fetchAsEver(resource, options);
        if (!(resource.url ?? String(resource)).includes('/queue/data')) return answer;
        let generating = new Set();
        const ends = message => {
            const told = JSON.parse(message.slice(6));
            if (told.msg === 'process_generating') generating.add(told.event_id);
            return told.msg === 'process_completed' && generating.has(told.event_id);
        };
        return new Response(answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(new TransformStream({
            transform(text, page) {
                page.enqueue(text.split('\\n\\n').filter(m => m && !ends(m)).map(m => m + '\\n\\n').join(''));
            },
        })).pipeThrough(new TextEncoderStream()), { headers: answer.headers });
    };
}"""

BOTH_ANSWERED = "() => heard.split('process_completed').length > 2 && heard.includes('close_stream')"


def test_stream_with_nothing_to_send_is_not_taken_for_lost_connection(chat: ChatPage, watched: Watched) -> None:
    watched.harmless.append("Failed to load resource: the server responded with a status of 404")
    chat.ask("one")
    chat.wait_until_settled()  # a stream that is open already would bring the answer
    chat.page.evaluate("window.mark = 'the same page'")
    chat.page.route("**/queue/data*", lambda route: route.fulfill(status=404), times=1)
    with chat.page.expect_response(lambda response: "/queue/data" in response.url and response.status == 404):
        chat.vote(0, "like")
    chat.expect_thumbs("like")
    expect(chat.quote).to_contain_text("You like")
    chat.ask("two")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    assert chat.page.evaluate("window.mark") == "the same page"


def test_stream_is_not_cut_off_while_server_ends_it(chat: ChatPage) -> None:
    chat.page.add_init_script(SLOW_ENDS)
    chat.reload()
    for prompt in ("one", "two"):
        chat.ask(prompt)
        chat.vote(-1, "like")
        chat.page.wait_for_function("streams.begun > 0 && streams.begun === streams.ended + streams.cutOff")
    assert chat.page.evaluate("streams.cutOff") == 0


@pytest.mark.parametrize("failure", ["breaks", "ends"])
def test_stream_lost_after_its_last_answer_does_not_stop_page(chat: ChatPage, watched: Watched, failure: str) -> None:
    watched.server_goes_away()
    chat.page.add_init_script(BREAKS)
    chat.reload().ask("one")
    chat.wait_until_settled()
    chat.page.evaluate("how => { window.mark = 'the same page'; window.broken = window.breakNext(how); }", failure)
    chat.vote(0, "like")
    chat.page.evaluate("window.broken")
    chat.wait_until_settled()
    chat.ask("two")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    assert chat.page.evaluate("window.mark") == "the same page"


@pytest.mark.parametrize("failure", ["is refused", 500, 502, 504])
def test_page_reloads_with_stored_state_when_stream_cannot_be_opened(
    chat: ChatPage, watched: Watched, failure: str | int
) -> None:
    watched.server_goes_away()
    chat.page.add_init_script(BREAKS)
    chat.reload().ask("one")
    chat.wait_until_settled()
    with chat.page.expect_event("load"):
        chat.page.evaluate("how => { window.breakNext(how); }", failure)
        chat.prompt.fill("two")
        chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    chat.ask("three")
    chat.expect_texts("one", "You said: one", "two", "You said: two", "three", "You said: three")


@pytest.mark.talked("one")
def test_updates_are_all_rendered_when_they_come_before_their_event_is_known(
    chat: ChatPage, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_panel, "QUIET_SECONDS", 5)  # so long is the stream of answers open after a vote
    chat.page.evaluate(HOLD_JOIN)
    script = model.reply("one two", hold_after=1)
    chat.vote(0, "like")
    chat.prompt.fill("Count")
    chat.prompt.press("Enter")
    chat.page.wait_for_function("window.heard.match(/process_generating/g)?.length > 1")
    chat.page.evaluate("window.release()")
    chat.expect_texts("one", "You said: one", "Count", "one")
    expect(chat.stop_button).to_be_visible()
    expect(chat.send_button).not_to_be_visible()
    expect(chat.prompt).to_have_value("")
    script.release()
    chat.wait_until_idle()
    chat.expect_texts("one", "You said: one", "Count", "one two")


@pytest.mark.talked("one")
def test_stream_does_not_stay_open_for_event_that_was_answered_before(
    chat: ChatPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.vote(0, "like")
    expect(chat.comment).to_be_visible()
    chat.wait_until_settled()
    monkeypatch.setattr(feedback_panel, "QUIET_SECONDS", 5)  # so long is the stream of answers open after a vote
    chat.page.evaluate(HOLD_JOIN)
    chat.vote(0, "dislike")
    chat.comment.fill("Count")
    chat.page.wait_for_function(BOTH_ANSWERED)
    chat.page.evaluate("window.release()")
    chat.wait_until_settled()


@pytest.mark.talked("one")
def test_update_of_earlier_click_does_not_revert_later_click(chat: ChatPage, application: Application) -> None:
    chat.page.evaluate(HOLD_JOIN)
    held: list[Route] = []

    def hold_second(route: Route) -> None:
        route.continue_() if held or '"liked":true' in str(route.request.post_data) else held.append(route)

    chat.page.route("**/queue/join?*", hold_second)
    chat.vote(0, "like")
    chat.vote(0, "dislike")
    chat.page.wait_for_function("window.heard.includes('process_completed')")
    chat.page.evaluate(FRAMES, 10)
    chat.vote(0, "dislike")
    held[0].continue_()
    chat.expect_thumbs("")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one"),
            "message_rated 2: nothing -> like",
            "message_rated 2: like -> dislike",
            "rating_cleared 2: dislike -> nothing",
        ],
    )


@pytest.mark.talked("one")
def test_requests_arrive_in_order_of_clicks(chat: ChatPage, application: Application) -> None:
    chat.wait_until_settled()
    held: list[Route] = []
    chat.page.route("**/queue/join?*", lambda route: held.append(route) if not held else route.continue_())
    chat.edit(1, "What I would have said")
    chat.vote(0, "like")
    chat.page.evaluate(FRAMES, 30)  # the vote would be there by now
    held[0].continue_()
    expect(chat.quote).to_contain_text("What I would have said")
    log = [*asked("one"), "message_edited 3 after 1 instead of 2 as assistant: What I would have said"]
    log.append("message_rated 3: nothing -> like")
    application.assert_log(chat.page, chat.conversation_id, log)


def test_completed_message_repeats_no_update_of_its_event(chat: ChatPage) -> None:
    messages = [
        {"msg": "process_generating", "event_id": "several", "success": True, "output": {"data": ["first"]}},
        {"msg": "process_completed", "event_id": "single", "success": True, "output": {"data": ["only"]}},
        {"msg": "process_completed", "event_id": "several", "success": True, "output": {"data": ["first"]}},
        {"msg": "close_stream", "event_id": None},
    ]
    body = "".join(f"data: {json.dumps(message)}\n\n" for message in messages)
    chat.page.route("**/told/gradio_api/queue/join", lambda route: route.fulfill(json={"event_id": "single"}))
    chat.page.route("**/told/gradio_api/queue/data", lambda route: route.fulfill(body=body))
    heard = chat.page.evaluate(
        """async () => {
            await fetch('told/gradio_api/queue/join');
            return (await fetch('told/gradio_api/queue/data')).text();
        }"""
    )
    lines = [json.loads(line.removeprefix("data: ")) for line in heard.splitlines() if line]
    messages[2]["output"] = {"data": [{"__type__": "update"}]}
    assert lines == messages


def test_prompt_is_sent_while_end_of_previous_event_is_unnoticed(chat: ChatPage) -> None:
    chat.page.evaluate(HOLD_ENDS)
    chat.ask("one")
    chat.ask("two")
    chat.expect_texts("one", "You said: one", "two", "You said: two")


@pytest.mark.parametrize("sent", [True, False])
def test_answer_that_may_have_missed_its_stream_is_fetched(chat: ChatPage, sent: bool) -> None:
    # Gradio takes an event for sent over an open stream even when that is just being closed.
    chat.wait_until_settled()
    chat.page.route("**/told/gradio_api/queue/join", lambda route: route.fulfill(json={"event_id": "late"}))
    fetched: list[str] = []

    def is_call(url: str) -> bool:
        return "_api/queue/join" in url and "told" not in url

    chat.page.on("request", lambda request: fetched.append(request.url) if is_call(request.url) else None)
    chat.page.evaluate(
        """async (sent) => {
            const closing = new AbortController();
            await fetch('told/gradio_api/queue/data', { signal: closing.signal });
            if (sent) await fetch('told/gradio_api/queue/join');
            closing.abort();
        }""",
        sent,
    )
    chat.wait_until_settled()
    assert len(fetched) == sent
