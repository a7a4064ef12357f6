-- Bounces without a mail are listed, and all but the latest are removed.
CREATE INDEX IF NOT EXISTS bounces_unmatched ON evently_mail.bounces (received_at, id) WHERE mail IS NULL;

-- Suppressions that ended long ago are removed.
CREATE INDEX IF NOT EXISTS suppressions_ended ON evently_mail.suppressions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS suppressions_expires ON evently_mail.suppressions (expires_at) WHERE expires_at IS NOT NULL;
