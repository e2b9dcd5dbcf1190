"""Provenance of replies, and the study assignment of conversations.

The rebuild of the projections at the end of an upgrade fills the columns (env.py). It also restores ratings of replies
that ended without text, which earlier releases dropped.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OF_CONVERSATIONS = ("study", "condition", "external_id")
OF_MESSAGES: dict[str, sa.types.TypeEngine[Any]] = {
    "model_id": sa.Text(),
    "sent_temperature": sa.Double(),
    "sent_top_p": sa.Double(),
    "sent_max_tokens": sa.Integer(),
    "sent_seed": sa.BigInteger(),
    "reported_model": sa.Text(),
    "system_fingerprint": sa.Text(),
    "reported_provider": sa.Text(),
    "weights_sha256": sa.Text(),
}


def upgrade() -> None:
    """Add the columns."""
    for name in OF_CONVERSATIONS:
        op.add_column("conversations", sa.Column(name, sa.Text()))
    for name, kind in OF_MESSAGES.items():
        op.add_column("messages", sa.Column(name, kind))


def downgrade() -> None:
    """Drop the columns; their values stay in the log."""
    for name in reversed(OF_MESSAGES):
        op.drop_column("messages", name)
    for name in reversed(OF_CONVERSATIONS):
        op.drop_column("conversations", name)
    # Earlier releases have no ratings of replies without text.
    unfounded = "SELECT message_id FROM messages WHERE model IS NOT NULL AND text = '' AND status <> 'writing'"
    for table in ("rating_reasons", "ratings"):
        op.execute(f"DELETE FROM {table} WHERE message_id IN ({unfounded})")  # noqa: S608 - constants
