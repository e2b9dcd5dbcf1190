"""Rendering a reply of 10,000 characters while it grows by 40 characters per update.

Subject: `RenderingCache.blocks`, which caches the finished blocks. Baseline: markdown-it-py renders the whole text for
each update. The reply consists of prose, a list, a table and code in about equal parts. The benchmark fails unless
every update changes the HTML, and the final HTML equals a single rendering of the whole reply.

    uv run python -m benchmarks.drawing
"""

from __future__ import annotations

import statistics
import time
from html import unescape
from itertools import zip_longest

from markdown_it import MarkdownIt

from benchmarks._measure import Figure, Run, command
from benchmarks._premises import require
from chatfeedback.ui.chat import markdown
from chatfeedback.ui.chat.rendering_cache import RenderingCache

BASELINE = "markdown-it-py on the whole text"
STEP = 40
PARTS = (
    "A paragraph with **bold** text, some `code`, a [link](https://example.org/) and more words to read. " * 4 + "\n\n",
    "".join(f"- Item {number} with **bold** text and some `code`, and more words to read.\n" for number in range(6))
    + "\n",
    "| name | value |\n|---|---:|\n" + "| alpha beta | 12345 |\n" * 18 + "\n",
    "```python\n" + "def answer(x):\n    return [x for _ in range(10)]\n" * 9 + "```\n\n",
)


def measure(run: Run) -> list[Figure]:
    """Measure the time and the HTML of an update."""
    text = ("".join(PARTS) * 10)[: run.size(10_000, 2_000)]
    parser = MarkdownIt("gfm-like", {"html": False})
    updates, wholes, sent = [], [], []
    for _ in range(run.size(5, 1)):
        drawings, before = RenderingCache(), list[str]()
        drawings.blocks("a reply", text[: len(text) - 1000], growing=True)
        for end in range(len(text) - 1000 + STEP, len(text) + 1, STEP):
            started = time.perf_counter()
            blocks = drawings.blocks("a reply", text[:end], growing=True)
            updates.append(time.perf_counter() - started)
            started = time.perf_counter()
            whole = parser.render(text[:end])
            wholes.append(time.perf_counter() - started)
            new = [new for old, new in zip_longest(before, blocks) if new is not None and new != old]
            require(bool(new), "an update draws nothing")
            sent.append(sum(map(len, new)) / len(whole))
            before = blocks
        require(drawings.blocks("a reply", text) == list(markdown.to_html(text)), "the whole reply is another one")
        require(text[-20:].split()[-1] in unescape("".join(before)), "the last words are not drawn")
    return [
        Figure(
            f"An update of a reply of {len(text):,} characters",
            statistics.median(updates) * 1000,
            "ms",
            statistics.median(wholes) * 1000,
            BASELINE,
            at_most=0.17,
        ),
        Figure(
            "HTML that an update sends",
            statistics.median(sent) * 100,
            "%",
            100,
            "all of the message",
            at_most=0.2,
        ),
    ]


if __name__ == "__main__":
    command(__doc__, measure)
