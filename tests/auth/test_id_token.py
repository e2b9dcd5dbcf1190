"""ID tokens of any content: they are accepted for this sign-in, or refused."""

from __future__ import annotations

import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from chatfeedback.auth.oidc.id_token import signing_keys, verify_id_token

KEY = ECKey.generate_key("P-256", {"kid": "k"})
KEYS = signing_keys({"keys": [KEY.as_dict(private=False)]})
NAMES = ["iss", "sub", "aud", "exp", "nbf", "iat", "auth_time", "nonce", "amr", "azp", "at_hash", "acr", "jti"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def read(token: str, keys: KeySet = KEYS) -> dict[str, Any]:
    return verify_id_token(token, keys, issuer="https://i.example", client_id="site", nonce="n", access_token="a")


def true_claims() -> dict[str, Any]:
    now = int(time.time())
    return {"iss": "https://i.example", "aud": "site", "sub": "ada", "iat": now, "exp": now + 300, "nonce": "n"}


# Values of claims that make more than a few tokens nearly true.
LIKELY = st.sampled_from(
    ["https://i.example", "https://mallory.example", "site", "n", 0, 10**12, ["site"], ["x", "site"]]
)


@given(
    st.dictionaries(st.sampled_from(["iss", "aud", "nonce", "sub", "azp"]), LIKELY, max_size=2),
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=1),
)
def test_verify_id_token_accepts_claims_for_this_sign_in_only(
    likely: dict[str, Any], any_others: dict[str, Any]
) -> None:
    token = jwt.encode({"alg": "ES256", "kid": "k"}, {**true_claims(), **likely, **any_others}, KEY)
    try:
        claims = read(token)
    except JoseError:
        return
    assert (claims["iss"], claims["nonce"]) == ("https://i.example", "n")
    assert "site" in claims["aud"]
    assert 1 <= len(claims["sub"]) <= 255


def test_verify_id_token_accepts_true_claims() -> None:
    assert read(jwt.encode({"alg": "ES256", "kid": "k"}, true_claims(), KEY))["sub"] == "ada"


@given(st.text() | st.text("ey.J0_-", max_size=60))
def test_verify_id_token_refuses_any_other_text(text: str) -> None:
    with pytest.raises(JoseError):
        read(text)


TOKEN = jwt.encode({"alg": "ES256", "kid": "k"}, {**true_claims(), "exp": int(time.time()) + 86400}, KEY)
LETTERS = string.ascii_letters + string.digits + "-_."


# The last character has bits that mean nothing.
@given(st.integers(0, len(TOKEN) - 2), st.integers(1, len(LETTERS) - 1))
def test_verify_id_token_refuses_token_with_one_changed_character(at: int, further: int) -> None:
    other = LETTERS[(LETTERS.index(TOKEN[at]) + further) % len(LETTERS)]
    with pytest.raises(JoseError):
        read(f"{TOKEN[:at]}{other}{TOKEN[at + 1 :]}")
    assert read(TOKEN)["sub"] == "ada"


@given(st.dictionaries(st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "use", "alg", "k"]), JSON))
def test_signing_keys_keep_usable_key_beside_any_published_key(key: dict[str, Any]) -> None:
    kinds = [{**key, "kty": kind} for kind in ("RSA", "EC", "oct")]
    usable = signing_keys({"keys": [*kinds, KEY.as_dict(private=False)]})
    assert read(jwt.encode({"alg": "ES256", "kid": "k"}, true_claims(), KEY), usable)["sub"] == "ada"


def test_signing_keys_leave_out_symmetric_keys() -> None:
    assert not signing_keys({"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0"}]})
