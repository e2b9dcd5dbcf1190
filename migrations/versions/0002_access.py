"""Accounts: users, external identities, sessions, consents, keys, and the audit.

The audit is append-only, with the same triggers as the log. Conversations get the version of the consent text under
which they were held.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from alembic.util import CommandError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the accounts, the keys and the audit with its triggers; add and fill `consent_version`."""
    _create_people()
    _create_keys()
    _create_audit()
    if op.get_bind().dialect.name == "sqlite":
        _guard_on_sqlite()
    else:
        _guard_on_postgres()
    op.add_column("conversations", sa.Column("consent_version", sa.Text()))
    _fill_consent_versions()


def downgrade() -> None:
    """Drop the tables; refuse to drop accounts or an audit unless `destroy_data` is set."""
    bind = op.get_bind()
    config = op.get_context().config
    said = context.get_x_argument(as_dictionary=True).get("destroy_data")
    allowed = said == "yes" or bool(config and config.attributes.get("destroy_data"))
    kept = "SELECT EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM audit)"
    if bind.dialect.name == "postgresql":
        op.execute("LOCK TABLE users, audit IN EXCLUSIVE MODE")
    if not allowed and bind.scalar(sa.text(kept)):
        raise CommandError(
            "This downgrade would destroy accounts, consents and the audit; pass --destroy-data to go on."
        )
    op.drop_column("conversations", "consent_version")
    for table in ("audit", "keys", "consents", "sign_in_failures", "sessions", "identities", "users"):
        op.drop_table(table)
    if bind.dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_audit()")


def _create_people() -> None:
    op.create_table(
        "users",
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger()),
        sa.CheckConstraint("role IN ('annotator', 'researcher', 'admin')", name=op.f("ck_users_role")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotators.annotator_id"], name=op.f("fk_users_annotator_id")),
        sa.PrimaryKeyConstraint("annotator_id", name=op.f("pk_users")),
    )
    op.create_table(
        "identities",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["annotator_id"], ["users.annotator_id"], name=op.f("fk_identities_annotator_id")),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_identities")),
    )
    op.create_index("ix_identities_annotator_id", "identities", ["annotator_id"])
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["annotator_id"], ["users.annotator_id"], name=op.f("fk_sessions_annotator_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sessions_token_hash")),
    )
    op.create_index("ix_sessions_annotator_id", "sessions", ["annotator_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "sign_in_failures",
        sa.Column("failure_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("failed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("failure_id", "key", name=op.f("pk_sign_in_failures")),
    )
    op.create_index("ix_sign_in_failures_key_failed_at", "sign_in_failures", ["key", "failed_at"])
    op.create_index("ix_sign_in_failures_failed_at", "sign_in_failures", ["failed_at"])
    op.create_table(
        "consents",
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("agreed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotators.annotator_id"], name=op.f("fk_consents_annotator_id")),
        sa.PrimaryKeyConstraint("annotator_id", "version", name=op.f("pk_consents")),
    )


def _create_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_keys")),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        # AUTOINCREMENT, which never reuses a position, needs the exact type INTEGER on SQLite.
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=True),
            nullable=False,
        ),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text()),
        sa.Column("subject_id", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_actor_id_position", "audit", ["actor_id", "position"])


def _guard_on_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_refuse_{change.lower()} BEFORE {change} ON audit"
            " BEGIN SELECT RAISE(ABORT, 'the audit is never changed or deleted'); END"
        )
    op.execute(
        "CREATE TRIGGER audit_refuse_replace BEFORE INSERT ON audit BEGIN"
        " SELECT RAISE(ABORT, 'this position is already stored')"
        " WHERE EXISTS (SELECT 1 FROM audit WHERE position = NEW.position); END"
    )


def _guard_on_postgres() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit is never changed or deleted' USING ERRCODE = 'restrict_violation';
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER audit_refuse_change BEFORE UPDATE OR DELETE ON audit"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change_of_audit()"
    )
    op.execute(
        "CREATE TRIGGER audit_refuse_truncate BEFORE TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit()"
    )
    # ALWAYS: also with session_replication_role = replica, which disables ordinary triggers.
    for trigger in ("audit_refuse_change", "audit_refuse_truncate"):
        op.execute(f"ALTER TABLE audit ENABLE ALWAYS TRIGGER {trigger}")


def _fill_consent_versions() -> None:
    """Fill the column from the log, which has versions already if this upgrade follows a downgrade."""
    events = sa.table("events", *map(sa.column, ("conversation_id", "kind", "schema_version", "payload")))
    conversations = sa.table("conversations", sa.column("conversation_id"), sa.column("consent_version"))
    if op.get_bind().dialect.name == "sqlite":
        stored: sa.ColumnElement[str] = sa.func.json_extract(events.c.payload, "$.consent_version")
    else:
        stored = sa.cast(events.c.payload, sa.JSON).op("->>")("consent_version")
    started = (events.c.kind == "conversation_started") & (events.c.schema_version > 1)
    with_one = sa.select(events.c.conversation_id).where(started)
    its_own = sa.select(stored).where(started, events.c.conversation_id == conversations.c.conversation_id)
    op.execute(
        conversations.update()
        .where(conversations.c.conversation_id.in_(with_one))
        .values(consent_version=its_own.scalar_subquery())
    )
