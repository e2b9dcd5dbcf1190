"""The pages for administrators: users, erasure and the audit, by raw HTTP."""

from __future__ import annotations

import html
import re
from uuid import uuid4

import httpx
import pytest

from browser.application import Application
from chatfeedback.store.accounts import audit, users
from users import PLAIN, Somebody


@pytest.fixture
def admin(people: dict[str, Somebody]) -> Somebody:
    return people["adam"]


def token(admin: Somebody) -> str:
    match = re.search(r'name="csrf" value="([\w-]{43})"', admin.get("/admin").text)
    assert match
    return match[1]


def send(admin: Somebody, path: str, **fields: str) -> httpx.Response:
    return admin.post(path, data={"csrf": token(admin), **fields})


def add(application: Application, admin: Somebody, role: str = "annotator") -> tuple[users.User, str]:
    """Add a user; return them and the page that was shown."""
    name = f"new {uuid4().hex[:8]}"
    page = send(admin, "/admin/users", name=name, role=role)
    assert page.status_code == 200, page.text
    user = users.find(application.engine, name)
    assert user is not None
    return user, page.text


def test_added_user_signs_in_with_password_that_is_shown_once(application: Application, admin: Somebody) -> None:
    user, page = add(application, admin, "researcher")
    shown = html.unescape(re.findall(r"<code>(.+?)</code>", page)[0])
    assert user.role == "researcher"
    assert shown not in admin.get("/admin").text and shown not in admin.get(f"/admin/users/{user.annotator_id}").text
    with httpx.Client(base_url=application.address, verify=PLAIN) as browser:
        form = browser.get("/login").text
        fields = {"csrf": re.findall(r'name="csrf" value="(.+?)"', form)[0], "name": user.name, "next": "/"}
        assert browser.post("/login", data={**fields, "password": shown + "x"}).status_code == 401
        assert browser.post("/login", data={**fields, "password": shown}).status_code == 303
        assert browser.get("/").status_code == 200


def test_user_name_that_is_taken_or_invalid_is_refused(application: Application, admin: Somebody) -> None:
    user, _page = add(application, admin)
    before = len(users.list_all(application.engine))
    for name, status, sentence in (
        (user.name, 400, "already"),
        ("", 400, "1 to 200 printable"),
        ("x" * 201, 400, "1 to 200 printable"),
        ("a\u0000b", 400, "1 to 200 printable"),
    ):
        answer = send(admin, "/admin/users", name=name, role="annotator")
        assert answer.status_code == status and sentence in answer.text, name
    assert "A role is one of" in send(admin, "/admin/users", name="fine", role="emperor").text
    assert len(users.list_all(application.engine)) == before


def test_user_changes_take_effect_and_are_audited(application: Application, admin: Somebody) -> None:
    user, _page = add(application, admin)
    at = f"/admin/users/{user.annotator_id}"
    assert send(admin, f"{at}/role", role="admin").status_code == 303
    assert users.by_id(application.engine, user.annotator_id).role == "admin"  # type: ignore[union-attr]
    assert send(admin, f"{at}/disable").status_code == 303
    assert "Let in again" in admin.get(at).text
    assert send(admin, f"{at}/enable").status_code == 303
    changed = send(admin, f"{at}/password")
    assert changed.status_code == 200 and "shown this once" in changed.text
    assert send(admin, f"{at}/sessions").status_code == 303
    assert send(admin, f"{at}/promote").status_code == 404
    entries = [entry for entry in audit.latest(application.engine, 50) if entry.subject_id == user.annotator_id]
    assert {entry.actor_id for entry in entries} == {admin.annotator_id}
    done = [entry.action for entry in reversed(entries)]
    assert done == ["user_added", "role_changed", "user_disabled", "user_enabled", "password_changed"]
    shown = admin.get("/admin/audit").text
    assert "role changed" in shown and user.name in shown


def test_admin_form_without_csrf_token_does_nothing(application: Application, admin: Somebody) -> None:
    user, _page = add(application, admin)
    for path, fields in (
        (f"/admin/users/{user.annotator_id}/disable", {}),
        ("/admin/users", {"name": "somebody else", "role": "admin"}),
        ("/admin/erase", {"annotator": user.annotator_id, "confirmation": "erase for ever"}),
    ):
        for value in ({}, {"csrf": "0" * 64}):
            assert admin.post(path, data={**fields, **value}).status_code == 400, path
    unchanged = users.by_id(application.engine, user.annotator_id)
    assert unchanged is not None and unchanged.disabled_at is None and unchanged.name == user.name
    assert users.find(application.engine, "somebody else") is None


def test_erasure_shows_what_will_be_erased_and_requires_confirmation(
    application: Application, people: dict[str, Somebody], admin: Somebody
) -> None:
    tab = people["bob"].tab()
    tab.call("ChatHandlers.load")
    tab.call("ChatHandlers.send", ["Forget this, please", None, None, ""])
    conversation_id = application.conversation_ids()[-1]
    preview = admin.get("/admin/erase", params={"conversation": conversation_id}).text
    assert conversation_id in preview and "1 conversation, with 4 events" in " ".join(preview.split())
    refused = send(admin, "/admin/erase", conversation=conversation_id, confirmation="yes")
    assert refused.status_code == 400 and "Nothing was erased" in refused.text
    assert application.conversation(conversation_id).messages
    done = send(admin, "/admin/erase", conversation=conversation_id, confirmation="Erase for ever")
    assert done.status_code == 200 and "1 conversation with 4 events is gone" in " ".join(done.text.split())
    assert conversation_id not in application.conversation_ids()
    assert "There is nothing left of this" in admin.get("/admin/erase", params={"conversation": conversation_id}).text
    # The page that is still open on it.
    answer = str(tab.call("ChatHandlers.send", ["And this", None, None, ""]))
    assert "There is no such conversation" in answer
    assert "conversation erased" in admin.get("/admin/audit").text


def test_erasure_removes_annotator_and_refuses_own_account(application: Application, admin: Somebody) -> None:
    user, _page = add(application, admin)
    assert user.name in admin.get("/admin/erase", params={"annotator": user.name}).text
    done = send(admin, "/admin/erase", annotator=user.annotator_id, confirmation="erase for ever")
    assert done.status_code == 200
    assert users.by_id(application.engine, user.annotator_id) is None
    assert user.name not in admin.get("/admin").text and user.name not in admin.get("/admin/audit").text
    own_account = send(admin, "/admin/erase", annotator=admin.annotator_id or "", confirmation="erase for ever")
    assert own_account.status_code == 400 and "You cannot erase yourself" in own_account.text
    missing = admin.get("/admin/erase", params={"annotator": "nobody of this name"})
    assert missing.status_code == 404 and "There is no annotator" in missing.text


@pytest.mark.parametrize("name", ["conversation", "annotator"])
def test_erasure_refuses_address_with_two_values(admin: Somebody, name: str) -> None:
    page = admin.get("/admin/erase", params=[(name, "one"), (name, "another")])
    assert page.status_code == 400
    assert f"{name}&#39; is given more than once in the address; give it once." in page.text


def test_audit_page_begins_before_given_entry_and_ignores_invalid_number(
    application: Application, admin: Somebody
) -> None:
    first = admin.get("/admin/audit").text
    assert admin.get("/admin/audit", params={"before": "2"}).text.count("<tr>") == 2  # the header, and the first entry
    assert admin.get("/admin/audit", params={"before": "not a number"}).text.count("<tr>") == first.count("<tr>")


def test_admin_pages_show_names_and_texts_as_text(application: Application, admin: Somebody) -> None:
    name = f"<b onclick=x>{uuid4().hex[:6]}</b>"
    page = send(admin, "/admin/users", name=name, role="annotator").text
    assert name not in page and html.escape(name, quote=False).replace('"', "&#34;") in page
    searched = admin.get("/admin/erase", params={"annotator": "<script>x</script>"}).text
    assert "<script>" not in searched
