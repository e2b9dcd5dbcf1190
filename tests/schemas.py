"""Databases of every schema that there ever was, with data in them, for tests of upgrades.

`tests/data/schemas/0001-v1.jsonl` is a database at revision 0001 whose events have schema version 1, written by the
code of that time: a row on a line, parents before children. The files never change. `python tests/schemas.py` records
one with the code as it is now, for a change that brings a new revision or a new schema version of events.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from alembic.script import ScriptDirectory
from sqlalchemy import Engine, column, insert, select, table, update

from chatfeedback.domain.conversation.events import Assignment
from chatfeedback.domain.events import SCHEMA_VERSION
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.text import sanitize
from chatfeedback.domain.types import FinalStatus
from chatfeedback.store.accounts import annotators, secrets, users
from chatfeedback.store.accounts.login_throttle import LoginThrottle
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database import migrate
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.erasure import erasure
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.opening import open_event_store
from chatfeedback.store.schema import metadata, reply_drafts, to_micros
from conversation_builder import People
from export.recording import TimedTalk

FOLDER = Path(__file__).parent / "data" / "schemas"
MIGRATIONS = Path(__file__).parents[1] / "migrations"
REVISIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory(MIGRATIONS).walk_revisions()))  # oldest first
]
Rows = dict[str, list[dict[str, Any]]]
"""By the name of the table."""

AWKWARD = (
    "  spaces around  ",
    "\ttabs\r\nand\rline\nends\n",
    "quotes ' \" ` '' \"\" and \\ \\n \\u0000 \\N",
    "100 % %s %(name)s :name ? $1 {} {0} ${x} -- ; DROP TABLE events; /* */",
    "NA null None nan true 0 007 1e5 =1+1 @x",
    "<script>alert(1)</script> &amp; [x](javascript:1) `code` **bold**",
    "Grüße, 日本語 👩\u200d🚀 שלום e\u0301 \ufb01 \u202egnp.exe\u202c",
    "\x01\x07\x08\x0b\x0c\x1b[31m\x1f\x7f\x85\u2028\u2029\ufeff\ufffe\U0010ffff",
    "half \ud83d a character, and \0 none",
    "long " * 300,
)
SESSION = timedelta(days=14)
STATUSES: tuple[FinalStatus, ...] = ("complete", "stopped", "left", "interrupted", "failed")


class Schema(NamedTuple):
    """Schema of one of the files."""

    revision: str
    events: int
    """The schema version of its events."""

    def __str__(self) -> str:
        return f"{self.revision}-v{self.events}"

    def rows(self) -> Rows:
        """Return the rows of the file."""
        rows: Rows = defaultdict(list)
        for line in (FOLDER / f"{self}.jsonl").read_text("utf-8").splitlines():
            name, row = json.loads(line)
            rows[name].append(row)
        return rows

    def fill(self, url: str) -> None:
        """Make an empty database one of this schema, with all the rows."""
        migrate.upgrade(url, self.revision)
        engine = open_engine(url)
        with engine.begin() as connection:
            for name, rows in self.rows().items():
                connection.execute(insert(table(name, *map(column, rows[0]))), rows)
        engine.dispose()


NEWEST = Schema(REVISIONS[-1], SCHEMA_VERSION)


def schemas() -> list[Schema]:
    """Return all recorded schemas, oldest first."""
    parts = (path.stem.split("-v") for path in FOLDER.glob("*.jsonl"))
    return sorted(Schema(revision, int(version)) for revision, version in parts)


# Recording


def record(url: str) -> None:
    """Fill an empty database of the newest schema with a little of everything."""
    engine = open_engine(url)
    store = open_event_store(engine)
    people = People(*(annotators.ensure(engine, name) for name in ("ada", "Bob O'Neil <b> 🦉", "cyd")))
    try:
        _talk(store, people)
        _let_in(engine, people)
        _erase(store, people)
    finally:
        store.writer.close()
        engine.dispose()


def _talk(store: EventStore, people: People) -> None:
    ada, bob, cyd = people
    for text in AWKWARD:
        stored_text, _ = sanitize(text)
        talk = TimedTalk(store, bob, "org/vast")
        reply = talk.ask(text, stored_text)
        talk.comment(reply, ada, stored_text)
    talk = TimedTalk(store, ada)
    for status in STATUSES:
        talk.ask(f"Be {status}", "" if status == "failed" else f"I am {status}", status)
    _change_minds(TimedTalk(store, ada, "zephyr"), people)
    talk = TimedTalk(store, bob)
    talk.ask("Which colour?", "Red", assignment=Assignment(study="colours", condition="warm", external_id="p-17"))
    promised = talk.send("And which one is cold?")
    talk.like(promised, bob, "accurate")
    talk.comment(promised, cyd, "It begins well")
    talk.finish(promised, "", "failed")
    talk = TimedTalk(store, cyd)
    writing = talk.send("Tell me a story")
    store.writer.submit(
        lambda tx: reply_leases.save(tx, store.lease_owner, {writing: "Once upon a time, \N{OWL}"}, now())
    ).result()
    with store.engine.begin() as connection:
        connection.execute(update(reply_drafts).values(lease_until=to_micros(talk.at)))


def _change_minds(talk: TimedTalk, people: People) -> None:
    ada, bob, cyd = people
    first = talk.ask("Hello", "Hi")
    second = talk.again(first, "Good day")
    talk.choose(first)
    talk.like(first, ada, "funny", "accurate")
    talk.dislike(first, ada, "wrong")
    talk.unrate(first, ada)
    talk.like(first, ada, "accurate", "funny")
    talk.like(first, bob, "accurate")
    talk.comment(first, cyd, "to be discussed")
    talk.rate(second, bob, RatingChange("dislike", {"wrong": True}, "Not at all"))
    talk.unrate(second, bob)
    (_, prompt) = [message.message_id for message in talk.conversation.shown()][::-1]
    _, reply = talk.edit(prompt, "Hello there")
    talk.finish(reply, "Hi there")
    talk.edit(reply, "Hi there, dear")
    talk.ask("And now?", "Now what?")
    talk.undo()
    talk.clear()


def _let_in(engine: Engine, people: People) -> None:
    ada, bob, cyd = annotators.names(engine).values()
    admin_id = users.add(engine, "root", "admin", actor_id=None, password_hash="$argon2id$made$up").annotator_id
    users.add(engine, "researcher", "researcher", actor_id=admin_id, identity=("https://id.example", "42"))
    for name in (ada, bob, cyd):
        users.add(engine, name, "annotator", actor_id=admin_id)
    users.set_disabled(engine, cyd, True, actor_id=admin_id)
    users.consent(engine, people.ada, "2026-01")
    Sessions(engine, lifetime=SESSION, idle=SESSION).begin(people.ada, "password")
    LoginThrottle(engine, secrets.get_or_create(engine, "attempts")).begin("ada", "192.0.2.1")
    secrets.get_or_create(engine, "pseudonyms")


def _erase(store: EventStore, people: People) -> None:
    talk = TimedTalk(store, people.ada)
    talk.ask("What is consent?", "To agree", consent_version="2026-01")
    hidden = TimedTalk(store, people.ada)
    hidden.ask("Forget this", "What?")
    erasure.erase_conversation(store.engine, hidden.conversation_id, people.ada)
    gone = annotators.ensure(store.engine, "gone")
    talk.comment(talk.ask("Who was here?", "Nobody"), gone, "I was")
    erasure.erase_annotator(store.engine, gone, None)


def _dump(url: str) -> str:
    engine = open_engine(url)
    lines = []
    with engine.connect() as connection:
        for one in metadata.sorted_tables:
            # Each database numbers its own positions.
            kept = [each for each in one.columns if each.identity is None]
            for row in connection.execute(select(*kept).order_by(*one.primary_key.columns)).mappings():
                lines.append(json.dumps([one.name, dict(row)]))
    engine.dispose()
    return "".join(f"{line}\n" for line in lines)


def main() -> int:
    file = FOLDER / f"{NEWEST}.jsonl"
    if file.exists():
        print(f"{file} is there already, and never changes.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/recorded.db"
        migrate.upgrade(url)
        record(url)
        file.write_text(_dump(url), "utf-8")
    print(f"{file} is recorded.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
