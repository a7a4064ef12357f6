-- Bounces name a mail by its reference: the id in its Message-ID, its envelope id and its
-- address for bounces. The number is made of it; 0: not known.
ALTER TABLE evently_mail.mails ADD COLUMN IF NOT EXISTS ref bigint NOT NULL DEFAULT 0;

CREATE INDEX IF NOT EXISTS mails_ref ON evently_mail.mails (ref) WHERE ref <> 0;

-- One row for each bounce, complaint or other notification about a mail.
CREATE TABLE IF NOT EXISTS evently_mail.bounces (
	id          text COLLATE "C" PRIMARY KEY, -- hash of the raw message, so that a copy has the same one
	received_at timestamptz NOT NULL,
	source      text NOT NULL,             -- such as lmtp, stdin or ses
	kind        text NOT NULL,             -- such as failed, delayed or complaint
	matched_by  text NOT NULL,             -- tag, envelope_id, message_id, address, forged, or empty
	proven      boolean NOT NULL,          -- may lead to a suppression
	ref         text COLLATE "C" NOT NULL, -- reference of the mail; empty: none
	mail        text COLLATE "C",          -- NULL while the mail is not known
	first_seen  timestamptz,               -- of the mail
	rcpt_hash   bytea,                     -- HMAC of the address
	rcpt_masked text,
	rcpt_domain text,
	action      text NOT NULL,
	code        smallint NOT NULL,
	enhanced    text NOT NULL,
	class       text NOT NULL,
	words       text NOT NULL, -- of the server, cleaned
	remote_mta  text NOT NULL,
	reporting   text NOT NULL, -- server that reports
	forwarded   boolean NOT NULL,
	size        integer NOT NULL -- bytes of the raw message
);

CREATE INDEX IF NOT EXISTS bounces_received ON evently_mail.bounces (received_at, id);
CREATE INDEX IF NOT EXISTS bounces_mail ON evently_mail.bounces (mail, received_at) WHERE mail IS NOT NULL;
CREATE INDEX IF NOT EXISTS bounces_waiting ON evently_mail.bounces (ref) WHERE mail IS NULL AND ref <> '';
CREATE INDEX IF NOT EXISTS bounces_rcpt ON evently_mail.bounces (rcpt_hash, received_at) WHERE rcpt_hash IS NOT NULL;
