"""Messages dataset: each version of each message, ordered by conversation."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sqlalchemy import Connection, Select

from chatfeedback.export.columns import Column
from chatfeedback.export.dataset import Dataset
from chatfeedback.query.streaming import OF_CONVERSATION, Row, beside_conversations, streamed
from chatfeedback.store.schema import conversations, messages

COLUMNS = (
    Column("conversation_id"),
    Column("message_id"),
    Column("version", "integer"),
    Column("annotator_id", "annotator"),
    Column("parent_id"),
    Column("replaces_id"),
    Column("shown", "boolean"),
    Column("role"),
    Column("author_id", "annotator"),
    Column("text"),
    Column("altered", "boolean"),
    Column("status"),
    Column("created_at", "instant"),
    Column("created_event_id"),
    Column("model"),
    Column("endpoint"),
    Column("provider"),
    Column("temperature", "number"),
    Column("top_p", "number"),
    Column("max_tokens", "integer"),
    Column("seed", "integer"),
    Column("system_prompt"),
    Column("sent_ids", "json"),
    Column("finished_at", "instant"),
    Column("finished_event_id"),
    Column("finish_reason"),
    Column("error"),
    Column("time_to_first_token", "number"),
    Column("duration", "number"),
    Column("prompt_tokens", "integer"),
    Column("completion_tokens", "integer"),
    Column("consent_version"),
    Column("model_id"),
    Column("sent_temperature", "number"),
    Column("sent_top_p", "number"),
    Column("sent_max_tokens", "integer"),
    Column("sent_seed", "integer"),
    Column("reported_model"),
    Column("system_fingerprint"),
    Column("reported_provider"),
    Column("weights_sha256"),
    Column("study"),
    Column("condition"),
    Column("external_id"),
)


def rows(connection: Connection, selected: Select[Any]) -> Generator[Row, None, None]:
    """Yield the rows, ordered by conversation and version."""
    names = [column.name for column in COLUMNS]
    columns = [conversations.c[name] if name in OF_CONVERSATION else messages.c[name] for name in names]
    order = messages.c.conversation_id, messages.c.version
    return streamed(connection, beside_conversations(selected, messages).add_columns(*columns).order_by(*order))


DATASET = Dataset(COLUMNS, messages, "created_at", "annotator_id", rows)
