"""What the log says of a database that could not be used for a while."""

from __future__ import annotations

import threading

import pytest

from browser.application import eventually
from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.database.availability import Availability


def test_what_was_refused_in_an_outage_is_counted_and_not_called_requests(caplog: pytest.LogCaptureFixture) -> None:
    back = threading.Event()
    availability = Availability(lambda: back.wait() and None)
    for _ in range(3):  # texts of replies that could not be kept, say: nobody has asked for anything
        availability.failed(StoreUnavailable("The disk is full."))
    back.set()
    eventually(lambda: len(caplog.records), lambda seen: seen == 2)
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "the database cannot be used: The disk is full."
    assert last.startswith("the database can be used again after ")
    assert last.endswith(" seconds; pieces of work that it refused meanwhile: 3")
    assert availability.trouble is None
