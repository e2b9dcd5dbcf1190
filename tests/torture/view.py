"""View of the Chat tab: what an annotator sees, put together from what was painted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gradio_pages import told_to_scripts

THUMBS = {"Like": "like", "Dislike": "dislike", None: ""}


class Bubble(NamedTuple):
    """Message on the screen; its index there is that of the chatbot."""

    role: str
    text: str


@dataclass(slots=True)
class Panel:
    """Panel for reasons and a comment, open."""

    about: str
    """As the page has it: the ids of a conversation and of a message."""
    offered: list[str]
    chosen: list[str]

    @property
    def message_id(self) -> str:
        return self.about.rpartition(" ")[2]


@dataclass(slots=True)
class View:
    """Content of one page. Values that were not painted yet are empty."""

    address: str = ""
    """The id of the conversation."""
    bubbles: list[Bubble] = field(default_factory=list)
    thumbs: list[str] = field(default_factory=list)
    """One for each bubble of a reply: like, dislike or ""."""
    writing: bool = False
    position: str = ""
    """Position of the shown one among several alternatives; "" when there is only one."""
    notice: str = ""
    saved: str = ""
    panel: Panel | None = None

    @property
    def refusal(self) -> str:
        """Sentence above the prompt that says why something was not done; "" without one."""
        return self.notice if 'role="alert"' in self.notice else ""

    @property
    def prompts(self) -> list[int]:
        """Indexes of the prompts."""
        return [index for index, bubble in enumerate(self.bubbles) if bubble.role == "user"]

    @property
    def replies(self) -> list[int]:
        """Indexes of the replies that have a text."""
        return [
            index
            for index, bubble in enumerate(self.bubbles)
            if bubble.role == "assistant" and bubble.text.startswith(("reply", "edit"))
        ]

    @property
    def is_answered(self) -> bool:
        """True if a reply is the last message on the screen."""
        return bool(self.bubbles) and self.bubbles[-1].role == "assistant"

    def prompt_of(self, index: int) -> str:
        """Return the prompt that the reply at this index answers."""
        return self.bubbles[index - 1].text

    def thumb_of(self, index: int) -> str:
        """Return the thumb of the reply at this index."""
        return self.thumbs[self._number(index)]

    def thumb_is(self, index: int, value: str) -> None:
        """Set the thumb of a reply, as the page shows a click by itself."""
        self.thumbs[self._number(index)] = value

    def _number(self, index: int) -> int:
        return sum(bubble.role == "assistant" for bubble in self.bubbles[:index])

    def see(self, painted: Mapping[str, Any]) -> None:
        """Take in what a call has painted so far."""
        for name, attribute in {"notice": "notice", "feedback-saved": "saved"}.items():
            if isinstance(painted.get(name), str):
                setattr(self, attribute, painted[name])
        self.address = told_to_scripts(painted).get("address", self.address)
        chatbot = painted.get("chatbot") or {}
        if "value" in chatbot:
            self.bubbles = [Bubble(one["role"], one["content"][0]["text"]) for one in chatbot["value"]]
        if "feedback_value" in chatbot:
            self.thumbs = [THUMBS[one] for one in chatbot["feedback_value"]]
        if "stop_btn" in (painted.get("prompt") or {}):
            self.writing = painted["prompt"]["stop_btn"]
        if "visible" in (painted.get("alternatives") or {}):
            several, position = painted["alternatives"]["visible"], painted.get("position")
            self.position = "" if not several else position if isinstance(position, str) else self.position
        self._see_panel(painted)

    def _see_panel(self, painted: Mapping[str, Any]) -> None:
        about, reasons = painted.get("feedback-about"), painted.get("feedback-reasons") or {}
        if isinstance(about, str) and "choices" in reasons:
            self.panel = Panel(about, [code for _label, code in reasons["choices"]], list(reasons["value"]))
