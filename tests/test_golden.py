"""Golden records: they are unchanged, and the log is encoded as it was stored."""

from __future__ import annotations

import pytest

import golden
from chatfeedback.domain.events import body_from, payload_text
from schemas import NEWEST


@pytest.fixture(scope="module")
def records() -> dict[str, bytes]:
    return golden.records()


def test_golden_has_record_of_each_output(records: dict[str, bytes]) -> None:
    assert {path.name for path in golden.FOLDER.iterdir()} == set(records)


@pytest.mark.parametrize("name", sorted(path.name for path in golden.FOLDER.iterdir()))
def test_golden_record_is_unchanged(records: dict[str, bytes], name: str) -> None:
    recorded = (golden.FOLDER / name).read_bytes()
    assert records[name] == recorded, "if this is meant, run `python tests/golden.py` and review the difference"


def test_payload_text_encodes_every_stored_event_to_same_bytes() -> None:
    for row in NEWEST.rows()["events"]:
        body = body_from(row["kind"], row["schema_version"], row["message_id"], row["payload"])
        assert payload_text(body) == row["payload"]
