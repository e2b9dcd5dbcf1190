"""Drafts: there while a reply is being written, and for whoever finds it when its writer has died."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from chatfeedback.store import drafts
from chatfeedback.store.event_store import EventStore, now
from chatfeedback.store.schema import reply_drafts
from chatfeedback.store.writer import Work
from talking import StoredTalk


def do(store: EventStore, work: Work[object]) -> object:
    return store.writer.submit(work).result()


def draft(store: EventStore, message_id: str) -> drafts.Draft | None:
    with store.reading() as tx:
        return drafts.find(tx, message_id)


def test_a_draft_comes_and_goes_with_the_reply_that_it_belongs_to(talk: StoredTalk) -> None:
    reply = talk.send("Hello")
    found = draft(talk.store, reply)
    assert found is not None
    assert (found.conversation_id, found.text, found.owner) == (talk.conversation_id, "", talk.store.owner)
    talk.finish(reply, "Hi")
    assert draft(talk.store, reply) is None
    with talk.store.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(reply_drafts)) == 0


def test_only_its_owner_saves_a_draft_and_hears_what_is_wished(talk: StoredTalk) -> None:
    store, reply = talk.store, talk.send("Hello")
    assert do(store, lambda tx: drafts.save(tx, reply, "somebody", "Nonsense", now())) is None
    wishes = do(store, lambda tx: drafts.save(tx, reply, store.owner, "Hi th", now()))
    assert isinstance(wishes, drafts.Wishes)
    assert not wishes.stop_requested
    do(store, lambda tx: drafts.ask_to_stop(tx, reply))
    later = now() + timedelta(minutes=1)
    do(store, lambda tx: drafts.note_watched(tx, reply, later))
    assert do(store, lambda tx: drafts.save(tx, reply, store.owner, "Hi there", now())) == drafts.Wishes(True, later)
    found = draft(store, reply)
    assert found is not None
    assert found.text == "Hi there"


def test_a_draft_is_claimed_once_and_only_with_the_lease_that_was_seen(talk: StoredTalk) -> None:
    store, reply = talk.store, talk.send("Hello")
    do(store, lambda tx: drafts.save(tx, reply, store.owner, "Hi th", now()))
    with store.reading() as tx:
        assert drafts.expired(tx, now()) == []
    first = draft(store, reply)
    assert first is not None
    do(store, lambda tx: drafts.save(tx, reply, store.owner, "Hi th", now()))
    assert do(store, lambda tx: drafts.claim(tx, first, "heir", now())) is None, "it has been renewed since"
    seen = draft(store, reply)
    assert seen is not None
    later = now() + drafts.LEASE + timedelta(seconds=1)
    with store.reading() as tx:
        assert [found.message_id for found in drafts.expired(tx, later)] == [reply]
    claimed = do(store, lambda tx: drafts.claim(tx, seen, "heir", later))
    assert isinstance(claimed, drafts.Draft)
    assert (claimed.owner, claimed.text) == ("heir", "Hi th")
    assert do(store, lambda tx: drafts.claim(tx, seen, "second heir", later)) is None
    assert do(store, lambda tx: drafts.save(tx, reply, store.owner, "Hi there", now())) is None
