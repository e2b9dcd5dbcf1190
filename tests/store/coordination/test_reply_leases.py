"""Reply leases: drafts of running replies, saved by their owner and claimed when it has died."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from chatfeedback.domain.conversation import decide
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.log.event_store import EventStore, now
from chatfeedback.store.log.writer import Work
from chatfeedback.store.schema import reply_drafts
from conversation_builder import People, StoredTalk


def do(store: EventStore, work: Work[object]) -> object:
    return store.writer.submit(work).result()


def save(store: EventStore, texts: dict[str, str], owner: str | None = None) -> dict[str, reply_leases.LeaseSignals]:
    saved = store.writer.submit(lambda tx: reply_leases.save(tx, owner or store.lease_owner, texts, now()))
    return saved.result(20)


def draft(store: EventStore, message_id: str) -> reply_leases.Draft | None:
    with store.reading() as tx:
        return reply_leases.find(tx, message_id)


def test_draft_exists_only_while_its_reply_runs(talk: StoredTalk) -> None:
    reply = talk.send("Hello")
    stored_draft = draft(talk.store, reply)
    assert stored_draft is not None
    assert (stored_draft.conversation_id, stored_draft.text, stored_draft.owner) == (
        talk.conversation_id,
        "",
        talk.store.lease_owner,
    )
    talk.finish(reply, "Hi")
    assert draft(talk.store, reply) is None
    with talk.store.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(reply_drafts)) == 0


def test_save_stores_text_and_returns_signals_for_owner_only(talk: StoredTalk) -> None:
    store, reply = talk.store, talk.send("Hello")
    assert save(store, {reply: "Nonsense"}, owner="somebody") == {}
    assert not save(store, {reply: "Hi th"})[reply].stop_requested
    do(store, lambda tx: reply_leases.ask_to_stop(tx, reply))
    later = now() + timedelta(minutes=1)
    do(store, lambda tx: reply_leases.note_watched(tx, reply, later))
    version = talk.conversation.version
    assert save(store, {reply: "Hi there"}) == {reply: reply_leases.LeaseSignals(True, later, version, saved=True)}
    stored_draft = draft(store, reply)
    assert stored_draft is not None
    assert stored_draft.text == "Hi there"


def test_save_stores_many_drafts_and_returns_versions_of_their_conversations(store: EventStore, people: People) -> None:
    talks = [StoredTalk(store, people.ada) for _ in range(3)]
    replies = [talk.send("Hello") for talk in talks]
    earlier = talks[0].conversation.version
    gone = replies.pop()
    talks[2].finish(gone, "Hi")
    signals = save(store, {gone: "Late", replies[0]: "Zero", replies[1]: "One"})
    assert {reply_id: found.version for reply_id, found in signals.items()} == dict.fromkeys(replies, earlier)
    assert [found.text for reply_id in replies if (found := draft(store, reply_id))] == ["Zero", "One"]
    talks[0].do(decide.clear)
    assert save(store, {replies[0]: "Zero"})[replies[0]].version == earlier + 1


def test_save_skips_locked_draft_and_stores_others(store: EventStore, people: People) -> None:
    held, free = (StoredTalk(store, people.ada).send("Hello") for _ in range(2))
    save(store, {held: "Once", free: "Once"})
    with store.engine.connect() as connection:
        if store.engine.dialect.name == "postgresql":  # on SQLite one writer waits for the other, and holds no row
            connection.execute(select(reply_drafts).where(reply_drafts.c.message_id == held).with_for_update())
        saved = save(store, {held: "Once upon", free: "Once upon"})
        connection.rollback()
    assert set(saved) == {held, free}, "nobody takes it for lost"
    assert saved[free].saved
    assert saved[held].saved == (store.engine.dialect.name == "sqlite")
    stored_draft = draft(store, free)
    assert stored_draft is not None
    assert stored_draft.text == "Once upon"
    save(store, {held: "Once upon a"})
    stored_draft = draft(store, held)
    assert stored_draft is not None
    assert stored_draft.text == "Once upon a"


def test_claim_succeeds_once_and_only_with_current_lease(talk: StoredTalk) -> None:
    store, reply = talk.store, talk.send("Hello")
    save(store, {reply: "Hi th"})
    with store.reading() as tx:
        assert reply_leases.expired(tx, now()) == []
    first = draft(store, reply)
    assert first is not None
    save(store, {reply: "Hi th"})
    assert do(store, lambda tx: reply_leases.claim(tx, first, "heir", now())) is None, "it has been renewed since"
    current = draft(store, reply)
    assert current is not None
    later = now() + reply_leases.LEASE + timedelta(seconds=1)
    with store.reading() as tx:
        assert [expired_draft.message_id for expired_draft in reply_leases.expired(tx, later)] == [reply]
    claimed = do(store, lambda tx: reply_leases.claim(tx, current, "heir", later))
    assert isinstance(claimed, reply_leases.Draft)
    assert (claimed.owner, claimed.text) == ("heir", "Hi th")
    assert do(store, lambda tx: reply_leases.claim(tx, current, "second heir", later)) is None
    assert save(store, {reply: "Hi there"}) == {}
