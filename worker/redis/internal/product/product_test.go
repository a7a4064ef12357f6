package product

import (
	"strings"
	"testing"
)

// The answers are those of the servers, shortened.
func TestOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		info        map[string]string
		want        string
		old, polled bool
	}{
		{map[string]string{"redis_version": "7.0.15", "executable": "/usr/bin/redis-server"}, "Redis 7.0.15", false, false},
		{map[string]string{"redis_version": "8.2.1"}, "Redis 8.2.1", false, false},
		{map[string]string{"redis_version": "6.2.5"}, "Redis 6.2.5", false, false},
		{map[string]string{"redis_version": "6.0.6"}, "Redis 6.0.6", false, true},
		{map[string]string{"redis_version": "6.0.16"}, "Redis 6.0.16", false, true},
		{map[string]string{"redis_version": "6.0.5"}, "Redis 6.0.5", true, true},
		{map[string]string{"redis_version": "5.0.6"}, "Redis 5.0.6", true, true},
		{map[string]string{"redis_version": "3.2"}, "Redis 3.2", true, true},
		{map[string]string{"redis_version": "10.0.0"}, "Redis 10.0.0", false, false},
		{map[string]string{"redis_version": "255.255.255"}, "Redis 255.255.255", false, false},
		{map[string]string{"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "Valkey 9.1.2 (as Redis 7.2.4)", false, false},
		{map[string]string{"redis_version": "7.4.0", "dragonfly_version": "df-v1.25.1"}, "Dragonfly 1.25.1 (as Redis 7.4.0)", false, false},
		{map[string]string{"redis_version": "6.3.4", "executable": "/usr/local/bin/keydb-server"}, "KeyDB 6.3.4", false, false},
		{map[string]string{"upstash_version": "1.13.7", "redis_version": "6.2.6"}, "Upstash 1.13.7 (as Redis 6.2.6)", false, false},
		{map[string]string{"redis_version": "unstable"}, "Redis unstable", false, false},
		{nil, "Redis of an unknown version", false, false},
	} {
		p := Of(test.info)
		if got := p.String(); got != test.want {
			t.Errorf("%v is %s, want %s", test.info, got, test.want)
		}
		if fault := p.Fault(); (fault != "") != test.old || test.old && !strings.Contains(fault, "want Redis 6.0.6 or newer") {
			t.Errorf("%s: %q", test.want, fault)
		}
		if p.Polled() != test.polled {
			t.Errorf("%s: polled is %v", test.want, p.Polled())
		}
	}
}
