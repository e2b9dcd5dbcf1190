CREATE INDEX ix_audit_actor_id_position ON audit (actor_id, position);
CREATE INDEX ix_conversations_annotator_latest ON conversations (annotator_id, updated_at, conversation_id);
CREATE INDEX ix_conversations_started ON conversations (started_at, annotator_id);
CREATE INDEX ix_events_kind_time ON events (kind, occurred_at, model, actor_id);
CREATE INDEX ix_identities_annotator_id ON identities (annotator_id);
CREATE INDEX ix_messages_created ON messages (created_at, annotator_id, role);
CREATE INDEX ix_messages_empty_replies ON messages (created_at, model, annotator_id, status) WHERE model IS NOT NULL AND text = '';
CREATE INDEX ix_messages_first_token ON messages (time_to_first_token, created_at, model, annotator_id) WHERE time_to_first_token IS NOT NULL;
CREATE INDEX ix_messages_model ON messages (model, conversation_id) WHERE model IS NOT NULL;
CREATE INDEX ix_messages_replies ON messages (created_at, model, annotator_id, status, time_to_first_token, message_id) WHERE model IS NOT NULL AND text <> '';
CREATE INDEX ix_ratings_comments ON ratings (updated_at, model, annotator_id) WHERE comment IS NOT NULL;
CREATE INDEX ix_ratings_conversation ON ratings (conversation_id);
CREATE INDEX ix_ratings_latest ON ratings (updated_at, message_id, annotator_id, model, value);
CREATE INDEX ix_ratings_model ON ratings (model, value, updated_at, annotator_id);
CREATE INDEX ix_sessions_annotator_id ON sessions (annotator_id);
CREATE INDEX ix_sessions_expires_at ON sessions (expires_at);
CREATE INDEX ix_sign_in_failures_failed_at ON sign_in_failures (failed_at);
CREATE INDEX ix_sign_in_failures_key_failed_at ON sign_in_failures ("key", failed_at);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE annotators (
	annotator_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_annotators PRIMARY KEY (annotator_id), 
	CONSTRAINT uq_annotators_name UNIQUE (name)
);
CREATE TABLE audit (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	occurred_at BIGINT NOT NULL, 
	action TEXT NOT NULL, 
	actor_id TEXT, 
	subject_id TEXT, 
	detail TEXT NOT NULL
);
CREATE TABLE consents (
	annotator_id TEXT NOT NULL, 
	version TEXT NOT NULL, 
	agreed_at BIGINT NOT NULL, 
	CONSTRAINT pk_consents PRIMARY KEY (annotator_id, version), 
	CONSTRAINT fk_consents_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotators (annotator_id)
);
CREATE TABLE conversations (
	conversation_id TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	title TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	tree_version INTEGER NOT NULL, 
	head_id TEXT, 
	writing_id TEXT, 
	started_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	cleared_at BIGINT, consent_version TEXT, study TEXT, condition TEXT, external_id TEXT, 
	CONSTRAINT pk_conversations PRIMARY KEY (conversation_id), 
	CONSTRAINT fk_conversations_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotators (annotator_id)
);
CREATE TABLE events (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	event_id TEXT NOT NULL, 
	conversation_id TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	schema_version INTEGER NOT NULL, 
	message_id TEXT, 
	actor_id TEXT NOT NULL, 
	occurred_at BIGINT NOT NULL, 
	recorded_at BIGINT NOT NULL, 
	model TEXT, 
	rating TEXT, 
	payload TEXT NOT NULL, 
	CONSTRAINT fk_events_actor_id FOREIGN KEY(actor_id) REFERENCES annotators (annotator_id), 
	CONSTRAINT uq_events_conversation_id_version UNIQUE (conversation_id, version), 
	CONSTRAINT uq_events_event_id UNIQUE (event_id)
);
CREATE TABLE identities (
	issuer TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_identities PRIMARY KEY (issuer, subject), 
	CONSTRAINT fk_identities_annotator_id FOREIGN KEY(annotator_id) REFERENCES users (annotator_id)
);
CREATE TABLE keys (
	name TEXT NOT NULL, 
	secret TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_keys PRIMARY KEY (name)
);
CREATE TABLE messages (
	message_id TEXT NOT NULL, 
	conversation_id TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	annotator_id TEXT NOT NULL, 
	role TEXT NOT NULL, 
	author_id TEXT, 
	parent_id TEXT, 
	replaces_id TEXT, 
	active_child_id TEXT, 
	shown BOOLEAN NOT NULL, 
	text TEXT NOT NULL, 
	altered BOOLEAN NOT NULL, 
	status TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_event_id TEXT NOT NULL, 
	model TEXT, 
	endpoint TEXT, 
	provider TEXT, 
	temperature DOUBLE, 
	top_p DOUBLE, 
	max_tokens INTEGER, 
	seed BIGINT, 
	system_prompt TEXT, 
	sent_ids TEXT, 
	finished_at BIGINT, 
	finished_event_id TEXT, 
	finish_reason TEXT, 
	error TEXT, 
	time_to_first_token DOUBLE, 
	duration DOUBLE, 
	prompt_tokens INTEGER, 
	completion_tokens INTEGER, model_id TEXT, sent_temperature DOUBLE, sent_top_p DOUBLE, sent_max_tokens INTEGER, sent_seed BIGINT, reported_model TEXT, system_fingerprint TEXT, reported_provider TEXT, weights_sha256 TEXT, 
	CONSTRAINT pk_messages PRIMARY KEY (message_id), 
	CONSTRAINT fk_messages_conversation_id FOREIGN KEY(conversation_id) REFERENCES conversations (conversation_id), 
	CONSTRAINT uq_messages_conversation_id_version UNIQUE (conversation_id, version)
);
CREATE TABLE rating_reasons (
	message_id TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_rating_reasons PRIMARY KEY (message_id, annotator_id, reason)
)
 WITHOUT ROWID

;
CREATE TABLE ratings (
	message_id TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	conversation_id TEXT NOT NULL, 
	model TEXT, 
	value TEXT, 
	comment TEXT, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	event_id TEXT NOT NULL, 
	CONSTRAINT pk_ratings PRIMARY KEY (message_id, annotator_id), 
	CONSTRAINT ck_ratings_value CHECK (value IN ('like', 'dislike')), 
	CONSTRAINT fk_ratings_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotators (annotator_id), 
	CONSTRAINT fk_ratings_message_id FOREIGN KEY(message_id) REFERENCES messages (message_id)
)
 WITHOUT ROWID

;
CREATE TABLE reply_drafts (
	message_id TEXT NOT NULL, 
	conversation_id TEXT NOT NULL, 
	text TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	lease_until BIGINT NOT NULL, 
	stop_requested BOOLEAN NOT NULL, 
	watched_at BIGINT NOT NULL, 
	CONSTRAINT pk_reply_drafts PRIMARY KEY (message_id)
);
CREATE TABLE sessions (
	session_id TEXT NOT NULL, 
	token_hash TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	method TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	seen_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (session_id), 
	CONSTRAINT fk_sessions_annotator_id FOREIGN KEY(annotator_id) REFERENCES users (annotator_id), 
	CONSTRAINT uq_sessions_token_hash UNIQUE (token_hash)
);
CREATE TABLE sign_in_failures (
	failure_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	failed_at BIGINT NOT NULL, 
	CONSTRAINT pk_sign_in_failures PRIMARY KEY (failure_id, "key")
);
CREATE TABLE sqlite_sequence(name,seq);
CREATE TABLE users (
	annotator_id TEXT NOT NULL, 
	role TEXT NOT NULL, 
	password_hash TEXT, 
	created_at BIGINT NOT NULL, 
	disabled_at BIGINT, 
	CONSTRAINT pk_users PRIMARY KEY (annotator_id), 
	CONSTRAINT ck_users_role CHECK (role IN ('annotator', 'researcher', 'admin')), 
	CONSTRAINT fk_users_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotators (annotator_id)
);
CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is never changed or deleted'); END;
CREATE TRIGGER audit_refuse_replace BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'this position is already stored') WHERE EXISTS (SELECT 1 FROM audit WHERE position = NEW.position); END;
CREATE TRIGGER audit_refuse_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is never changed or deleted'); END;
CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
            BEGIN
                SELECT RAISE(ABORT, 'events are never changed or deleted');
            END;
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
        END;
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
            BEGIN
                SELECT RAISE(ABORT, 'events are never changed or deleted');
            END;
