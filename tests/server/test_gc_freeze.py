"""What lasts as long as the process is set aside, and nothing else is."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from chatfeedback.server.gc_freeze import frozen_startup


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    assert gc.isenabled()


class Ring:
    """Reaches itself, so that only a search finds out that nothing else does."""

    found = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Ring.found += 1


def test_what_is_made_at_the_start_is_never_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ring, "found", 0)
    with frozen_startup():
        assert not gc.isenabled()
        Ring()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    gc.collect()
    assert Ring.found == 0
    Ring()
    gc.collect()
    assert Ring.found == 1, "what is made later is found"


def test_a_start_that_fails_leaves_the_search_on() -> None:
    with pytest.raises(OSError, match="no port"), frozen_startup():
        raise OSError("no port")
    assert gc.isenabled()
