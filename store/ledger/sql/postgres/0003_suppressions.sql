-- One row for each address that gets no mail, or no optional mail. It stays after its end,
-- until the retention of the history is over.
CREATE TABLE IF NOT EXISTS evently_mail.suppressions (
	rcpt_hash   bytea NOT NULL,            -- HMAC of the address
	scope       text COLLATE "C" NOT NULL, -- all, or optional
	class       text COLLATE "C" NOT NULL,
	source      text COLLATE "C" NOT NULL,
	rcpt_masked text NOT NULL,
	rcpt_domain text COLLATE "C" NOT NULL,
	rcpt_sealed bytea,                     -- the address, encrypted; only with LEDGER_KEY
	hits        integer NOT NULL,          -- pieces of evidence
	first_at    timestamptz NOT NULL,      -- of these
	last_at     timestamptz NOT NULL,
	expires_at  timestamptz,
	code        smallint NOT NULL,         -- of the latest evidence, as the rest
	enhanced    text NOT NULL,
	diagnostic  text NOT NULL,             -- words of the server, cleaned
	mail        text COLLATE "C" NOT NULL,
	task_id     text COLLATE "C" NOT NULL,
	created_by  text NOT NULL,             -- person, empty for evidence
	note        text NOT NULL,
	ended_at    timestamptz,               -- when it was released or lifted
	ended_by    text NOT NULL,
	ended_note  text NOT NULL,
	PRIMARY KEY (rcpt_hash, scope)
);

CREATE INDEX IF NOT EXISTS suppressions_last_at ON evently_mail.suppressions (last_at, rcpt_hash, scope);
CREATE INDEX IF NOT EXISTS suppressions_domain ON evently_mail.suppressions (rcpt_domain, last_at);

-- Evidence about addresses, of the classes that can suppress.
CREATE TABLE IF NOT EXISTS evently_mail.suppression_evidence (
	rcpt_hash  bytea NOT NULL,
	id         text COLLATE "C" NOT NULL, -- of the event or the bounce
	at         timestamptz NOT NULL,
	class      text COLLATE "C" NOT NULL,
	source     text COLLATE "C" NOT NULL,
	mail       text COLLATE "C" NOT NULL,
	task_id    text COLLATE "C" NOT NULL,
	kind       text COLLATE "C" NOT NULL,
	code       smallint NOT NULL,
	enhanced   text NOT NULL,
	diagnostic text NOT NULL,
	PRIMARY KEY (rcpt_hash, id)
);

CREATE INDEX IF NOT EXISTS suppression_evidence_at ON evently_mail.suppression_evidence (at);
