"""Endpoint: public name, hosts of Hugging Face, and checks of the address."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from chatfeedback.errors import SettingsError
from chatfeedback.inference.client import Endpoint
from inference.client_calls import reply_from
from openai_server import ScriptedServer


def test_public_name_contains_no_secret() -> None:
    secret = Endpoint("m", base_url="https://user:pass@host:8000/v1?key=abc#frag", api_key="sk-secret")

    assert secret.public_name == "https://host:8000/v1"
    assert not [word for word in ("pass", "abc", "sk-secret") if word in repr(secret)]
    assert Endpoint("org/model").public_name == "auto"
    assert Endpoint("org/model", provider="hf-inference").public_name == "hf-inference"


def test_is_hugging_face_is_true_only_for_its_own_hosts_over_https() -> None:
    own = ["https://router.huggingface.co/v1", "https://x1.eu.endpoints.huggingface.cloud/v1", "https://huggingface.co"]
    others = [
        "http://router.huggingface.co/v1",
        "https://nothuggingface.co/v1",
        "https://huggingface.co.example.org/v1",
        "https://huggingface.co@example.org/v1",
        "https://someone.hf.space/v1",
        "http://127.0.0.1:8000/v1",
    ]

    assert all(Endpoint("m", base_url=url).is_hugging_face for url in own)
    assert not any(Endpoint("m", base_url=url).is_hugging_face for url in others)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", "", "http://host:99999/v1"])
def test_endpoint_refuses_invalid_base_url(url: str) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        Endpoint("m", base_url=url)


async def test_request_sends_password_of_base_url_as_basic_auth(server: ScriptedServer, endpoint: Endpoint) -> None:
    address = (endpoint.base_url or "").replace("//", "//me:pw@").replace("http", "HTTP")
    await reply_from(dataclasses.replace(endpoint, base_url=address))

    assert server.headers[0]["authorization"] == "Basic " + base64.b64encode(b"me:pw").decode()
