"""Schema: the tables, for SQLite and Postgres alike.

`events` is the append-only log and the only source of truth. Triggers refuse every change (see the migrations); only an
erasure disables them. `conversations`, `messages`, `ratings` and `rating_reasons` are projections: written in the
transaction of the append, and reproducible from the log. `annotators` maps actor ids to names, and `reply_drafts` holds
the leases of running replies. `users` and the tables around it are the accounts. `audit`, append-only as well, records
actions that must be accounted for.

Instants are 64-bit integers, microseconds since 1970 in UTC. Ids are canonical UUID texts. Both are exact, sortable,
and the same on both databases (docs/adr/0006). Durations are seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# AUTOINCREMENT, which never reuses a position, needs the exact type INTEGER on SQLite.
_Position = BigInteger().with_variant(Integer, "sqlite")


def to_micros(instant: datetime) -> int:
    """Return an aware datetime as microseconds since 1970 in UTC, exactly."""
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime of `to_micros`."""
    return _EPOCH + timedelta(microseconds=micros)


annotators = Table(
    "annotators",
    metadata,
    Column("annotator_id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("position", _Position, Identity(always=True), primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("conversation_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("message_id", Text),
    Column("actor_id", Text, ForeignKey("annotators.annotator_id"), nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("model", Text),
    Column("rating", Text),
    Column("payload", Text, nullable=False),
    UniqueConstraint("conversation_id", "version"),
    # Covering index for the counts of the analytics.
    Index("ix_events_kind_time", "kind", "occurred_at", "model", "actor_id"),
    sqlite_autoincrement=True,
)

conversations = Table(
    "conversations",
    metadata,
    Column("conversation_id", Text, primary_key=True),
    Column("annotator_id", Text, ForeignKey("annotators.annotator_id"), nullable=False),
    Column("title", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("tree_version", Integer, nullable=False),
    Column("head_id", Text),
    Column("writing_id", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("cleared_at", BigInteger),
    Column("consent_version", Text),
    Column("study", Text),
    Column("condition", Text),
    Column("external_id", Text),
    Index("ix_conversations_annotator_latest", "annotator_id", "updated_at", "conversation_id"),
    Index("ix_conversations_started", "started_at", "annotator_id"),
)

# Conditions of partial indexes: replies by models, with and without text. Indexes and queries share these literals:
# a database uses a partial index only for a condition that it recognises.
REPLY_WITH_TEXT = "model IS NOT NULL AND text <> ''"
REPLY_WITHOUT_TEXT = "model IS NOT NULL AND text = ''"

messages = Table(
    "messages",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("conversation_id", Text, ForeignKey("conversations.conversation_id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("annotator_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("author_id", Text),
    Column("parent_id", Text),
    Column("replaces_id", Text),
    Column("active_child_id", Text),
    Column("shown", Boolean, nullable=False),
    Column("text", Text, nullable=False),
    Column("altered", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_event_id", Text, nullable=False),
    Column("model", Text),
    Column("endpoint", Text),
    Column("provider", Text),
    Column("temperature", Double),
    Column("top_p", Double),
    Column("max_tokens", Integer),
    Column("seed", BigInteger),
    Column("system_prompt", Text),
    Column("sent_ids", Text),
    Column("finished_at", BigInteger),
    Column("finished_event_id", Text),
    Column("finish_reason", Text),
    Column("error", Text),
    Column("time_to_first_token", Double),
    Column("duration", Double),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("model_id", Text),
    Column("sent_temperature", Double),
    Column("sent_top_p", Double),
    Column("sent_max_tokens", Integer),
    Column("sent_seed", BigInteger),
    Column("reported_model", Text),
    Column("system_fingerprint", Text),
    Column("reported_provider", Text),
    Column("weights_sha256", Text),
    UniqueConstraint("conversation_id", "version"),
    # Covering indexes for the figures on replies: an index-only scan reads no row.
    Index(
        "ix_messages_replies",
        "created_at",
        "model",
        "annotator_id",
        "status",
        "time_to_first_token",
        "message_id",
        sqlite_where=text(REPLY_WITH_TEXT),
        postgresql_where=text(REPLY_WITH_TEXT),
    ),
    Index(
        "ix_messages_empty_replies",
        "created_at",
        "model",
        "annotator_id",
        "status",
        sqlite_where=text(REPLY_WITHOUT_TEXT),
        postgresql_where=text(REPLY_WITHOUT_TEXT),
    ),
    Index(
        "ix_messages_first_token",
        "time_to_first_token",
        "created_at",
        "model",
        "annotator_id",
        sqlite_where=text("time_to_first_token IS NOT NULL"),
        postgresql_where=text("time_to_first_token IS NOT NULL"),
    ),
    Index(
        "ix_messages_model",
        "model",
        "conversation_id",
        sqlite_where=text("model IS NOT NULL"),
        postgresql_where=text("model IS NOT NULL"),
    ),
    Index("ix_messages_created", "created_at", "annotator_id", "role"),
)

ratings = Table(
    "ratings",
    metadata,
    Column("message_id", Text, ForeignKey("messages.message_id"), primary_key=True),
    Column("annotator_id", Text, ForeignKey("annotators.annotator_id"), primary_key=True),
    Column("conversation_id", Text, nullable=False),
    Column("model", Text),
    Column("value", Text),
    Column("comment", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("event_id", Text, nullable=False),
    CheckConstraint("value IN ('like', 'dislike')", name="value"),
    Index("ix_ratings_conversation", "conversation_id"),
    Index("ix_ratings_latest", "updated_at", "message_id", "annotator_id", "model", "value"),
    Index("ix_ratings_model", "model", "value", "updated_at", "annotator_id"),
    Index(
        "ix_ratings_comments",
        "updated_at",
        "model",
        "annotator_id",
        sqlite_where=text("comment IS NOT NULL"),
        postgresql_where=text("comment IS NOT NULL"),
    ),
    # WITHOUT ROWID: clustered by the key, so the ratings of a reply and the reasons of a rating lie together.
    sqlite_with_rowid=False,
)

rating_reasons = Table(
    "rating_reasons",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("annotator_id", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    sqlite_with_rowid=False,
)

reply_drafts = Table(
    "reply_drafts",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("conversation_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    # Process that generates the reply and renews the lease; any process may finish the reply once the lease expired.
    Column("owner", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    # Signals of other processes to the owner: stop, or continue because a client is watching.
    Column("stop_requested", Boolean, nullable=False),
    Column("watched_at", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("annotator_id", Text, ForeignKey("annotators.annotator_id"), primary_key=True),
    Column("role", Text, nullable=False),
    # None: no sign-in by password.
    Column("password_hash", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    CheckConstraint("role IN ('annotator', 'researcher', 'admin')", name="role"),
)

# External identities: the subject of an OpenID Connect issuer, or the name in a proxy's header.
identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("annotator_id", Text, ForeignKey("users.annotator_id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_identities_annotator_id", "annotator_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Text, primary_key=True),
    # Only the browser has the token itself.
    Column("token_hash", Text, nullable=False, unique=True),
    Column("annotator_id", Text, ForeignKey("users.annotator_id"), nullable=False),
    Column("method", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_sessions_annotator_id", "annotator_id"),
    Index("ix_sessions_expires_at", "expires_at"),
)

# Login throttle: a row for each key of an attempt; keys are keyed hashes of names and addresses.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("failure_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("failed_at", BigInteger, nullable=False),
    Index("ix_sign_in_failures_key_failed_at", "key", "failed_at"),
    Index("ix_sign_in_failures_failed_at", "failed_at"),
)

consents = Table(
    "consents",
    metadata,
    Column("annotator_id", Text, ForeignKey("annotators.annotator_id"), primary_key=True),
    Column("version", Text, primary_key=True),
    Column("agreed_at", BigInteger, nullable=False),
)

# Secrets of this database, generated when first needed.
keys = Table(
    "keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("position", _Position, Identity(always=True), primary_key=True),
    Column("occurred_at", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    # Annotator ids without foreign keys: an entry outlives its subject.
    Column("actor_id", Text),
    Column("subject_id", Text),
    Column("detail", Text, nullable=False),
    Index("ix_audit_actor_id_position", "actor_id", "position"),
    sqlite_autoincrement=True,
)

PROJECTIONS = (conversations, messages, ratings, rating_reasons)
"""Tables of the projections, in the order in which foreign keys allow insertion."""
