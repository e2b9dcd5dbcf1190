"""Redirects after a form: to the page or to a conversation on it, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.auth.links import sign
from chatfeedback.domain.conversation.events import Assignment
from chatfeedback.server.authentication.csrf import next_address

CONVERSATION = "/?conversation=01890a5d-ac96-774b-bcce-b302099a8057"
LINK = f"/?assignment={sign(b'a key of a database', Assignment(study='colours', external_id='ü' * 200))}"


@pytest.mark.parametrize(
    "address", ["/", CONVERSATION, LINK, f"{LINK}&{CONVERSATION[2:]}", f"{CONVERSATION}&{LINK[2:]}"]
)
def test_next_address_keeps_page_conversations_and_links_to_studies(address: str) -> None:
    assert next_address(address) == address


@pytest.mark.parametrize("kept", [CONVERSATION, LINK])
@pytest.mark.parametrize(
    "added", ["utm_source=mail", "fbclid=1", "__theme=dark", "study=x", "next=//evil.example", "&"]
)
def test_next_address_drops_foreign_parameters(kept: str, added: str) -> None:
    assert next_address(f"{kept}&{added}") == kept
    assert next_address(f"/?{added}&{kept[2:]}") == kept


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "http://evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:%20a=b",
        "/\r\nSet-Cookie: a=b",
        "/\n",
        "/admin/users",
        "/logout",
        "/export/events.csv",
        f"{CONVERSATION}\r\nX: y",
        f"{CONVERSATION}\n",
        f"{LINK}/x",
        f"{LINK}{'x' * 4000}",
        CONVERSATION.upper(),
        CONVERSATION[:-1],
        "/?conversation=x",
        "/?x=y",
        " /",
        "/ ",
        "/\t/evil.example",
        "",
        "\xfc",
        None,
        7,
        ["/"],
    ],
)
def test_next_address_replaces_all_other_addresses_by_page(elsewhere: object) -> None:
    assert next_address(elsewhere) == "/"


@given(st.text(st.sampled_from("/\\?conversation=0123456789abcdef-.:\r\n%")))
def test_next_address_never_leads_to_another_site(address: str) -> None:
    path, _, query = next_address(address).partition("?conversation=")
    assert path == "/"
    assert query == "" or len(query) == 36
