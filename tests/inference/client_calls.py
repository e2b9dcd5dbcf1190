"""Helpers that call a model in one line."""

from __future__ import annotations

import pytest

from chatfeedback.errors import ModelError
from chatfeedback.inference.client import ChatMessage, Delta, Endpoint, Finish, ModelClient, ReplyRequest, Sampling

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)
SHORT_SECONDS = 0.2


def asking(
    *messages: ChatMessage | str, sampling: Sampling = SAMPLING, seed: int = 41, fresh: bool = False
) -> ReplyRequest:
    """Return a request with these messages; a string is a message of the user."""
    chat_messages = (ChatMessage("user", each) if isinstance(each, str) else each for each in messages or ("Hello?",))
    return ReplyRequest(tuple(chat_messages), sampling, seed, fresh)


async def reply(client: ModelClient, request: ReplyRequest | None = None) -> tuple[str, Finish]:
    """Return the text of a reply and its `Finish`, which must be the only one, and last."""
    *deltas, finish = [piece async for piece in client.stream(request or asking())]
    assert all(isinstance(piece, Delta) and piece.text for piece in deltas)
    assert isinstance(finish, Finish)
    return "".join(piece.text for piece in deltas if isinstance(piece, Delta)), finish


async def reply_from(endpoint: Endpoint, request: ReplyRequest | None = None) -> tuple[str, Finish]:
    """Return a reply through a client of its own."""
    client = ModelClient(endpoint)
    try:
        return await reply(client, request)
    finally:
        await client.aclose()


async def failure(endpoint: Endpoint) -> ModelError:
    """Return the error that a reply ends with."""
    with pytest.raises(ModelError) as caught:
        await reply_from(endpoint)
    return caught.value


async def pieces_before_failure(client: ModelClient) -> tuple[str, ModelError]:
    """Return the text of a reply before its error, and the error."""
    pieces = []
    with pytest.raises(ModelError) as caught:
        async for piece in client.stream(asking()):
            pieces.append(piece)
    assert not any(isinstance(piece, Finish) for piece in pieces)
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta)), caught.value
