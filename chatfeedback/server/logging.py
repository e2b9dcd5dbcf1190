"""The log of the server: one line for one thing, on standard error, with the id of the request that it is about.

An id comes with the request from a trusted proxy, or is made here; it is in the answer too (`X-Request-ID`), and goes
with whatever the request sets off, such as the reply to a prompt. No line holds what people write.
"""

from __future__ import annotations

import logging.config

from asgi_correlation_id import CorrelationIdFilter

from chatfeedback.config.operations import LogFormat, LogLevel

TEXT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
JSON_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}


class RequestId(CorrelationIdFilter):
    """Gives each record `request_id`, "-" where there is no request."""

    def filter(self, record: logging.LogRecord) -> bool:
        super().filter(record)
        record.request_id = record.__dict__.pop("correlation_id")
        return True


def configure(format: LogFormat, level: LogLevel) -> None:
    """Sets up logging for the whole process. Libraries are heard from WARNING on."""
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
                # Whatever else fails on a connection that is lost; that it is lost, the store says.
                "psycopg": {"level": "ERROR"},
            },
        }
    )
