"""Short runs of the torture test on each database, and tests of its checks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from chatfeedback.domain.conversation.events import ConversationStarted, MessageSent
from chatfeedback.domain.events import Event
from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import annotators
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.transactions import read_write
from chatfeedback.store.log.event_store import EventStore, now
from chatfeedback.store.opening import open_event_store
from chatfeedback.store.schema import messages
from conversation_builder import StoredTalk
from torture import broken, ledger
from torture.checks import Checks
from torture.command import made
from torture.ledger import Ledger
from torture.run import Plan

ROOT = Path(__file__).parents[2]
LAST = re.compile(r"kills (\d+), acknowledged (\d+), found (\d+), lost (\d+)")


def figures(output: str) -> list[int]:
    """Return kills, acknowledged, found and lost, as the last line has them."""
    last = LAST.fullmatch(output.splitlines()[-1])
    assert last, output
    return [int(figure) for figure in last.groups()]


@pytest.mark.process
@pytest.mark.parametrize(("database", "kills"), [("sqlite", 6), ("postgres", 4)])
def test_acknowledged_events_survive_kills(database: str, kills: int, capfd: pytest.CaptureFixture[str]) -> None:
    plan = Plan(kills, database, "short", longest_delay=1.0, target=broken.hurrying)  # type: ignore[arg-type]
    status = made(plan)
    output = capfd.readouterr().out
    done, acknowledged, logged, lost = figures(output)
    assert (status, done, lost) == (0, kills, 0), output
    assert acknowledged == logged > kills
    of_the_server = kills // 2 if database == "postgres" else 0
    assert f"kills of the application {kills - of_the_server}, of the database server {of_the_server}" in output


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize(("database", "kills"), [("sqlite", 200), ("postgres", 100)])
def test_acknowledged_events_survive_kills_in_long_run(
    database: str, kills: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert made(Plan(kills, database, "long")) == 0  # type: ignore[arg-type]
    done, acknowledged, logged, lost = figures(capfd.readouterr().out)
    assert (done, lost) == (kills, 0) and acknowledged == logged > 10 * kills


@pytest.mark.process
def test_torture_command_kills_application_that_is_started_afresh() -> None:
    command = [sys.executable, "-m", "tests.torture", "--kills", "1", "--fresh", "--annotators", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kills, acknowledged, logged, lost = figures(done.stdout)
    assert (kills, lost) == (1, 0) and acknowledged == logged > 0


@pytest.mark.process
def test_torture_detects_application_that_answers_before_commit(capfd: pytest.CaptureFixture[str]) -> None:
    plan = Plan(3, "sqlite", "early", longest_delay=0.3, target=broken.answering_too_early)
    assert made(plan) == 1
    output = capfd.readouterr().out
    kills, _acknowledged, _logged, lost = figures(output)
    assert kills == 1 and lost > 0
    assert "was acknowledged (conversation" in output
    kept = re.search(r"seed early; the files are in (\S+)", output)
    assert kept and (Path(kept[1]) / "chatfeedback.db").exists()
    shutil.rmtree(kept[1])


# The checks, on databases made by hand


@dataclass
class Case:
    """Conversation of one prompt and its reply, acknowledged and sound."""

    engine: Engine
    store: EventStore
    talk: StoredTalk
    ledger: Ledger
    checks: Checks
    reply_id: str

    @property
    def conversation_id(self) -> str:
        return self.talk.conversation_id

    def begin(self, text: str) -> str:
        """Send a prompt whose reply is still being written; return the id of the reply."""
        self.ledger.attempt(ledger.sent(text))
        return self.talk.send(text)


@pytest.fixture
def case(engine: Engine) -> Iterator[Case]:
    store = open_event_store(engine)
    kept, talk = Ledger(), StoredTalk(store, annotators.ensure(engine, "ada"))
    kept.attempt(ledger.sent("prompt one"))
    reply_id = talk.ask("prompt one", "reply 1: it depends")
    kept.acknowledge(ledger.sent("prompt one"), "here")
    kept.was_shown("prompt one", "reply 1: it depends", "here")
    url = engine.url.render_as_string(hide_password=False)
    sent = {"prompt one": ["reply 1: it depends"], "prompt two": ["reply 2: on what is meant"]}
    yield Case(engine, store, talk, kept, Checks(url, kept, sent), reply_id)
    store.writer.close()


def test_checks_find_nothing_in_sound_database(case: Case) -> None:
    assert case.checks.after_kill(app_died=True) == []
    case.talk.finish(case.begin("prompt two"), "reply 2: on what", "interrupted")
    assert case.checks.after_kill(app_died=True) == []
    assert case.checks.at_the_end() == []
    assert case.ledger.found(case.checks.logged) == 2


def lose_a_prompt(case: Case) -> str:
    case.ledger.attempt(ledger.sent("prompt two"))
    case.ledger.acknowledge(ledger.sent("prompt two"), "there")
    return "“sent | prompt two” was acknowledged (there), and is not in the log."


def store_a_prompt_twice(case: Case) -> str:
    for text in ("prompt two", "prompt two"):
        case.talk.finish(case.talk.send(text), "reply 2: on what is meant")
    case.ledger.attempt(ledger.sent("prompt two"))
    return "“sent | prompt two” is in the log 1 times too often."


def store_half_of_a_command(case: Case) -> str:
    half = [ConversationStarted(), MessageSent(message_id=new_id(), parent_id=None, text="prompt two")]
    case.ledger.attempt(ledger.sent("prompt two"))
    events = [
        Event(new_id(), conversation_id, version, case.talk.actor, now(), body)
        for conversation_id in [new_id()]
        for version, body in enumerate(half, 1)
    ]
    case.store.append(events, 0).result(60)
    return (
        f"Conversation {events[0].conversation_id}: version 2 (message_sent) is not followed by the start of its reply."
    )


def change_a_projection(case: Case) -> str:
    with read_write(case.engine) as connection:
        connection.execute(update(messages).where(messages.c.text == "prompt one").values(text="prompt two"))
    return f"Conversation {case.conversation_id} opens as something else than its events add up to."


def drop_a_draft(case: Case) -> str:
    reply_id = case.begin("prompt two")
    case.store.writer.submit(lambda tx: reply_leases.end(tx, reply_id)).result(60)
    return f"Reply {reply_id} is neither ended nor in the drafts."


def change_what_the_model_sent(case: Case) -> str:
    reply_id = case.begin("prompt two")
    case.talk.finish(reply_id, "reply 2: on something else", "interrupted")
    return (
        f"Conversation {case.conversation_id}: the text of reply {reply_id} is not what the model sent: "
        "'reply 2: on something else'."
    )


def call_a_piece_complete(case: Case) -> str:
    reply_id = case.begin("prompt two")
    case.talk.finish(reply_id, "reply 2: on")
    return f"Conversation {case.conversation_id}: reply {reply_id} is called complete, and is not whole: 'reply 2: on'."


@pytest.mark.parametrize(
    "harm",
    [
        lose_a_prompt,
        store_a_prompt_twice,
        store_half_of_a_command,
        change_a_projection,
        drop_a_draft,
        change_what_the_model_sent,
        call_a_piece_complete,
    ],
)
def test_checks_find_harm(harm: Callable[[Case], str], case: Case) -> None:
    sentence = harm(case)
    assert sentence in case.checks.after_kill(app_died=True)


def test_checks_find_event_that_is_missing_from_log(case: Case) -> None:
    assert case.checks.after_kill(app_died=True) == []
    known = case.checks.known[case.conversation_id]
    known.append(known[-1])
    sentence = f"Conversation {case.conversation_id}: what was in the log is not there any more, or has changed."
    assert case.checks.after_kill(app_died=True) == [sentence]


def test_checks_find_recovered_reply_that_lost_text_of_its_checkpoint(case: Case) -> None:
    reply_id = case.begin("prompt two")
    owner, text = case.store.lease_owner, "reply 2: on what"
    case.store.writer.submit(lambda tx: reply_leases.save(tx, owner, {reply_id: text}, now())).result(60)
    assert case.checks.after_kill(app_died=True) == []
    assert case.checks.writing() == 1
    case.talk.finish(reply_id, "reply 2:", "interrupted")
    sentence = f"Reply {reply_id} ended as interrupted with 'reply 2:', stored was {text!r}."
    assert case.checks.at_the_end() == [sentence]
