package redis

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]Address{
		"redis://":                   {Network: "tcp", Host: "localhost:6379", DB: 5},
		"redis://h":                  {Network: "tcp", Host: "h:6379", DB: 5},
		"redis://h:1/":               {Network: "tcp", Host: "h:1", DB: 5},
		"redis://h:1/0":              {Network: "tcp", Host: "h:1", DB: 0},
		"redis://:p%40ss@h:1/2":      {Network: "tcp", Host: "h:1", DB: 2, Password: "p@ss"},
		"redis://user:pass@h":        {Network: "tcp", Host: "h:6379", DB: 5, Username: "user", Password: "pass"},
		"rediss://[::1]:1/3":         {Network: "tcp", Host: "[::1]:1", TLS: true, DB: 3},
		"redis+socket:///run/r.sock": {Network: "unix", Host: "/run/r.sock", DB: 5},
		"redis+socket:///run/r.sock?virtual_host=7": {Network: "unix", Host: "/run/r.sock", DB: 7},
		"sentinel://a;sentinel://b:1/3":             {Network: "tcp", Sentinels: []string{"a:26379", "b:1"}, DB: 3},
		"sentinel://:secret@[::1]:1;b:2":            {Network: "tcp", Sentinels: []string{"[::1]:1", "b:2"}, DB: 5, Password: "secret"},
	} {
		got, _, err := parseURL(raw, 5, false)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parseURL(%q) = %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{"amqp://h", "redis://h/db", "redis://h/-1", "redis+socket://", "sentinel://", "sentinel://h;redis://i", "sentinel://h/x", "sentinel://h;;i", "redis://:secret-493817@h:port/0", "://"} {
		_, _, err := parseURL(raw, 0, false)
		if err == nil {
			t.Errorf("parseURL(%q) succeeded", raw)
		} else if strings.Contains(err.Error(), "493817") {
			t.Errorf("the error tells the Password: %v", err)
		}
	}
}

// An Address does the same as the URL that names it.
func TestAddress(t *testing.T) {
	for _, test := range []struct {
		url     string
		address Address
	}{
		{"redis://u:p@h:1/2", Address{Host: "h:1", Username: "u", Password: "p", DB: 2}},
		{"rediss://h:1/0", Address{Network: "tcp", Host: "h:1", TLS: true}},
		{"redis+socket:///run/r.sock?virtual_host=3", Address{Network: "unix", Host: "/run/r.sock", DB: 3}},
		{"sentinel://:p@a:1;sentinel://b:2/3", Address{Network: "sentinel", Host: "a:1,b:2", Sentinels: []string{"a:1", "b:2"}, Password: "p", DB: 3}},
	} {
		byURL, want, err := Config{URL: test.url, SentinelMaster: "m"}.normalise()
		if err != nil {
			t.Fatal(err)
		}
		byAddress, got, err := Config{Address: test.address, SentinelMaster: "m"}.normalise()
		if err != nil || !reflect.DeepEqual(got, want) || (byURL.TLS == nil) != (byAddress.TLS == nil) {
			t.Errorf("%+v became %+v, %v; want %+v of %s", test.address, got, err, want, test.url)
		}
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	_, err := New(Config{
		URL: "amqp://h", PrioritySteps: []int{3, 1}, DeadLettersMax: -1, VisibilityTimeout: time.Millisecond,
		OwnerTimeout: time.Second - 1, PollInterval: 10*time.Millisecond - 1, DeadLettersAge: -time.Hour,
	})
	for _, want := range []string{
		"amqp", "PrioritySteps", "DeadLettersMax", "VisibilityTimeout is 1ms: want at least 1s",
		"OwnerTimeout is 999.999999ms: want at least 1s", "PollInterval is 9.999999ms: want at least 10ms", "DeadLettersAge is -1h0m0s: want at least 1s",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s: %v", want, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	bad := parseInfo("# Memory\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\nrole:slave\r\naof_enabled:0\r\n")
	if got := warnings(bad); len(got) != 3 {
		t.Errorf("warnings %q, want three", got)
	}
	good := parseInfo("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nrole:master\r\naof_enabled:1\r\n")
	if got := warnings(good); len(got) != 0 {
		t.Errorf("warnings %q for a server in order", got)
	}
}

// A cluster restricts the prefixes and the address, and each error says what to do.
func TestClusterConfig(t *testing.T) {
	for _, bad := range []struct {
		cfg  Config
		want string
	}{
		{Config{URL: "redis://h"}, "needs a hash tag, such as {celery}:"},
		{Config{URL: "redis://h", KeyPrefix: "{}:"}, "needs a hash tag"},
		{Config{URL: "redis://h", KeyPrefix: "{a}:"}, "give it the same hash tag"},
		{Config{URL: "redis://h", KeyPrefix: "{a}:", ResultKeyPrefix: "{b}:"}, "give it the same hash tag"},
		{Config{URL: "redis://h", DB: 1, KeyPrefix: "{a}:", ResultKeyPrefix: "{a}:"}, "the database 0 only"},
		{Config{URL: "redis://h/1", KeyPrefix: "{a}:", ResultKeyPrefix: "{a}:"}, "the only one that a Redis Cluster has"},
		{Config{URL: "sentinel://h", SentinelMaster: "m", KeyPrefix: "{a}:", ResultKeyPrefix: "{a}:"}, "node:6379"},
		{Config{Address: Address{Network: "unix", Host: "/x"}, KeyPrefix: "{a}:", ResultKeyPrefix: "{a}:"}, "want that of a node"},
	} {
		bad.cfg.Cluster = true
		if _, err := New(bad.cfg); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("New(%+v): %v; want %q", bad.cfg, err, bad.want)
		}
	}
	for _, good := range []Config{
		{URL: "redis://u:secret@h,i:1,[::1]:2/0", Cluster: true},
		{Address: Address{Nodes: []string{"h:6379", "i:1", "[::1]:2"}, Username: "u", Password: "secret"}},
	} {
		good.KeyPrefix, good.ResultKeyPrefix = "{a}:", "r{a}"
		_, addr, err := good.normalise()
		if err != nil || addr.String() != "cluster of h:6379,i:1,[::1]:2" || addr.Username != "u" || addr.Password != "secret" {
			t.Errorf("normalise(%+v) = %+v, %v", good, addr, err)
		}
	}
}
