"""Retries: only transient faults before the first text of a reply are retried, against a real server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest
from tenacity import wait_fixed, wait_none

from chatfeedback.errors import ContextExceeded, ModelFailed, RateLimited, StreamBroken
from chatfeedback.inference import retries
from chatfeedback.inference.client import Endpoint, Finish, ModelClient
from inference.client_calls import SHORT_SECONDS, asking, failure, pieces_before_failure, reply_from
from openai_server import ScriptedServer, delta

PATIENCE_SECONDS = 10
Fault = Callable[[ScriptedServer], object]


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF", wait_none())


@pytest.fixture
def endpoint(server: ScriptedServer) -> Endpoint:
    """Endpoint with the default of three attempts."""
    return Endpoint("m", base_url=server.url)


PASSING: dict[str, Fault] = {
    **{
        str(status): lambda server, status=status: server.fail(status) for status in (408, 429, 500, 502, 503, 504, 529)
    },
    "loading": lambda server: server.fail(503, {"error": {"message": "Loading model", "code": 503}}),
    "broken off": lambda server: server.stream(breaks=True),
    "broken off after a chunk without text": lambda server: server.stream(delta(None, role="assistant"), breaks=True),
    "cut within a chunk": lambda server: server.stream(b'data: {"choices": [{"delta": {"content": "one t'),
    "ended": lambda server: server.stream(),
    "an error for the first piece": lambda server: server.error_in_stream({"message": "no", "code": 500}),
    "overloaded": lambda server: server.error_in_stream("Model is overloaded", error_type="overloaded"),
}


@pytest.mark.parametrize("fault", PASSING)
async def test_client_repeats_request_after_transient_faults(
    server: ScriptedServer, endpoint: Endpoint, fault: str
) -> None:
    for _ in range(2):
        PASSING[fault](server)

    assert (await reply_from(endpoint, asking(seed=5)))[0] == "Answer 3 to: Hello?"
    assert [request["seed"] for request in server.requests] == [5] * 3
    assert server.requests[0] == server.requests[2]


LASTING: dict[str, Fault] = {
    **{
        str(status): lambda server, status=status: server.fail(status) for status in (307, 400, 401, 402, 403, 404, 501)
    },
    "too long": lambda server: server.fail(413),
    "too long by a fault": lambda server: server.fail(500, {"error": "maximum context length is 10"}),
    "used up": lambda server: server.fail(429, {"error": {"message": "No.", "code": "insufficient_quota"}}),
    "too many tokens": lambda server: server.fail(413, {"error": {"message": "No.", "code": "rate_limit_exceeded"}}),
    "no chat": lambda server: server.fail(200, "<html>"),
    "no JSON": lambda server: server.stream("{", "[DONE]"),
    "out of memory": lambda server: server.error_in_stream("out of memory", error_type="generation"),
}


@pytest.mark.parametrize("fault", LASTING)
async def test_client_does_not_repeat_request_after_lasting_fault(
    server: ScriptedServer, endpoint: Endpoint, fault: str
) -> None:
    LASTING[fault](server)
    await failure(endpoint)

    assert len(server.requests) == 1


async def test_client_does_not_repeat_request_after_timeout_of_first_token(
    server: ScriptedServer, endpoint: Endpoint
) -> None:
    server.hang()
    await failure(dataclasses.replace(endpoint, first_token_seconds=SHORT_SECONDS))

    assert len(server.requests) == 1


async def test_client_raises_error_of_last_attempt(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.fail(429)
    server.fail(503)
    server.stream(breaks=True)

    assert type(await failure(endpoint)) is StreamBroken
    assert len(server.requests) == 3


async def test_client_stops_repeating_at_lasting_error(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.fail(503)
    server.fail(413)

    assert type(await failure(endpoint)) is ContextExceeded
    assert len(server.requests) == 2


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_client_makes_configured_number_of_attempts(
    server: ScriptedServer, endpoint: Endpoint, attempts: int
) -> None:
    for _ in range(5):
        server.fail(500)
    await failure(dataclasses.replace(endpoint, attempts=attempts))

    assert len(server.requests) == attempts


AFTER_TEXT: dict[str, Fault] = {
    "broken off": lambda server: server.break_after("so far"),
    "ended": lambda server: server.stream(delta("so far")),
    "busy": lambda server: server.error_in_stream({"message": "Rate limit reached", "code": 429}, after="so far"),
    "failed": lambda server: server.error_in_stream({"message": "no", "code": 503}, after="so far"),
}


@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_client_does_not_repeat_request_after_first_text(
    server: ScriptedServer, endpoint: Endpoint, fault: str
) -> None:
    AFTER_TEXT[fault](server)
    client = ModelClient(endpoint)
    text, error = await pieces_before_failure(client)
    await client.aclose()

    assert (text, error.transient) == ("so far", True), "it would have been asked again before"
    assert len(server.requests) == 1


async def test_client_reaches_endpoint_that_starts_between_attempts() -> None:
    with ScriptedServer() as gone:
        endpoint = Endpoint("m", base_url=gone.url)
    client = ModelClient(endpoint)
    with ExitStack() as running:

        def come_up(seconds: float | None) -> None:
            if seconds is not None:
                running.enter_context(ScriptedServer(urlsplit(gone.url).port or 0))

        pieces = client.stream(asking(), come_up)
        assert [piece async for piece in pieces][-1] == Finish("stop", 11, 7)
    await client.aclose()


# Pauses


class Waiting:
    """Reader of a reply in pauses between attempts; `pauses` are their reported seconds."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.pauses: list[float] = []
        self._began = asyncio.Event()
        self._client = ModelClient(endpoint)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for _ in self._client.stream(asking(), self._note):
            pass

    def _note(self, seconds: float | None) -> None:
        if seconds is not None:
            self.pauses.append(seconds)
            self._began.set()

    async def pause(self) -> float:
        """Wait for the begin of the first pause, and return its seconds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._began.wait()
        return self.pauses[0]

    async def leave(self) -> None:
        """Cancel the reader in the middle of the pause."""
        self._reader.cancel()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait([self._reader])
        await self._client.aclose()
        assert self._reader.cancelled()


async def test_client_waits_as_long_as_retry_after_says(server: ScriptedServer, endpoint: Endpoint) -> None:
    for status, header in ((429, "17"), (503, "18.5")):
        server.fail(status, retry_after=header)
        waiting = Waiting(endpoint)
        assert await waiting.pause() == float(header)
        await waiting.leave()
    server.fail(429, retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=18), usegmt=True))
    waiting = Waiting(endpoint)
    assert 0 < await waiting.pause() <= 18
    await waiting.leave()
    server.fail(429, retry_after=format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True))
    assert (await reply_from(endpoint))[0] == "Answer 5 to: Hello?"


@pytest.mark.parametrize("header", ["soon", "-5", "Wed, 99 Nov 2026 99:99:99 GMT", "1e3", "nan", "٣", "9" * 400, ""])
async def test_client_ignores_invalid_retry_after(server: ScriptedServer, endpoint: Endpoint, header: str) -> None:
    server.fail(429, retry_after=header.encode().decode("latin-1"))

    assert (await reply_from(endpoint))[0] == "Answer 2 to: Hello?"


@pytest.mark.parametrize(
    ("header", "delay"), [("20", "in 20 seconds"), ("60", "in 60 seconds"), ("121", "in 3 minutes"), ("1e9", "")]
)
async def test_client_does_not_wait_when_retry_after_is_too_long(
    server: ScriptedServer, endpoint: Endpoint, header: str, delay: str
) -> None:
    if not delay:
        header, delay = format_datetime(datetime.now(UTC) + timedelta(days=3), usegmt=True), "in 3 days"
    for status, kind in ((429, RateLimited), (503, ModelFailed)):
        server.fail(status, retry_after=header)
        error = await failure(endpoint)
        assert type(error) is kind
        assert str(error).endswith(f"; try again {delay}.")

    assert len(server.requests) == 2


async def test_client_starts_no_attempt_after_retry_window(
    server: ScriptedServer, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "BACKOFF", wait_fixed(retries.RETRY_WINDOW_SECONDS))
    server.fail(500)
    await failure(endpoint)

    assert len(server.requests) == 1


async def test_client_stops_at_once_when_cancelled_in_pause(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.fail(503, retry_after=str(PATIENCE_SECONDS + 5))
    waiting = Waiting(endpoint)
    await waiting.pause()
    await waiting.leave()

    assert len(server.requests) == 1


def test_backoff_grows_from_short_first_pause() -> None:
    undone = retries.AsyncRetrying()
    pauses = []
    for number in range(1, 5):
        state = retries.RetryCallState(undone, None, (), {})
        state.attempt_number = number
        pauses.append([_BACKOFF(state) for _ in range(100)])

    for (least, most), drawn in zip([(0.25, 0.5), (1, 1.25), (4, 4.25), (16, 16.25)], pauses, strict=True):
        assert least <= min(drawn) < max(drawn) <= most


_BACKOFF = retries.BACKOFF


# Log


async def test_client_logs_each_repeated_attempt_without_text_of_endpoint(
    server: ScriptedServer, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="chatfeedback")
    for _ in range(2):
        server.fail(500, {"error": {"message": "marked words about a key sk-12345678"}})
    await reply_from(dataclasses.replace(endpoint, api_key="sk-configured"))

    assert [record.getMessage() for record in caplog.records] == [
        f"the model 'm' did not begin to answer: ModelFailed, attempt {number} of 3; asked again in 0.0 s"
        for number in (1, 2)
    ]
