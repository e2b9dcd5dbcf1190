"""Access middleware: the one place that admits or refuses a request.

All requests pass through it, including those to Gradio's own routes. It checks the host, the rule for the path
(`policy.py`), who sends the request and for what (the origin, and Fetch Metadata of the W3C), and the size. Unless the
rule is public, it then checks user, consent and permission. For calls of Gradio's queue it also checks the function and
the page. The browser chooses the name of its page (`session_hash`); it belongs to the user who sends it first, and
others cannot use it (`page_owners.py`).

A refusal is a status and one sentence. The audit log records the refusals of known users, without the request content.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatfeedback.auth.current_user import set_person
from chatfeedback.auth.service import AuthService
from chatfeedback.domain.roles import Open, Person, Requirement
from chatfeedback.errors import ChatFeedbackError, NotSignedIn, SchemaBehind, StoreError, StoreUnavailable
from chatfeedback.server import security_headers
from chatfeedback.server.authentication.authenticators import Authenticator, header, headers, host_name, is_secure
from chatfeedback.server.authorization.page_owners import PageOwners
from chatfeedback.server.authorization.policy import Rule, rule_for
from chatfeedback.server.authorization.request_body import RequestRejected, limit_size, read_body, replace_body
from chatfeedback.server.error_responses import NO_CONSENT, refusal
from chatfeedback.store.database.availability import StoreFailed
from chatfeedback.ui.actions import MALFORMED_CALL, Action

log = logging.getLogger(__name__)
SESSION_HASH = re.compile(r"[A-Za-z0-9_-]{1,64}")
RECHECK_SECONDS = 15.0
"""Seconds after which it is checked again whether a user may have a stream."""
_JOIN = "/gradio_api/queue/join"
_JOIN_KEYS = {"data", "event_data", "fn_index", "trigger_id", "session_hash"}
_FILE = "/gradio_api/file="


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Configuration of the access middleware: the page behind it, and the limits of requests."""

    actions: Mapping[int, Action]
    """Actions of Gradio's function table, by index."""
    files: Collection[str]
    """Paths that the page itself shows; no others are served below `/gradio_api/file=`."""
    forget_page: Callable[[str, str], None]
    """Drops the state of a page, by user and name."""
    scripts: Collection[str]
    """Scripts that the page adds to its head; the Content-Security-Policy allows them."""
    hosts: Collection[str] | None
    """Accepted names in `Host`; None for any. Without authentication, the check prevents DNS rebinding."""
    host_exempt: Collection[str]
    """Paths that accept any `Host`: monitoring asks each replica by its own address."""
    origin: str | None
    """The public URL, if one is configured."""
    consent_version: str | None
    max_request_bytes: int


class AccessMiddleware:
    """ASGI middleware around the whole application that authenticates and authorizes each request."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        config: AccessConfig,
        authenticate: Authenticator,
        auth_service: AuthService,
        store_failed: StoreFailed,
    ) -> None:
        self._app = app
        self._config = config
        self._authenticate = authenticate
        self._auth_service = auth_service
        self._store_failed = store_failed
        self._page_owners = PageOwners(config.forget_page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on, or send a refusal."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # there are no web sockets
            return await send({"type": "websocket.close", "code": 1008})
        response = _SecuredResponse(self._config, scope, send)
        person: Person | None = None
        try:
            self._check_host(scope)
            rule = rule_for(scope["method"], scope["path"])
            self._check_initiator(scope, rule)
            self._check_size(scope)
            if rule is None or rule.requirement is not Open.PUBLIC:
                scope.setdefault("state", {})["unattended"] = rule is not None and rule.unattended
                person = await self._authenticate(scope)
                self._check_access(person, rule.requirement if rule else None)
            set_person(scope, person)
            limited_receive = limit_size(receive, self._config.max_request_bytes)
            checked_receive = await self._check_gradio_request(scope, limited_receive, person)
            if rule is not None and rule.is_stream:
                await self._stream(scope, checked_receive, response, rule)
            else:
                await self._app(scope, checked_receive, response)
        except ClientDisconnect:
            # Nobody waits for a response, and an interrupted request is no refusal.
            log.debug("the client disconnected during its request: %s %s", scope["method"], scope["path"])
        except RequestRejected as error:
            if response.started:
                raise
            await self._record_refusal(person, error)
            await refusal(scope, error.status, str(error), error.code)(scope, receive, response)
        except ChatFeedbackError as error:
            if response.started:
                raise
            status = 403
            if isinstance(error, StoreError):
                # On 503 the page polls /readyz, which reports these two errors, and then repeats the request.
                status = 503 if isinstance(error, (StoreUnavailable, SchemaBehind)) else 500
                self._store_failed(error)
            await refusal(scope, status, str(error))(scope, receive, response)

    async def _stream(self, scope: Scope, receive: Receive, response: _SecuredResponse, rule: Rule) -> None:
        """Run the application; end its response when the user may no longer have it, as when they are disabled."""
        running = asyncio.ensure_future(self._app(scope, receive, response))
        try:
            while not (await asyncio.wait({running}, timeout=RECHECK_SECONDS))[0]:
                if not await self._is_admitted(scope, rule):
                    break
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait({running})
        if running.cancelled():
            await response.end()
        else:
            running.result()

    async def _is_admitted(self, scope: Scope, rule: Rule) -> bool:
        scope["state"]["unattended"] = True
        try:
            self._check_access(await self._authenticate(scope), rule.requirement)
        except StoreError as error:
            self._store_failed(error)  # an outage of the database ends no stream
        except (RequestRejected, ChatFeedbackError):
            return False
        return True

    def _check_host(self, scope: Scope) -> None:
        """Check that the request is for this host."""
        host = header(scope, "host") or ""
        hosts = None if scope["path"] in self._config.host_exempt else self._config.hosts
        if hosts is not None and host_name(host) not in hosts:
            raise RequestRejected(
                421, "This server does not answer to that host name; set public_url to allow it.", "host"
            )

    def _check_initiator(self, scope: Scope, rule: Rule | None) -> None:
        """Check that no page of another site sent the request (CSRF), and no element of a page, such as an image."""
        destinations = headers(scope, "sec-fetch-dest")
        if not (rule and rule.embeddable) and not {"document", "empty"}.issuperset(destinations):
            raise RequestRejected(403, "This address is for people and scripts, and not a part of a page.", "embedded")
        if scope["method"] in ("GET", "HEAD") and not (rule and rule.has_effect):
            return
        own_origins = {f"{scope.get('scheme', 'http')}://{header(scope, 'host') or ''}".lower(), self._config.origin}
        origins, sites = headers(scope, "origin"), headers(scope, "sec-fetch-site")
        is_foreign = any(origin.lower() not in own_origins for origin in origins)
        if is_foreign or not {"same-origin", "none"}.issuperset(sites):
            raise RequestRejected(403, "This request comes from a page of another site.", "other_site")

    def _check_size(self, scope: Scope) -> None:
        length = header(scope, "content-length")
        if scope["method"] in ("GET", "HEAD") and (length not in (None, "0") or header(scope, "transfer-encoding")):
            raise RequestRejected(400, "A GET request must not have a body.", "malformed")
        if length is not None and not length.isdecimal():
            raise RequestRejected(400, "The Content-Length is not a number.", "malformed")
        if length is not None and int(length) > self._config.max_request_bytes:
            raise RequestRejected(413, "This is too large to be sent.", "too_large")

    def _check_access(self, person: Person | None, requirement: Requirement | None) -> None:
        if person is None:
            raise RequestRejected(401, str(NotSignedIn()), "not_signed_in")
        if requirement is None:
            raise RequestRejected(404, "There is nothing here.", "no_such_address")
        if requirement is Open.SIGNED_IN:
            return
        consent_version = self._config.consent_version
        if consent_version is not None and person.consent_version != consent_version:
            raise RequestRejected(403, "Read and agree to the consent text first.", NO_CONSENT)
        self._require_permission(person, requirement, "address")

    @staticmethod
    def _require_permission(person: Person, requirement: Requirement, code: str) -> None:
        if not isinstance(requirement, Open) and not person.may(requirement):
            raise RequestRejected(403, "Your role does not allow this.", code)

    async def _check_gradio_request(self, scope: Scope, receive: Receive, person: Person | None) -> Receive:
        """Check a request to Gradio's own routes; return the `receive` for the application."""
        path: str = scope["path"]
        if person is None or not path.startswith("/gradio_api/"):
            return receive
        if path == _JOIN:
            return await self._check_call(scope, receive, person)
        if path.startswith(_FILE) and path.removeprefix(_FILE) not in self._config.files:
            raise RequestRejected(404, "There is no such file.", "file")
        if path == "/gradio_api/queue/data":
            session_hashes = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
            self._require_page_owner(person, session_hashes[0] if len(session_hashes) == 1 else None)
        if path.startswith("/gradio_api/heartbeat/"):
            self._require_page_owner(person, path.rpartition("/")[2])
        return receive

    async def _check_call(self, scope: Scope, receive: Receive, person: Person) -> Receive:
        """Check a call of a function; Gradio receives the body that was checked, serialised again."""
        if (header(scope, "content-type") or "").partition(";")[0].strip().lower() != "application/json":
            raise RequestRejected(415, "Send this as application/json.", "malformed")
        try:
            body = orjson.loads(await read_body(receive))
        except orjson.JSONDecodeError:
            raise RequestRejected(400, "This is not JSON.", "malformed") from None
        if not isinstance(body, dict) or not body.keys() <= _JOIN_KEYS or not isinstance(body.get("data"), list):
            raise RequestRejected(400, MALFORMED_CALL, "malformed")
        index = body.get("fn_index")
        action = self._config.actions.get(index) if type(index) is int else None
        if action is None:
            raise RequestRejected(404, "There is no such function.", "no_such_function")
        self._require_permission(person, action.requirement, "function")
        trigger_id = body.get("trigger_id")
        if trigger_id is not None and type(trigger_id) is not int:
            raise RequestRejected(400, MALFORMED_CALL, "malformed")
        if not action.accepts(body["data"], body.get("event_data")):
            raise RequestRejected(400, MALFORMED_CALL, "malformed")
        self._require_page_owner(person, body.get("session_hash"))
        try:
            checked = orjson.dumps(body)
        except orjson.JSONEncodeError:  # it is nested more deeply than any page sends
            raise RequestRejected(400, MALFORMED_CALL, "malformed") from None
        return replace_body(scope, checked, receive)

    def _require_page_owner(self, person: Person, session_hash: Any) -> None:
        if not isinstance(session_hash, str) or not SESSION_HASH.fullmatch(session_hash):
            raise RequestRejected(400, MALFORMED_CALL, "malformed")
        if self._page_owners.owner(session_hash, person.annotator_id) != person.annotator_id:
            raise RequestRejected(403, "This page belongs to another user; reload it.", "page_of_another")

    async def _record_refusal(self, person: Person | None, error: RequestRejected) -> None:
        if person is None or error.code == NO_CONSENT:
            return
        await asyncio.to_thread(self._auth_service.record_refusal, person.annotator_id, error.code)


class _SecuredResponse:
    """ASGI `send` that adds the security headers (`security_headers.py`) to every response.

    Gradio's page is buffered until it is complete, because its policy lists the hashes of the scripts in it.
    """

    def __init__(self, config: AccessConfig, scope: Scope, send: Send) -> None:
        self._config = config
        self._scope = scope
        self._send = send
        self._start: Message | None = None
        self._page = bytearray()
        self._is_download = False
        self.started = False
        self.ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers.update(security_headers.headers(secure=is_secure(self._scope)))
            self._is_download = headers.get("content-disposition", "").startswith("attachment")
            if "content-length" not in headers:
                headers["x-accel-buffering"] = "no"  # a stream, which nginx holds back by default
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
        self.ended = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)

    async def end(self) -> None:
        """End the response, if it has been started and not ended.

        A download is left incomplete, so that the server closes its connection: a part must not pass for the whole.
        """
        if self._is_download:
            log.warning("a download was broken off, because its user may no longer have it: %s", self._scope["path"])
        elif self.started and not self.ended:
            await self({"type": "http.response.body", "body": b""})
