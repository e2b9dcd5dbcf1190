"""Work that must not end with whoever waits for it: a page may go away at any moment. And how its faults are told."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import Any, TypeVar

from chatfeedback.errors import ChatFeedbackError, StoreUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")


async def await_commit(future: Future[T]) -> T:
    """Waits for the store; whoever stops waiting does not stop what was asked for."""
    return await shielded(asyncio.wrap_future(future))


async def shielded(work: asyncio.Future[T]) -> T:
    """Waits for the work; whoever stops waiting does not stop it, and is not there any more to be told of a refusal."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_log_abandoned)
        raise


def log_store_error(what: str, error: ChatFeedbackError) -> None:
    """Logs what went wrong; hardly, where the store has told already, once for all, that it cannot be used."""
    log.log(logging.DEBUG if isinstance(error, StoreUnavailable) else logging.WARNING, "%s: %s", what, error)


def _log_abandoned(work: asyncio.Future[Any]) -> None:
    error = None if work.cancelled() else work.exception()
    if error is not None and not isinstance(error, ChatFeedbackError):
        log.error("what nobody waited for any more failed", exc_info=error)
