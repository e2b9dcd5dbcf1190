"""Unexpected errors in the log of the application."""

from __future__ import annotations

import logging

import pytest


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what chatfeedback has logged with an exception, in all of a test; for the end of a fixture."""
    records = [record for when in ("setup", "call", "teardown") for record in caplog.get_records(when)]
    return [
        f"{record.getMessage()}: {record.exc_info[1]!r}"
        for record in records
        if record.levelno >= logging.ERROR and record.name.startswith("chatfeedback") and record.exc_info
    ]
