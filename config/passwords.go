package config

import (
	"net/url"

	"github.com/evently/workers/internal/connurl"
)

// Passwords returns every secret text of the configuration, for what must not
// show them in words that others have written. Those of URLs come alone as well
// as in the form that they have in the URL.
func (c *Config) Passwords() []string {
	all := []string{
		c.SMTP.Password.Reveal(), c.Redis.Password.Reveal(), c.Redis.UserAlone.Reveal(), c.Redis.Sentinel.Password.Reveal(),
		c.Database.Password.Reveal(), c.Delivery.Codes.Password.Reveal(),
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
