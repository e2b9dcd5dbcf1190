"""Unusable answers of a provider: foreign configurations, garbage, endless answers; and no secret in any log."""

from __future__ import annotations

import base64
import gzip
import logging
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from auth.scripted_provider import ACCESS_TOKEN, SECRET, Answer, ScriptedProvider
from auth.signing_in import BACK, CODE, says, sign_in
from chatfeedback.auth.oidc.client import OidcClient, ProviderSettings
from chatfeedback.errors import ProviderUnavailable, SignInRefused

# Secrets


async def test_logs_hold_no_code_token_or_secret(
    scripted: ScriptedProvider, client: OidcClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    begun = await client.begin(BACK)
    scripted.expects(begun.pending.nonce)
    says(preferred_username=None)(scripted)
    id_token = scripted.sign(scripted.claims)
    scripted.signed = lambda _: id_token
    answer = {"state": begun.pending.state, "code": CODE}
    await client.complete(begun.pending, answer)
    scripted.answers["/token"] = Answer(
        b'{"error": "invalid_grant", "error_description": "the-code-of-ada is used up"}', status=400
    )
    with pytest.raises(SignInRefused) as refused:
        await client.complete(begun.pending, answer)
    logging.getLogger("chatfeedback").error("refused", exc_info=refused.value)
    scripted.answers["/token"] = Answer(b'{"error": "the-code-of-ada"}', status=400)
    with pytest.raises(SignInRefused) as unnamed:
        await client.complete(begun.pending, answer)

    basic = base64.b64encode(f"site:{SECRET}".encode()).decode()
    hidden = (
        *("the-code-of-ada", begun.pending.verifier, begun.pending.nonce, begun.pending.state),
        *(ACCESS_TOKEN, id_token, id_token.split(".")[2], SECRET, basic),
    )
    output = caplog.text + str(refused.value) + str(unnamed.value) + repr(begun)
    assert "/token" in caplog.text  # the libraries do log, and are heard here
    assert [secret for secret in hidden if secret in output] == []


async def test_cookies_of_one_sign_in_are_not_sent_with_next(scripted: ScriptedProvider, client: OidcClient) -> None:
    scripted.answers["/userinfo"] = Answer(b'{"sub": "subject-of-ada"}', headers={"set-cookie": "person=ada; path=/"})
    for _ in range(2):
        await sign_in(scripted, client, says(preferred_username=None))
    assert scripted.times_asked("/userinfo") == 2
    assert [headers["cookie"] for _, headers, _ in scripted.asked if "cookie" in headers] == []


# Unusable answers


@pytest.mark.parametrize("issuer", ["https://mallory.example", None, 7, "{}/", "{}/other"])
async def test_configuration_of_another_issuer_is_refused(
    scripted: ScriptedProvider, client: OidcClient, issuer: object
) -> None:
    scripted.configuration["issuer"] = issuer.format(scripted.issuer) if isinstance(issuer, str) else issuer
    with pytest.raises(ProviderUnavailable, match="another issuer"):
        await client.begin(BACK)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"])
@pytest.mark.parametrize(
    "address", ["http://provider.example/x", "ftp://127.0.0.1/x", "//127.0.0.1/x", "http://127.0.0.1:x/", 7, ""]
)
async def test_endpoint_with_unsafe_address_is_refused(
    scripted: ScriptedProvider, client: OidcClient, name: str, address: object
) -> None:
    scripted.configuration[name] = address
    with pytest.raises(ProviderUnavailable, match=f"{name} is not an https address"):
        await client.begin(BACK)


@pytest.mark.parametrize("name", ["token_endpoint", "userinfo_endpoint"])
async def test_public_provider_cannot_name_loopback_endpoint(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    issuer = "https://provider.example"
    paths = {"authorization_endpoint": "/a", "token_endpoint": "/t", "jwks_uri": "/k", "userinfo_endpoint": "/u"}
    published = {"issuer": issuer, **{endpoint: issuer + path for endpoint, path in paths.items()}}

    async def answer(*_: object) -> httpx2.Response:
        return httpx2.Response(200, json=published)

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", answer)
    client = OidcClient(ProviderSettings(issuer, "site"))
    assert (await client.begin(BACK)).address.startswith(f"{issuer}/a?")
    await client.close()
    published[name] = "http://127.0.0.1:8000/internal"
    client = OidcClient(ProviderSettings(issuer, "site"))
    with pytest.raises(ProviderUnavailable, match=f"{name} is not an https address"):
        await client.begin(BACK)
    await client.close()


PATHS = ["/.well-known/openid-configuration", "/token", "/keys", "/userinfo"]
NO_ANSWERS = {
    "garbage": Answer(b"<html>"),
    "not UTF-8": Answer(b'{"a": "\xff\xfe\xfa"}'),
    "a list": Answer(b"[1]"),
    "nothing": Answer(b""),
    "very deep": Answer(b"[" * 200_000),
    "failure": Answer(b"{}", status=500),
    "moved": Answer(b"", status=302, headers={"location": "/elsewhere"}),
    "too long": Answer(b'{"a": "' + b"x" * 1_000_000 + b'"}'),
    "endless": Answer("endless"),
    "not a length": Answer(b"{}", headers={"content-length": "99"}),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", NO_ANSWERS)
async def test_unreadable_answer_makes_provider_unavailable(
    scripted: ScriptedProvider, client: OidcClient, path: str, kind: str
) -> None:
    scripted.answers[path] = NO_ANSWERS[kind]
    with pytest.raises(ProviderUnavailable, match="try again later"):
        await sign_in(scripted, client, says(preferred_username=None))
    del scripted.answers[path]
    assert (await sign_in(scripted, client)).name == "Ada"


@pytest.mark.parametrize("path", PATHS)
async def test_compressed_answer_is_refused(scripted: ScriptedProvider, client: OidcClient, path: str) -> None:
    packed = gzip.compress(b'{"keys": []' + b" " * 10_000_000 + b"}")  # about 10 kB
    scripted.answers[path] = Answer(packed, headers={"content-encoding": "gzip"})
    with pytest.raises(ProviderUnavailable, match="its answer is packed"):
        await sign_in(scripted, client, says(preferred_username=None))


@pytest.mark.parametrize("path", PATHS)
async def test_answer_that_hangs_makes_provider_unavailable(scripted: ScriptedProvider, path: str) -> None:
    hasty = OidcClient(ProviderSettings(scripted.issuer, "site", SecretStr(SECRET)), timeout=0.3)
    scripted.answers[path] = Answer("hangs")
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await sign_in(scripted, hasty, says(preferred_username=None))
    await hasty.close()


@pytest.mark.parametrize(
    "tokens",
    [
        *({"id_token": None}, {"id_token": 7}, {"access_token": None}, {"access_token": ["x"]}),
        *({"expires_in": "soon"}, {"expires_in": [1]}, {"expires_in": float("inf")}, {"expires_at": {}}),
    ],
)
async def test_malformed_tokens_make_provider_unavailable(
    scripted: ScriptedProvider, client: OidcClient, tokens: dict[str, Any]
) -> None:
    scripted.tokens |= tokens
    with pytest.raises(ProviderUnavailable):
        await sign_in(scripted, client)


@pytest.mark.parametrize("keys", [b'{"keys": 7}', b"{}", b'{"keys": null}'])
async def test_malformed_key_set_makes_provider_unavailable(
    scripted: ScriptedProvider, client: OidcClient, keys: bytes
) -> None:
    scripted.answers["/keys"] = Answer(keys)
    with pytest.raises(ProviderUnavailable, match="not a set of keys"):
        await sign_in(scripted, client)


# Answers through the browser


@pytest.mark.parametrize("code", [None, "", "a\0b", "ä", "\ud800", "x" * 5000])
async def test_callback_without_valid_code_is_refused_before_token_request(
    scripted: ScriptedProvider, client: OidcClient, code: str | None
) -> None:
    begun = await client.begin(BACK)
    with pytest.raises(SignInRefused, match="no code"):
        await client.complete(
            begun.pending, {"state": begun.pending.state, **({"code": code} if code is not None else {})}
        )
    assert scripted.times_asked("/token") == 0


@pytest.mark.parametrize(
    ("error", "raised", "sentence"),
    [
        ("access_denied", SignInRefused, "declined"),
        ("temporarily_unavailable", ProviderUnavailable, "temporarily_unavailable"),
        ("server_error", ProviderUnavailable, "server_error"),
        ("invalid_scope", SignInRefused, "invalid_scope"),
        ("<script>", SignInRefused, "refused the sign-in; "),
        ("", SignInRefused, "refused the sign-in; "),
    ],
)
async def test_callback_with_error_is_explained_before_token_request(
    scripted: ScriptedProvider, client: OidcClient, error: str, raised: type[Exception], sentence: str
) -> None:
    begun = await client.begin(BACK)
    with pytest.raises(raised, match=sentence):
        await client.complete(begun.pending, {"state": begun.pending.state, "error": error, "code": CODE})
    assert scripted.times_asked("/token") == 0


@pytest.mark.parametrize("state", ["", "x", "ä\ud800"])
async def test_callback_with_another_state_is_refused(
    scripted: ScriptedProvider, client: OidcClient, state: str
) -> None:
    begun = await client.begin(BACK)
    with pytest.raises(SignInRefused, match="another sign-in"):
        await client.complete(begun.pending, {"state": state, "code": CODE})
    assert scripted.times_asked("/token") == 0
