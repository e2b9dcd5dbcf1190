"""Which model really answered, and the study that a conversation belongs to.

The columns are filled when the projections are made again from the log, at the end of an upgrade (env.py). Ratings of
replies that ended without text, which used to be dropped, come back then.
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
    for name in OF_CONVERSATIONS:
        op.add_column("conversations", sa.Column(name, sa.Text()))
    for name, kind in OF_MESSAGES.items():
        op.add_column("messages", sa.Column(name, kind))


def downgrade() -> None:
    """Takes the columns back; the log keeps what was in them."""
    for name in reversed(OF_MESSAGES):
        op.drop_column("messages", name)
    for name in reversed(OF_CONVERSATIONS):
        op.drop_column("conversations", name)
    # The releases before have no rows of these.
    unfounded = "SELECT message_id FROM messages WHERE model IS NOT NULL AND text = '' AND status <> 'writing'"
    for table in ("rating_reasons", "ratings"):
        op.execute(f"DELETE FROM {table} WHERE message_id IN ({unfounded})")  # noqa: S608 - constants
