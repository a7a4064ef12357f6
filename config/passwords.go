package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/evently/workers/internal/connurl"
)

// Passwords returns every secret text of the configuration, for what must not
// show them in words that others have written. Those of URLs come alone as well
// as in the form that they have in the URL.
func (c *Config) Passwords() []string {
	all := []string{
		c.SMTP.Password.Reveal(), c.Redis.Password.Reveal(), c.Redis.UserAlone.Reveal(), c.Redis.Sentinel.Password.Reveal(),
		c.Database.Password.Reveal(), c.Delivery.Codes.Password.Reveal(), c.Guard.OIDC.ClientSecret.Reveal(),
	}
	all = append(all, c.Guard.Users.Reveal())
	for user := range strings.SplitSeq(c.Guard.Users.Reveal(), ",") {
		all = append(all, user[strings.LastIndex(user, ":")+1:])
	}
	for _, key := range c.Mail.BounceKeys {
		all = append(all, key.Reveal())
	}
	for _, key := range c.Bounces.WebhookKeys {
		all = append(all, key.Reveal())
	}
	for _, key := range append(c.Ledger.Keys[:len(c.Ledger.Keys):len(c.Ledger.Keys)], c.Audit.Keys...) {
		all = append(all, key.Reveal())
	}
	for _, key := range c.Redis.DeadLetterKeys {
		all = append(all, key.Reveal())
	}
	for _, b := range c.Brokers {
		all = append(all, b.Password.Reveal(), url.UserPassword("", b.Password.Reveal()).String()[1:], b.UserAlone.Reveal())
	}
	for _, r := range c.Relays {
		all = append(all, r.Password.Reveal(), url.UserPassword("", r.Password.Reveal()).String()[1:])
	}
	for _, d := range []Database{c.Database, c.Ledger.Database} {
		if p, err := connurl.ParsePostgres(d.URL.Reveal()); err == nil {
			all = append(all, p.Password, url.UserPassword("", p.Password).String()[1:], p.Params["sslpassword"])
		}
	}
	if c.variables != nil {
		all = append(all, c.variables.ZeroToken.value.Reveal(), c.variables.ZeroURL.value.Reveal())
	}
	kept := all[:0]
	for _, text := range all {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}

// SecretInUse is a secret of the configuration, or a file with one. The file is read again when
// it changes.
type SecretInUse struct {
	Variable string
	Value    Secret
	File     string // instead of Value
}

// SecretsInUse returns the secrets that are set, by their variables. Of several keys it returns
// the one in use. The passwords of URLs have the names of the variables that may hold them alone.
func (c *Config) SecretsInUse() (all []SecretInUse) {
	add := func(variable string, values ...Secret) {
		if len(values) > 0 && values[0].IsSet() {
			all = append(all, SecretInUse{Variable: variable, Value: values[0]})
		}
	}
	file := func(variable, path string) {
		if path != "" {
			all = append(all, SecretInUse{Variable: variable, File: path})
		}
	}
	for _, b := range c.Brokers {
		if b.Name == "" {
			add("REDIS_PASSWORD", b.Password)
		} else {
			add("REDIS_URLS["+b.Name+"]", b.Password)
		}
	}
	add("REDIS_SENTINEL_PASSWORD", c.Redis.Sentinel.Password)
	add("DB_PASSWORD", databasePassword(c.Database))
	add("LEDGER_DATABASE_URL", databasePassword(c.Ledger.Database))
	add("LEDGER_KEY", c.Ledger.Keys...)
	add("AUDIT_KEY", c.Audit.Keys...)
	add("DEAD_LETTER_KEY", c.Redis.DeadLetterKeys...)
	add("BOUNCE_KEY", c.Mail.BounceKeys...)
	add("WEBHOOK_KEY", c.Bounces.WebhookKeys...)
	add("OTP_CHECK_REDIS_URL", c.Delivery.Codes.Password)
	if c.variables != nil {
		add("ZERO_TOKEN", c.variables.ZeroToken.value)
	}
	for _, r := range c.Relays {
		password, token := "SMTP_PASSWORD", "SMTP_TOKEN_FILE"
		if r.URL > 0 {
			password = fmt.Sprintf("SMTP_URLS[%d]", r.URL)
			token = password
		}
		add(password, r.Password)
		file(token, r.TokenFile)
	}
	if files := c.Mail.DKIM.KeyFiles; len(files) > 0 {
		file("DKIM_KEY_FILE", files[0])
	}
	file("REDIS_TLS_KEY_FILE", c.Redis.TLS.Key)
	file("BOUNCE_TLS_KEY_FILE", c.Bounces.KeyFile)
	return all
}

func databasePassword(d Database) Secret {
	if p, err := connurl.ParsePostgres(d.URL.Reveal()); d.URL.IsSet() && err == nil {
		return NewSecret(p.Password)
	}
	return d.Password
}
