"""Cache of the rendered HTML of messages.

A growing reply is rendered incrementally: its finished blocks are cached, and only the last block is rendered again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from chatfeedback.ui.chat import markdown

MAX_CHARACTERS = 20_000_000
"""Characters of text whose HTML is cached."""


@dataclass(frozen=True, slots=True)
class _Rendering:
    text: str
    growing: bool
    blocks: tuple[str, ...]
    finished: int
    """Number of blocks that no longer change while the text grows."""
    finished_text: int
    """Number of characters of the text in these blocks."""


class RenderingCache:
    """LRU cache of the HTML of messages, by message id. Not thread-safe: only for the thread of the event loop."""

    def __init__(self, limit: int = MAX_CHARACTERS) -> None:
        self._limit = limit
        self._characters = 0
        self._by_id: OrderedDict[str, _Rendering] = OrderedDict()

    def blocks(self, message_id: str, text: str, *, growing: bool = False) -> list[str]:
        """Return the HTML of a message, one string for each block.

        `growing`: more text may follow. The blocks are then rendered one by one, and the complete text is rendered as a
        whole: a link may be defined after its use, and the last item may make a list loose.
        """
        cached = self._by_id.get(message_id)
        if cached is None or cached.text != text or cached.growing != growing:
            rendering = (
                _render_growing(cached, text) if growing else _Rendering(text, False, markdown.to_html(text), 0, 0)
            )
            self._store(message_id, rendering)
        self._by_id.move_to_end(message_id)
        return list(self._by_id[message_id].blocks)

    def _store(self, message_id: str, rendering: _Rendering) -> None:
        if (replaced := self._by_id.pop(message_id, None)) is not None:
            self._characters -= len(replaced.text)
        self._by_id[message_id] = rendering
        self._characters += len(rendering.text)
        while self._characters > self._limit and len(self._by_id) > 1:
            _id, oldest = self._by_id.popitem(last=False)
            self._characters -= len(oldest.text)


def _render_growing(cached: _Rendering | None, text: str) -> _Rendering:
    """Render a growing text; reuse the finished blocks of its earlier rendering."""
    finished: tuple[str, ...] = ()
    begin = 0
    if cached is not None and cached.growing and text.startswith(cached.text[: cached.finished_text]):
        finished, begin = cached.blocks[: cached.finished], cached.finished_text
    if (start := markdown.last_block_start(text[begin:])) is not None:
        finished += markdown.to_html(text[begin : begin + start])
        begin += start
    blocks = finished + markdown.to_html(text[begin:], growing=True)
    return _Rendering(text, True, blocks, len(finished), begin)
