"""Links to a study: what is chatted on their page belongs to it, also after a sign-in, and a false one says so."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.users import Visitor
from chatfeedback.auth.links import links
from chatfeedback.domain.conversation.events import UNASSIGNED, Assignment, ConversationStarted

WARM = Assignment(study="colours", condition="warm", external_id="p-17")


def query_of(application: Application, assignment: Assignment) -> str:
    named = {"study": assignment.study, "condition": assignment.condition}
    (link,) = links(
        application.settings.database_url, application.address, **named, external_ids=[assignment.external_id or ""]
    )
    return f"?{urlsplit(link).query}"


def recorded(application: Application, conversation_id: str) -> Assignment:
    """Return the assignment in the first event, after a check that the conversation has the same."""
    body = application.events(conversation_id)[0].body
    assert isinstance(body, ConversationStarted)
    assignment = Assignment(study=body.study, condition=body.condition, external_id=body.external_id)
    assert application.conversation(conversation_id).assignment == assignment
    return assignment


def test_study_link_assigns_conversations_to_its_study_after_sign_in(
    guarded: Application, visits: Callable[..., Visitor]
) -> None:
    ada = visits("annotator")
    ada.page.goto(f"{guarded.address}{query_of(guarded, WARM)}")
    chat = ada.signs_in().chats()
    chat.ask("one")
    first = chat.conversation_id
    chat.reload().expect_texts("one", "You said: one")
    chat.clear()
    chat.ask("two")
    assert chat.conversation_id != first
    assert [recorded(guarded, one) for one in (first, chat.conversation_id)] == [WARM, WARM]
    chat.open()
    chat.ask("three")
    assert recorded(guarded, chat.conversation_id) == UNASSIGNED


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?assignment=x", "This link to a study is not valid"),
        ("?assignment=a.b.c", "This link to a study is not valid"),
        ("?assignment=", "This link to a study is not valid"),
        ("?assignment=a.b.c&assignment=x", "'assignment' is given more than once in the address; give it once."),
    ],
)
def test_study_link_that_is_invalid_shows_notice_and_keeps_prompt(
    chat: ChatPage, application: Application, query: str, sentence: str
) -> None:
    before = application.conversation_ids()
    chat.open(query=query)
    expect(chat.notice).to_contain_text(sentence)
    chat.prompt.fill("one")
    chat.prompt.press("Enter")
    expect(chat.notice).to_contain_text(sentence)
    expect(chat.prompt).to_have_value("one")
    assert application.conversation_ids() == before
