"""False ID tokens: no honest provider issues them, and all are refused; names of users come from true ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from auth.scripted_provider import SECRET, ScriptedProvider, key_named
from auth.signing_in import Change, says, sign_in
from chatfeedback.auth.oidc.client import Identity, OidcClient, ProviderSettings
from chatfeedback.errors import SignInRefused


async def test_id_token_that_is_true_is_accepted(scripted: ScriptedProvider, client: OidcClient) -> None:
    assert await sign_in(scripted, client) == Identity(scripted.issuer, "subject-of-ada", "Ada")


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def segment(value: dict[str, Any]) -> str:
    return encoded(json.dumps(value).encode())


def unsigned(scripted: ScriptedProvider) -> None:
    scripted.signed = lambda claims: f"{segment({'alg': 'none'})}.{segment(claims)}."


def signed_with_a_secret(scripted: ScriptedProvider, secret: bytes) -> None:
    def signed(claims: dict[str, Any]) -> str:
        text = f"{segment({'alg': 'HS256', 'kid': 'first'})}.{segment(claims)}"
        return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"

    scripted.signed = signed


def signed_with_the_public_key(scripted: ScriptedProvider) -> None:
    signed_with_a_secret(scripted, scripted.key.as_pem(private=False))


def signed_with_the_client_secret(scripted: ScriptedProvider) -> None:
    signed_with_a_secret(scripted, SECRET.encode())
    scripted.published.append({"kty": "oct", "kid": "first", "k": encoded(SECRET.encode())})


def signed_with_a_key_of_its_own(scripted: ScriptedProvider) -> None:
    scripted.key = key_named("mallory")


def named_by_an_unknown_key(scripted: ScriptedProvider) -> None:
    scripted.header = {"alg": "RS256", "kid": "unknown"}


def named_by_none_of_two_keys(scripted: ScriptedProvider) -> None:
    scripted.header = {"alg": "RS256"}
    scripted.published.append(key_named("second").as_dict(private=False))


def bringing_its_own_key(scripted: ScriptedProvider) -> None:
    scripted.key = key_named("mallory")
    scripted.header = {"alg": "RS256", "jwk": scripted.key.as_dict(private=False)}


def changed_on_the_way(scripted: ScriptedProvider) -> None:
    def tampered(claims: dict[str, Any]) -> str:
        header, _, signature = scripted.sign(claims).split(".")
        return f"{header}.{segment({**claims, 'sub': 'somebody-else'})}.{signature}"

    scripted.signed = tampered


def critical_and_unknown(scripted: ScriptedProvider) -> None:
    scripted.signed = lambda claims: f"{segment({'alg': 'RS256', 'crit': ['x'], 'x': 1})}.{segment(claims)}.AAAA"


# Change of the token, and a word of the log about it.
NOT_BELIEVED: dict[str, tuple[Change, str]] = {
    "issuer": (says(iss="https://mallory.example"), "iss"),
    "no issuer": (says(iss=None), "iss"),
    "audience": (says(aud="another-site"), "aud"),
    "audiences": (says(aud=["another-site", "a-third"]), "aud"),
    "no audience": (says(aud=None), "aud"),
    "audience shared, no authorized party": (says(aud=["site", "another-site"]), "azp"),
    "audience shared, another party": (says(aud=["site", "another-site"], azp="another-site"), "azp"),
    "another authorized party": (says(azp="another-site"), "azp"),
    "expired": (lambda scripted: says(exp=int(time.time()) - 3600)(scripted), "expired"),
    "no expiry": (says(exp=None), "exp"),
    "expiry that is no time": (says(exp="tomorrow"), "exp"),
    "from the future": (lambda scripted: says(iat=int(time.time()) + 3600)(scripted), "issued in the future"),
    "no time of issue": (says(iat=None), "iat"),
    "nonce": (says(nonce="the-nonce-of-another"), "nonce"),
    "no nonce": (says(nonce=None), "nonce"),
    "nonce that is no text": (says(nonce=["x"]), "nonce"),
    "no subject": (says(sub=None), "sub"),
    "empty subject": (says(sub=""), "sub"),
    "subject that is no text": (says(sub=7), "sub"),
    "long subject": (says(sub="x" * 256), "sub"),
    "subject that no database keeps": (says(sub="ada\0"), "sub"),
    "hash of another access token": (says(at_hash="AAAAAAAAAAAAAAAAAAAAAA"), "at_hash"),
    "hash that is no text": (says(at_hash=[[]]), "decode_error"),
    "alg none": (unsigned, "'none'"),
    "HS256 with the public key": (signed_with_the_public_key, "HS256"),
    "HS256 with the client secret": (signed_with_the_client_secret, "HS256"),
    "another key": (signed_with_a_key_of_its_own, "bad_signature"),
    "unknown key id": (named_by_an_unknown_key, "unknown"),
    "no key id and two keys": (named_by_none_of_two_keys, "kid"),
    "key in the header": (bringing_its_own_key, "bad_signature"),
    "tampered": (changed_on_the_way, "bad_signature"),
    "critical header": (critical_and_unknown, "unsupported_header"),
}


@pytest.mark.parametrize("reason", NOT_BELIEVED)
async def test_id_token_that_is_false_is_refused(
    scripted: ScriptedProvider, client: OidcClient, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    change, word = NOT_BELIEVED[reason]
    with pytest.raises(SignInRefused, match="about who you are is not valid"):
        await sign_in(scripted, client, change)
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("chatfeedback")]
    assert word in message


async def test_id_token_with_shared_audience_is_accepted_when_authorized_party_is_this_site(
    scripted: ScriptedProvider, client: OidcClient
) -> None:
    shared = says(aud=["site", "another-site"], azp="site")
    assert (await sign_in(scripted, client, shared)).subject == "subject-of-ada"


async def test_id_token_with_certificates_is_accepted(scripted: ScriptedProvider, client: OidcClient) -> None:
    scripted.header["x5c"] = ["A" * 2000, "B" * 2000]
    assert (await sign_in(scripted, client)).name == "Ada"


async def test_id_token_is_accepted_when_clocks_differ_slightly(scripted: ScriptedProvider, client: OidcClient) -> None:
    now = int(time.time())
    assert (await sign_in(scripted, client, says(exp=now - 5, iat=now + 5))).name == "Ada"


async def test_keys_are_cached_and_fetched_once_again_when_key_id_is_unknown(
    scripted: ScriptedProvider, client: OidcClient
) -> None:
    await sign_in(scripted, client)
    await sign_in(scripted, client)
    with pytest.raises(SignInRefused):
        await sign_in(scripted, client, says(nonce="the-nonce-of-another"))
    assert scripted.times_asked("/keys") == 1
    with pytest.raises(SignInRefused):
        await sign_in(scripted, client, named_by_an_unknown_key)
    assert scripted.times_asked("/keys") == 2
    assert scripted.times_asked("/.well-known/openid-configuration") == 1


async def test_keys_that_are_unusable_do_not_hide_usable_ones(scripted: ScriptedProvider, client: OidcClient) -> None:
    strange: list[Any] = [{"kty": "AKP", "kid": "a"}, {"kty": "RSA", "kid": "b"}, {"kty": "EC", "crv": "P-0"}, 7, {}]
    scripted.published = [*strange, *scripted.published]
    assert (await sign_in(scripted, client)).name == "Ada"


# Names


@pytest.mark.parametrize(
    ("claim", "name"),
    [
        ("  Ada ", "Ada"),
        ("A\0da", "A\ufffdda"),
        ("Ada \ud800!", "Ada \ufffd!"),
        ("x" * 500, "x" * 200),
        ("x" * 199 + "  y", "x" * 199),
        ("   ", "subject-of-ada"),
        (7, "subject-of-ada"),
        (None, "subject-of-ada"),
    ],
)
async def test_name_is_cleaned_for_storage_and_display(
    scripted: ScriptedProvider, client: OidcClient, claim: object, name: str
) -> None:
    assert (await sign_in(scripted, client, says(preferred_username=claim))).name == name


async def test_name_claim_of_userinfo_precedes_plain_name(scripted: ScriptedProvider, client: OidcClient) -> None:
    without = says(preferred_username=None, name="Ada of the token")
    scripted.person = {"sub": "subject-of-ada", "preferred_username": "ada", "name": "Ada of userinfo"}
    assert (await sign_in(scripted, client, without)).name == "ada"
    scripted.person = {"sub": "subject-of-ada", "name": "Ada of userinfo"}
    assert (await sign_in(scripted, client, without)).name == "Ada of the token"
    assert (await sign_in(scripted, client, says(preferred_username=None))).name == "Ada of userinfo"


@pytest.mark.parametrize("person", [{"sub": "somebody-else", "preferred_username": "Eve"}, {"name": "Eve"}, {"sub": 1}])
async def test_userinfo_of_another_subject_is_refused(
    scripted: ScriptedProvider, client: OidcClient, person: dict[str, Any]
) -> None:
    scripted.person = person
    with pytest.raises(SignInRefused, match="two different people"):
        await sign_in(scripted, client, says(preferred_username=None))


# Authentication of the client


async def test_client_secret_is_sent_in_header_unless_provider_requires_form(
    scripted: ScriptedProvider, client: OidcClient
) -> None:
    await sign_in(scripted, client)
    _, headers, form = next(request for request in scripted.asked if request[0] == "/token")
    assert headers["authorization"] == f"Basic {base64.b64encode(f'site:{SECRET}'.encode()).decode()}"
    assert "client_secret" not in form

    scripted.asked.clear()
    scripted.configuration["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    posting = OidcClient(client.settings)
    await sign_in(scripted, posting)
    await posting.close()
    _, headers, form = next(request for request in scripted.asked if request[0] == "/token")
    assert "authorization" not in headers
    assert (form["client_id"], form["client_secret"]) == (["site"], [SECRET])


async def test_public_client_sends_its_id_and_no_secret(scripted: ScriptedProvider) -> None:
    public = OidcClient(ProviderSettings(scripted.issuer, "site"))
    await sign_in(scripted, public)
    await public.close()
    _, headers, form = next(request for request in scripted.asked if request[0] == "/token")
    assert "authorization" not in headers
    assert form["client_id"] == ["site"]
    assert "client_secret" not in form
