-- Bounces name a mail by its reference: the id in its Message-ID, its envelope id and its
-- address for bounces. The number is made of it; 0: not known.
ALTER TABLE evently_mail_mails ADD COLUMN ref integer NOT NULL DEFAULT 0;

CREATE INDEX IF NOT EXISTS evently_mail_mails_ref ON evently_mail_mails (ref) WHERE ref <> 0;

-- One row for each bounce, complaint or other notification about a mail.
CREATE TABLE IF NOT EXISTS evently_mail_bounces (
	id          text PRIMARY KEY, -- hash of the raw message, so that a copy has the same one
	received_at integer NOT NULL,
	source      text NOT NULL,    -- such as lmtp, stdin or ses
	kind        text NOT NULL,    -- such as failed, delayed or complaint
	matched_by  text NOT NULL,    -- tag, envelope_id, message_id, address, forged, or empty
	proven      integer NOT NULL, -- may lead to a suppression
	ref         text NOT NULL,    -- reference of the mail; empty: none
	mail        text,             -- NULL while the mail is not known
	first_seen  integer,          -- of the mail
	rcpt_hash   blob,             -- HMAC of the address
	rcpt_masked text,
	rcpt_domain text,
	action      text NOT NULL,
	code        integer NOT NULL,
	enhanced    text NOT NULL,
	class       text NOT NULL,
	words       text NOT NULL,    -- of the server, cleaned
	remote_mta  text NOT NULL,
	reporting   text NOT NULL,    -- server that reports
	forwarded   integer NOT NULL,
	size        integer NOT NULL  -- bytes of the raw message
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS evently_mail_bounces_received ON evently_mail_bounces (received_at, id);
CREATE INDEX IF NOT EXISTS evently_mail_bounces_mail ON evently_mail_bounces (mail, received_at) WHERE mail IS NOT NULL;
CREATE INDEX IF NOT EXISTS evently_mail_bounces_waiting ON evently_mail_bounces (ref) WHERE mail IS NULL AND ref <> '';
CREATE INDEX IF NOT EXISTS evently_mail_bounces_rcpt ON evently_mail_bounces (rcpt_hash, received_at) WHERE rcpt_hash IS NOT NULL;
