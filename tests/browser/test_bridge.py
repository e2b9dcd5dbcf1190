"""The bridge hands the values of the server to the scripts of the page: each once, and none that is outdated."""

from __future__ import annotations

from browser.browser_context import Watched
from browser.chat_page import ChatPage

RECEIVE = """values => {
    const received = [];
    chatfeedback.bridge.on("probe", (value) => received.push(value));
    const texts = values.map(([page, number, fields]) => JSON.stringify({ page, number, ...fields }));
    texts.forEach(chatfeedback.bridge.receive);
    return received;
}"""


def received(chat: ChatPage, *values: tuple[str, int, dict[str, str]]) -> list[str]:
    """Return what a script gets of these values: page, number and fields of each."""
    passed_on: list[str] = chat.page.evaluate(RECEIVE, values)
    return passed_on


def test_bridge_passes_field_when_it_changes(chat: ChatPage) -> None:
    values = [("a", 1, {"probe": "one"}), ("a", 2, {"probe": "one"}), ("a", 3, {"probe": "two"}), ("a", 4, {})]
    assert received(chat, *values) == ["one", "two"]


def test_bridge_ignores_value_that_was_overtaken(chat: ChatPage) -> None:
    assert received(chat, ("a", 2, {"probe": "newer"}), ("a", 1, {"probe": "older"})) == ["newer"]


def test_bridge_starts_anew_after_server_restart(chat: ChatPage) -> None:
    assert received(chat, ("a", 7, {"probe": "before"}), ("b", 1, {"probe": "after"})) == ["before", "after"]


def test_bridge_passes_other_fields_when_one_script_fails(chat: ChatPage, watched: Watched) -> None:
    watched.harmless.append("the script fails")
    chat.page.evaluate("chatfeedback.bridge.on('fault', () => { throw 'the script fails'; })")
    assert received(chat, ("a", 1, {"fault": "x", "probe": "one"})) == ["one"]
