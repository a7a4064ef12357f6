package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/config"
)

func TestBounceListen(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]config.Bounces{
		"":                              {},
		"off":                           {},
		":25":                           {Network: "tcp", Address: ":25"},
		"smtp://127.0.0.1:2525":         {Network: "tcp", Address: "127.0.0.1:2525"},
		"lmtp://[::1]:24":               {Network: "tcp", Address: "[::1]:24", LMTP: true},
		"lmtp+unix:///run/bounces.sock": {Network: "unix", Address: "/run/bounces.sock", LMTP: true},
	} {
		c := load(t, env{"BOUNCE_LISTEN": value, "BOUNCE_DOMAIN": "bounces.example.com", "BOUNCE_KEY": "0123456789abcdef"})
		if diff := cmp.Diff(want, c.Bounces); diff != "" {
			t.Errorf("%q (-want +got):\n%s", value, diff)
		}
	}
	c := load(t, env{"WEBHOOK_ADDR": "127.0.0.1:8005", "WEBHOOK_KEY": "0123456789abcdef,fedcba9876543210"})
	if len(c.Bounces.WebhookKeys) != 2 || c.Bounces.WebhookAddr != "127.0.0.1:8005" {
		t.Errorf("webhooks: %+v", c.Bounces)
	}
}
