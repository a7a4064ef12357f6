-- One row for each entry of the audit trail. docs/audit.md explains how they are hashed.
CREATE TABLE IF NOT EXISTS evently_mail_audit (
	number  integer PRIMARY KEY,       -- from 1, without gaps
	id      text NOT NULL UNIQUE,
	op      text NOT NULL, -- the id without + and what follows /
	at      integer NOT NULL,
	actor   text NOT NULL,
	via     text NOT NULL,             -- command, page, control or worker
	place   text NOT NULL,             -- terminal or address
	action  text NOT NULL,
	ids     text NOT NULL,             -- JSON array
	details text NOT NULL,             -- JSON object, or empty
	outcome text NOT NULL,
	origin  text NOT NULL,             -- place in the broker, for entries that waited there
	key     text NOT NULL,             -- fingerprint of AUDIT_KEY, or empty
	prev    text NOT NULL,             -- hash of the row before
	hash    text NOT NULL
);

CREATE INDEX IF NOT EXISTS evently_mail_audit_op ON evently_mail_audit (op);
CREATE INDEX IF NOT EXISTS evently_mail_audit_at ON evently_mail_audit (at);

-- The ids of each entry, for searches. It is not hashed, and can be made from the table above.
CREATE TABLE IF NOT EXISTS evently_mail_audit_ids (
	subject text NOT NULL,
	op      text NOT NULL,
	PRIMARY KEY (subject, op)
);
