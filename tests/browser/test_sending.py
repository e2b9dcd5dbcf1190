"""A prompt and its reply: streamed, stopped, watched from other tabs, left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.application import Application, endpoint
from browser.chat_page import ChatPage
from browser.telling import asked
from browser.watched import Watched
from chatfeedback.web import feedback
from openai_server import ScriptedServer

WATCH_LAST_REPLY = """() => {
    window.painted = [];
    new MutationObserver(() => {
        const text = [...document.querySelectorAll('#chatbot [data-testid=bot]')].at(-1)?.innerText ?? '';
        if (text && text !== window.painted.at(-1)?.text) window.painted.push({ at: performance.now(), text });
    }).observe(document.querySelector('#chatbot'), { childList: true, subtree: true, characterData: true });
}"""


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


def begun(prompt: str) -> list[str]:
    """The log when this first prompt was sent and its reply has started."""
    return [
        "conversation_started",
        f"message_sent 1 after the start: {prompt}",
        "reply_started 2 after 1, parrot told 1",
    ]


def test_a_prompt_gets_a_reply_and_both_are_in_the_log(chat: ChatPage, application: Application) -> None:
    chat.ask("Hello")
    chat.shows("Hello", "You said: Hello")
    expect(chat.prompt).to_have_value("")
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Hello"), "reply_finished 2 complete: You said: Hello"]
    )
    chat.ask("And more")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *begun("Hello"),
            "reply_finished 2 complete: You said: Hello",
            "message_sent 3 after 2: And more",
            "reply_started 4 after 3, parrot told 1 2 3",
            "reply_finished 4 complete: You said: And more",
        ],
    )


def test_the_button_sends_and_shift_enter_makes_a_new_line(chat: ChatPage, application: Application) -> None:
    chat.prompt.press_sequentially("one")
    chat.prompt.press("Shift+Enter")
    chat.prompt.press_sequentially("two")
    chat.send_button.click()
    expect(chat.messages).to_have_count(2)
    chat.idle()
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("one\ntwo"), "reply_finished 2 complete: You said: one\ntwo"]
    )


def test_a_reply_is_painted_again_and_again_but_at_most_five_times_a_second(
    chat: ChatPage, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "tokens_per_second", 100)
    text = " ".join(f"word{number}" for number in range(60))
    model.reply(text, chunk=2)
    chat.page.evaluate(WATCH_LAST_REPLY)
    chat.ask("Count")
    chat.shows("Count", text)
    painted = chat.page.evaluate("window.painted")
    texts = [one["text"] for one in painted]
    assert all(text.startswith(shown.rstrip()) for shown in texts), texts
    assert [len(shown) for shown in texts] == sorted(len(shown) for shown in texts)
    seconds = (painted[-1]["at"] - painted[0]["at"]) / 1000
    assert 4 <= len(texts) <= 5 * seconds + 3


def test_stop_keeps_the_text_so_far_and_ends_the_models_work(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    chat.stop()
    assert script.left.wait(10)
    chat.shows("Count", "one two")
    expect(chat.status).to_have_text("Stopped; the text so far is kept.")
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 stopped: one two "])


def test_stop_before_the_first_word_leaves_an_empty_reply_that_can_be_retried(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("never", hold_after=0)
    chat.send("Hello")
    assert script.reached.wait(10)
    chat.stop()
    assert script.left.wait(10)
    chat.shows("Hello", "⏹ Stopped before the first word. Press Retry for another reply.")
    model.reply("Here I am")
    chat.press("Retry")
    chat.shows("Hello", "Here I am")
    chat.idle()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *begun("Hello"),
            "reply_finished 2 stopped: ",
            "reply_retried 2",
            "reply_started 3 after 1 instead of 2, parrot told 1",
            "reply_finished 3 complete: Here I am",
        ],
    )
    expect(chat.position).not_to_be_visible()


def test_a_reload_in_the_middle_of_a_reply_attaches_to_it_again(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    chat.reload()
    chat.shows("Count", "one two")
    expect(chat.stop_button).to_be_visible()
    script.release()
    chat.shows("Count", "one two three four")
    chat.idle()
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two three four"]
    )


def test_a_second_tab_attaches_to_a_running_reply_and_can_stop_it(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    other = ChatPage(context.new_page(), application.address).open(chat.conversation_id)
    other.shows("Count", "one two")
    other.stop()
    for tab in (other, chat):
        expect(tab.status).to_have_text("Stopped; the text so far is kept.")
        tab.shows("Count", "one two")
        tab.idle()
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 stopped: one two "])


def test_what_is_typed_while_a_reply_streams_stays_and_is_sent_afterwards(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    chat.prompt.press_sequentially("and then?")
    chat.prompt.press("Enter")
    script.release()
    chat.shows("Count", "one two three four")
    chat.idle()
    expect(chat.prompt).to_have_value("and then?")
    chat.prompt.press("Enter")
    chat.shows("Count", "one two three four", "and then?", "You said: and then?")
    chat.idle()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *begun("Count"),
            "reply_finished 2 complete: one two three four",
            "message_sent 3 after 2: and then?",
            "reply_started 4 after 3, parrot told 1 2 3",
            "reply_finished 4 complete: You said: and then?",
        ],
    )


def test_what_is_typed_while_a_prompt_is_on_its_way_stays(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer, slow_commits: None
) -> None:
    application = serve(models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    chat.prompt.fill("two")
    chat.shows("one", "You said: one")
    chat.idle()
    expect(chat.prompt).to_have_value("two")
    chat.prompt.press("Enter")
    chat.shows("one", "You said: one", "two", "You said: two")
    expect(chat.prompt).to_have_value("")
    chat.idle()
    application.assert_log(chat.page, chat.conversation_id, asked("one", "two"))


def test_a_stream_that_has_nothing_to_send_is_no_lost_connection(chat: ChatPage, watched: Watched) -> None:
    watched.harmless.append("Failed to load resource: the server responded with a status of 404")
    chat.ask("one")
    chat.page.evaluate("window.mark = 'the same page'")
    chat.page.route("**/queue/data*", lambda route: route.fulfill(status=404), times=1)
    with chat.page.expect_response(lambda response: "/queue/data" in response.url and response.status == 404):
        chat.vote(0, "like")
    chat.thumbs("like")
    expect(chat.quote).to_contain_text("You like")
    chat.ask("two")
    chat.shows("one", "You said: one", "two", "You said: two")
    assert chat.page.evaluate("window.mark") == "the same page"


def test_a_stream_of_answers_is_not_cut_off_while_the_server_ends_it(chat: ChatPage) -> None:
    cut_off: list[str] = []
    chat.page.on("requestfailed", lambda request: cut_off.append(request.url))
    for prompt in ("one", "two"):
        chat.ask(prompt)
        with chat.page.expect_event("requestfinished", lambda request: "/queue/data" in request.url):
            chat.vote(-1, "like")
    assert cut_off == []


def test_updates_that_come_before_the_page_knows_of_their_event_are_all_drawn(
    chat: ChatPage, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.ask("one")
    monkeypatch.setattr(feedback, "QUIET_SECONDS", 5)  # so long is the stream of answers open after a vote
    chat.page.evaluate(HOLD_JOIN)
    script = model.reply("one two", hold_after=1)
    chat.vote(0, "like")
    chat.prompt.fill("Count")
    chat.prompt.press("Enter")
    chat.page.wait_for_function("window.heard.match(/process_generating/g)?.length > 1")
    chat.page.evaluate("window.release()")
    chat.shows("one", "You said: one", "Count", "one")
    expect(chat.stop_button).to_be_visible()
    expect(chat.send_button).not_to_be_visible()
    script.release()
    chat.idle()
    chat.shows("one", "You said: one", "Count", "one two")


def test_the_end_of_an_event_repeats_none_of_its_updates(chat: ChatPage) -> None:
    told = [
        {"msg": "process_generating", "event_id": "several", "success": True, "output": {"data": ["first"]}},
        {"msg": "process_completed", "event_id": "single", "success": True, "output": {"data": ["only"]}},
        {"msg": "process_completed", "event_id": "several", "success": True, "output": {"data": ["first"]}},
    ]
    body = "".join(f"data: {json.dumps(message)}\n\n" for message in told)
    chat.page.route("**/told?/queue/data", lambda route: route.fulfill(body=body))
    heard = chat.page.evaluate("fetch('told?/queue/data').then(answer => answer.text())")
    lines = [json.loads(line.removeprefix("data: ")) for line in heard.splitlines() if line]
    told[2]["output"] = {"data": [{"__type__": "update"}]}
    assert lines == told


def test_a_prompt_is_sent_also_while_the_page_has_not_noticed_that_the_event_before_is_over(chat: ChatPage) -> None:
    chat.page.evaluate(HOLD_ENDS)
    chat.ask("one")
    chat.ask("two")
    chat.shows("one", "You said: one", "two", "You said: two")


def test_enter_while_a_reply_is_written_sends_nothing(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two", hold_after=1)
    chat.send("Count")
    chat.prompt.fill("and then?")
    chat.prompt.press("Enter")
    expect(chat.notice).to_have_text("A reply is still being written; wait for it or press Stop.")
    script.release()
    chat.idle()
    chat.shows("Count", "one two")
    expect(chat.notice).not_to_be_attached()
    expect(chat.prompt).to_have_value("and then?")
    application.assert_log(chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two"])


def test_a_prompt_that_is_sent_twice_at_once_is_sent_once(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer, slow_commits: None
) -> None:
    application = serve(models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    chat.prompt.press("Enter")
    chat.shows("one", "You said: one")
    chat.idle()
    expect(chat.notice).not_to_be_attached()
    application.assert_log(chat.page, chat.conversation_id, asked("one"))


def test_an_answer_that_could_have_missed_its_stream_is_fetched(chat: ChatPage) -> None:
    # Gradio takes an event for sent over an open stream even when that is just being closed.
    with chat.page.expect_request(lambda request: "/queue/join" in request.url and request.method == "POST"):
        chat.page.evaluate(
            """async () => {
                const closing = new AbortController();
                await fetch('healthz?/queue/data', { signal: closing.signal });
                await fetch('healthz?/queue/join');
                closing.abort();
            }"""
        )


def test_enter_during_a_reply_that_another_tab_started_is_refused_and_the_text_kept(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    other = ChatPage(context.new_page(), application.address).open(chat.conversation_id)
    other.shows("Count", "one two")
    other.prompt.fill("too early")
    other.prompt.press("Enter")
    expect(other.notice).to_have_text("A reply is still being written; wait for it or press Stop.")
    expect(other.prompt).to_have_value("too early")
    script.release()
    other.shows("Count", "one two three four")
    other.idle()
    expect(other.prompt).to_have_value("too early")
    application.assert_log(
        chat.page, chat.conversation_id, [*begun("Count"), "reply_finished 2 complete: one two three four"]
    )


def test_a_reply_that_nobody_watches_any_more_ends_as_left(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model)], reply_linger_seconds=0.5)
    script = model.reply("one two three four", hold_after=2)
    chat = ChatPage(context.new_page(), application.address).open()
    chat.send("Count")
    chat.shows("Count", "one two")
    conversation_id = chat.conversation_id
    chat.page.close()
    assert script.left.wait(20)
    again = ChatPage(context.new_page(), application.address)
    application.assert_log(again.page, conversation_id, [*begun("Count"), "reply_finished 2 left: one two "])
    again.open(conversation_id)
    again.shows("Count", "one two")
    expect(again.status).to_have_text(re.compile("ended when nobody was watching"))
    again.idle()
