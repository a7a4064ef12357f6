package redis

import (
	"strings"
	"testing"
)

// A broker URL is understood as a place to dial, or refused without telling its
// password.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"redis://u:%s@h:1/2", "rediss://:%s@[::1]:1/3", "redis+socket://u:%s@/run/r.sock?virtual_host=7",
		"sentinel://:%s@a:1;sentinel://b/3", "redis://u:%s@h:port/0", "redis://u:%s@h/%zz", "unix://u:%s@", "amqp://u:%s@h"} {
		before, after, _ := strings.Cut(s, "%s")
		f.Add(before, after)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const password = "geheim493817"
		a, _, err := parseURL(before+password+after, 5, false)
		if err != nil {
			// A password before "://" is part of the scheme.
			if strings.Contains(before, "://") && strings.Contains(err.Error(), password) {
				t.Fatalf("the error tells the password: %v", err)
			}
			return
		}
		if a.DB < 0 || a.Host == "" && len(a.Sentinels) == 0 || a.Network != "tcp" && a.Network != "unix" {
			t.Fatalf("%q became %+v", before+password+after, a)
		}
		if strings.Contains(a.Password, password) && strings.Contains(a.String(), a.Password) {
			t.Fatalf("the address tells the password: %s", a)
		}
	})
}
