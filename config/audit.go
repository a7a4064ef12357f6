package config

// Audit is about the audit trail, which is in the database of the ledger or in Redis.
type Audit struct {
	Keys     []Secret // of the hashes; the one in use first
	Required bool     // refuse commands that cannot be audited
}

// audit reads how the audit trail is kept.
func (c *Config) audit(v *variables) {
	c.Audit.Required = v.AuditRequired.value
	if v.AuditKey.given() && v.AuditKey.value.IsSet() {
		c.Audit.Keys = v.AuditKey.keys(rightKey + " and commands")
	}
}
