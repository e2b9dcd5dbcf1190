"""Request shape: what an endpoint accepts of a request, learned from its refusals.

Servers agree on the protocol, not on every parameter. A request that is refused for a parameter is sent again without
it, or with another name for it, and so are all later requests to the endpoint. The same for a system prompt that the
chat template does not take, and for an address that lacks the /v1. Nothing is stored: after a restart the endpoint
is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chatfeedback.inference.error_body import Refusal
from chatfeedback.inference.parameter_refusals import (
    mentions,
    named_settings,
    refused_parameters,
    refuses_system_role,
)

OnChanges = Callable[[tuple[str, ...]], None]
"""Callback with the changes of the request that was sent, see `RequestShape.changes`."""

SYSTEM_IN_USER = "system prompt in the first user message"
MAX_REQUESTS = 12
"""Requests for one attempt at a reply: more than there are things to learn."""
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "seed": "random_seed"}
_ALWAYS_RENAMED = ("max_tokens",)
"""Parameters for which the other name is tried even if the refusal does not mention it: a reply needs a limit."""
_UNRECORDED = ("stream", "stream_options")
"""Parameters that do not change the reply."""
_NEUTRAL_AT_ONE = ("temperature", "top_p")
"""Parameters that mean the same if they are 1 as if they are left out: a refused 1 (TGI) is left out."""
_INVALID = (None, 400, 422)
_WRONG_ADDRESS = (404, 405)

Payload = Mapping[str, Any]


class RequestShape:
    """Shape of the requests to one endpoint. `urls`: the addresses to try; empty if there is no choice."""

    def __init__(self, urls: Sequence[str] = ()) -> None:
        self._urls = tuple(urls)
        self._position = 0
        self._is_url_known = len(self._urls) < 2
        self._names: dict[str, str | None] = {}
        """Other names of parameters; None for one that is left out."""
        self._merges_system = False

    @property
    def url(self) -> str | None:
        """The address to send to; None if there is no choice."""
        return self._urls[self._position] if self._urls else None

    def apply(self, payload: Payload) -> dict[str, Any]:
        """Return the payload in the shape that the endpoint accepts."""
        shaped: dict[str, Any] = {}
        for name, value in payload.items():
            sent_name = self._names.get(name, name)
            if sent_name is not None and sent_name in self._names:
                sent_name = self._names[sent_name]
            if sent_name is not None:
                shaped[sent_name] = value
        if "stream" not in shaped:
            shaped.pop("stream_options", None)
        if self._merges_system:
            shaped["messages"] = merge_system(shaped["messages"])
        return shaped

    def changes(self, payload: Payload) -> tuple[str, ...]:
        """Return what `apply` changes of a payload.

        "seed left out", "max_tokens as max_completion_tokens", "system prompt in the first user message".
        """
        shaped = self.apply(payload)
        changes = []
        for name in payload:
            if name not in shaped and name not in _UNRECORDED:
                other = _OTHER_NAMES.get(name)
                changes.append(f"{name} as {other}" if other in shaped else f"{name} left out")
        return (*changes, SYSTEM_IN_USER) if shaped.get("messages") != payload.get("messages") else tuple(changes)

    def accept(self, url: str) -> None:
        """Note that the address is right: the endpoint has answered."""
        if url in self._urls:
            self._position, self._is_url_known = self._urls.index(url), True

    def learn(self, refusal: Refusal, payload: Payload, sent: Payload, url: str) -> bool:
        """Learn from the refusal of a request; return True if the request is worth sending again.

        Args:
            refusal: The refusal.
            payload: The request as planned.
            sent: The request as it was sent.
            url: The address that it was sent to.
        """
        if refusal.status in _WRONG_ADDRESS:
            return not _is_about_model(refusal) and self._try_other_url(url)
        for name in refused_parameters(refusal, sent):
            self._refuse(name, refusal)
        for name in named_settings(refusal):
            if name in _NEUTRAL_AT_ONE and sent.get(name) == 1 and refusal.status in _INVALID:
                self._names.setdefault(name, None)
        if refuses_system_role(refusal) and any(message["role"] == "system" for message in sent["messages"]):
            self._merges_system = True
        return self.apply(payload) != sent

    def _try_other_url(self, url: str) -> bool:
        """Move on to the next address, unless another request has done so; return False after the last one."""
        if self._is_url_known or url != self.url:
            return url != self.url and bool(self._urls)
        self._position = (self._position + 1) % len(self._urls)
        return self._position > 0

    def _refuse(self, name: str, refusal: Refusal) -> None:
        other = _OTHER_NAMES.get(name)
        is_renamed = other is not None and (name in _ALWAYS_RENAMED or mentions(refusal, other))
        self._names.setdefault(name, other if is_renamed else None)


def merge_system(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return the messages with those of the system at the beginning of the first one of the user."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if not system:
        return others
    if others and others[0]["role"] == "user":
        system.append(others.pop(0)["content"])
    return [{"role": "user", "content": "\n\n".join(system)}, *others]


def _is_about_model(refusal: Refusal) -> bool:
    """Return True if a refusal is about the model, not about the address."""
    return "model" in f"{refusal.code} {refusal.words}".lower()
