"""Logging configuration: one line per record on standard error, with the request id.

The request id comes from a trusted proxy or is generated here. The response carries it too (`X-Request-ID`), and tasks
that the request starts inherit it, such as the reply to a prompt. No record holds text that people write.
"""

from __future__ import annotations

import logging.config

from asgi_correlation_id import CorrelationIdFilter

from chatfeedback.config.operations import LogFormat, LogLevel

TEXT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
JSON_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}


class RequestId(CorrelationIdFilter):
    """Logging filter that sets `request_id` on each record, "-" outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set `request_id`; return True, as no record is dropped."""
        super().filter(record)
        record.request_id = record.__dict__.pop("correlation_id")
        return True


def configure(format: LogFormat, level: LogLevel) -> None:
    """Configure logging for the whole process; libraries log from WARNING on."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request": {"()": RequestId, "default_value": "-"}},
            "formatters": {
                "text": {"format": TEXT},
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "format": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s",
                    "rename_fields": JSON_NAMES,
                },
            },
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "filters": ["request"],
                    "formatter": format,
                }
            },
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "chatfeedback": {"level": level.upper()},
                # The store logs that a connection is lost; psycopg would add a warning for each later failure on it.
                "psycopg": {"level": "ERROR"},
            },
        }
    )
