"""The gate: the one place where a request is let through or refused.

Everything passes it, Gradio's own routes too. It asks, in this order: is the request meant for this host and sent by
this site, is it small enough, who sent it, is there a rule for it (`policy.py`), has the person what the rule needs.
Of Gradio's queue it also reads which function is wanted and for which page: the name of a page (`session_hash`) is
chosen by the browser, belongs to whoever uses it first, and is of no use to anybody else.

A refusal is a status and one sentence. One of somebody who is known is in the audit, without what was sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson
from cachetools import LRUCache
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatfeedback.auth.current_user import set_person
from chatfeedback.auth.service import AuthService
from chatfeedback.domain.roles import Open, Person, Requirement
from chatfeedback.errors import ChatFeedbackError, NotSignedIn, SchemaBehind, StoreError, StoreUnavailable
from chatfeedback.server import security_headers
from chatfeedback.server.authentication.authenticators import Authenticator, header, headers, is_secure, name_in
from chatfeedback.server.authorization.policy import rule_for
from chatfeedback.server.authorization.request_body import RequestRejected, bounded, replayed, whole
from chatfeedback.server.error_responses import NO_CONSENT, refusal
from chatfeedback.store.database.availability import StoreFailed
from chatfeedback.ui.actions import Action

SESSION_HASH = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_PAGES = 100_000
"""Names of pages that are remembered; Gradio itself keeps the state of the last 10,000 and the streams of 2,000."""
_JOIN = "/gradio_api/queue/join"
_JOIN_KEYS = {"data", "event_data", "fn_index", "trigger_id", "session_hash"}
_FILE = "/gradio_api/file="


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """What the gate knows of what is behind it."""

    actions: Mapping[int, Action]
    """Of Gradio's function table, by index."""
    files: Collection[str]
    """Paths that the page itself shows, and nothing else of `/gradio_api/file=`."""
    scripts: Collection[str]
    """That the page puts into its head."""
    hosts: Collection[str] | None
    """Names that it is called by; None: any. Without sign-in, a site elsewhere may have itself resolved to us."""
    at_any_name: Collection[str]
    """Addresses that are answered by whatever name they are asked: whoever looks after replicas asks each of them."""
    origin: str | None
    """The address that people use, where it is configured."""
    consent_version: str | None
    max_request_bytes: int


class AccessMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        config: AccessConfig,
        identify: Authenticator,
        auth_service: AuthService,
        store_failed: StoreFailed,
    ) -> None:
        self._app = app
        self._config = config
        self._identify = identify
        self._auth_service = auth_service
        self._store_failed = store_failed
        self._pages: LRUCache[str, str] = LRUCache(MAX_PAGES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # there are no web sockets here
            return await send({"type": "websocket.close", "code": 1008})
        answer = _Answer(self._config, scope, send)
        person: Person | None = None
        try:
            self._check_origin(scope)
            self._check_size(scope)
            rule = rule_for(scope["method"], scope["path"])
            if rule is None or rule.needs is not Open.ANYBODY:
                scope.setdefault("state", {})["unattended"] = rule is not None and rule.unattended
                person = await self._identify(scope)
                self._check_access(person, rule.needs if rule else None)
            set_person(scope, person)
            checked = await self._checked(scope, bounded(receive, self._config.max_request_bytes), person)
            await self._app(scope, checked, answer)
        except RequestRejected as error:
            if answer.begun:
                raise
            await self._note(person, error)
            await refusal(scope, error.status, str(error), error.code)(scope, receive, answer)
        except ChatFeedbackError as error:
            if answer.begun:
                raise
            status = 403
            if isinstance(error, StoreError):
                # A page that is told 503 waits for /readyz, which knows of these two, and then sends this again.
                status = 503 if isinstance(error, (StoreUnavailable, SchemaBehind)) else 500
                self._store_failed(error)
            await refusal(scope, status, str(error))(scope, receive, answer)

    def _check_origin(self, scope: Scope) -> None:
        """For this host, and not sent by a page of another site."""
        host = header(scope, "host") or ""
        hosts = None if scope["path"] in self._config.at_any_name else self._config.hosts
        if hosts is not None and name_in(host) not in hosts:
            raise RequestRejected(421, "This server is not called by that name; set public_url to have it so.", "host")
        if scope["method"] in ("GET", "HEAD"):
            return
        own = {f"{scope.get('scheme', 'http')}://{host}".lower(), self._config.origin}
        origins, sites = headers(scope, "origin"), headers(scope, "sec-fetch-site")
        if any(origin.lower() not in own for origin in origins) or not {"same-origin", "none"}.issuperset(sites):
            raise RequestRejected(403, "This was sent by a page of another site.", "other_site")

    def _check_size(self, scope: Scope) -> None:
        length = header(scope, "content-length")
        if scope["method"] in ("GET", "HEAD") and (length not in (None, "0") or header(scope, "transfer-encoding")):
            raise RequestRejected(400, "Whoever only looks sends nothing along.", "malformed")
        if length is not None and (not length.isdecimal() or int(length) > self._config.max_request_bytes):
            raise RequestRejected(413, "This is too large to be sent.", "too_large")

    def _check_access(self, person: Person | None, needs: Requirement | None) -> None:
        if person is None:
            raise RequestRejected(401, str(NotSignedIn()), "not_signed_in")
        if needs is None:
            raise RequestRejected(404, "There is nothing here.", "no_such_address")
        if needs is Open.SIGNED_IN:
            return
        wanted = self._config.consent_version
        if wanted is not None and person.consent_version != wanted:
            raise RequestRejected(403, "Read and agree to the consent text first.", NO_CONSENT)
        self._require_permission(person, needs, "address")

    @staticmethod
    def _require_permission(person: Person, needs: Requirement, what: str) -> None:
        if not isinstance(needs, Open) and not person.may(needs):
            raise RequestRejected(403, "Your role does not allow this.", what)

    async def _checked(self, scope: Scope, receive: Receive, person: Person | None) -> Receive:
        """What a request to Gradio itself asks for."""
        path: str = scope["path"]
        if person is None or not path.startswith("/gradio_api/"):
            return receive
        if path == _JOIN:
            return await self._join(scope, receive, person)
        if path.startswith(_FILE) and path.removeprefix(_FILE) not in self._config.files:
            raise RequestRejected(404, "There is no such file.", "file")
        if path == "/gradio_api/queue/data":
            named = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
            self._require_page_owner(person, named[0] if len(named) == 1 else None)
        if path.startswith("/gradio_api/heartbeat/"):
            self._require_page_owner(person, path.rpartition("/")[2])
        return receive

    async def _join(self, scope: Scope, receive: Receive, person: Person) -> Receive:
        """A call of a function. Gradio gets what was checked, not what was sent."""
        if (header(scope, "content-type") or "").partition(";")[0].strip().lower() != "application/json":
            raise RequestRejected(415, "Send this as application/json.", "malformed")
        try:
            body = orjson.loads(await whole(receive))
        except orjson.JSONDecodeError:
            raise RequestRejected(400, "This is not JSON.", "malformed") from None
        if not isinstance(body, dict) or not body.keys() <= _JOIN_KEYS or not isinstance(body.get("data"), list):
            raise RequestRejected(400, "This is no call of a function of this page.", "malformed")
        index = body.get("fn_index")
        action = self._config.actions.get(index) if type(index) is int else None
        if action is None:
            raise RequestRejected(404, "There is no such function.", "no_such_function")
        self._require_permission(person, action.requirement, "function")
        trigger_id = body.get("trigger_id")
        if trigger_id is not None and type(trigger_id) is not int:
            raise RequestRejected(400, "This is no call that the page makes.", "malformed")
        if not action.accepts(body["data"], body.get("event_data")):
            raise RequestRejected(400, "This is no call that the page makes.", "malformed")
        self._require_page_owner(person, body.get("session_hash"))
        return replayed(scope, orjson.dumps(body), receive)

    def _require_page_owner(self, person: Person, session_hash: Any) -> None:
        if not isinstance(session_hash, str) or not SESSION_HASH.fullmatch(session_hash):
            raise RequestRejected(400, "A call names the page that it comes from.", "malformed")
        owner = self._pages.setdefault(session_hash, person.annotator_id)  # an access, which keeps it in the cache
        if owner != person.annotator_id:
            raise RequestRejected(403, "This page belongs to another person.", "page_of_another")

    async def _note(self, person: Person | None, error: RequestRejected) -> None:
        if person is None or error.code == NO_CONSENT:
            return
        await asyncio.to_thread(self._auth_service.record_refusal, person.annotator_id, error.code)


class _Answer:
    """Adds to every answer what keeps a page to itself (`hygiene.py`).

    Gradio's page is held back until it is whole: its policy depends on the scripts that are in it.
    """

    def __init__(self, config: AccessConfig, scope: Scope, send: Send) -> None:
        self._config = config
        self._scope = scope
        self._send = send
        self._start: Message | None = None
        self._page = bytearray()
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            headers.update(security_headers.headers(secure=is_secure(self._scope)))
            if self._scope["path"] == "/" and message["status"] == 200 and self._scope["method"] == "GET":
                headers["cache-control"] = "no-store"
                self._start = message
                return
            headers["content-security-policy"] = security_headers.OWN_PAGES
            if "cache-control" not in headers:
                headers.update(security_headers.caching(self._scope["path"], message["status"]))
        elif self._start is not None and message["type"] == "http.response.body":
            self._page += message.get("body", b"")
            if message.get("more_body"):
                return
            policy = security_headers.page_policy(bytes(self._page), self._config.scripts)
            MutableHeaders(scope=self._start)["content-security-policy"] = policy
            await self._send(self._start)
            message = {"type": "http.response.body", "body": bytes(self._page)}
        await self._send(message)
