"""ID token verification (OpenID Connect).

A token is valid if a public key of the provider has signed it with an algorithm of `ALGORITHMS`. It must also be issued
by this issuer, for this client and this sign-in (the nonce), and not be expired. A shared secret, which could also
forge a signature, is never tried as a key.
"""

from __future__ import annotations

import hmac
import logging
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import DecodeError, InvalidClaimError, JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry

log = logging.getLogger(__name__)

# Asymmetric signatures only: neither `none` nor HS…, for which an attacker could use the public key as the secret.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
LEEWAY_SECONDS = 60  # tolerated clock skew between the provider and this server
_KEY_TYPES = ("RSA", "EC")
_MAX_SUBJECT_CHARS = 255
_MAX_HEADER_CHARS = 8192


def signing_keys(document: dict[str, Any]) -> KeySet:
    """Return the keys of a JWK set that can verify a signature. Raises ValueError if it is not a JWK set.

    Unknown key types are ignored, as RFC 7517 requires: providers publish new types beside the old ones.
    """
    published = document.get("keys")
    if not isinstance(published, list):
        raise ValueError("not a set of keys")
    keys: list[Key] = []
    for data in published:
        if not isinstance(data, dict) or data.get("kty") not in _KEY_TYPES:
            continue
        try:
            keys.append(JWKRegistry.import_key(data))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.warning("a key of the identity provider cannot be read: %s", type(error).__name__)
    return KeySet(keys)


def verify_id_token(
    token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, access_token: str | None
) -> dict[str, Any]:
    """Verify an ID token and return its claims; `sub` is a printable text of 1 to 255 characters.

    `access_token` is the one that came with it; it must match the hash in the ID token, if there is one. Raises
    JoseError: InvalidKeyIdError for a key that is not in `keys`, BadSignatureError for an invalid signature.
    """
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    registry.max_header_length = _MAX_HEADER_CHARS  # some providers send the key's certificates in the header
    options = {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": client_id},
        "sub": {"essential": True},
    }
    try:
        signed = jwt.decode(token, keys, registry=registry)
        claims = CodeIDToken(
            signed.claims, signed.header, options, {"client_id": client_id, "access_token": access_token}
        )
        claims.validate(leeway=LEEWAY_SECONDS)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise DecodeError(f"not a token ({type(error).__name__})") from error
    token_nonce = claims.get("nonce")
    if not token_nonce or not isinstance(token_nonce, str) or not constant_time_equal(token_nonce, nonce):
        raise InvalidClaimError("nonce")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARS or not subject.isprintable():
        raise InvalidClaimError("sub")
    return dict(claims)


def constant_time_equal(first: str, second: str) -> bool:
    """Compare two texts in constant time, against timing attacks."""
    return hmac.compare_digest(first.encode("utf-8", "surrogatepass"), second.encode("utf-8", "surrogatepass"))
