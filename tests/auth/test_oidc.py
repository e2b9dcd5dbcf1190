"""Sign-in at a real provider: the identity that comes back, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from chatfeedback.auth.oidc.client import Identity, OidcClient, ProviderSettings
from chatfeedback.errors import ProviderUnavailable, SettingsError, SignInRefused
from oidc_provider import OidcProvider, declined, signed_in

pytestmark = pytest.mark.process  # the provider

BACK = "http://127.0.0.1:8000/back"


def settings_for(provider: OidcProvider) -> ProviderSettings:
    return ProviderSettings(provider.issuer, provider.client_id, SecretStr(provider.client_secret))


@pytest.fixture
async def client(provider: OidcProvider) -> AsyncIterator[OidcClient]:
    opened = OidcClient(settings_for(provider))
    yield opened
    await opened.close()


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


async def sign_in(client: OidcClient, name: str) -> Identity:
    begun = await client.begin(BACK)
    return await client.complete(begun.pending, query_of(signed_in(begun.address, name)))


async def test_sign_in_returns_issuer_subject_and_name(provider: OidcProvider, client: OidcClient) -> None:
    identity = await sign_in(client, "Ada Lovelace 🎓")
    assert identity.issuer == provider.issuer
    assert identity.name == "Ada Lovelace 🎓"
    assert identity.subject


async def test_subject_is_stable_for_one_person_and_differs_for_two(client: OidcClient) -> None:
    ada, grace, ada_again = [await sign_in(client, name) for name in ("Ada", "Grace", "Ada")]
    assert ada == ada_again
    assert ada.subject != grace.subject


async def test_begin_sends_challenge_and_no_secret(provider: OidcProvider, client: OidcClient) -> None:
    begun, other = await client.begin(BACK), await client.begin(BACK)
    sent = parse_qs(urlsplit(begun.address).query)
    assert sent["response_type"] == ["code"]
    assert sent["redirect_uri"] == [BACK]
    assert sent["scope"] == ["openid profile"]
    assert sent["code_challenge_method"] == ["S256"]
    assert re.fullmatch(r"[\w-]{43}", sent["code_challenge"][0])
    assert begun.pending.verifier not in begun.address
    assert provider.client_secret not in str(sent)
    for one, two in zip(dataclasses.astuple(begun.pending)[:3], dataclasses.astuple(other.pending)[:3], strict=True):
        assert one != two


async def test_name_is_read_from_userinfo_when_id_token_has_none(provider: OidcProvider) -> None:
    client = OidcClient(dataclasses.replace(settings_for(provider), name_claim="nickname"))
    assert (await sign_in(client, "Ada")).name == "Ada of userinfo"
    await client.close()


async def test_name_is_subject_when_provider_has_none(provider: OidcProvider) -> None:
    client = OidcClient(dataclasses.replace(settings_for(provider), name_claim="no_such_claim"))
    identity = await sign_in(client, "Ada")
    assert identity.name == identity.subject
    await client.close()


async def test_complete_refuses_answer_of_another_sign_in(client: OidcClient) -> None:
    mine, theirs = await client.begin(BACK), await client.begin(BACK)
    answer = query_of(signed_in(theirs.address, "Mallory"))
    with pytest.raises(SignInRefused, match="another sign-in"):
        await client.complete(mine.pending, answer)
    with pytest.raises(SignInRefused, match="another sign-in"):
        await client.complete(mine.pending, {name: value for name, value in answer.items() if name != "state"})
    with pytest.raises(SignInRefused, match="run out or was used"):  # the code of one, the state of the other
        await client.complete(mine.pending, {**answer, "state": mine.pending.state})


async def test_complete_refuses_code_that_was_used(client: OidcClient) -> None:
    begun = await client.begin(BACK)
    answer = query_of(signed_in(begun.address, "Ada"))
    await client.complete(begun.pending, answer)
    with pytest.raises(SignInRefused, match="run out or was used"):
        await client.complete(begun.pending, answer)


async def test_complete_refuses_code_with_wrong_verifier(client: OidcClient) -> None:
    begun, other = await client.begin(BACK), await client.begin(BACK)
    stolen = dataclasses.replace(begun.pending, verifier=other.pending.verifier)
    with pytest.raises(SignInRefused):
        await client.complete(stolen, query_of(signed_in(begun.address, "Ada")))


async def test_wrong_client_secret_is_refused_and_not_revealed(provider: OidcProvider) -> None:
    client = OidcClient(dataclasses.replace(settings_for(provider), client_secret=SecretStr("wrong-secret")))
    with pytest.raises(SignInRefused, match="client id and secret") as refused:
        await sign_in(client, "Ada")
    assert "wrong-secret" not in str(refused.value)
    await client.close()


async def test_complete_refuses_declined_sign_in(client: OidcClient) -> None:
    begun = await client.begin(BACK)
    answer = query_of(declined(begun.address))
    assert answer["error"] == "access_denied"
    with pytest.raises(SignInRefused, match="was declined"):
        await client.complete(begun.pending, answer)


async def test_complete_refuses_answer_of_another_issuer_or_none(client: OidcClient) -> None:
    begun = await client.begin(BACK)
    answer = query_of(signed_in(begun.address, "Ada"))
    with pytest.raises(SignInRefused, match="comes from another service"):
        await client.complete(begun.pending, {**answer, "iss": "https://mallory.example"})
    with pytest.raises(SignInRefused, match="does not say that it comes from"):
        await client.complete(begun.pending, {name: value for name, value in answer.items() if name != "iss"})
    assert (await client.complete(begun.pending, answer)).name == "Ada"


async def test_sign_in_works_after_provider_rotates_its_key(provider: OidcProvider, client: OidcClient) -> None:
    before = await sign_in(client, "Ada")
    provider.rotate_key()
    assert await sign_in(client, "Ada") == before


@pytest.mark.process
async def test_provider_that_does_not_run_is_unavailable(tmp_path: Path) -> None:
    with OidcProvider(tmp_path, "http://127.0.0.1/back") as stopped:
        client = OidcClient(settings_for(stopped))
        begun = await client.begin(BACK)
        answer = query_of(signed_in(begun.address, "Ada"))
    with pytest.raises(ProviderUnavailable, match="cannot be reached; try again"):
        await client.complete(begun.pending, answer)
    await client.close()
    new = OidcClient(settings_for(stopped))
    with pytest.raises(ProviderUnavailable, match="cannot be reached; try again"):
        await new.begin(BACK)
    await new.close()


@pytest.mark.parametrize(
    "issuer",
    [
        "http://provider.example",
        "https://",
        "provider.example",
        "ftp://127.0.0.1",
        "https://user:word@provider.example",
        "https://provider.example?a=b",
        "https://provider.example#a",
        "https://[",
        "http://127.0.0.1.example",
        "",
    ],
)
def test_provider_settings_refuse_unsafe_issuer(issuer: str) -> None:
    with pytest.raises(SettingsError, match="issuer"):
        ProviderSettings(issuer, "site")


def test_provider_settings_require_client_id_and_openid_scope_and_hide_secret() -> None:
    with pytest.raises(SettingsError, match="client id"):
        ProviderSettings("https://provider.example", "")
    with pytest.raises(SettingsError, match="openid"):
        ProviderSettings("https://provider.example", "site", scopes=("profile",))
    assert "hidden" not in repr(ProviderSettings("https://provider.example", "site", SecretStr("hidden")))
