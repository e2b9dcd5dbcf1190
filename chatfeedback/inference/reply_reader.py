"""Reply reader: collect the text and the end of a reply from the events of its stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chatfeedback.inference.chunks import Choice, Chunk, read_chunk
from chatfeedback.inference.errors import StreamedError
from chatfeedback.inference.types import Finish


class ReplyReader:
    """Reader of one reply. `on_chunk` is called with each chunk."""

    def __init__(self, on_chunk: Callable[[Chunk], None]) -> None:
        self._on_chunk = on_chunk
        self._reason: str | None = None
        self._refusal = ""
        self._usage: tuple[int | None, int | None] | None = None
        self._has_reason = False
        self.is_complete = False
        """A finish reason came with the last text, or after it."""
        self.was_early = False
        """Text came after a finish reason: the next reason is not trusted either, and the full timeout applies."""
        self.is_done = False
        """The server sent `[DONE]`."""
        self.is_progress = False
        """The last events brought text or the first finish reason."""
        self.error: Exception | None = None
        """Error of the last events; the text before it is returned."""

    def read(self, events: Sequence[str]) -> str:
        """Read the data of events; return their text. Stops at `[DONE]`, and at an event that raises an `error`."""
        texts: list[str] = []
        self.is_progress = False
        for data in events:
            if data.isspace() or not data:
                continue
            if data.strip() == "[DONE]":
                self.is_done = True
                break
            try:
                chunk = read_chunk(data)
            except (StreamedError, ValueError, TypeError) as error:
                self.error = error
                break
            self._on_chunk(chunk)
            self._usage = chunk.usage or self._usage
            for choice in chunk.choices:
                texts.append(choice.text)
                self.is_progress |= self._update(choice)
        return "".join(texts)

    def _update(self, choice: Choice) -> bool:
        """Update the end of the reply; return True if the choice brings text or the first finish reason."""
        self._refusal += choice.refusal
        self.was_early |= bool(choice.text) and self._has_reason
        is_progress = bool(choice.text) or (choice.is_last and not self._has_reason)
        if choice.text or choice.is_last:
            self.is_complete = choice.is_last
        self._has_reason |= choice.is_last
        self._reason = choice.finish_reason or self._reason
        return is_progress

    def finish(self) -> Finish:
        """Return the end of the reply."""
        return Finish(self._reason, *(self._usage or (None, None)), self._refusal)
