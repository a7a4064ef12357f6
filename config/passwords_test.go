package config_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/evently/workers/config"
)

func TestPasswords(t *testing.T) {
	env := map[string]string{
		"REDIS_URL": "redis://:redis-canary@db:6379/0", "DATABASE_URL": "postgres://u:data%40base-canary@db/n", "DB_PASSWORD": "db-canary",
		"SMTP_USERNAME": "u", "SMTP_PASSWORD": "smtp-canary", "ZERO_TOKEN": "zero-canary",
		"OTP_CHECK_REDIS_URL": "redis://:codes-canary@auth",
		"LEDGER_DATABASE_URL": "postgres://u:led%40ger-canary@db/n", "LEDGER_KEY": "first-key-canary,other-key-canary",
		"DEAD_LETTER_KEY": "first-letter-canary,other-letter-canary",
		"MONITOR_USERS":   "ann:admin:hash-canary-1,bob:viewer:hash-canary-2", "MONITOR_OIDC_CLIENT_SECRET": "oidc-canary",
	}
	cfg, err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.Passwords()
	for _, want := range []string{"redis-canary", "data@base-canary", "data%40base-canary", "db-canary", "smtp-canary", "zero-canary", "led@ger-canary", "led%40ger-canary", "first-key-canary", "other-key-canary", "codes-canary", "first-letter-canary", "other-letter-canary", "hash-canary-1", "hash-canary-2", "oidc-canary"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	env["SMTP_URLS"] = "smtp://u:first%40canary@a smtps://u:second-canary@b"
	if cfg, err = config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first@canary", "first%40canary", "second-canary", "redis-canary"} {
		if !slices.Contains(cfg.Passwords(), want) {
			t.Errorf("%s is missing", want)
		}
	}
	// A Secret that is new must be in the list: there are this many today.
	if n := secrets(reflect.TypeFor[config.Config]()); n != 11 {
		t.Errorf("Config has %d secrets; Passwords knows 11", n)
	}
}

// secrets counts the fields of type Secret.
func secrets(of reflect.Type) (n int) {
	for i := range of.NumField() {
		switch f := of.Field(i).Type; {
		case !of.Field(i).IsExported():
		case f == reflect.TypeFor[config.Secret]():
			n++
		case f.Kind() == reflect.Struct:
			n += secrets(f)
		}
	}
	return n
}
