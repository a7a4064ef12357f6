package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/config"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	provider := env{"MONITOR_OIDC_ISSUER": "https://id.example.com/realms/main", "MONITOR_OIDC_CLIENT_ID": "m", "MONITOR_URL": "https://monitor.example.com/", "MONITOR_ROLES": "sre=admin"}
	with := func(base env, pairs ...string) env {
		all := env{}
		for name, value := range base {
			all[name] = value
		}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		return all
	}
	proxy := env{"MONITOR_FORWARD_HEADER": "X-User", "MONITOR_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7", "MONITOR_DEFAULT_ROLE": "viewer"}
	for name, c := range map[string]struct {
		env      env
		variable string // of the mistake; "": none
		want     string
	}{
		"nothing":                 {env{}, "", ""},
		"provider":                {provider, "", ""},
		"provider on this host":   {with(provider, "MONITOR_OIDC_ISSUER", "http://127.0.0.1:8080/dex"), "", ""},
		"proxy":                   {proxy, "", ""},
		"provider by plain HTTP":  {with(provider, "MONITOR_OIDC_ISSUER", "http://id.example.com"), "MONITOR_OIDC_ISSUER", "https URL"},
		"provider with login":     {with(provider, "MONITOR_OIDC_ISSUER", "https://u:p4ssw0rd@id.example.com"), "MONITOR_OIDC_ISSUER", "https URL"},
		"provider without client": {with(provider, "MONITOR_OIDC_CLIENT_ID", ""), "MONITOR_OIDC_CLIENT_ID", "needed"},
		"provider without URL":    {with(provider, "MONITOR_URL", ""), "MONITOR_URL", "needed"},
		"URL with a path":         {with(provider, "MONITOR_URL", "https://monitor.example.com/x"), "MONITOR_URL", "not the address of a site"},
		"URL with a login":        {with(provider, "MONITOR_URL", "https://a:b@monitor.example.com"), "MONITOR_URL", "not the address of a site"},
		"no openid":               {with(provider, "MONITOR_OIDC_SCOPES", "profile"), "MONITOR_OIDC_SCOPES", "openid"},
		"no roles":                {with(provider, "MONITOR_ROLES", ""), "MONITOR_ROLES", "no person has a role"},
		"a role that is none":     {with(provider, "MONITOR_ROLES", "sre=root"), "MONITOR_ROLES", "list of roles"},
		"a role twice":            {with(provider, "MONITOR_ROLES", "sre=admin,sre=viewer"), "MONITOR_ROLES", "twice"},
		"proxy without network":   {with(proxy, "MONITOR_TRUSTED_PROXIES", ""), "MONITOR_TRUSTED_PROXIES", "needed"},
		"whole internet":          {with(proxy, "MONITOR_TRUSTED_PROXIES", "0.0.0.0/0"), "MONITOR_TRUSTED_PROXIES", "whole internet"},
		"no network":              {with(proxy, "MONITOR_TRUSTED_PROXIES", "proxy.example.com"), "MONITOR_TRUSTED_PROXIES", "list of networks"},
		"header that is none":     {with(proxy, "MONITOR_FORWARD_HEADER", "X-User: "), "MONITOR_FORWARD_HEADER", "name of a header"},
		"roles without user":      {env{"MONITOR_FORWARD_ROLE_HEADER": "X-Groups"}, "MONITOR_FORWARD_HEADER", "needed"},
		"role of strangers":       {env{"MONITOR_ANONYMOUS_ROLE": "boss"}, "MONITOR_ANONYMOUS_ROLE", "not allowed"},
		"key without certificate": {env{"MONITOR_TLS_KEY_FILE": "/k"}, "MONITOR_TLS_CERT_FILE", "needed"},
		"certificate without key": {env{"MONITOR_TLS_CERT_FILE": "/c"}, "MONITOR_TLS_KEY_FILE", "needed"},
		"idle above lifetime":     {env{"MONITOR_SESSION_IDLE": "2h", "MONITOR_SESSION_LIFETIME": "1h"}, "MONITOR_SESSION_IDLE", "above"},
	} {
		_, err := config.Load(c.env.lookup)
		got := fmt.Sprint(err)
		if c.variable == "" && err != nil || c.variable != "" && (!strings.Contains(got, c.variable+": ") || !strings.Contains(got, c.want)) {
			t.Errorf("%s: error %q, want %s with %q", name, got, c.variable, c.want)
		}
		if strings.Contains(got, "p4ssw0rd") {
			t.Errorf("%s: the error has the password", name)
		}
	}
}

func TestAnonymousRole(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env        env
		host, want string
	}{
		{env{}, "127.0.0.1", "operator"},
		{env{}, "localhost", "operator"},
		{env{}, "", "none"},
		{env{}, "10.0.0.1", "none"},
		{env{"MONITOR_USERS": "a:admin:h"}, "127.0.0.1", "none"},
		{env{"MONITOR_USERS_FILE": "/f"}, "127.0.0.1", "none"},
		{env{"MONITOR_ANONYMOUS_ROLE": "admin"}, "127.0.0.1", "admin"},
		{env{"MONITOR_ANONYMOUS_ROLE": "none"}, "127.0.0.1", "none"},
		{env{"MONITOR_USERS": "a:admin:h", "MONITOR_ANONYMOUS_ROLE": "viewer"}, "", "viewer"},
	} {
		cfg, err := config.Load(c.env.lookup)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Guard.AnonymousRole(c.host); got != c.want {
			t.Errorf("%v on %q: %s, want %s", c.env, c.host, got, c.want)
		}
	}
}
