"""Model of the torture test: it outlives every kill, and remembers what it sent."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openai_server import ScriptedServer

TOKENS_PER_SECOND = 40
WORDS = ("it", "depends", "on", "what", "is", "meant", "by", "that", "—", "für", "some\n", "だから")


class Parrot:
    """Source of numbered answers that take a fraction of a second to several seconds, no two alike."""

    def __init__(self, server: ScriptedServer) -> None:
        self.url = server.url
        self.sent: defaultdict[str, list[str]] = defaultdict(list)
        """Prompt -> the answers to it, whole."""
        server.default = self._answer

    def _answer(self, request: dict[str, Any], number: int) -> str:
        words = random.Random(number)
        text = f"reply {number}: " + " ".join(words.choices(WORDS, k=words.choice((3, 10, 20, 40, 120))))
        prompt = request["messages"][-1]["content"]
        # A prompt whose reply was interrupted before its first word is told together with the next one.
        self.sent[prompt[prompt.rindex("prompt ") :]].append(text)
        return text


@contextmanager
def talking() -> Iterator[Parrot]:
    """Serve a model to the end of the block, on threads of its own."""
    with ScriptedServer(tokens_per_second=TOKENS_PER_SECOND) as server:
        yield Parrot(server)
