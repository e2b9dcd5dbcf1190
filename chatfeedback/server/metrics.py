"""Prometheus metrics (`/metrics`) of this process; with several replicas, each has its own.

Metrics about conversations are counted from committed events, so they agree with the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from chatfeedback.domain.conversation.events import ReplyFinished
from chatfeedback.domain.events import Event
from chatfeedback.services.chat import ChatService
from chatfeedback.store.log.event_store import EventStore

BUCKET_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._events = Counter("chatfeedback_events", "Events stored, by kind.", ["kind"], registry=registry)
        self._commit = Histogram(
            "chatfeedback_commit_seconds",
            "From asking for events to be stored to their commit.",
            buckets=BUCKET_SECONDS,
            registry=registry,
        )
        self._replies = Counter(
            "chatfeedback_replies",
            "Ends of replies in the log, by model and status; one that comes back from an interruption ends once more.",
            ["model", "status"],
            registry=registry,
        )
        self._errors = Counter(
            "chatfeedback_model_errors", "Replies that a model failed to give.", ["model"], registry=registry
        )
        self._first_token = Histogram(
            "chatfeedback_time_to_first_token_seconds",
            "From asking the model to the first text of its reply.",
            ["model"],
            buckets=BUCKET_SECONDS,
            registry=registry,
        )

    def record_commit(self, events: Sequence[Event], seconds: float) -> None:
        """Count committed events and the seconds that their commit took. Thread-safe."""
        if events:
            self._commit.observe(seconds)
        for event in events:
            self._events.labels(event.body.KIND).inc()
            if isinstance(ended := event.body, ReplyFinished):
                self._replies.labels(ended.model, ended.status).inc()
                if ended.status == "failed":
                    self._errors.labels(ended.model).inc()
                if ended.time_to_first_token is not None:
                    self._first_token.labels(ended.model).observe(ended.time_to_first_token)

    def watch(self, store: EventStore, service: ChatService) -> None:
        """Add the gauges, which are read from the store and the service at each scrape."""

        def gauge(name: str, description: str, read: object) -> None:
            metric = Gauge(f"chatfeedback_{name}", description, registry=self._registry)
            metric.set_function(read)  # type: ignore[arg-type]

        gauge("open_streams", "Replies that are being written.", lambda: service.writing)
        gauge("queue", "Pieces of work that wait for their commit.", lambda: store.pending)
        gauge("database_up", "1 while the database can be used.", lambda: int(store.availability.trouble is None))
        gauge("outages", "Outages of the database since the start.", lambda: store.availability.outages)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
