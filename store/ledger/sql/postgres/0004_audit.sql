-- One row for each entry of the audit trail. docs/audit.md explains how they are hashed.
CREATE TABLE IF NOT EXISTS evently_mail.audit (
	number  bigint PRIMARY KEY,        -- from 1, without gaps
	id      text COLLATE "C" NOT NULL UNIQUE,
	op      text COLLATE "C" NOT NULL, -- the id without + and what follows /
	at      timestamptz NOT NULL,
	actor   text COLLATE "C" NOT NULL,
	via     text NOT NULL,             -- command, page, control or worker
	place   text NOT NULL,             -- terminal or address
	action  text COLLATE "C" NOT NULL,
	ids     text NOT NULL,             -- JSON array
	details text NOT NULL,             -- JSON object, or empty
	outcome text NOT NULL,
	origin  text NOT NULL,             -- place in the broker, for entries that waited there
	key     text NOT NULL,             -- fingerprint of AUDIT_KEY, or empty
	prev    text NOT NULL,             -- hash of the row before
	hash    text NOT NULL
);

CREATE INDEX IF NOT EXISTS audit_op ON evently_mail.audit (op);
CREATE INDEX IF NOT EXISTS audit_at ON evently_mail.audit (at);

-- The ids of each entry, for searches. It is not hashed, and can be made from the table above.
CREATE TABLE IF NOT EXISTS evently_mail.audit_ids (
	subject text COLLATE "C" NOT NULL,
	op      text COLLATE "C" NOT NULL,
	PRIMARY KEY (subject, op)
);
