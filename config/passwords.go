package config

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/internal/sorting"
)

// Passwords returns every secret text of the configuration, for what must not
// show them in words that others have written. Each one comes as it is and in the
// form that it has in a URL. The longest come first, because one may be a part of
// another one.
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
		all = append(all, b.Password.Reveal(), b.UserAlone.Reveal())
	}
	for _, r := range c.Relays {
		all = append(all, r.Password.Reveal())
	}
	for _, d := range []Database{c.Database, c.Ledger.Database} {
		if p, err := connurl.ParsePostgres(d.URL.Reveal()); err == nil {
			all = append(all, p.Password, p.Params["sslpassword"])
		}
	}
	if c.variables != nil {
		all = append(all, c.variables.ZeroToken.value.Reveal(), c.variables.ZeroURL.value.Reveal())
	}
	for _, text := range all {
		all = append(all, url.UserPassword("", text).String()[1:])
	}
	return LongestFirst(slices.DeleteFunc(all, func(text string) bool { return text == "" }))
}

// LongestFirst sorts texts by their length, and drops repeated ones. It changes the slice.
func LongestFirst(texts []string) []string {
	sorting.By(texts, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(texts)
}

// SecretInUse is a secret of the configuration, or a file with one. The file is read again when
// it changes.
type SecretInUse struct {
	Variable string
	Value    Secret
	File     string // instead of Value
	Source   string // of the value, as in [Setting]
}

// SecretsInUse returns the secrets that are set, by their variables. Of several keys it returns
// the one in use. The passwords of URLs have the names of the variables that may hold them alone.
func (c *Config) SecretsInUse() (all []SecretInUse) {
	add := func(variable string, values ...Secret) {
		if len(values) > 0 && values[0].IsSet() {
			all = append(all, SecretInUse{Variable: variable, Value: values[0], Source: sourceOf(c.variables, variable)})
		}
	}
	file := func(variable, path string) {
		if path != "" {
			all = append(all, SecretInUse{Variable: variable, File: path, Source: SourceFile})
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
	add("MONITOR_USERS", c.Guard.Users)
	add("MONITOR_OIDC_CLIENT_SECRET", c.Guard.OIDC.ClientSecret)
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

// sourceOf returns the source of a secret of SecretsInUse: that of its variable, or of the one
// that overrides it. v may be nil.
func sourceOf(v *variables, variable string) string {
	if v == nil {
		return ""
	}
	name, _, _ := strings.Cut(variable, "[")
	sources := map[string]*setting{}
	for _, f := range v.fields() {
		sources[f.base().name] = f.base()
	}
	s := sources[name]
	for s != nil && s.shownSource != "" {
		other := sources[s.shownSource]
		if other == nil || other == s {
			return s.shownSource
		}
		s = other
	}
	if s == nil {
		return ""
	}
	if name == "LEDGER_DATABASE_URL" && !s.given() { // a copy of the other database
		return sourceOf(v, "DB_PASSWORD")
	}
	return s.source
}

// SecretFiles returns the paths of the files that the secrets of c are read from, by variable.
// The names of the variables are without _FILE.
func SecretFiles(c Config) map[string]string {
	files := map[string]string{}
	if c.variables != nil {
		for _, f := range c.variables.fields() {
			if s := f.base(); s.file != "" {
				files[s.name] = s.file
			}
		}
	}
	return files
}

// Given returns the texts of c that came from a source, such as [SourceFile] or [SourceZero], by
// variable and as the source has them. It returns none for the environment.
func Given(c Config, source string) map[string]Secret {
	given := map[string]Secret{}
	if c.variables != nil {
		for _, f := range c.variables.fields() {
			if s := f.base(); s.source == source && s.raw.IsSet() {
				given[s.name] = s.raw
			}
		}
	}
	return given
}

// ZeroToken returns the token of c for Zero, and the address of Zero.
func ZeroToken(c Config) (token Secret, address string) {
	if c.variables == nil {
		return Secret{}, ""
	}
	return c.variables.ZeroToken.value, c.variables.ZeroURL.value.Reveal()
}
