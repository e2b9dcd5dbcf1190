"""MT-Bench with the real local model: the exported file agrees with the feedback given in the browser.

`uv run scripts/mt_bench` asks all 80 questions; the suite asks the first six, one in each way, with shorter replies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Error, expect

from browser.application import Application
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from chatfeedback.config.models import LOCAL_MODEL_NAME
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.maintenance import check

QUESTIONS = Path(__file__).parent.parent / "data" / "mt_bench_questions.jsonl"
COUNT = int(os.environ.get("MT_BENCH_QUESTIONS", "6"))
MAX_TOKENS = int(os.environ.get("MT_BENCH_MAX_TOKENS", "16"))
REPLY_MILLISECONDS = 300_000
"""Time limit for a whole reply on a busy machine."""


@dataclass(frozen=True, order=True)
class Feedback:
    """Feedback on one reply."""

    prompt: str
    value: str
    reasons: tuple[str, ...] = ()
    comment: str = ""


@pytest.fixture(scope="module")
def application(new_sqlite: Callable[[], str]) -> Iterator[Application]:
    with Application(new_sqlite(), max_tokens=MAX_TOKENS).running() as application:
        yield application


class Annotator:
    """Annotator who works through questions in one tab, and records their feedback."""

    def __init__(self, chat: ChatPage) -> None:
        self.chat = chat
        self.feedback: list[Feedback] = []
        self.stopped: list[str] = []
        """The prompts whose replies were to be stopped; some were quicker."""

    def ask(self, text: str) -> None:
        self.chat.send(text)
        self.written()

    def written(self) -> None:
        expect(self.chat.send_button).to_be_visible(timeout=REPLY_MILLISECONDS)

    def rate(self, prompt: str, value: str, reason: str = "", comment: str = "") -> None:
        """Rate the last reply with a thumb, a reason by its label and a comment; return when all of it is saved."""
        # By keyboard: a long reply may still be scrolling away from under the mouse.
        self.chat.buttons(-1).get_by_role("button", name=value.capitalize(), exact=True).press("Enter")
        expect(self.chat.quote).to_contain_text({"like": "You like", "dislike": "You dislike"}[value])
        codes = ()
        if reason:
            self.chat.reason(reason).check()
            codes = (reason.lower().replace(" ", "_"),)
        if comment:
            self.chat.comment.fill(comment)
            self.chat.comment.blur()
        expect(self.chat.saved).to_have_text("✓ Saved")
        self.chat.page.get_by_role("button", name="Close").click()
        expect(self.chat.panel).not_to_be_visible()
        self.feedback.append(Feedback(prompt, value, codes, comment))

    def answer(self, number: int, first: str, second: str) -> None:
        """Ask both turns of a question and give feedback, in one of six ways."""
        self.ask(first)
        (self.like, self.dislike, self.retry, self.correct, self.stop, self.undo)[number % 6](first, second)
        if number % 6 not in (4, 5):
            self.ask(second)
        if number % 2:
            self.rate(second, "dislike", "Too long")

    def like(self, first: str, _second: str) -> None:
        self.rate(first, "like", "Helpful", 'It says, "yes", and more:\nNA')

    def dislike(self, first: str, _second: str) -> None:
        self.rate(first, "like")
        self.feedback.pop()  # they change their mind
        self.rate(first, "dislike", "Unclear", "  Who is “it”? 🤔  ")

    def retry(self, first: str, _second: str) -> None:
        self.rate(first, "dislike", comment="The first answer")
        self.chat.press("Retry")
        expect(self.chat.position).to_have_text("Reply 2 of 2", timeout=REPLY_MILLISECONDS)
        self.written()
        self.rate(first, "like", "Clear", "The second answer")

    def correct(self, first: str, _second: str) -> None:
        self.chat.edit(1, f"A better answer to: {first}")
        expect(self.chat.position).to_have_text("Reply 2 of 2")  # not the text: the page shows that before it is stored
        self.rate(first, "like", "Correct", "By hand")

    def stop(self, _first: str, second: str) -> None:
        self.chat.send(second)
        expect(self.chat.replies).to_have_count(2, timeout=REPLY_MILLISECONDS)
        self.stopped.append(second)
        with suppress(Error):  # the reply was quicker, or the click took too long to end; the log says which
            self.chat.stop_button.click(timeout=1000)
        self.written()

    def undo(self, _first: str, second: str) -> None:
        self.ask(second)
        self.chat.press("Undo")
        expect(self.chat.prompt).to_have_value(second)
        self.chat.prompt.press("Enter")
        expect(self.chat.replies).to_have_count(2, timeout=REPLY_MILLISECONDS)
        self.written()


def test_export_agrees_with_feedback_given_in_browser(
    watched: Watched, application: Application, tmp_path: Path
) -> None:
    questions = [json.loads(line)["turns"] for line in QUESTIONS.read_text(encoding="utf-8").splitlines()][:COUNT]
    annotator = Annotator(ChatPage(watched.context().new_page(), application.address).open())
    for number, (first, second) in enumerate(questions):
        annotator.answer(number, first, second)
        annotator.chat.clear()

    database_url, file = application.settings.database_url, tmp_path / "feedback.csv"
    export = [sys.executable, "-m", "chatfeedback", "export", "feedback", "--format", "csv", "--output", str(file)]
    subprocess.run([*export, "--database-url", database_url], check=True, timeout=120)
    rows = pd.read_csv(file, keep_default_na=False, encoding="utf-8")

    exported = [
        Feedback(row.prompt, row.value, tuple(json.loads(row.reasons)), row.comment)
        for row in rows.itertuples(index=False)
    ]
    assert sorted(exported) == sorted(annotator.feedback)
    _assert_provenance(rows, application)
    _assert_statuses(annotator, application)
    assert check(database_url) == []


def _assert_provenance(rows: pd.DataFrame, application: Application) -> None:
    """Check that each row names its reply, its model or author, and its events."""
    by_hand = rows.author_id != ""
    assert all(rows.reply[by_hand].str.startswith("A better answer to:"))
    assert set(rows.model[~by_hand]) == {LOCAL_MODEL_NAME}
    assert set(rows.model[by_hand]) <= {""}
    assert set(rows.annotator_id) == {pseudonyms.pseudonyms(application.engine)(application.annotator_id)}
    for row in rows.itertuples(index=False):
        conversation = application.conversation(row.conversation_id)
        assert row.reply == conversation.messages[row.message_id].text
        assert json.loads(row.thread)[-1] == {"role": "user", "content": row.prompt}
        log = {event.event_id: event.body for event in application.events(row.conversation_id)}
        assert all(log[event_id].message_id == row.message_id for event_id in json.loads(row.event_ids))  # type: ignore[union-attr]


def _assert_statuses(annotator: Annotator, application: Application) -> None:
    """Check that stopped replies say so, undone messages are kept, and nothing failed."""
    stopped = []
    for conversation_id in application.conversation_ids():
        conversation = application.conversation(conversation_id)
        assert conversation.cleared_at is not None
        for message in conversation.messages.values():
            assert message.status in ("complete", "stopped")
            if message.status == "stopped":
                stopped.append(conversation.messages[message.parent_id or ""].text)
    assert set(stopped) <= set(annotator.stopped)
    undone = [number for number in range(COUNT) if number % 6 == 5]
    kinds = [event.body.KIND for cid in application.conversation_ids() for event in application.events(cid)]
    assert kinds.count("turn_undone") == len(undone)
    assert kinds.count("reply_retried") == len([number for number in range(COUNT) if number % 6 == 2])
