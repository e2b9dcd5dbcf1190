"""Availability of the database: an outage is logged once at its beginning and once at its end.

Callers report each refusal here. After the first one a thread probes the database once a second, by a row that it
writes and deletes, until that works. So an outage is two lines in the server log, however many requests and background
tasks are refused in between.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from chatfeedback.errors import ChatFeedbackError, ConnectionRefused, StoreError, StoreUnavailable

log = logging.getLogger(__name__)
PROBE_SECONDS = 1.0
StoreFailed = Callable[[StoreError], None]
"""Callback for an error of the database; called on any thread."""


def log_error(error: StoreError) -> None:
    """Log an error of the database; the default `StoreFailed` callback."""
    log.warning("the database refused something: %s", error)


class Availability:
    """State of the database as seen by this process; thread-safe.

    Args:
        probe: Function that writes to the database; it raises as long as that fails.
    """

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._trouble: StoreError | None = None
        self._refused = 0
        self._thread: threading.Thread | None = None
        self.outages = 0
        """Number of outages that have begun."""

    @property
    def trouble(self) -> StoreError | None:
        """Reason why the database cannot be used now; None if no outage is known."""
        return self._trouble

    def failed(self, error: StoreError) -> None:
        """Report a refusal. An error that is not an outage of the whole database is only logged."""
        if not isinstance(error, StoreUnavailable):
            log_error(error)
            return
        with self._lock:
            if self._closed.is_set():
                return
            self._refused += 1
            if self._trouble is not None:
                return
            self._trouble, self._refused = error, 1
            self.outages += 1
        reason = f" ({error.reason})" if isinstance(error, ConnectionRefused) else ""
        log.error("the database cannot be used: %s%s", error, reason)
        self._start_probing()

    def close(self) -> None:
        """Stop probing, and wait for the probe thread to end."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _start_probing(self) -> None:
        try:
            thread = threading.Thread(target=self._probe_until_available, name="chatfeedback-probe", daemon=True)
            thread.start()
            self._thread = thread
        except RuntimeError:  # no thread can be started now; the next refusal tries again
            self._trouble = None
            raise

    def _probe_until_available(self) -> None:
        """Probe until the database works again or this object is closed."""
        since, logged = time.monotonic(), False
        while not self._closed.is_set():
            try:
                self._probe()
            except ChatFeedbackError:  # the beginning is logged already; further causes need no line
                self._closed.wait(PROBE_SECONDS)
                continue
            except Exception as error:
                if not logged:
                    log.error("the database could not be tried", exc_info=error)
                logged = True
                self._closed.wait(PROBE_SECONDS)
                continue
            with self._lock:
                self._trouble, refused = None, self._refused
            log.warning(
                "the database can be used again after %.1f seconds; pieces of work that it refused meanwhile: %d",
                time.monotonic() - since,
                refused,
            )
            return
