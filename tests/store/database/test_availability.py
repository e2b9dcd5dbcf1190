"""Availability: the log lines about an outage of the database."""

from __future__ import annotations

import threading

import pytest

from browser.application import eventually
from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.database.availability import Availability


def test_availability_logs_number_of_refused_pieces_of_work(caplog: pytest.LogCaptureFixture) -> None:
    back = threading.Event()
    availability = Availability(lambda: back.wait() and None)
    for _ in range(3):  # checkpoints, for example, which are no requests
        availability.failed(StoreUnavailable("The disk is full."))
    back.set()
    eventually(lambda: len(caplog.records), lambda count: count == 2)
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "the database cannot be used: The disk is full."
    assert last.startswith("the database can be used again after ")
    assert last.endswith(" seconds; pieces of work that it refused meanwhile: 3")
    assert availability.trouble is None
