-- The tables of PostgreSQL; times are microseconds since 1970.

-- One row for each address that gets no mail, or no optional mail. It stays after its end,
-- until the retention of the history is over.
CREATE TABLE IF NOT EXISTS evently_mail_suppressions (
	rcpt_hash   blob NOT NULL, -- HMAC of the address
	scope       text NOT NULL, -- all, or optional
	class       text NOT NULL,
	source      text NOT NULL,
	rcpt_masked text NOT NULL,
	rcpt_domain text NOT NULL,
	rcpt_sealed blob, -- the address, encrypted; only with LEDGER_KEY
	hits        integer NOT NULL, -- pieces of evidence
	first_at    integer NOT NULL, -- of these
	last_at     integer NOT NULL,
	expires_at  integer,
	code        integer NOT NULL, -- of the latest evidence, as the rest
	enhanced    text NOT NULL,
	diagnostic  text NOT NULL, -- words of the server, cleaned
	mail        text NOT NULL,
	task_id     text NOT NULL,
	created_by  text NOT NULL, -- person, empty for evidence
	note        text NOT NULL,
	ended_at    integer, -- when it was released or lifted
	ended_by    text NOT NULL,
	ended_note  text NOT NULL,
	PRIMARY KEY (rcpt_hash, scope)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS evently_mail_suppressions_last_at ON evently_mail_suppressions (last_at, rcpt_hash, scope);
CREATE INDEX IF NOT EXISTS evently_mail_suppressions_domain ON evently_mail_suppressions (rcpt_domain, last_at);

-- Evidence about addresses, of the classes that can suppress.
CREATE TABLE IF NOT EXISTS evently_mail_suppression_evidence (
	rcpt_hash  blob NOT NULL,
	id         text NOT NULL, -- of the event or the bounce
	at         integer NOT NULL,
	class      text NOT NULL,
	source     text NOT NULL,
	mail       text NOT NULL,
	task_id    text NOT NULL,
	kind       text NOT NULL,
	code       integer NOT NULL,
	enhanced   text NOT NULL,
	diagnostic text NOT NULL,
	PRIMARY KEY (rcpt_hash, id)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS evently_mail_suppression_evidence_at ON evently_mail_suppression_evidence (at);
