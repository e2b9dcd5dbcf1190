"""Filters of exports: they leave out whole rows, and change nothing in the others."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from chatfeedback.domain.conversation.events import Assignment
from chatfeedback.errors import NotFound
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import MODELS, START, Read, TimedTalk, gather

DAY = timedelta(days=1)
KINDS = ("events", "messages", "feedback")
INSTANT = {"events": "occurred_at", "messages": "created_at", "feedback": "rated_at"}
WHO = {"events": "actor_id", "messages": "annotator_id", "feedback": "annotator_id"}


@pytest.fixture(autouse=True)
def _gathered(store: EventStore, people: People) -> None:
    gather(store, people)


def text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S.%f}Z"


@pytest.mark.parametrize("kind", KINDS)
def test_filter_since_is_inclusive_and_until_is_exclusive(kind: str, read: Read) -> None:
    everything = read(kind)
    instants = sorted({row[INSTANT[kind]] for row in everything})
    for first, after in ((3, -3), (0, 1), (-2, -1)):
        since, until = instants[first], instants[after]
        expected = [row for row in everything if since <= row[INSTANT[kind]] < until]
        assert expected
        assert read(kind, since=datetime.fromisoformat(since), until=datetime.fromisoformat(until)) == expected
    assert read(kind, since=datetime.fromisoformat(instants[-1])) != []
    assert read(kind, until=datetime.fromisoformat(instants[0])) == []


@pytest.mark.parametrize("kind", KINDS)
def test_filters_by_day_together_give_whole_export(kind: str, read: Read) -> None:
    days = [read(kind, since=START + number * DAY, until=START + (number + 1) * DAY) for number in range(3)]
    assert all(days)
    key = "position" if kind == "events" else "conversation_id"
    assert sorted((row for day in days for row in day), key=str) == sorted(read(kind), key=str)
    assert not {row[key] for row in days[0]} & {row[key] for row in days[1]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", MODELS)
def test_filter_by_model_keeps_rows_about_its_replies(kind: str, model: str, read: Read) -> None:
    expected = [row for row in read(kind) if row["model"] == model]
    assert 0 < len(expected) < len(read(kind))
    assert read(kind, model=model) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", People._fields)
def test_filter_by_annotator_accepts_name_id_and_pseudonym(
    kind: str, name: str, read: Read, people: People, called: People
) -> None:
    annotator_id, pseudonym = getattr(people, name), getattr(called, name)
    expected = [row for row in read(kind) if row[WHO[kind]] == pseudonym]
    assert 0 < len(expected) < len(read(kind))
    for annotator in (name, annotator_id, pseudonym):
        assert read(kind, annotator=annotator) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_filters_are_combined(kind: str, read: Read, called: People) -> None:
    since, until = START + DAY, START + 2 * DAY
    expected = [
        row
        for row in read(kind)
        if text(since) <= row[INSTANT[kind]] < text(until) and row["model"] == "large" and row[WHO[kind]] == called.bob
    ]
    assert expected
    assert read(kind, since=since, until=until, model="large", annotator="bob") == expected
    assert read(kind, since=since, until=until, model="small", annotator="bob") == []


def test_filter_by_time_uses_last_change_of_feedback(store: EventStore, people: People, read: Read) -> None:
    talk = TimedTalk(store, people.ada, at=START - DAY)
    reply = talk.ask("Hello", "Hi")
    talk.like(reply, people.ada)
    talk.at = START + 10 * DAY
    assert read("feedback", since=START + 9 * DAY) == []
    talk.comment(reply, people.ada, "on second thoughts")
    (row,) = read("feedback", since=START + 9 * DAY)
    assert (row["value"], row["comment"]) == ("like", "on second thoughts")
    assert row["first_rated_at"] < row["rated_at"] == text(START + 10 * DAY)


@pytest.mark.parametrize("kind", KINDS)
def test_filter_by_unknown_model_or_annotator_is_refused_in_one_sentence(kind: str, read: Read) -> None:
    with pytest.raises(NotFound, match=r"^There is no reply by a model named 'smal' in the database\.$"):
        read(kind, model="smal")
    with pytest.raises(
        NotFound, match=r"^There is no annotator with the name, id or pseudonym 'Ada' in the database\.$"
    ):
        read(kind, annotator="Ada")


ASSIGNMENTS = (
    Assignment(study="colours", condition="warm", external_id="p-17"),
    Assignment(study="colours", condition="cold", external_id="p-18"),
    Assignment(study="sounds", condition="warm"),
)


@pytest.fixture
def of_studies(store: EventStore, people: People) -> None:
    for hour, assignment in enumerate(ASSIGNMENTS):
        talk = TimedTalk(store, people.ada, at=START + timedelta(days=9, hours=hour))
        talk.like(talk.ask("Hello", "Hi", assignment=assignment), people.bob)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "filters",
    [
        {"study": "colours"},
        {"condition": "warm"},
        {"external_id": "p-18"},
        {"study": "colours", "condition": "warm"},
        {"study": "sounds", "condition": "cold"},
    ],
)
def test_filter_by_study_keeps_its_conversations(
    kind: str, filters: dict[str, str], of_studies: None, read: Read
) -> None:
    rows = {row["message_id"]: row for row in read("messages")}
    fitting = {
        row["conversation_id"] for row in rows.values() if all(row[name] == value for name, value in filters.items())
    }
    assert bool(fitting) == (filters != {"study": "sounds", "condition": "cold"})
    expected = [row for row in read(kind) if row["conversation_id"] in fitting]
    assert read(kind, **filters) == expected


@pytest.mark.parametrize("name", ["study", "condition", "external_id"])
def test_filter_by_unknown_study_is_refused(name: str, of_studies: None, read: Read) -> None:
    with pytest.raises(NotFound, match=f"no conversation with the {name.replace('_', ' ')} 'nowhere'"):
        read("messages", **{name: "nowhere"})


def test_messages_and_feedback_have_their_study(of_studies: None, read: Read) -> None:
    assignments = [(one.study, one.condition, one.external_id) for one in ASSIGNMENTS]
    for kind, each in (("messages", 2), ("feedback", 1)):
        rows = [row for row in read(kind) if row["study"]]
        assert sorted((row["study"], row["condition"], row["external_id"] or "") for row in rows) == sorted(
            (study, condition, external_id or "") for study, condition, external_id in assignments for _ in range(each)
        )
