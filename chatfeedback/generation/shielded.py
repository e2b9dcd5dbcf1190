"""Shield store operations from cancellation of the caller: a page may disconnect at any moment. Log their errors."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import Any, TypeVar

from chatfeedback.errors import ChatFeedbackError, StoreUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")


async def await_commit(future: Future[T]) -> T:
    """Wait for a store operation; cancelling the caller does not cancel the operation."""
    return await shielded(asyncio.wrap_future(future))


async def shielded(work: asyncio.Future[T]) -> T:
    """Wait for work that is shielded from cancellation; log its error if the caller was cancelled."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_log_abandoned)
        raise


def log_store_error(message: str, error: ChatFeedbackError) -> None:
    """Log a store error; at debug level if the store is unavailable, which the store has logged already."""
    log.log(logging.DEBUG if isinstance(error, StoreUnavailable) else logging.WARNING, "%s: %s", message, error)


def _log_abandoned(work: asyncio.Future[Any]) -> None:
    error = None if work.cancelled() else work.exception()
    if error is not None and not isinstance(error, ChatFeedbackError):
        log.error("a store operation failed after its caller was cancelled", exc_info=error)
