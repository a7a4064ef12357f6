package shard

import "testing"

// Health shows what the server has replied, and no address.
func TestRefusal(t *testing.T) {
	for fault, want := range map[string]string{
		"wait for messages: CLUSTERDOWN The cluster is down":                                                    "CLUSTERDOWN The cluster is down",
		"connect to redis cluster of a:1,b:1: owner a:1: LOADING Redis is loading the dataset in memory":        "LOADING Redis is loading the dataset in memory",
		"connect to redis cluster of a:1,b:1: owner a:1: i/o timeout\nnode b:1: MASTERDOWN Link is down: 'no'.": "MASTERDOWN Link is down: 'no'.",
		"connect to redis a:1: TLS handshake: x509: unknown":                                                    "",
		"ERR unknown command 'AUTH', with args beginning with: 'secret'":                                        "",
		"connection refused": "",
		"":                   "",
	} {
		if got := refusal(fault); got != want {
			t.Errorf("%s: %q, want %q", fault, got, want)
		}
	}
}
