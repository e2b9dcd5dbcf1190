"""The web page beside bare Gradio: time to the page, to a usable prompt, and to the first token of a reply.

The page is measured beside an app of one `gr.Chatbot` and one `gr.Textbox`: from the start of the process to the
first page served; from request to page on a running server; and in Chromium, with an empty cache, from the visit to a
prompt that accepts text. The time to the first token runs in Chromium from Enter to the first text of the reply on
the screen, beside a `gr.ChatInterface`. A loopback server answers both at once, so all of the time is the
application's. Only ours commits the prompt, the conversation and the reply to disk. The benchmark fails unless the
bare app has exactly those two components, and every prompt and reply of ours is in the log in the end.

    uv run python -m benchmarks.page
"""

from __future__ import annotations

import json
import statistics
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._premises import require_equal, require_events
from benchmarks._servers import Server, serving_all
from benchmarks._stores import open_store
from tests.chromium import executable
from tests.openai_server import ScriptedServer

APP, BARE = "a bare one-Chatbot Gradio app", "a bare gr.ChatInterface"
_BARE_PAGE = ("benchmarks._bare_gradio", "one-chatbot", "PORT")
PROMPTS = {"ours": "#prompt textarea", "bare": "textarea"}
DRAWN = {"ours": "#conversations .cf-list, #conversations .cf-empty", "bare": "textarea"}
"""Elements that exist once the page has loaded its data from the server."""

# Measured in the page itself: the browser's driver would see it later.
USABLE = """
const look = () => {
  const prompt = document.querySelector("%s");
  if (prompt && !prompt.disabled && prompt.offsetParent) window.usableAt = performance.now();
  else requestAnimationFrame(look);
};
look();
"""
FIRST_TOKEN = """
() => {
  let entered;
  addEventListener("keydown", (event) => { if (event.key === "Enter") entered ??= performance.now(); }, true);
  const observer = new MutationObserver(() => {
    const replies = [...document.querySelectorAll("[data-testid=bot]")];
    if (entered !== undefined && replies.some((reply) => reply.textContent.includes("Answ"))) {
      window.firstToken = performance.now() - entered;
      observer.disconnect();
    }
  });
  observer.observe(document.body, { subtree: true, childList: true, characterData: true });
}
"""


def measure(run: Run) -> list[Figure]:
    """Measure the page of either app."""
    with ScriptedServer() as model, sync_playwright() as playwright:
        ours, rounds = _ours(run.folder, model), run.size(10, 1)
        started = _started(run, ours)
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox", "--disable-gpu"])
        chat = ("benchmarks._bare_gradio", "chat-interface", "PORT", model.url)
        with serving_all([ours(), _BARE_PAGE, chat]) as (app, bare, interface):
            require_equal("the components of the bare page", _components(bare), {"chatbot": 1, "textbox": 1})
            started = started or {"ours": app.seconds_to_first_page, "bare": bare.seconds_to_first_page}
            served = medians({"ours": app.page, "bare": bare.page}, rounds=run.size(100, 2))
            usable = _take_turns(
                {
                    name: lambda name=name, server=server: _usable(browser, server, PROMPTS[name])
                    for name, server in {"ours": app, "bare": bare}.items()
                },
                rounds,
            )
            token = _take_turns(
                {
                    name: lambda name=name, server=server: _first_token(browser, server, PROMPTS[name], DRAWN[name])
                    for name, server in {"ours": app, "bare": interface}.items()
                },
                rounds,
            )
        browser.close()
    _require_recorded(run.folder / "page-served.db", rounds)
    return [
        Figure("From the start of the server to its first page", started["ours"], "s", started["bare"], APP, 1.3),
        Figure("The page from a running server", served["ours"] * 1000, "ms", served["bare"] * 1000, APP, 1.3),
        Figure("From the visit to a prompt that takes text", usable["ours"], "ms", usable["bare"], APP, 1.3),
        Figure("From Enter to the first token on the screen", token["ours"], "ms", token["bare"], BARE),
    ]


def _ours(folder: Path, model: ScriptedServer) -> Callable[..., tuple[str, ...]]:
    numbers = iter(range(1_000_000))

    def arguments(new: bool = False) -> tuple[str, ...]:
        database = folder / f"page-{next(numbers) if new else 'served'}.db"
        return (
            "chatfeedback", "serve", "--port", "PORT", "--no-open", "--database-url", f"sqlite:///{database}",
            "--model", "m", "--base-url", model.url,
        )  # fmt: skip

    return arguments


def _started(run: Run, ours: Callable[..., tuple[str, ...]]) -> dict[str, float]:
    """Return the seconds from the start to the first page; nothing in a quick run, which uses its other servers."""
    if run.quick:
        return {}
    actions = {"ours": lambda: _start_and_stop(*ours(new=True)), "bare": lambda: _start_and_stop(*_BARE_PAGE)}
    return medians(actions, rounds=3)


def _components(server: Server) -> Counter[str]:
    """Count the components of a page by type, without the frame that Gradio puts around a text box."""
    with urllib.request.urlopen(f"{server.address}config") as response:
        kinds = Counter(component["type"] for component in json.load(response)["components"])
    del kinds["form"]
    return kinds


def _require_recorded(database: Path, replies: int) -> None:
    """End the benchmark unless the log has `replies` conversations, each of a prompt with its reply."""
    with open_store(database) as store:
        kinds = dict.fromkeys(("conversation_started", "message_sent", "reply_started", "reply_finished"), replies)
        require_events(store, {}, kinds)


def _start_and_stop(*arguments: str) -> None:
    Server(*arguments).stop()


def _take_turns(actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the median of the values that each action returns."""
    results: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            results[name].append(action())
    return {name: statistics.median(values) for name, values in results.items()}


def _usable(browser: Browser, server: Server, prompt: str) -> float:
    """Return the milliseconds to a usable prompt, in a new browser profile."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(USABLE % prompt)
    page.goto(server.address)
    page.wait_for_function("window.usableAt")
    usable = float(page.evaluate("window.usableAt"))
    context.close()
    return usable


def _first_token(browser: Browser, server: Server, prompt: str, drawn: str) -> float:
    """Return the milliseconds to the first token of the first prompt, after `drawn` is attached."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.address)
    page.locator(drawn).first.wait_for(state="attached")
    page.evaluate(FIRST_TOKEN)
    page.locator(prompt).first.fill("What is a monad?")
    page.locator(prompt).first.press("Enter")
    page.wait_for_function("window.firstToken")
    token = float(page.evaluate("window.firstToken"))
    context.close()
    return token


if __name__ == "__main__":
    command(__doc__, measure)
