"""Cache of rendered messages: HTML of a growing reply, and eviction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.ui.chat import markdown
from chatfeedback.ui.chat.rendering_cache import RenderingCache
from ui.test_markdown import TEXTS, Reader, words

LONG = "A paragraph with **bold** text and a [link](https://example.org/).\n\n" * 150


@given(st.lists(TEXTS, max_size=6))
def test_blocks_show_every_word_while_reply_grows_and_equal_whole_at_end(pieces: list[str]) -> None:
    cache, text = RenderingCache(), ""
    for piece in pieces:
        text += piece
        page = Reader("".join(cache.blocks("a reply", text, growing=True)))
        whole = Reader("".join(markdown.to_html(text)))
        assert words(whole.text) - words(page.text) <= {"http", "x", "y"}  # link definitions take effect late
    assert cache.blocks("a reply", text) == list(markdown.to_html(text))


def test_blocks_of_growing_reply_are_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, drawn = RenderingCache(), []
    to_html = markdown.to_html

    def noted(text: str, *, growing: bool = False) -> tuple[str, ...]:
        drawn.append(len(text))
        return to_html(text, growing=growing)

    monkeypatch.setattr(markdown, "to_html", noted)
    before: list[str] = []
    for end in range(100, len(LONG), 100):
        blocks = cache.blocks("a reply", LONG[:end], growing=True)
        assert blocks[: max(len(before) - 1, 0)] == before[:-1]
        before = blocks
    assert sum(drawn) < 5 * len(LONG)


def test_blocks_of_growing_list_are_its_items() -> None:
    assert len(RenderingCache().blocks("a reply", "- one\n- two\n- three", growing=True)) == 2
    assert len(RenderingCache().blocks("a reply", "- one\n- two\n- three")) == 1


def test_blocks_of_another_text_are_rendered_anew() -> None:
    cache = RenderingCache()
    cache.blocks("a reply", "one\n\ntwo\n\nthree", growing=True)
    assert "four" in "".join(cache.blocks("a reply", "four\n\nfive", growing=True))
    assert cache.blocks("a reply", "six") == ['<p dir="ltr">six</p>\n']


def test_rendering_cache_evicts_least_recently_used_message(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = RenderingCache(limit=10)
    for name in "abc":
        cache.blocks(name, "12345")
    drawn = []
    monkeypatch.setattr(markdown, "to_html", lambda text: drawn.append(text) or (text,))
    for name in "bca":
        cache.blocks(name, "12345")
    assert len(drawn) == 1
