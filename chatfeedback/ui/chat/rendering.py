"""Rendering of a conversation as values for Gradio, and the way back from an index to a message. Pure functions.

Messages go to the chatbot as lists of content, because Gradio strips the indentation of plain strings. `ViewState`
records the rendered messages; an index from a page has a meaning only together with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from chatfeedback.domain.conversation.state import Conversation, Message
from chatfeedback.errors import NotOffered
from chatfeedback.ui.chat import markdown
from chatfeedback.ui.chat.rendering_cache import RenderingCache

_URL = re.compile(r"https?://[^\s;,”]+")
_AT_URL = re.compile(rf" at {_URL.pattern}")
FEEDBACK_LABELS = {"like": "Like", "dislike": "Dislike"}


@dataclass(frozen=True, slots=True)
class ViewState:
    """View of a page: the messages of a conversation that are rendered, and the version of its tree."""

    conversation_id: str | None = None
    tree_version: int = 0
    ids: tuple[str, ...] = ()
    limit: int = 50
    """Number of newest messages to show."""
    rateable: bool = False
    """True if the last message is a reply that has a text, or may get one."""
    viewed_id: str | None = None
    """The alternative of the last reply that is on view in its place; None if it is the chosen one."""

    @property
    def is_lost(self) -> bool:
        """True if an earlier server process rendered the page, so that only the conversation in its URL is known."""
        return self.conversation_id is not None and self.tree_version == 0

    def with_default_conversation(self, conversation_id: str | None) -> ViewState:
        """Return this view; if it has no conversation, one with the id from the page's URL."""
        return self if self.conversation_id else replace(self, conversation_id=conversation_id or None)

    def message_id(self, index: object) -> str:
        """Return the id of the message at an index from the page. Raises NotOffered if none was rendered there."""
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(self.ids):
            return self.ids[index]
        raise NotOffered("This message is not on the screen any more; reload the page.")


def view_state(
    conversation: Conversation, limit: int, previous: ViewState | None = None, viewed_id: str | None = None
) -> ViewState:
    """Return the view of the newest `limit` messages of a conversation.

    Args:
        conversation: The conversation to show.
        limit: Number of messages.
        previous: Current view of the page. If it shows the same conversation, the new view begins with the same
            message. If the window moved with each new message, a click on a visible message would arrive with the
            index of another one.
        viewed_id: The alternative of the last reply to show, if it still is one.
    """
    messages, viewed_id = _visible_messages(conversation, viewed_id)
    ids = [message.message_id for message in messages]
    start = max(len(ids) - limit, 0)
    if (
        previous
        and previous.conversation_id == conversation.conversation_id
        and previous.limit == limit
        and previous.ids
        and previous.ids[0] in ids
    ):
        start = ids.index(previous.ids[0])
    last = messages[-1] if messages else None
    return ViewState(
        conversation.conversation_id,
        conversation.tree_version,
        tuple(ids[start:]),
        limit,
        last is not None and last.role == "assistant" and (bool(last.text) or last.status == "writing"),
        viewed_id,
    )


def _visible_messages(conversation: Conversation, viewed_id: str | None) -> tuple[list[Message], str | None]:
    """Return the messages on the screen, oldest first, and the id of the alternative on view, if any."""
    alternatives, _ = alternatives_of_last(conversation)
    is_alternative = any(message.message_id == viewed_id for message in alternatives)
    if viewed_id is None or viewed_id == conversation.head_id or not is_alternative:
        return conversation.shown(), None
    return conversation.thread(conversation.tip(viewed_id)), viewed_id


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message on the screen."""

    message: Message
    text: str
    """The stored text, or the text so far; a placeholder sentence for a message without text."""
    has_text: bool


def bubbles(
    conversation: Conversation, view: ViewState, text_so_far: str = "", *, show_urls: bool = False
) -> list[Bubble]:
    """Return the messages to show, in the order of `view.ids`.

    A running reply shows its text so far; before its first word, Gradio shows its own dots.

    Args:
        conversation: The conversation with the messages of `view`.
        view: The rendered messages.
        text_so_far: Text of the running reply.
        show_urls: Show the URLs of model servers in errors.
    """
    bubbles = []
    for message_id in view.ids:
        message = conversation.messages[message_id]
        text = text_so_far if message.status == "writing" else message.text
        if text or message.status != "writing":
            bubbles.append(Bubble(message, text or _placeholder(message, show_urls=show_urls), bool(text)))
    return bubbles


def stored_texts(bubbles: Sequence[Bubble]) -> list[dict[str, Any]]:
    """Return the chatbot's value. Copy and the edit box take the exact texts from it."""
    return [{"role": bubble.message.role, "content": [{"type": "text", "text": bubble.text}]} for bubble in bubbles]


def rendered_texts(bubbles: Sequence[Bubble], cache: RenderingCache) -> list[dict[str, Any]]:
    """Return the visible HTML of each bubble.

    Keys: `id` of the message, its `blocks` of HTML, and `sentence`, true for a placeholder.
    """
    return [{"id": bubble.message.message_id, **_render_text(bubble, cache)} for bubble in bubbles]


def _render_text(bubble: Bubble, cache: RenderingCache) -> dict[str, Any]:
    if not bubble.has_text:
        return {"blocks": [f"<p>{escape(bubble.text)}</p>"], "sentence": True}
    is_growing = bubble.message.status == "writing"
    return {"blocks": cache.blocks(bubble.message.message_id, bubble.text, growing=is_growing)}


def without_urls(sentence: str) -> str:
    """Return the sentence of an error without the URLs of model servers, which annotators may not see."""
    return _URL.sub("…", _AT_URL.sub("", sentence))


def _error(message: Message, *, show_urls: bool) -> str:
    error = (message.outcome.error if message.outcome else None) or ""
    return error if show_urls else without_urls(error)


def _placeholder(message: Message, *, show_urls: bool = False) -> str:
    """Return the sentence in place of a message without text."""
    if message.author_id is not None:
        return "This text was erased."
    if error := _error(message, show_urls=show_urls):
        return f"⚠️ {error}"
    return {
        "stopped": "⏹ Stopped before the first word. Press Retry for another reply.",
        "left": "⏹ This reply was cancelled because no page was open. Press Retry for another one.",
    }.get(message.status, "⚠️ This reply was interrupted before its first word. Press Retry for another one.")


def feedback_values(
    conversation: Conversation, view: ViewState, annotator_id: str, in_flight: Mapping[str, str]
) -> list[str | None]:
    """Return the highlighted thumbs, one entry per assistant bubble. `in_flight`: votes that are not stored yet."""
    values = []
    for message_id in view.ids:
        if conversation.messages[message_id].role != "assistant":
            continue
        rating = conversation.ratings.get((message_id, annotator_id))
        value = in_flight.get(message_id, (rating.value if rating else None) or "")
        values.append(FEEDBACK_LABELS.get(value))
    return values


def rating_value(liked: object) -> str:
    """Return the rating for a click on a thumb. Raises NotOffered for any value that Gradio does not send."""
    if liked is True or liked is False:
        return "like" if liked else "dislike"
    if liked == "":
        return ""
    raise NotOffered("A rating is like, dislike or nothing.")


def earlier_count(conversation: Conversation, view: ViewState) -> int:
    """Return the number of messages before the first rendered one."""
    return len(_visible_messages(conversation, view.viewed_id)[0]) - len(view.ids)


def status_line(conversation: Conversation, viewed_id: str | None = None) -> str:
    """Return the status of the last reply on the screen; "" if there is nothing to report."""
    messages, _ = _visible_messages(conversation, viewed_id)
    if not messages or messages[-1].role != "assistant":
        return ""
    reply = messages[-1]
    sentences = [_failed_retry_notice(conversation, reply), _left_out_notice(conversation, reply)]
    if reply.altered:
        sentences.append("Characters that cannot be stored were replaced by �.")
    if reply.text:
        sentences.append(
            {
                "stopped": "Stopped; the text so far is kept.",
                "left": "This reply ended because no page was open any more; the text so far is kept.",
                "interrupted": "This reply was interrupted; the text so far is kept. Retry asks for another one.",
                "failed": f"{_error(reply, show_urls=False)} The text so far is kept.",
            }.get(reply.status, "")
        )
        if reply.outcome and reply.outcome.finish_reason == "length" and reply.generation:
            sentences.append(f"Cut off at the limit of {reply.generation.max_tokens:,} tokens.")
    return " ".join(sentence for sentence in sentences if sentence)


def retry_notice(conversation: Conversation) -> str:
    """Return the notice about a retry that has just begun; "" if there is nothing to report."""
    new = conversation.messages.get(conversation.writing_id or "")
    old = conversation.messages.get(new.replaces_id or "") if new else None
    if new is None or old is None or old.status != "complete" or new.generation is None or old.generation is None:
        return ""
    before, after = old.generation, new.generation
    is_repeat = (before.model, before.temperature, before.sent_ids) == (after.model, 0, after.sent_ids)
    return "At temperature 0 the model gives the same answer again." if is_repeat else ""


def last_model(conversation: Conversation) -> str | None:
    """Return the name of the model of the last reply on the screen; None without a reply."""
    generations = (message.generation for message in reversed(conversation.shown()))
    return next((generation.model for generation in generations if generation), None)


def _failed_retry_notice(conversation: Conversation, reply: Message) -> str:
    """Return the reason why a retry of this reply has no text, as long as it is the newest message; "" otherwise."""
    newest = next(reversed(conversation.messages.values()))
    if newest.replaces_id != reply.message_id or newest.text or newest.status == "writing":
        return ""
    return f"{_placeholder(newest)} The earlier reply stays."


def _left_out_notice(conversation: Conversation, reply: Message) -> str:
    if reply.generation is None:
        return ""
    messages = [message for message in conversation.thread(reply.parent_id) if message.text]
    missing = len(messages) - len(reply.generation.sent_ids)
    if missing <= 0:
        return ""
    counted = "message" if missing == 1 else f"{missing} messages"
    return f"The oldest {counted} did not fit into the model's window and {'was' if missing == 1 else 'were'} left out."


def excerpt(text: str, max_length: int = 160) -> str:
    """Return the beginning of a message as plain text on one line, at most `max_length` characters."""
    line = " ".join(markdown.to_text(text[: 4 * max_length]).split())
    return line if len(line) <= max_length else line[: max_length - 1].rstrip() + "…"


def alternatives_of_last(conversation: Conversation, viewed_id: str | None = None) -> tuple[Sequence[Message], int]:
    """Return the alternatives of the last reply and the index of the one on view; ([], 0) if there is only one."""
    head = conversation.messages.get(conversation.head_id or "")
    if head is None or head.role != "assistant" or head.status == "writing":
        return [], 0
    alternatives = conversation.alternatives(head.message_id)
    if len(alternatives) < 2:
        return [], 0
    ids = [message.message_id for message in alternatives]
    return alternatives, ids.index(viewed_id if viewed_id in ids else head.message_id)
