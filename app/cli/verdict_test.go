package cli_test

import (
	"net"
	"strings"
	"testing"
)

// testVerdicts holds config to what run says: what passes the check of a
// deployment must start, and what does not start must not pass.
func testVerdicts(t *testing.T, p binary) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		variable, value string
		wrong           string // what the error says beside the name; "": nothing is wrong
	}{
		{"FROM_NAME", "a\tb", "control character"},
		{"FROM_NAME", strings.Repeat("x", 3000), "longer than 2000 octets"},
		{"FROM_NAME", "Jörg's \"Events\" <co>", ""},
		{"FROM_ADDRESS", "me@localhost", "domain of one label"},
		{"FROM_ADDRESS", "jörg@x.de", "not ASCII"},
		{"FROM_ADDRESS", "me@bücher.example", ""},
		{"REPLY_TO", "jörg@x.de", "not ASCII"},
		{"SMTP_HELLO_NAME", "localhost", "mark of spam"},
		{"SMTP_HELLO_NAME", "worker_1", ""},
		{"SMTP_HOST", "-bad-", "not a host name"},
		{"SMTP_HOST", "::1", ""},
		{"LINK_HOSTS", "a_b.example?x", "is not a host"},
		{"LINK_HOSTS", "tickets.example.com,b.example:8443", ""},
		{"SUPPORT_ADDRESS", "jörg@x.de", "link to"},
		{"SUPPORT_ADDRESS", "o'brien@x.de", "link to"},
		{"SUPPORT_ADDRESS", "help@localhost", ""},
		{"SITE_URL", "https://x.de/" + strings.Repeat("x", 3000), "longer than 2000 bytes"},
		{"SITE_URL", "https://x.de/a+b/it's", ""},
		{"SITE_URL", "https:x.de", "web address"},
		{"SMTP_PASSWORD", "a\x01b", ""},
		{"DATABASE_URL", "postgres://u:" + canary + "@h:5432/n?sslmode=verify-full&sslrootcert=/none", ""},
		{"DATABASE_URL", "postgres://u:" + canary + "@h:99999/n", "port"},
		{"DATABASE_URL", "postgres://u:" + canary + "@h/n?connect_timeout=soon", "connect_timeout"},
		{"REDIS_URL", "redis+socket:///run/r.sock?virtual_host=x", "database"},
	} {
		// Whether run starts is known without waiting: when its configuration is
		// in order it goes on to the port, which is taken, and ends with 1.
		env := []string{test.variable + "=" + test.value, "HEALTH_ADDR=" + taken.Addr().String(), "MONITOR_ADDR=off"}
		_, checked, checkCode := p.run(t, env, "config")
		_, started, startCode := p.run(t, env, "run")
		if test.wrong == "" {
			if checkCode != 0 || startCode != 1 || !strings.Contains(started, "another process listens") {
				t.Errorf("%.40s=%.40q: config ends with %d, run with %d:\n%s%s", test.variable, test.value, checkCode, startCode, checked, started)
			}
			continue
		}
		if checkCode != 2 || startCode != 2 || checked != started {
			t.Errorf("%s=%.40q: config ends with %d:\n%srun with %d:\n%s", test.variable, test.value, checkCode, checked, startCode, started)
		}
		if !strings.Contains(checked, test.variable+": ") || !strings.Contains(checked, test.wrong) {
			t.Errorf("%s=%.40q: the error does not name the variable, or does not say %q:\n%s", test.variable, test.value, test.wrong, checked)
		}
		for _, field := range []string{"FromName", "FromAddress", "ReplyTo", "HelloName", "LinkHosts", "SupportAddress", "SiteURL", "Config.", "Options."} {
			if strings.Contains(checked, field) {
				t.Errorf("%s=%.40q: the error speaks of %s:\n%s", test.variable, test.value, field, checked)
			}
		}
	}
	// The mistakes that the parts know come with those of the table.
	_, all, code := p.run(t, []string{"SMTP_PORT=0", "FROM_NAME=a\tb", "LINK_HOSTS=a?b", "SMTP_HOST=-b-", "SUPPORT_ADDRESS=nobody"}, "config")
	if code != 2 || !strings.HasPrefix(all, "evently-workers: 5 mistakes") {
		t.Errorf("five mistakes, exit code %d:\n%s", code, all)
	}
}
