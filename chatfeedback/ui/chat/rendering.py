"""A conversation as Gradio shows it, and back from an index to a message. Pure: no service, no components.

Messages are given to the chatbot as lists of content, because Gradio strips the indentation of plain strings. What
was drawn is remembered as `ViewState`; an index that a page sends means something only together with that.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from chatfeedback.domain.conversation.state import Conversation, Message
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import NotOffered
from chatfeedback.ui.chat import markdown
from chatfeedback.ui.chat.drawings import Drawings

_ADDRESS = re.compile(r"https?://[^\s;,”]+")
_PLACE = re.compile(rf" at {_ADDRESS.pattern}")
FEEDBACK = {"like": "Like", "dislike": "Dislike"}


@dataclass(frozen=True, slots=True)
class ViewState:
    """What a page shows: which messages of which conversation, at which version of its tree."""

    conversation_id: str | None = None
    tree_version: int = 0
    ids: tuple[str, ...] = ()
    limit: int = 50
    """The longest stretch of messages to show."""
    rateable: bool = False
    """Whether the last message is a reply that has a text, or may get one."""
    viewed_id: str | None = None
    """The alternative of the last reply that is looked at in its place; None when it is the one that is stored."""

    @property
    def lost(self) -> bool:
        """Whether an earlier process of the server drew the page, so that only its address is known."""
        return self.conversation_id is not None and self.tree_version == 0

    def found(self, address: str | None) -> ViewState:
        """This, or all that is known of a page without anything drawn whose address names a conversation."""
        return self if self.conversation_id else replace(self, conversation_id=address or None)

    def message_id(self, index: object) -> str:
        """The message at an index that a page sent. Raises NotOffered when nothing was drawn there."""
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(self.ids):
            return self.ids[index]
        raise NotOffered("This message is not on the screen any more; reload the page.")


def view_state(
    conversation: Conversation, limit: int, before: ViewState | None = None, viewed_id: str | None = None
) -> ViewState:
    """What a page shows of this conversation when it shows the newest `limit` messages.

    A page that shows it already (`before`) goes on to begin where it begins: were the window to slide with each new
    message, a click on what is still on the screen would come with the index of another message. `viewed_id`: the
    alternative of the last reply to be looked at, if it still is one.
    """
    messages, viewed_id = _on_view(conversation, viewed_id)
    shown = [message.message_id for message in messages]
    start = max(len(shown) - limit, 0)
    if before and before.conversation_id == conversation.conversation_id and before.limit == limit and before.ids:
        start = shown.index(before.ids[0]) if before.ids[0] in shown else start
    last = messages[-1] if messages else None
    return ViewState(
        conversation.conversation_id,
        conversation.tree_version,
        tuple(shown[start:]),
        limit,
        last is not None and last.role == "assistant" and (bool(last.text) or last.status == "writing"),
        viewed_id,
    )


def _on_view(conversation: Conversation, viewed_id: str | None) -> tuple[list[Message], str | None]:
    """Return the messages on the screen, oldest first, and the alternative that is looked at, if any."""
    alternatives, _ = alternatives_of_last(conversation)
    is_one = any(message.message_id == viewed_id for message in alternatives)
    if viewed_id is None or viewed_id == conversation.head_id or not is_one:
        return conversation.shown(), None
    return conversation.thread(conversation.tip(viewed_id)), viewed_id


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message as it is shown."""

    message: Message
    text: str
    """The stored text, or the text so far; for a message without text, the sentence in its place."""
    has_text: bool


def bubbles(
    conversation: Conversation, view: ViewState, text_so_far: str = "", *, addresses: bool = False
) -> list[Bubble]:
    """Return the messages to be shown, in the order of `view.ids`.

    A reply that is being written shows its text so far; until there is any, Gradio shows its own dots. `addresses`:
    whether the reader may see those of model servers.
    """
    entries = []
    for message_id in view.ids:
        message = conversation.messages[message_id]
        text = text_so_far if message.status == "writing" else message.text
        if text or message.status != "writing":
            entries.append(Bubble(message, text or _instead(message, addresses=addresses), bool(text)))
    return entries


def stored_texts(shown: Sequence[Bubble]) -> list[dict[str, Any]]:
    """Return the chatbot's value: Copy and the box for editing take their texts from it, byte for byte."""
    return [{"role": one.message.role, "content": [{"type": "text", "text": one.text}]} for one in shown]


def drawn_texts(shown: Sequence[Bubble], drawings: Drawings) -> list[dict[str, Any]]:
    """Return what is seen of each bubble.

    That is the `id` of the message, its `blocks` of HTML, and whether it is a `sentence` of ours, no message.
    """
    return [{"id": one.message.message_id, **_drawn(one, drawings)} for one in shown]


def _drawn(one: Bubble, drawings: Drawings) -> dict[str, Any]:
    if not one.has_text:
        return {"blocks": [f"<p>{escape(one.text)}</p>"], "sentence": True}
    return {"blocks": drawings.blocks(one.message.message_id, one.text, growing=one.message.status == "writing")}


def without_addresses(sentence: str) -> str:
    """Return what is said of a model's trouble without the addresses of servers, which are not for annotators."""
    return _ADDRESS.sub("…", _PLACE.sub("", sentence))


def _error(message: Message, *, addresses: bool) -> str:
    error = (message.outcome.error if message.outcome else None) or ""
    return error if addresses else without_addresses(error)


def _instead(message: Message, *, addresses: bool = False) -> str:
    """What stands in the place of a message without text."""
    if message.author_id is not None:
        return "What stood here was erased."
    if error := _error(message, addresses=addresses):
        return f"⚠️ {error}"
    return {
        "stopped": "⏹ Stopped before the first word. Press Retry for another reply.",
        "left": "⏹ Nobody was waiting for this reply any more. Press Retry for another one.",
    }.get(message.status, "⚠️ This reply was interrupted before its first word. Press Retry for another one.")


def feedback_values(
    conversation: Conversation, view: ViewState, annotator_id: str, in_flight: Mapping[str, str]
) -> list[str | None]:
    """The highlighted thumbs: one entry an assistant bubble. `in_flight`: votes on their way into the store."""
    values = []
    for message_id in view.ids:
        if conversation.messages[message_id].role != "assistant":
            continue
        rating = conversation.ratings.get((message_id, annotator_id))
        value = in_flight.get(message_id, (rating.value if rating else None) or "")
        values.append(FEEDBACK.get(value))
    return values


def wanted_value(liked: object) -> str:
    """The rating that a click on a thumb asks for. Raises NotOffered for anything but Gradio's own answers."""
    if liked is True or liked is False:
        return "like" if liked else "dislike"
    if liked == "":
        return ""
    raise NotOffered("A rating is like, dislike or nothing.")


def earlier_count(conversation: Conversation, view: ViewState) -> int:
    """How many messages there are before the first one drawn."""
    return len(_on_view(conversation, view.viewed_id)[0]) - len(view.ids)


def status_line(conversation: Conversation, viewed_id: str | None = None) -> str:
    """Return the status of the last reply on the screen; "" when it is simply complete."""
    shown, _ = _on_view(conversation, viewed_id)
    if not shown or shown[-1].role != "assistant":
        return ""
    reply = shown[-1]
    said = [_failed_retry(conversation, reply), _left_out(conversation, reply)]
    if reply.altered:
        said.append("Characters that cannot be stored were replaced by �.")
    if reply.text:
        said.append(
            {
                "stopped": "Stopped; the text so far is kept.",
                "left": "This reply ended when nobody was watching any more; the text so far is kept.",
                "interrupted": "This reply was interrupted; the text so far is kept. Retry asks for another one.",
                "failed": f"{_error(reply, addresses=False)} The text so far is kept.",
            }.get(reply.status, "")
        )
        if reply.outcome and reply.outcome.finish_reason == "length" and reply.generation:
            said.append(f"Cut off at the limit of {reply.generation.max_tokens:,} tokens.")
    return " ".join(part for part in said if part)


def accepted(conversation: Conversation, prompt: str) -> str:
    """Says to the page which prompt was stored: that one, and nothing that was typed since, leaves the box.

    Another value for each prompt, in letters that no HTML is made of; what cannot be stored is replaced (docs/data.md).
    """
    return f"{conversation.head_id} {base64.b64encode(sanitize(prompt)[0].encode()).decode()}"


def about_retry(conversation: Conversation) -> str:
    """What to know about a retry that has begun, before it is waited for; "" when there is nothing to say."""
    new = conversation.messages.get(conversation.writing_id or "")
    old = conversation.messages.get(new.replaces_id or "") if new else None
    if new is None or old is None or old.status != "complete" or new.generation is None or old.generation is None:
        return ""
    before, after = old.generation, new.generation
    same = (before.model, before.temperature, before.sent_ids) == (after.model, 0, after.sent_ids)
    return "At temperature 0 the model gives the same answer again." if same else ""


def last_model(conversation: Conversation) -> str | None:
    """The name of the model that was asked for the last reply shown."""
    written = (message.generation for message in reversed(conversation.shown()))
    return next((generation.model for generation in written if generation), None)


def _failed_retry(conversation: Conversation, reply: Message) -> str:
    """What became of a retry of this reply that brought nothing, as long as nothing was written since."""
    newest = next(reversed(conversation.messages.values()))
    if newest.replaces_id != reply.message_id or newest.text or newest.status == "writing":
        return ""
    return f"{_instead(newest)} The earlier reply stays."


def _left_out(conversation: Conversation, reply: Message) -> str:
    if reply.generation is None:
        return ""
    asked = [message for message in conversation.thread(reply.parent_id) if message.text]
    missing = len(asked) - len(reply.generation.sent_ids)
    if missing <= 0:
        return ""
    what = "message" if missing == 1 else f"{missing} messages"
    return f"The oldest {what} did not fit into the model's window and {'was' if missing == 1 else 'were'} left out."


def quoted(text: str, longest: int = 160) -> str:
    """The beginning of what is read of a text, on one line."""
    line = " ".join(markdown.to_text(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def alternatives_of_last(conversation: Conversation, viewed_id: str | None = None) -> tuple[Sequence[Message], int]:
    """The alternatives of the last reply and the position of the one on view; ([], 0) when there is no choice."""
    head = conversation.messages.get(conversation.head_id or "")
    if head is None or head.role != "assistant" or head.status == "writing":
        return [], 0
    alternatives = conversation.alternatives(head.message_id)
    if len(alternatives) < 2:
        return [], 0
    ids = [message.message_id for message in alternatives]
    return alternatives, ids.index(viewed_id if viewed_id in ids else head.message_id)
