-- Lists and facets of one domain by state: without it, a frequent domain and a rare state read all
-- mails of the state.
CREATE INDEX IF NOT EXISTS evently_mail_mails_domain_state ON evently_mail_mails (rcpt_domain, state, first_seen) WHERE state <> 100 AND rcpt_domain IS NOT NULL;
