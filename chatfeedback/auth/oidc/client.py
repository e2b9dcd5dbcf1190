"""OpenID Connect sign-in: the authorization code flow.

`begin` returns the URL to redirect the browser to, and the pending state to keep in the browser's own session, which no
other client can read. `complete` takes that state and the query of the callback. Issuer and subject identify a person;
the name is for display, may change, and is never a key.

State binds the response to the browser, PKCE (S256) the code to this client, the nonce the ID token to this sign-in.
Messages and logs hold no code, token or secret.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.httpx_client import OAuthError
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError

from chatfeedback.auth.oidc.id_token import constant_time_equal, verify_id_token
from chatfeedback.auth.oidc.provider import Provider, ProviderSettings
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import ProviderUnavailable, SignInRefused

__all__ = ["AuthorizationRequest", "Identity", "OidcClient", "Pending", "ProviderSettings"]

log = logging.getLogger(__name__)

MAX_NAME_CHARS = 200
_TRANSIENT_ERRORS = ("server_error", "temporarily_unavailable")
_CODE = re.compile(r"[\x20-\x7e]{1,4096}")
_ERROR = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Pending:
    """State of a pending sign-in: keep it in the browser's session, and use it for one `complete`."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """Authorization request: the URL to redirect the browser to (`address`), and the state for `complete`."""

    address: str = field(repr=False)
    pending: Pending


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a person. `subject` is unique at the `issuer`, up to 255 characters; `name` has 1 to 200."""

    issuer: str
    subject: str
    name: str


class OidcClient:
    """Client of one provider; bound to the event loop that it is first used in.

    `timeout`: seconds for each response of the provider.
    """

    def __init__(self, settings: ProviderSettings, *, timeout: float = 10.0) -> None:
        self.settings = settings
        self._provider = Provider(settings, timeout=timeout)

    async def begin(self, redirect_uri: str) -> AuthorizationRequest:
        """Begin a sign-in with the callback URL `redirect_uri`. Raises ProviderUnavailable."""
        pending = Pending(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), redirect_uri)
        address = await self._provider.authorization_url(
            redirect_uri=redirect_uri, state=pending.state, nonce=pending.nonce, code_verifier=pending.verifier
        )
        return AuthorizationRequest(address, pending)

    async def complete(self, pending: Pending, query: Mapping[str, str]) -> Identity:
        """Complete a sign-in with the query of the callback, and return the identity.

        Raises SignInRefused if it failed, ProviderUnavailable if the provider has a fault; both need a new `begin`.
        """
        code = await self._check_callback(pending, query)
        tokens = await self._fetch_tokens(code, pending)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise self._provider.invalid_response("it sends no ID token or no access token")
        claims = await self._verify_claims(id_token, access_token, pending)
        return Identity(self.settings.issuer, claims["sub"], await self._fetch_name(claims, access_token))

    async def close(self) -> None:
        """Close the connections; call it once, at the end."""
        await self._provider.close()

    async def _check_callback(self, pending: Pending, query: Mapping[str, str]) -> str:
        """Check state and issuer of the callback, and return its authorization code."""
        host = self.settings.host
        state = query.get("state")
        if not state or not constant_time_equal(state, pending.state):
            raise SignInRefused("This answer belongs to another sign-in, or to one that is over; sign in again.")
        issuer = query.get("iss")
        if issuer is not None and not constant_time_equal(issuer, self.settings.issuer):
            raise SignInRefused(f"The answer comes from another service than {host}; sign in again.")
        if "error" in query:
            raise self._callback_error(query["error"])
        if issuer is None and (await self._provider.metadata()).sends_issuer:
            raise SignInRefused(f"The answer does not say that it comes from {host}; sign in again.")
        code = query.get("code", "")
        if not _CODE.fullmatch(code):
            raise SignInRefused(f"The answer of {host} has no code that can be used; sign in again.")
        return code

    def _callback_error(self, error: str) -> SignInRefused | ProviderUnavailable:
        """Return the exception for an error in the callback."""
        host = self.settings.host
        if error == "access_denied":
            return SignInRefused(f"The sign-in at {host} was declined; sign in again to allow it.")
        suffix = f" ({error})" if _ERROR.fullmatch(error) else ""
        if error in _TRANSIENT_ERRORS:
            return ProviderUnavailable(f"The sign-in service at {host} has a fault{suffix}; try again later.")
        return SignInRefused(f"The sign-in service at {host} refused the sign-in{suffix}; sign in again.")

    async def _fetch_tokens(self, code: str, pending: Pending) -> dict[str, Any]:
        host = self.settings.host
        try:
            return await self._provider.exchange(code, pending.verifier, pending.redirect_uri)
        except OAuthError as error:
            reason = error.error if isinstance(error.error, str) and _ERROR.fullmatch(error.error) else "unknown"
        # Raised outside `except`, without the provider's error as context: its text may repeat the code.
        log.warning("%s gave no tokens: %s", host, reason)
        if reason == "invalid_grant":
            raise SignInRefused("This sign-in has run out or was used before; sign in again.")
        if reason in ("invalid_client", "unauthorized_client"):
            raise SignInRefused(f"{host} does not know this site by its client id and secret; tell who runs the site.")
        if reason in _TRANSIENT_ERRORS:
            raise ProviderUnavailable(f"The sign-in service at {host} has a fault ({reason}); try again later.")
        raise SignInRefused(f"The sign-in service at {host} refused the sign-in ({reason}); sign in again.")

    async def _verify_claims(self, id_token: str, access_token: str, pending: Pending) -> dict[str, Any]:
        """Verify the ID token and return its claims. If no cached key matches, fetch the keys again, once."""
        keys, is_fresh = await self._provider.keys()
        while True:
            try:
                return verify_id_token(
                    id_token,
                    keys,
                    issuer=self.settings.issuer,
                    client_id=self.settings.client_id,
                    nonce=pending.nonce,
                    access_token=access_token,
                )
            except JoseError as error:
                if is_fresh or not isinstance(error, (InvalidKeyIdError, BadSignatureError)):
                    log.warning("an ID token of %s is not valid: %r", self.settings.host, str(error))
                    raise SignInRefused(
                        f"What {self.settings.host} says about who you are is not valid; sign in again."
                    ) from error
            keys, is_fresh = await self._provider.keys(refresh=True)

    async def _fetch_name(self, claims: Mapping[str, Any], access_token: str) -> str:
        """Return the name claim, else "name", from the ID token or the userinfo endpoint; else the subject."""
        name_claim = self.settings.name_claim
        if name := _sanitized_name(claims.get(name_claim)):
            return name
        info: Mapping[str, Any] = {}
        if address := (await self._provider.metadata()).userinfo_endpoint:
            info = await self._provider.userinfo(address, access_token)
            subject = info.get("sub")
            if not isinstance(subject, str) or not constant_time_equal(subject, claims["sub"]):
                raise SignInRefused(f"{self.settings.host} names two different people; sign in again.")
        names = (info.get(name_claim), claims.get("name"), info.get("name"))
        return next(filter(None, map(_sanitized_name, names)), "") or _sanitized_name(claims["sub"]) or "?"


def _sanitized_name(name: object) -> str:
    """Return the name sanitized for storage and display; "" if there is none."""
    return sanitize(name)[0].strip()[:MAX_NAME_CHARS].strip() if isinstance(name, str) else ""
