"""Exports for a browser: `/export/feedback.csv?since=2026-11-01&model=…&annotators=names`, streamed.

A download holds a connection to the database while it runs. So only a few run at once, and one whose reader has
gone or does not go on reading is ended. What goes wrong before the first byte is one sentence and a fitting status;
later the connection is broken off, so that half a file is never taken for a whole one.
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

from chatfeedback.domain.roles import Permission, Person
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import ChatFeedbackError, InputError, NotAllowed, NotFound, NotSignedIn, StoreUnavailable
from chatfeedback.export.registry import DATASETS, FORMATS
from chatfeedback.export.stream import stream
from chatfeedback.query.filters import Filters, instant
from chatfeedback.query.sql_filters import assigned, resolve
from chatfeedback.store.accounts import pseudonyms

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Of the connections that the writer leaves to readers (`store.writer.LEFT_TO_READERS`), one stays for the pages."""
STALLED_SECONDS = 120.0
WAITED_SECONDS = 1.0
"""For a place, before a download is refused."""
_FILTERS = ("since", "until", "model", "annotator", "study", "condition", "external_id")
_ANNOTATORS = "annotators"
Annotators = Literal["pseudonyms", "names"]
"""What annotators are called in a download."""
_BY_SUFFIX = {format.suffix: name for name, format in FORMATS.items()}
_STATUS: Mapping[type[ChatFeedbackError], int] = {
    InputError: 400,
    NotSignedIn: 401,
    NotAllowed: 403,
    NotFound: 404,
    StoreUnavailable: 503,
}


def downloads(
    engine: Engine,
    who: Callable[[Request], Person],
    note: Callable[..., None],
    *,
    at_once: int = AT_ONCE,
    stalled_seconds: float = STALLED_SECONDS,
) -> APIRouter:
    """Routes GET and HEAD `/export/{events,messages,feedback}.{csv,spreadsheet.csv,jsonl}`, filters in the query.

    `who` gives the person who asks, or raises NotAllowed; her role says what she may have. At most `at_once` downloads
    run at a time, further ones are told to come back (503); one of which nothing is read for `stalled_seconds` is
    broken off. `note` is told, in a thread, who begins which export.
    """
    router = APIRouter()
    places = asyncio.BoundedSemaphore(at_once)

    @router.api_route("/export/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def download(request: Request, name: str) -> Response:
        try:
            person = who(request)
            annotators = _annotators(request.query_params)
            _permit(person, annotators)
            kind, format = _export_of(name)
            chunks = _chunks(engine, kind, format, _filters(request.query_params), annotators, person, note)
        except ChatFeedbackError as error:
            return _refusal(error)
        filename = f"chatfeedback-{kind}-{datetime.now(UTC):%Y-%m-%d}.{FORMATS[format].suffix}"
        return _Download(chunks, filename, FORMATS[format].media_type, places, stalled_seconds)

    return router


def _permit(person: Person, annotators: Annotators) -> None:
    """The one place that says who may download what. Raises NotAllowed."""
    if not person.may(Permission.EXPORT):
        raise NotAllowed("Your role does not allow you to download exports; ask an admin.")
    if annotators == "names" and not person.may(Permission.SEE_NAMES):
        raise NotAllowed("Only an admin may download names; leave out annotators=names to get pseudonyms.")


def _chunks(
    engine: Engine,
    kind: str,
    format: str,
    filters: Filters,
    annotators: Annotators,
    person: Person,
    note: Callable[..., None],
) -> Generator[bytes, None, None]:
    """The export. Nothing is asked of the database before the first chunk: that is for a thread to do."""
    called = pseudonyms.names(engine) if annotators == "names" else pseudonyms.pseudonyms(engine)
    known = resolve(engine, filters, by_name=person.may(Permission.SEE_NAMES))
    filtered = {"annotator": known.annotator_id, "model": known.model, **assigned(known)}
    note(person, kind=kind, format=format, annotators=annotators, **filtered)
    yield from stream(engine, kind, format, known, called)


class _Download(StreamingResponse):
    """Sends the chunks, and lets go of the database however that ends."""

    def __init__(
        self,
        chunks: Generator[bytes, None, None],
        filename: str,
        media_type: str,
        places: asyncio.BoundedSemaphore,
        stalled_seconds: float,
    ) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__((), headers=headers, media_type=media_type)
        self._chunks, self._filename = chunks, filename
        self._places, self._stalled_seconds = places, stalled_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # A download that its reader has seen to the end may not have given its place back yet.
            async with asyncio.timeout(WAITED_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            busy = _refusal(StoreUnavailable("Too many downloads are running; try again in a minute."))
            return await busy(scope, receive, send)
        try:
            await self._run(scope, receive, send)
        finally:
            # A generator that is only dropped would give its connection back at some later time.
            with anyio.CancelScope(shield=True):
                await run_sync(self._chunks.close)
            self._places.release()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            first = await run_sync(next, self._chunks, b"")  # what can be refused is refused now
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


def _export_of(name: str) -> tuple[str, str]:
    """The kind and the format of a file of this name. Raises NotFound."""
    kind, _, suffix = name.partition(".")
    if kind not in DATASETS or suffix not in _BY_SUFFIX:
        raise NotFound(f"There is no {name!r}; exports are {', '.join(DATASETS)}, each as {' or '.join(_BY_SUFFIX)}.")
    return kind, _BY_SUFFIX[suffix]


def _annotators(query: Mapping[str, str]) -> Annotators:
    """What annotators are to be called. Raises InputError."""
    match query.get(_ANNOTATORS, "pseudonyms"):
        case "pseudonyms":
            return "pseudonyms"
        case "names":
            return "names"
        case other:
            raise InputError(f"{_ANNOTATORS} is pseudonyms or names, and not {other!r}.")


def _filters(query: Mapping[str, str]) -> Filters:
    """The filters in a query string. Raises InputError."""
    if unknown := sorted(query.keys() - {*_FILTERS, _ANNOTATORS}):
        raise InputError(f"{unknown[0]!r} is no filter; there are {', '.join(_FILTERS)}.")
    values = {name: sanitize(query.get(name, ""))[0] or None for name in _FILTERS}
    since, until = (instant(text) if (text := values.pop(name)) else None for name in ("since", "until"))
    return Filters(since=since, until=until, **values)


def _refusal(error: ChatFeedbackError) -> Response:
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    if status >= 500:
        log.warning("a download was refused: %s", error)
    return PlainTextResponse(f"{error}\n", status_code=status, headers={"Retry-After": "60"} if status == 503 else None)
