"""The append-only event log, the projections, annotators and reply leases.

Triggers refuse UPDATE and DELETE on the log, and what goes around such triggers. On SQLite, INSERT OR REPLACE deletes
rows without firing a DELETE trigger; on Postgres, TRUNCATE fires no row triggers.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from alembic.util import CommandError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the log with its triggers, the projections, and the leases."""
    _create_log()
    if op.get_bind().dialect.name == "sqlite":
        _guard_on_sqlite()
    else:
        _guard_on_postgres()
    _create_conversations()
    _create_messages()
    _create_ratings()
    _create_drafts()


def downgrade() -> None:
    """Drop all tables; refuse to drop events unless `destroy_data` is set (alembic: `-x destroy_data=yes`)."""
    bind = op.get_bind()
    config = op.get_context().config
    said = context.get_x_argument(as_dictionary=True).get("destroy_data")
    allowed = said == "yes" or bool(config and config.attributes.get("destroy_data"))
    if bind.dialect.name == "postgresql":
        op.execute("LOCK TABLE events IN EXCLUSIVE MODE")  # no append between the check and the drop
    if not allowed and bind.scalar(sa.text("SELECT EXISTS (SELECT 1 FROM events)")):
        raise CommandError(
            "This downgrade would destroy every stored event; export them first, and pass --destroy-data to go on."
        )
    for table in ("reply_drafts", "rating_reasons", "ratings", "messages", "conversations", "events", "annotators"):
        op.drop_table(table)
    if bind.dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_events()")


def _create_log() -> None:
    op.create_table(
        "annotators",
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("annotator_id", name=op.f("pk_annotators")),
        sa.UniqueConstraint("name", name=op.f("uq_annotators_name")),
    )
    op.create_table(
        "events",
        # AUTOINCREMENT, which never reuses a position, needs the exact type INTEGER on SQLite.
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=True),
            nullable=False,
        ),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text()),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("rating", sa.Text()),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["annotators.annotator_id"], name=op.f("fk_events_actor_id")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_events")),
        sa.UniqueConstraint("conversation_id", "version", name=op.f("uq_events_conversation_id_version")),
        sa.UniqueConstraint("event_id", name=op.f("uq_events_event_id")),
        sqlite_autoincrement=True,
    )
    _index("ix_events_kind_time", "events", "kind occurred_at model actor_id")


def _guard_on_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"""
            CREATE TRIGGER events_refuse_{change.lower()} BEFORE {change} ON events
            BEGIN
                SELECT RAISE(ABORT, 'events are never changed or deleted');
            END
            """
        )
    # REPLACE would delete the conflicting row. NEW.position is -1 if SQLite is to generate it.
    op.execute(
        """
        CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
        BEGIN
            SELECT RAISE(ABORT, 'this event id is already stored')
            WHERE EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id);
            SELECT RAISE(ABORT, 'this version is already stored')
            WHERE EXISTS (
                SELECT 1 FROM events WHERE conversation_id = NEW.conversation_id AND version = NEW.version
            );
            SELECT RAISE(ABORT, 'this position is already stored')
            WHERE EXISTS (SELECT 1 FROM events WHERE position = NEW.position);
        END
        """
    )


def _guard_on_postgres() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'events are never changed or deleted' USING ERRCODE = 'restrict_violation';
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE ON events"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change_of_events()"
    )
    op.execute(
        "CREATE TRIGGER events_refuse_truncate BEFORE TRUNCATE ON events"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_events()"
    )
    # ALWAYS: also with session_replication_role = replica, which disables ordinary triggers.
    for trigger in ("events_refuse_change", "events_refuse_truncate"):
        op.execute(f"ALTER TABLE events ENABLE ALWAYS TRIGGER {trigger}")


def _create_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tree_version", sa.Integer(), nullable=False),
        sa.Column("head_id", sa.Text()),
        sa.Column("writing_id", sa.Text()),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("cleared_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.annotator_id"], name=op.f("fk_conversations_annotator_id")
        ),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_conversations")),
    )
    _index("ix_conversations_annotator_latest", "conversations", "annotator_id updated_at conversation_id")
    _index("ix_conversations_started", "conversations", "started_at annotator_id")


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text()),
        sa.Column("parent_id", sa.Text()),
        sa.Column("replaces_id", sa.Text()),
        sa.Column("active_child_id", sa.Text()),
        sa.Column("shown", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("altered", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_event_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("endpoint", sa.Text()),
        sa.Column("provider", sa.Text()),
        sa.Column("temperature", sa.Double()),
        sa.Column("top_p", sa.Double()),
        sa.Column("max_tokens", sa.Integer()),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("system_prompt", sa.Text()),
        sa.Column("sent_ids", sa.Text()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("finished_event_id", sa.Text()),
        sa.Column("finish_reason", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("time_to_first_token", sa.Double()),
        sa.Column("duration", sa.Double()),
        sa.Column("prompt_tokens", sa.Integer()),
        sa.Column("completion_tokens", sa.Integer()),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.conversation_id"], name=op.f("fk_messages_conversation_id")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_messages")),
        sa.UniqueConstraint("conversation_id", "version", name=op.f("uq_messages_conversation_id_version")),
    )
    _index("ix_messages_created", "messages", "created_at annotator_id role")
    _index(
        "ix_messages_replies",
        "messages",
        "created_at model annotator_id status time_to_first_token message_id",
        "model IS NOT NULL AND text <> ''",
    )
    _index(
        "ix_messages_empty_replies",
        "messages",
        "created_at model annotator_id status",
        "model IS NOT NULL AND text = ''",
    )
    _index(
        "ix_messages_first_token",
        "messages",
        "time_to_first_token created_at model annotator_id",
        "time_to_first_token IS NOT NULL",
    )
    _index("ix_messages_model", "messages", "model conversation_id", "model IS NOT NULL")


def _create_ratings() -> None:
    op.create_table(
        "ratings",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("value", sa.Text()),
        sa.Column("comment", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.CheckConstraint("value IN ('like', 'dislike')", name=op.f("ck_ratings_value")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotators.annotator_id"], name=op.f("fk_ratings_annotator_id")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.message_id"], name=op.f("fk_ratings_message_id")),
        sa.PrimaryKeyConstraint("message_id", "annotator_id", name=op.f("pk_ratings")),
        sqlite_with_rowid=False,
    )
    _index("ix_ratings_conversation", "ratings", "conversation_id")
    _index("ix_ratings_latest", "ratings", "updated_at message_id annotator_id model value")
    _index("ix_ratings_model", "ratings", "model value updated_at annotator_id")
    _index("ix_ratings_comments", "ratings", "updated_at model annotator_id", "comment IS NOT NULL")
    op.create_table(
        "rating_reasons",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "annotator_id", "reason", name=op.f("pk_rating_reasons")),
        sqlite_with_rowid=False,
    )


def _create_drafts() -> None:
    op.create_table(
        "reply_drafts",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("watched_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_reply_drafts")),
    )


def _index(name: str, table: str, columns: str, condition: str | None = None) -> None:
    where = sa.text(condition) if condition else None
    op.create_index(name, table, columns.split(), sqlite_where=where, postgresql_where=where)
