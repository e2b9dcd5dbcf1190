"""The ID token: what a provider says about who has signed in, and whether it may be believed.

A token is believed when one of the provider's public keys has signed it with an algorithm of `ALGORITHMS`, and it was
made by this issuer, for this client, for this sign-in (the nonce), and has not run out. A key that can also be used
to forge a signature, a shared secret, is never tried.
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

# Signatures that only the provider can make: neither `none` nor HS…, for which its public key would do.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
LEEWAY_SECONDS = 60  # how far the provider's clock and ours may be apart
_KEY_TYPES = ("RSA", "EC")
_MAX_SUBJECT_CHARS = 255
_MAX_HEADER_CHARS = 8192


def signing_keys(document: dict[str, Any]) -> KeySet:
    """The keys of a JWK set that can check a signature. Raises ValueError when it is not a set of keys.

    Keys of another kind are left out, as RFC 7517 wants it: providers publish new kinds beside the old ones.
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
    """The claims of an ID token that passes every check; `sub` is a printable text of 1 to 255 characters.

    `access_token` is what came with it: where the ID token names its hash, they must fit. Raises JoseError:
    InvalidKeyIdError for a key that is not in `keys`, BadSignatureError for another signature than the key's.
    """
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    registry.max_header_length = _MAX_HEADER_CHARS  # some providers put the key's certificates there
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
    named = claims.get("nonce")
    if not named or not isinstance(named, str) or not same(named, nonce):
        raise InvalidClaimError("nonce")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARS or not subject.isprintable():
        raise InvalidClaimError("sub")
    return dict(claims)


def same(one: str, other: str) -> bool:
    """Whether two texts are equal; how long that takes does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
