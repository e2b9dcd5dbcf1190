"""Pool of browser contexts: nothing of one test reaches the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext

from browser.application import Application
from browser.browser_context import DESKTOP, Contexts

STORE = """() => {
    document.cookie = "left=behind";
    localStorage.setItem("left", "behind");
    sessionStorage.setItem("left", "behind");
}"""
LEFT = "() => [document.cookie, localStorage.length, sessionStorage.length]"
OPTIONS = {"locale": "en-US", "viewport": DESKTOP}


def test_context_is_clean_when_taken_again(contexts: Contexts, application: Application) -> None:
    context = contexts.take(OPTIONS)
    page = context.new_page()
    page.goto(f"{application.address}healthz")
    page.evaluate(STORE)
    context.set_offline(True)
    contexts.give_back(context, OPTIONS)
    assert contexts.take(OPTIONS) is context and context.pages == []
    page = context.new_page()
    page.goto(f"{application.address}healthz")
    assert page.evaluate(LEFT) == ["", 0, 0]
    contexts.give_back(context, OPTIONS)


def test_contexts_with_different_options_are_not_shared(contexts: Contexts) -> None:
    dark = {**OPTIONS, "color_scheme": "dark"}
    one, other = contexts.take(OPTIONS), contexts.take(dark)
    assert one is not other
    contexts.give_back(one, OPTIONS)
    contexts.give_back(other, dark)


@pytest.mark.parametrize(
    "change",
    [
        lambda context: context.add_init_script("1"),
        lambda context: context.route("**", lambda route: route.abort()),
        lambda context: context.grant_permissions([]),
        lambda context: context.clock.install(),
        lambda context: context.new_page().clock.install(),  # of a page: Playwright has one for the context
    ],
)
def test_context_of_pool_refuses_permanent_changes(
    contexts: Contexts, change: Callable[[BrowserContext], None]
) -> None:
    context = contexts.take(OPTIONS)
    with pytest.raises(AssertionError, match="would stay in the context for other tests"):
        change(context)
    contexts.give_back(context, OPTIONS)
