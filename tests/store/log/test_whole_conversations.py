"""Random conversations: the store, the folded log and a model on paper always agree."""

from __future__ import annotations

import random
import threading
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.types import FinalStatus
from chatfeedback.errors import Conflict, InputError, ReplyRunning
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check, rebuild
from chatfeedback.store.projections import conversation as projections
from chatfeedback.store.schema import PROJECTIONS
from conversation_builder import REASONS, People, StoredTalk
from reference_model import Paper

STATUSES: list[FinalStatus] = ["complete", "stopped", "left", "interrupted", "failed"]
texts = st.sampled_from(["Hello", "What is a river?", "Grüße, 日本 😀", "a" * 100])
changes = st.builds(
    RatingChange,
    value=st.sampled_from([None, "", "like", "dislike"]),
    reasons=st.dictionaries(st.sampled_from(sorted(REASONS)), st.booleans()),
    comment=st.sampled_from([None, None, "", "Well said", "So so"]),
)


class Conversations(RuleBasedStateMachine):
    """State machine of the commands of people, run on the store and on paper."""

    store: EventStore
    people: People

    def __init__(self) -> None:
        super().__init__()
        self.talk = StoredTalk(self.store, self.people.ada)
        self.paper = Paper()

    def idle(self) -> bool:
        return self.paper.writing is None

    def busy(self) -> bool:
        return self.paper.writing is not None

    def some(self, data: st.DataObject, ids: Any) -> str:
        return str(data.draw(st.sampled_from(list(ids)).map(str), label="which"))

    @precondition(idle)
    @rule(text=texts)
    def send(self, text: str) -> None:
        reply_id = self.talk.send(text)
        self.paper.send(text, str(self.talk.conversation.messages[reply_id].parent_id), reply_id)

    @precondition(idle)
    @rule(text=texts, answer=texts)
    def exchange(self, text: str, answer: str) -> None:
        self.send(text)
        self.finish(answer, "complete")

    @precondition(busy)
    @rule(text=st.just("") | texts, status=st.sampled_from(STATUSES))
    def finish(self, text: str, status: FinalStatus) -> None:
        reply_id = str(self.paper.writing)
        self.talk.finish(reply_id, text, status)
        self.paper.finish(text)
        assert self.talk.conversation.messages[reply_id].status == status

    @precondition(lambda self: self.idle() and self.paper.screen)
    @rule()
    def retry(self) -> None:
        last = self.talk.conversation.shown()[-1]
        if last.role == "assistant":
            self.paper.retry(self.talk.retry(last.message_id))

    @precondition(lambda self: self.idle() and self.paper.screen)
    @rule()
    def undo(self) -> None:
        self.talk.undo()
        self.paper.undo()

    @precondition(lambda self: self.idle() and self.paper.screen)
    @rule(data=st.data(), text=texts)
    def edit(self, data: st.DataObject, text: str) -> None:
        message_id = self.some(data, self.paper.screen)
        edited_id, reply_id = self.talk.edit(message_id, text)
        if text != self.paper.texts[message_id]:
            self.paper.edit(message_id, text, edited_id, reply_id)

    @precondition(lambda self: self.idle() and len(self.paper.alternatives()) > 1)
    @rule(data=st.data())
    def choose(self, data: st.DataObject) -> None:
        message_id = self.some(data, self.paper.alternatives())
        self.talk.choose(message_id)
        if message_id != self.paper.screen[-1]:
            self.paper.choose(message_id)

    @precondition(lambda self: self.idle() and self.paper.corrigible())
    @rule(data=st.data())
    def correct_early_reply_and_go_back(self, data: st.DataObject) -> None:
        message_id = self.some(data, self.paper.corrigible())
        self.paper.edit(message_id, "Corrected", *self.talk.edit(message_id, "Corrected"))
        self.assert_agreement()
        self.talk.choose(message_id)
        self.paper.choose(message_id)

    @precondition(lambda self: self.paper.rateable())
    @rule(data=st.data(), annotator=st.sampled_from([0, 1, 2]), change=changes)
    def rate(self, data: st.DataObject, annotator: int, change: RatingChange) -> None:
        message_id = self.some(data, self.paper.rateable())
        tree_version = self.talk.conversation.tree_version
        new = self.talk.rate(message_id, self.people[annotator], change)
        changed = self.paper.rate(message_id, self.people[annotator], change.value, change.reasons, change.comment)
        assert len(new) == changed
        assert self.talk.conversation.tree_version == tree_version

    @precondition(lambda self: self.paper.screens != [()])
    @rule()
    def clear(self) -> None:
        self.talk.clear()
        assert self.talk.conversation.cleared_at is not None

    @precondition(busy)
    @rule(command=st.sampled_from(["send", "undo", "retry", "edit"]))
    def disturb_running_reply(self, command: str) -> None:
        version = self.talk.conversation.version
        with pytest.raises(ReplyRunning):
            {
                "send": lambda: self.talk.send("More"),
                "undo": self.talk.undo,
                "retry": lambda: self.talk.retry(self.paper.screen[-1]),
                "edit": lambda: self.talk.edit(self.paper.screen[0], "Something else"),
            }[command]()
        assert self.talk.conversation.version == version

    @precondition(lambda self: self.paper.screen)
    @rule(command=st.sampled_from(["send", "undo", "retry", "edit", "choose"]), behind=st.integers(1, 3))
    def use_outdated_version(self, command: str, behind: int) -> None:
        before = self.talk.conversation
        tree_version, last = before.tree_version - behind, self.paper.screen[-1]
        with pytest.raises(Conflict):
            {
                "send": lambda: self.talk.send("More", tree_version),
                "undo": lambda: self.talk.undo(tree_version),
                "retry": lambda: self.talk.retry(last, tree_version),
                "edit": lambda: self.talk.edit(last, "Something else", tree_version),
                "choose": lambda: self.talk.choose(last, tree_version),
            }[command]()
        assert self.talk.conversation == before

    @invariant()
    def assert_agreement(self) -> None:
        conversation = self.talk.conversation
        events = self.store.events_of(self.talk.conversation_id)
        assert conversation == fold(self.talk.conversation_id, events)
        if events:
            with self.store.reading() as tx:
                assert projections.load(tx, self.talk.conversation_id) == conversation
        assert tuple(message.message_id for message in conversation.shown()) == self.paper.screen
        assert {m.message_id: m.text for m in conversation.messages.values()} == self.paper.texts
        assert {m for m, message in conversation.messages.items() if message.shown} == set(self.paper.screen)
        assert conversation.writing_id == self.paper.writing
        if self.paper.alternatives():
            alternatives = conversation.alternatives(self.paper.screen[-1])
            assert [message.message_id for message in alternatives] == self.paper.alternatives()
        assert {
            key: (rating.value or "", set(rating.reasons), rating.comment or "")
            for key, rating in conversation.ratings.items()
        } == {key: (o.value, o.reasons, o.comment) for key, o in self.paper.opinions.items()}


def test_store_fold_and_paper_agree_after_each_step(
    store: EventStore, people: People, database_url: str, database_kind: str
) -> None:
    machine = type("Conversations", (Conversations,), {"store": store, "people": people})
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=40 if database_kind == "sqlite" else 8, stateful_step_count=25, deadline=None
        ),
    )
    assert check(database_url) == []
    live = rows(store)
    rebuild(database_url, lambda done, total: None)
    assert rows(store) == live


def rows(store: EventStore) -> dict[str, list[tuple[object, ...]]]:
    with store.engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in PROJECTIONS
        }


# Several people at once


def act(talk: StoredTalk, people: People, dice: random.Random) -> None:
    """Run a random command on the current conversation; others may be quicker."""
    conversation = talk.conversation
    tree_version = conversation.tree_version
    replies = [m.message_id for m in conversation.messages.values() if m.role == "assistant"]
    shown = [m.message_id for m in conversation.shown()]
    running = conversation.writing_id
    actions: list[Any] = [lambda: talk.send("Hello", tree_version), lambda: talk.undo(tree_version), talk.clear]
    if running:
        text, status = dice.choice(["", "Hi", "Good day"]), dice.choice(STATUSES)
        actions += [lambda: talk.finish(running, text, status)] * 4
    if shown:
        one = dice.choice(shown)
        actions += [
            lambda: talk.retry(shown[-1], tree_version),
            lambda: talk.edit(one, f"{dice.random()}", tree_version),
        ]
    if replies:
        reply, annotator = dice.choice(replies), dice.choice(people)
        change = RatingChange(
            value=dice.choice([None, "", "like", "dislike"]),
            reasons=dice.choice([{}, {"funny": False}, {"funny": True}, {"accurate": True, "funny": True}]),
            comment=dice.choice([None, "", "Well said"]),
        )
        actions += [lambda: talk.rate(reply, annotator, change)] * 4 + [lambda: talk.choose(reply, tree_version)]
    dice.choice(actions)()


ENOUGH = 20
"""Number of messages from which on commands were concurrent."""


@pytest.mark.parametrize("seed", [1, 2])
def test_log_and_projections_agree_after_concurrent_random_commands(
    store: EventStore, people: People, database_url: str, database_kind: str, seed: int
) -> None:
    ids = [StoredTalk(store, people.ada).conversation_id for _ in range(3)]
    bugs: list[BaseException] = []
    turns = 60 if database_kind == "sqlite" else 25

    def messages() -> int:
        return sum(len(conversation.messages) for each in ids if (conversation := store.conversation(each)))

    def person(number: int) -> None:
        dice = random.Random(100 * seed + number)
        for turn in range(20 * turns):
            if turn >= turns and messages() > ENOUGH:  # the number of refused commands depends on timing
                break
            try:
                act(StoredTalk(store, people[number % 3], dice.choice(ids)), people, dice)
            except InputError as refusal:
                assert str(refusal)
            except Conflict:
                continue
            except Exception as bug:  # noqa: BLE001 - the test reports any error
                bugs.append(bug)

    threads = [threading.Thread(target=person, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bugs == []
    for conversation_id in ids:
        events = store.events_of(conversation_id)
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        assert store.conversation(conversation_id) == fold(conversation_id, events)
    assert check(database_url) == []
    live = rows(store)
    assert len(live["messages"]) > ENOUGH
    assert live["ratings"]
    rebuild(database_url, lambda done, total: None)
    assert rows(store) == live
    assert check(database_url) == []
