"""Erasure after random commands of two people."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatfeedback.domain.conversation import decide
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.types import new_id
from chatfeedback.errors import InputError
from chatfeedback.store.accounts import annotators
from chatfeedback.store.erasure import erasure
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check, rebuild
from chatfeedback.store.schema import PROJECTIONS
from conversation_builder import StoredTalk
from store.erasing import assert_guarded, ids_of, kinds, rows, without

steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(["ask", "edit", "retry", "rate", "undo", "clear"])),
    min_size=1,
    max_size=10,
)


def do(talk: StoredTalk, actor: str, command: str, words: str) -> None:
    talk.actor = actor
    shown = [message.message_id for message in talk.conversation.shown()]
    if command == "ask" or not shown:
        talk.ask(words, "An answer")
    elif command == "edit":
        talk.edit(shown[-1], words)
        if (writing := talk.conversation.writing_id) is not None:
            talk.finish(writing)
    elif command == "retry":
        talk.finish(talk.retry(shown[-1]))
    elif command == "rate":
        talk.rate(shown[-1], actor, RatingChange("like", {"funny": True}, words))
    elif command == "undo":
        talk.undo()
    else:
        talk.do(decide.clear)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(taken=steps, whole_annotator=st.booleans())
def test_erase_removes_texts_of_one_person_and_keeps_rest_after_random_commands(
    store: EventStore, database_url: str, taken: list[tuple[int, int, str]], whole_annotator: bool
) -> None:
    ada, bob = (annotators.ensure(store.engine, f"{name} {new_id()}") for name in ("ada", "bob"))
    talks = [StoredTalk(store, owner) for owner in (ada, bob, bob)]
    for talk in talks:
        talk.ask(f"Hello from {talk.actor}", "Hi")
    for number, (which, actor, command) in enumerate(taken):
        try:
            do(talks[which], (ada, bob)[actor], command, f"words {number} of {(ada, bob)[actor]}")
        except InputError:
            continue
    before, its = rows(store.engine), ids_of(talks[0])
    logs = [store.events_of(talk.conversation_id) for talk in talks]
    if whole_annotator:
        erased = erasure.erase_annotator(store.engine, ada, None)
    else:
        erased = erasure.erase_conversation(store.engine, talks[0].conversation_id, None)
    assert (erased.conversations, erased.events) == (1, len(logs[0]))
    assert kinds(store, talks[0]) == ["conversation_erased"]
    after = rows(store.engine)
    for talk, log in zip(talks[1:], logs[1:], strict=True):
        now_there = store.events_of(talk.conversation_id)
        assert [e.event_id for e in log] == [e.event_id for e in now_there[: len(log)]]
        assert [e for e in now_there[: len(log)] if e.actor_id != ada] == [e for e in log if e.actor_id != ada]
        if not whole_annotator:
            assert now_there == log
    if not whole_annotator:
        assert without(after, *its) == without(before, *its)
    else:
        assert f"of {ada}" not in repr(after)
        assert f"from {ada}" not in repr(after)
    assert check(database_url) == []
    rebuild(database_url, lambda done, total: None)
    assert rows(store.engine, *PROJECTIONS) == {table.name: after[table.name] for table in PROJECTIONS}
    assert_guarded(store.engine)
