"""Frozen startup: objects of the startup are excluded from garbage collection, and no others."""

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
    """Object in a reference cycle, which only the garbage collector frees."""

    collected = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Ring.collected += 1


def test_frozen_startup_excludes_its_objects_from_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ring, "collected", 0)
    with frozen_startup():
        assert not gc.isenabled()
        Ring()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    gc.collect()
    assert Ring.collected == 0
    Ring()
    gc.collect()
    assert Ring.collected == 1, "what is made later is found"


def test_frozen_startup_leaves_collection_on_when_start_fails() -> None:
    with pytest.raises(OSError, match="no port"), frozen_startup():
        raise OSError("no port")
    assert gc.isenabled()
