"""The HTML of messages, kept from one painting of a page to the next.

A reply that grows costs what is new: its finished blocks are kept, and only the last one is drawn again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from chatfeedback.ui.chat import markdown

MAX_CHARACTERS = 20_000_000
"""Characters of text whose HTML is kept."""


@dataclass(frozen=True, slots=True)
class _Drawing:
    text: str
    growing: bool
    blocks: tuple[str, ...]
    finished: int
    """Blocks that will not change any more while the text grows."""
    finished_text: int
    """Characters of the text that these blocks show."""


class Drawings:
    """The HTML of the messages that were drawn last, by their ids. For one thread: that of the event loop."""

    def __init__(self, limit: int = MAX_CHARACTERS) -> None:
        self._limit = limit
        self._characters = 0
        self._drawn: OrderedDict[str, _Drawing] = OrderedDict()

    def blocks(self, message_id: str, text: str, *, growing: bool = False) -> list[str]:
        """Return the HTML of a message, one string for each of its blocks.

        `growing`: more text may follow. Its blocks are drawn one by one then, and drawn as a whole when it is complete:
        only then a link can be defined after its use, or a list become loose by its last item.
        """
        known = self._drawn.get(message_id)
        if known is None or known.text != text or known.growing != growing:
            drawing = _grown(known, text) if growing else _Drawing(text, False, markdown.to_html(text), 0, 0)
            self._keep(message_id, drawing)
        self._drawn.move_to_end(message_id)
        return list(self._drawn[message_id].blocks)

    def _keep(self, message_id: str, drawing: _Drawing) -> None:
        if (before := self._drawn.pop(message_id, None)) is not None:
            self._characters -= len(before.text)
        self._drawn[message_id] = drawing
        self._characters += len(drawing.text)
        while self._characters > self._limit and len(self._drawn) > 1:
            _id, oldest = self._drawn.popitem(last=False)
            self._characters -= len(oldest.text)


def _grown(known: _Drawing | None, text: str) -> _Drawing:
    """Draw a text that goes on from another one, of which the finished blocks stay."""
    finished: tuple[str, ...] = ()
    begin = 0
    if known is not None and known.growing and text.startswith(known.text[: known.finished_text]):
        finished, begin = known.blocks[: known.finished], known.finished_text
    if (start := markdown.last_block_start(text[begin:])) is not None:
        finished += markdown.to_html(text[begin : begin + start])
        begin += start
    blocks = finished + markdown.to_html(text[begin:], growing=True)
    return _Drawing(text, True, blocks, len(finished), begin)
