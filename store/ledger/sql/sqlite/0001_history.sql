-- The tables of PostgreSQL without partitions; times are microseconds since 1970.

-- One row for each mail. Of the recipient only what docs/ledger.md names is stored.
CREATE TABLE IF NOT EXISTS evently_mail_mails (
	mail        text NOT NULL, -- fingerprint of the task
	first_seen  integer NOT NULL,      -- when a worker first claimed the task
	task_id     text NOT NULL, -- as the producer chose it, not unique
	kind        text NOT NULL,
	state       integer NOT NULL,         -- see the table states
	state_at    integer NOT NULL,
	attempts    integer NOT NULL,
	next_at     integer,
	accepted_at integer,
	user_id     integer,
	booking     text NOT NULL,
	rcpt_hash   blob ,                     -- HMAC of the address
	rcpt_masked text,
	rcpt_domain text,
	rcpt_sealed blob ,                     -- the address, encrypted; only with LEDGER_KEY
	stage       text NOT NULL,
	code        integer NOT NULL,
	enhanced    text NOT NULL,
	class       text NOT NULL,
	reason      text NOT NULL,
	erased      integer NOT NULL,
	PRIMARY KEY (mail, first_seen)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS evently_mail_mails_first_seen ON evently_mail_mails (first_seen);
CREATE INDEX IF NOT EXISTS evently_mail_mails_task ON evently_mail_mails (task_id, first_seen);
CREATE INDEX IF NOT EXISTS evently_mail_mails_kind ON evently_mail_mails (kind, first_seen);
CREATE INDEX IF NOT EXISTS evently_mail_mails_state ON evently_mail_mails (state, first_seen) WHERE state <> 100;
CREATE INDEX IF NOT EXISTS evently_mail_mails_user ON evently_mail_mails (user_id, first_seen) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS evently_mail_mails_booking ON evently_mail_mails (booking, first_seen) WHERE booking <> '';
CREATE INDEX IF NOT EXISTS evently_mail_mails_rcpt ON evently_mail_mails (rcpt_hash, first_seen) WHERE rcpt_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS evently_mail_mails_domain ON evently_mail_mails (rcpt_domain, first_seen) WHERE rcpt_domain IS NOT NULL;

-- One row for each event of a mail, such as an attempt.
CREATE TABLE IF NOT EXISTS evently_mail_events (
	mail       text NOT NULL,
	entry_ms   integer NOT NULL, -- id of the entry in the stream: milliseconds and a number
	entry_seq  integer NOT NULL,
	event_at   integer NOT NULL,
	state      integer NOT NULL,
	attempt    integer NOT NULL,
	reason     text NOT NULL,
	next_at    integer,
	stage      text NOT NULL,
	code       integer NOT NULL,
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
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS evently_mail_events_at ON evently_mail_events (event_at);

-- Counts of events by minute, hour and day, so that no chart counts mails. The bucket is
-- that of the time since the first claim; see docs/ledger.md.
CREATE TABLE IF NOT EXISTS evently_mail_counts (
	span     integer NOT NULL, -- seconds: 60, 3600 or 86400
	start_at integer NOT NULL,
	kind     text NOT NULL,
	state    integer NOT NULL,
	bucket   integer NOT NULL,
	n        integer NOT NULL,
	PRIMARY KEY (span, start_at, kind, state, bucket)
) WITHOUT ROWID;

-- Counts of failures, and of events by domain. A day of hours of each domain would be too
-- many rows to add up.
CREATE TABLE IF NOT EXISTS evently_mail_classes (
	hour  integer NOT NULL,
	kind  text NOT NULL,
	state integer NOT NULL,
	class text NOT NULL,
	n     integer NOT NULL,
	PRIMARY KEY (hour, kind, state, class)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS evently_mail_domains (
	day    integer NOT NULL,
	domain text NOT NULL,
	state  integer NOT NULL,
	class  text NOT NULL,
	n      integer NOT NULL,
	PRIMARY KEY (day, domain, state, class)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS evently_mail_meta (
	name       text PRIMARY KEY,
	value      text NOT NULL,
	changed_at integer NOT NULL
);

-- For people who read the tables; the program does not need it.
CREATE TABLE IF NOT EXISTS evently_mail_states (
	state integer PRIMARY KEY,
	name  text NOT NULL
);

INSERT INTO evently_mail_states (state, name) VALUES
	(10, 'queued'), (20, 'sending'), (30, 'deferred'), (40, 'unknown'), (50, 'suppressed'), (51, 'expired'),
	(52, 'rejected'), (53, 'dead'), (100, 'accepted'), (110, 'bounced'), (120, 'complained')
ON CONFLICT DO NOTHING;
