-- One row for each mail. Of the recipient only what docs/ledger.md names is stored.
CREATE TABLE IF NOT EXISTS evently_mail.mails (
	mail        text COLLATE "C" NOT NULL, -- fingerprint of the task
	first_seen  timestamptz NOT NULL,      -- when a worker first claimed the task
	task_id     text COLLATE "C" NOT NULL, -- as the producer chose it, not unique
	kind        text COLLATE "C" NOT NULL,
	state       smallint NOT NULL,         -- see the table states
	state_at    timestamptz NOT NULL,
	attempts    smallint NOT NULL,
	next_at     timestamptz,
	accepted_at timestamptz,
	user_id     bigint,
	booking     text COLLATE "C" NOT NULL,
	rcpt_hash   bytea,                     -- HMAC of the address
	rcpt_masked text,
	rcpt_domain text COLLATE "C",
	rcpt_sealed bytea,                     -- the address, encrypted; only with LEDGER_KEY
	stage       text NOT NULL,
	code        smallint NOT NULL,
	enhanced    text NOT NULL,
	class       text NOT NULL,
	reason      text NOT NULL,
	erased      boolean NOT NULL,
	PRIMARY KEY (mail, first_seen)
) PARTITION BY RANGE (first_seen);

CREATE TABLE IF NOT EXISTS evently_mail.mails_default PARTITION OF evently_mail.mails DEFAULT;

CREATE INDEX IF NOT EXISTS mails_first_seen ON evently_mail.mails (first_seen);
CREATE INDEX IF NOT EXISTS mails_task ON evently_mail.mails (task_id, first_seen);
CREATE INDEX IF NOT EXISTS mails_kind ON evently_mail.mails (kind, first_seen);
CREATE INDEX IF NOT EXISTS mails_state ON evently_mail.mails (state, first_seen) WHERE state <> 100;
CREATE INDEX IF NOT EXISTS mails_user ON evently_mail.mails (user_id, first_seen) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS mails_booking ON evently_mail.mails (booking, first_seen) WHERE booking <> '';
CREATE INDEX IF NOT EXISTS mails_rcpt ON evently_mail.mails (rcpt_hash, first_seen) WHERE rcpt_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS mails_domain ON evently_mail.mails (rcpt_domain, first_seen) WHERE rcpt_domain IS NOT NULL;

-- One row for each event of a mail, such as an attempt.
CREATE TABLE IF NOT EXISTS evently_mail.events (
	mail       text COLLATE "C" NOT NULL,
	entry_ms   bigint NOT NULL, -- id of the entry in the stream: milliseconds and a number
	entry_seq  bigint NOT NULL,
	event_at   timestamptz NOT NULL,
	state      smallint NOT NULL,
	attempt    smallint NOT NULL,
	reason     text NOT NULL,
	next_at    timestamptz,
	stage      text NOT NULL,
	code       smallint NOT NULL,
	enhanced   text NOT NULL,
	class      text NOT NULL,
	words      text NOT NULL, -- of the server, cleaned
	endpoint   text NOT NULL,
	tls        text NOT NULL,
	queue_id   text NOT NULL,
	message_id text NOT NULL,
	worker     text NOT NULL,
	phases     text NOT NULL, -- name:microseconds, with commas
	PRIMARY KEY (mail, entry_ms, entry_seq, event_at)
) PARTITION BY RANGE (event_at);

CREATE TABLE IF NOT EXISTS evently_mail.events_default PARTITION OF evently_mail.events DEFAULT;

CREATE INDEX IF NOT EXISTS events_at ON evently_mail.events USING brin (event_at) WITH (pages_per_range = 32);

-- Counts of events by minute, hour and day, so that no chart counts mails. The bucket is
-- that of the time since the first claim; see docs/ledger.md.
CREATE TABLE IF NOT EXISTS evently_mail.counts (
	span     integer NOT NULL, -- seconds: 60, 3600 or 86400
	start_at timestamptz NOT NULL,
	kind     text COLLATE "C" NOT NULL,
	state    smallint NOT NULL,
	bucket   smallint NOT NULL,
	n        bigint NOT NULL,
	PRIMARY KEY (span, start_at, kind, state, bucket)
) WITH (fillfactor = 70);

-- Counts of failures, and of events by domain. A day of hours of each domain would be too
-- many rows to add up.
CREATE TABLE IF NOT EXISTS evently_mail.classes (
	hour  timestamptz NOT NULL,
	kind  text COLLATE "C" NOT NULL,
	state smallint NOT NULL,
	class text COLLATE "C" NOT NULL,
	n     bigint NOT NULL,
	PRIMARY KEY (hour, kind, state, class)
) WITH (fillfactor = 70);

CREATE TABLE IF NOT EXISTS evently_mail.domains (
	day    timestamptz NOT NULL,
	domain text COLLATE "C" NOT NULL,
	state  smallint NOT NULL,
	class  text COLLATE "C" NOT NULL,
	n      bigint NOT NULL,
	PRIMARY KEY (day, domain, state, class)
) WITH (fillfactor = 70);

CREATE TABLE IF NOT EXISTS evently_mail.meta (
	name       text PRIMARY KEY,
	value      text NOT NULL,
	changed_at timestamptz NOT NULL
);

-- For people who read the tables; the program does not need it.
CREATE TABLE IF NOT EXISTS evently_mail.states (
	state smallint PRIMARY KEY,
	name  text NOT NULL
);

INSERT INTO evently_mail.states (state, name) VALUES
	(10, 'queued'), (20, 'sending'), (30, 'deferred'), (40, 'unknown'), (50, 'suppressed'), (51, 'expired'),
	(52, 'rejected'), (53, 'dead'), (100, 'accepted'), (110, 'bounced'), (120, 'complained')
ON CONFLICT DO NOTHING;
