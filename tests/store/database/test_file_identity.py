"""File identity: a SQLite file that is moved, deleted or replaced while in use is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check
from conversation_builder import StoredTalk

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
SENTENCE = r"^The database .*\.db was moved, deleted or replaced, so nothing was stored; put it back, or start"


@pytest.fixture
def path(store: EventStore) -> Path:
    return Path(str(store.engine.url.database))


def rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replace(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))
    shutil.copy(path.with_name("elsewhere.db"), path)


@pytest.mark.parametrize("change", [rename, replace])
def test_file_identity_refuses_reads_and_writes_while_file_is_moved_or_replaced(
    talk: StoredTalk, path: Path, change: Callable[[Path], None]
) -> None:
    talk.ask("Before", "Yes")
    change(path)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=SENTENCE):
            talk.ask("Meanwhile", "Never")
        with pytest.raises(StoreUnavailable, match=SENTENCE), talk.store.reading():
            pass
    assert talk.store.availability.trouble is not None
    assert path.exists() == (change is replace), "nobody makes a new one"
    path.with_name("elsewhere.db").rename(path)
    talk.ask("Afterwards", "Yes")
    shown = [message.text for message in talk.conversation.shown()]
    assert shown == ["Before", "Yes", "Afterwards", "Yes"]
    assert check(f"sqlite:///{path}") == []


def test_file_identity_does_not_recreate_deleted_file(talk: StoredTalk, path: Path) -> None:
    talk.ask("Before", "Yes")
    path.unlink()
    with pytest.raises(StoreUnavailable, match=SENTENCE):
        talk.ask("Meanwhile", "Never")
    talk.store.engine.dispose()
    with pytest.raises(StoreUnavailable, match=SENTENCE), talk.store.reading():
        pass
    assert not path.exists()
