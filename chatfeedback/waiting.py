"""Waiting for work that must not end with whoever waits: a page may go away at any moment."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import Any, TypeVar

from chatfeedback.errors import ChatFeedbackError

log = logging.getLogger(__name__)
T = TypeVar("T")


async def committed(future: Future[T]) -> T:
    """Waits for the store; whoever stops waiting does not stop what was asked for."""
    return await to_its_end(asyncio.wrap_future(future))


async def to_its_end(work: asyncio.Future[T]) -> T:
    """Waits for the work; whoever stops waiting does not stop it, and is not there any more to be told of a refusal."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_unheard)
        raise


def _unheard(work: asyncio.Future[Any]) -> None:
    error = None if work.cancelled() else work.exception()
    if error is not None and not isinstance(error, ChatFeedbackError):
        log.error("what nobody waited for any more failed", exc_info=error)
