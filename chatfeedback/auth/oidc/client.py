"""Signing in with OpenID Connect: the authorization code flow, from a click to a known person.

`begin` gives the address to send the browser to, and what must be kept until it comes back: in its own session, which
nobody else can read. `finish` takes that and the query that the browser came back with. A person is known by issuer and
subject; the name is for people to read, may change, and is nobody's key.

State binds the answer to the browser, PKCE (S256) the code to us, the nonce the ID token to this sign-in. Messages and
logs hold no code, token or secret.
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

from chatfeedback.auth.oidc.id_token import same, verify_id_token
from chatfeedback.auth.oidc.provider import Provider, ProviderSettings
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import ProviderUnavailable, SignInRefused

__all__ = ["AuthorizationRequest", "Identity", "OidcClient", "Pending", "ProviderSettings"]

log = logging.getLogger(__name__)

MAX_NAME_CHARS = 200
_PASSING = ("server_error", "temporarily_unavailable")
_CODE = re.compile(r"[\x20-\x7e]{1,4096}")
_ERROR = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that has begun: keep it with the browser's session, and use it for one `finish`."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """`address`: where to send the browser. `pending`: what `finish` needs."""

    address: str = field(repr=False)
    pending: Pending


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in. `subject` is unique at the `issuer`, up to 255 characters; `name` has 1 to 200."""

    issuer: str
    subject: str
    name: str


class OidcClient:
    """Signs people in at one provider. Belongs to the event loop that it is first used in.

    `timeout`: seconds that each answer of the provider may take.
    """

    def __init__(self, settings: ProviderSettings, *, timeout: float = 10.0) -> None:
        self.settings = settings
        self._provider = Provider(settings, timeout=timeout)

    async def begin(self, redirect_uri: str) -> AuthorizationRequest:
        """Begins a sign-in after which the browser comes back to `redirect_uri`. Raises ProviderUnavailable."""
        pending = Pending(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), redirect_uri)
        address = await self._provider.sign_in_address(
            redirect_uri=redirect_uri, state=pending.state, nonce=pending.nonce, code_verifier=pending.verifier
        )
        return AuthorizationRequest(address, pending)

    async def finish(self, pending: Pending, query: Mapping[str, str]) -> Identity:
        """Who signed in, by the query of the address that the browser came back to.

        Raises SignInRefused when that is nobody, ProviderUnavailable when the provider cannot say; in both cases a
        new sign-in has to begin.
        """
        code = await self._checked_code(pending, query)
        tokens = await self._tokens(code, pending)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise self._provider.invalid_response("it sends no ID token or no access token")
        claims = await self._claims(id_token, access_token, pending)
        return Identity(self.settings.issuer, claims["sub"], await self._name(claims, access_token))

    async def close(self) -> None:
        """Closes the connections; call it once, at the end."""
        await self._provider.close()

    async def _checked_code(self, pending: Pending, query: Mapping[str, str]) -> str:
        """The code in an answer that belongs to this sign-in and comes from this provider."""
        host = self.settings.host
        state = query.get("state")
        if not state or not same(state, pending.state):
            raise SignInRefused("This answer belongs to another sign-in, or to one that is over; sign in again.")
        sent_by = query.get("iss")
        if sent_by is not None and not same(sent_by, self.settings.issuer):
            raise SignInRefused(f"The answer comes from another service than {host}; sign in again.")
        if "error" in query:
            raise self._declined(query["error"])
        if sent_by is None and (await self._provider.metadata()).sends_issuer:
            raise SignInRefused(f"The answer does not say that it comes from {host}; sign in again.")
        code = query.get("code", "")
        if not _CODE.fullmatch(code):
            raise SignInRefused(f"The answer of {host} has no code that can be used; sign in again.")
        return code

    def _declined(self, error: str) -> SignInRefused | ProviderUnavailable:
        """What to raise for an error that the browser brought."""
        host = self.settings.host
        if error == "access_denied":
            return SignInRefused(f"The sign-in at {host} was declined; sign in again to allow it.")
        named = f" ({error})" if _ERROR.fullmatch(error) else ""
        if error in _PASSING:
            return ProviderUnavailable(f"The sign-in service at {host} has a fault{named}; try again later.")
        return SignInRefused(f"The sign-in service at {host} refused the sign-in{named}; sign in again.")

    async def _tokens(self, code: str, pending: Pending) -> dict[str, Any]:
        host = self.settings.host
        try:
            return await self._provider.exchange(code, pending.verifier, pending.redirect_uri)
        except OAuthError as error:
            reason = error.error if isinstance(error.error, str) and _ERROR.fullmatch(error.error) else "unknown"
        # Raised out here, without the provider's own words behind it: they may repeat the code.
        log.warning("%s gave no tokens: %s", host, reason)
        if reason == "invalid_grant":
            raise SignInRefused("This sign-in has run out or was used before; sign in again.")
        if reason in ("invalid_client", "unauthorized_client"):
            raise SignInRefused(f"{host} does not know this site by its client id and secret; tell who runs the site.")
        if reason in _PASSING:
            raise ProviderUnavailable(f"The sign-in service at {host} has a fault ({reason}); try again later.")
        raise SignInRefused(f"The sign-in service at {host} refused the sign-in ({reason}); sign in again.")

    async def _claims(self, id_token: str, access_token: str, pending: Pending) -> dict[str, Any]:
        """What the ID token says. Where none of the kept keys fits, the keys are asked for again, once."""
        keys, new = await self._provider.keys()
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
                if new or not isinstance(error, (InvalidKeyIdError, BadSignatureError)):
                    log.warning("an ID token of %s is not valid: %r", self.settings.host, str(error))
                    raise SignInRefused(
                        f"What {self.settings.host} says about who you are is not valid; sign in again."
                    ) from error
            keys, new = await self._provider.keys(anew=True)

    async def _name(self, claims: Mapping[str, Any], access_token: str) -> str:
        """The name claim, else "name", from the ID token or the userinfo endpoint; else the subject."""
        wanted = self.settings.name_claim
        if found := _readable(claims.get(wanted)):
            return found
        info: Mapping[str, Any] = {}
        if address := (await self._provider.metadata()).userinfo_endpoint:
            info = await self._provider.userinfo(address, access_token)
            subject = info.get("sub")
            if not isinstance(subject, str) or not same(subject, claims["sub"]):
                raise SignInRefused(f"{self.settings.host} names two different people; sign in again.")
        names = (info.get(wanted), claims.get("name"), info.get("name"))
        return next(filter(None, map(_readable, names)), "") or _readable(claims["sub"]) or "?"


def _readable(name: object) -> str:
    """The name as it can be stored and shown; empty when there is none."""
    return sanitize(name)[0].strip()[:MAX_NAME_CHARS].strip() if isinstance(name, str) else ""
