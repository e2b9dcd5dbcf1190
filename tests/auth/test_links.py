"""Links to studies: they carry their assignment, and only the key can make or change one."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.auth import links
from chatfeedback.domain.conversation.events import Assignment
from chatfeedback.errors import InputError
from chatfeedback.services.assignments import Assignments

KEY = bytes(range(32))
words = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=links.MAX_CHARS)
assignments = st.builds(Assignment, study=words, condition=words, external_id=words)
WHOLE = Assignment(study="colours", condition="warm", external_id="p-17")


@given(assignments)
def test_verify_returns_signed_assignment(assignment: Assignment) -> None:
    assert links.verify(KEY, links.sign(KEY, assignment)) == assignment


def unsigned(claims: dict[str, str], algorithm: str = "none") -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": algorithm}, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


TOKEN = links.sign(KEY, WHOLE)
OTHER = links.sign(KEY, Assignment(study="colours", condition="cold"))
FORGED = {
    "another key": links.sign(bytes(32), WHOLE),
    "no signature": unsigned({"study": "colours"}),
    "no signature, another algorithm": unsigned({"study": "colours"}, "HS256"),
    "the body of another": ".".join([TOKEN.split(".")[0], OTHER.split(".")[1], TOKEN.split(".")[2]]),
    "cut off": TOKEN[:-3],
    "only a body": TOKEN.split(".")[1],
    "nothing": "",
    "nonsense": "a.b.c",
    "no JSON": "....",
    "letters": "ü" * 10,
}


@pytest.mark.parametrize("kind", FORGED)
def test_verify_refuses_token_that_was_not_signed_here(kind: str) -> None:
    with pytest.raises(InputError, match="This link to a study is not valid"):
        links.verify(KEY, FORGED[kind])


@given(st.text())
def test_verify_refuses_any_text(token: str) -> None:
    with pytest.raises(InputError):
        links.verify(KEY, token)


@pytest.mark.parametrize("more", [{"crit": 1}, {"crit": "b64"}, {"b64": 7}, {"kid": 7}, {"typ": []}])
def test_verify_refuses_token_with_header_of_another_shape(more: dict[str, Any]) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", **more}).encode()).decode().rstrip("=")
    with pytest.raises(InputError):
        links.verify(KEY, f"{header}.e30.c2lnbmVk")


def test_assignments_come_from_link_and_otherwise_from_settings() -> None:
    default = Assignment(study="everything", condition="usual")
    assigned = Assignments(KEY, default)
    assert assigned.from_query({}) == assigned.from_query({"conversation": "x", "study": "made up"}) == default
    assert assigned.from_query({links.PARAMETER: TOKEN}) == WHOLE
    only_id = links.sign(KEY, Assignment(external_id="p-17"))
    assert assigned.from_query({links.PARAMETER: only_id}) == Assignment(
        study="everything", condition="usual", external_id="p-17"
    )


def test_links_yields_one_for_each_external_id(database_url: str) -> None:
    of_study = {"study": "colours", "condition": "warm"}
    urls = list(
        links.links(database_url, "https://chat.example.org/", **of_study, external_ids=["p-17", "p-18 & more"])
    )
    urls += links.links(database_url, "https://chat.example.org", **of_study)
    assert [urlsplit(link)[:3] for link in urls] == [("https", "chat.example.org", "/")] * 3
    tokens = [parse_qs(urlsplit(link).query)[links.PARAMETER][0] for link in urls]
    bodies = [json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")) for token in tokens]
    assert [body.get("external_id") for body in bodies] == ["p-17", "p-18 & more", None]
    assert all((body["study"], body["condition"]) == ("colours", "warm") for body in bodies)


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"study": ""},
        {"condition": "  "},
        {"study": "x" * 201},
        {"study": "nul \0"},
        {"study": "colours", "external_ids": ["p-17", ""]},
    ],
)
def test_links_refuses_values_that_cannot_be_recorded(database_url: str, named: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        list(links.links(database_url, "https://chat.example.org", **named))
