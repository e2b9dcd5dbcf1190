"""Whether the database can be used, said once when that changes.

Whoever is refused by a database that cannot be used tells it here. From the first time on it is tried once a second,
by a row that is written and taken out again, until that works. So an outage is two lines in the log of the server,
its beginning and its end, however much is refused in between: requests, and the server's own work besides.
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
"""Is told that the database refused something; from any thread."""


def logged(error: StoreError) -> None:
    """For whoever has nobody else to tell."""
    log.warning("the database refused something: %s", error)


class Availability:
    """May be used from any thread. `probe` writes something; it raises as long as that does not work."""

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._trouble: StoreError | None = None
        self._refused = 0
        self._trying: threading.Thread | None = None
        self.outages = 0
        """That have begun so far."""

    @property
    def trouble(self) -> StoreError | None:
        """Why the database cannot be used now; None when nothing is known against it."""
        return self._trouble

    def failed(self, error: StoreError) -> None:
        """Notes that something was refused. What is not about the database as a whole goes into the log by itself."""
        if not isinstance(error, StoreUnavailable):
            logged(error)
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
        self._begin()

    def close(self) -> None:
        """Nothing is tried any more, and what is being tried has ended."""
        self._closed.set()
        if self._trying is not None:
            self._trying.join()

    def _begin(self) -> None:
        try:
            trying = threading.Thread(target=self._wait, name="chatfeedback-probe", daemon=True)
            trying.start()
            self._trying = trying
        except RuntimeError:  # there is no thread to be had now; whoever is refused next tries again
            self._trouble = None
            raise

    def _wait(self) -> None:
        """Until it works again, or is closed."""
        since, told = time.monotonic(), False
        while not self._closed.is_set():
            try:
                self._probe()
            except ChatFeedbackError:  # told by whoever was the first; other reasons on the way are worth no line
                self._closed.wait(PROBE_SECONDS)
                continue
            except Exception as error:
                if not told:
                    log.error("the database could not be tried", exc_info=error)
                told = True
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
