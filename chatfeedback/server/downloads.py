"""Export downloads, streamed: `/export/feedback.csv?since=2026-11-01&model=…&annotators=names`.

A download holds a database connection while it runs. So only a few run at once, and a download is ended if its client
disconnects or stops reading. An error before the first byte is one sentence with a fitting status. A later error
aborts the connection, so that a truncated file never looks complete.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Literal

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter
from sqlalchemy import Engine
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from chatfeedback.domain.query_string import single_values
from chatfeedback.domain.roles import Permission, Person
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import ChatFeedbackError, InputError, NotAllowed, NotFound, NotSignedIn, StoreUnavailable
from chatfeedback.export.registry import DATASETS, FORMATS
from chatfeedback.export.stream import stream
from chatfeedback.query.filters import Filters, instant
from chatfeedback.query.sql_filters import assigned, resolve
from chatfeedback.store.accounts import pseudonyms

log = logging.getLogger(__name__)

MAX_CONCURRENT = 2
"""Concurrent downloads: one less than the connections reserved for reads (`store.log.writer.RESERVED_FOR_READS`)."""
STALLED_SECONDS = 120.0
"""Seconds without progress after which a download is aborted."""
SLOT_TIMEOUT_SECONDS = 1.0
"""Seconds to wait for a free slot before a download is refused."""
_FILTERS = ("since", "until", "model", "annotator", "study", "condition", "external_id")
_ANNOTATORS = "annotators"
Annotators = Literal["pseudonyms", "names"]
"""Names of annotators in a download."""
_BY_SUFFIX = {format.suffix: name for name, format in FORMATS.items()}
_STATUS: Mapping[type[ChatFeedbackError], int] = {
    InputError: 400,
    NotSignedIn: 401,
    NotAllowed: 403,
    NotFound: 404,
    StoreUnavailable: 503,
}


def download_routes(
    engine: Engine,
    person_of: Callable[[Request], Person],
    record_export: Callable[..., None],
    *,
    max_concurrent: int = MAX_CONCURRENT,
    stalled_seconds: float = STALLED_SECONDS,
) -> APIRouter:
    """Return the routes GET and HEAD `/export/{events,messages,feedback}.{csv,spreadsheet.csv,jsonl}`.

    The query string holds the filters.

    Args:
        engine: The database to read.
        person_of: Returns the user of a request, whose role limits what they may download; raises NotAllowed.
        record_export: Records in the audit log, from a thread, who starts which export.
        max_concurrent: Downloads that may run at once; further requests get status 503 with `Retry-After`.
        stalled_seconds: Seconds without progress after which a download is aborted.
    """
    router = APIRouter()
    slots = asyncio.BoundedSemaphore(max_concurrent)

    @router.api_route("/export/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def download(request: Request, name: str) -> Response:
        try:
            person = person_of(request)
            query = single_values(request.query_params.multi_items())
            annotators = _parse_annotators(query)
            _require_permission(person, annotators)
            dataset, format = _parse_name(name)
            filters = _parse_filters(query)
            chunks = _chunks(engine, dataset, format, filters, annotators, person, record_export)
        except ChatFeedbackError as error:
            return _refusal(error)
        filename = f"chatfeedback-{dataset}-{datetime.now(UTC):%Y-%m-%d}.{FORMATS[format].suffix}"
        return _Download(chunks, filename, FORMATS[format].media_type, slots, stalled_seconds)

    return router


def _require_permission(person: Person, annotators: Annotators) -> None:
    """Raise NotAllowed unless the role of the person permits this download."""
    if not person.may(Permission.EXPORT):
        raise NotAllowed("Your role does not allow you to download exports; ask an admin.")
    if annotators == "names" and not person.may(Permission.SEE_NAMES):
        raise NotAllowed("Only an admin may download names; leave out annotators=names to get pseudonyms.")


def _chunks(
    engine: Engine,
    dataset: str,
    format: str,
    filters: Filters,
    annotators: Annotators,
    person: Person,
    record_export: Callable[..., None],
) -> Generator[bytes, None, None]:
    """Yield the export. All queries run from the first chunk on, so that they run in a thread."""
    display_name = pseudonyms.names(engine) if annotators == "names" else pseudonyms.pseudonyms(engine)
    resolved = resolve(engine, filters, by_name=person.may(Permission.SEE_NAMES))
    detail = {"annotator": resolved.annotator_id, "model": resolved.model, **assigned(resolved)}
    record_export(person, kind=dataset, format=format, annotators=annotators, **detail)
    yield from stream(engine, dataset, format, resolved, display_name)


class _Download(StreamingResponse):
    """Streaming response of an export that always closes its generator, and so returns its database connection."""

    def __init__(
        self,
        chunks: Generator[bytes, None, None],
        filename: str,
        media_type: str,
        slots: asyncio.BoundedSemaphore,
        stalled_seconds: float,
    ) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__((), headers=headers, media_type=media_type)
        self._chunks, self._filename = chunks, filename
        self._slots, self._stalled_seconds = slots, stalled_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # A download that its client has read to the end may not have released its slot yet.
            async with asyncio.timeout(SLOT_TIMEOUT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            busy = _refusal(StoreUnavailable("Too many downloads are running; try again in a minute."))
            return await busy(scope, receive, send)
        try:
            await self._run(scope, receive, send)
        finally:
            # A generator that is only dropped would return its connection at some later time.
            with anyio.CancelScope(shield=True):
                await run_sync(self._chunks.close)
            self._slots.release()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            first = await run_sync(next, self._chunks, b"")  # errors before the first byte still get their status
        except ChatFeedbackError as error:
            return await _refusal(error)(scope, receive, send)
        body = () if scope["method"] == "HEAD" else chain([first], self._chunks)
        self.body_iterator = iterate_in_threadpool(body)

        async def send_in_time(message: Message) -> None:
            with anyio.fail_after(self._stalled_seconds):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            log.warning("%s was broken off: nothing was read for %g s", self._filename, self._stalled_seconds)


def _parse_name(name: str) -> tuple[str, str]:
    """Return the dataset and the format of a file of this name. Raises NotFound."""
    dataset, _, suffix = name.partition(".")
    if dataset not in DATASETS or suffix not in _BY_SUFFIX:
        raise NotFound(f"There is no {name!r}; exports are {', '.join(DATASETS)}, each as {' or '.join(_BY_SUFFIX)}.")
    return dataset, _BY_SUFFIX[suffix]


def _parse_annotators(query: Mapping[str, str]) -> Annotators:
    """Return how the download identifies annotators. Raises InputError."""
    match query.get(_ANNOTATORS, "pseudonyms"):
        case "pseudonyms":
            return "pseudonyms"
        case "names":
            return "names"
        case other:
            raise InputError(f"{_ANNOTATORS} is pseudonyms or names, and not {other!r}.")


def _parse_filters(query: Mapping[str, str]) -> Filters:
    """Return the filters of a query string. Raises InputError."""
    if unknown := sorted(query.keys() - {*_FILTERS, _ANNOTATORS}):
        raise InputError(f"{unknown[0]!r} is no filter; there are {', '.join(_FILTERS)}.")
    values = {name: sanitize(query.get(name, ""))[0] or None for name in _FILTERS}
    since, until = (_parse_instant(text) if (text := values.pop(name)) else None for name in ("since", "until"))
    return Filters(since=since, until=until, **values)


def _parse_instant(text: str) -> datetime:
    try:
        return instant(text)
    except InputError as error:
        hint = " In an address, + is written as %2B." if " " in text else ""
        raise InputError(f"{error}{hint}") from None


def _refusal(error: ChatFeedbackError) -> Response:
    status = next((status for error_type, status in _STATUS.items() if isinstance(error, error_type)), 500)
    if status >= 500:
        log.warning("a download was refused: %s", error)
    return PlainTextResponse(f"{error}\n", status_code=status, headers={"Retry-After": "60"} if status == 503 else None)
