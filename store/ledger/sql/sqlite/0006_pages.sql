-- The pages of the monitor: facets count the mails of each state, but the accepted ones, with
-- any filter from this index alone. It replaces mails_state.
CREATE INDEX IF NOT EXISTS evently_mail_mails_facets ON evently_mail_mails (state, first_seen, kind, rcpt_domain, class) WHERE state <> 100;
DROP INDEX IF EXISTS evently_mail_mails_state;

-- Lists by class of failure, and searches by the id that the relay gave to a mail.
CREATE INDEX IF NOT EXISTS evently_mail_mails_class ON evently_mail_mails (class, first_seen) WHERE class <> '';
CREATE INDEX IF NOT EXISTS evently_mail_events_queue ON evently_mail_events (queue_id) WHERE queue_id <> '';
