package config_test

import (
	"flag"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/evently/workers/config"
)

var update = flag.Bool("update", false, "rewrite the table of variables in the README")

// Every variable of the service's contract is there, with its default.
func TestTable(t *testing.T) {
	t.Parallel()
	defaults := make(map[string]string)
	for _, s := range config.Table() {
		if _, twice := defaults[s.Variable]; twice {
			t.Errorf("%s is there twice", s.Variable)
		}
		defaults[s.Variable] = s.Default
		if s.Group == "" || s.Type == "" || !strings.HasSuffix(s.Description, ".") || strings.Contains(s.Description, "\n") {
			t.Errorf("%s has no proper group, type or description: %+v", s.Variable, s)
		}
		if s.Variable != strings.ToUpper(s.Variable) {
			t.Errorf("%s is not in upper case", s.Variable)
		}
	}
	for variable, want := range map[string]string{
		"REDIS_HOST": "localhost", "REDIS_PORT": "6379", "REDIS_PASSWORD": "", "REDIS_USE_TLS": "false", "REDIS_URL": "",
		"REDIS_DB": "0", "REDIS_TLS_CA_FILE": "", "REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": "", "REDIS_TLS_SKIP_VERIFY": "false",
		"REDIS_KEY_PREFIX": "", "REDIS_RESULT_KEY_PREFIX": "",
		"QUEUES": "email_notifications", "CONCURRENCY": "4", "AUTOSCALE": "", "VISIBILITY_TIMEOUT": "3600", "RESULT_EXPIRES": "3600",
		"TASK_TIME_LIMIT": "300", "TASK_SOFT_TIME_LIMIT": "240", "UNKNOWN_TASKS": "dead-letter", "SHUTDOWN_GRACE": "25",
		"MAX_RETRIES": "3", "RETRY_DELAY": "60", "WORKER_NAME": "email-worker@%h",
		"SMTP_HOST": "smtp.gmail.com", "SMTP_PORT": "587", "SMTP_USERNAME": "", "SMTP_PASSWORD": "", "SMTP_USE_TLS": "true",
		"SMTP_TLS_MODE": "from SMTP_USE_TLS", "SMTP_TLS_CA_FILE": "the system's", "FROM_NAME": "Evently", "FROM_ADDRESS": "noreply@evently.com",
		"DB_HOST": "localhost", "DB_PORT": "5432", "DB_NAME": "evently", "DB_USER": "evently", "DB_PASSWORD": "", "DB_SSLMODE": "prefer",
		"DATABASE_URL": "from DB_*", "HEALTH_ADDR": ":8004", "MONITOR_ADDR": "127.0.0.1:5555",
		"LOG_LEVEL": "info", "LOG_FORMAT": "json, but text on a terminal", "ZERO_TOKEN": "",
	} {
		if got, ok := defaults[variable]; !ok || got != want {
			t.Errorf("%s: default %q (there: %t), want %q", variable, got, ok, want)
		}
	}
}

// Help, report and Markdown are made of the one table.
func TestPapersNameEveryVariable(t *testing.T) {
	t.Parallel()
	c := load(t, nil)
	papers := map[string]string{"help": config.Help(), "report": config.Text(c.Report(), 0), "markdown": config.Markdown()}
	for _, s := range config.Table() {
		for paper, text := range papers {
			if !strings.Contains(text, s.Variable) {
				t.Errorf("%s is not in the %s", s.Variable, paper)
			}
		}
	}
	for line := range strings.Lines(config.Markdown()) {
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 5 {
			t.Errorf("not a row of four cells: %s", line)
		}
	}
	for line := range strings.Lines(config.Help()) {
		if len(line) > 100 {
			t.Errorf("too long for a terminal: %s", line)
		}
	}
}

// A long value goes on in further lines, and no line is longer than the terminal is wide.
func TestReportFitsTerminal(t *testing.T) {
	t.Parallel()
	url := "postgres://u:pw@database-primary.internal.example.com:5432/" + strings.Repeat("evently", 20) + "?sslmode=require"
	c := load(t, env{"DATABASE_URL": url, "FROM_NAME": strings.Repeat("Größe ", 20)})
	for _, width := range []int{72, 80, 120} {
		text := config.Text(c.Report(), width)
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
				t.Errorf("%d columns, want at most %d: %s", n, width, line)
			}
		}
		_, rest, _ := strings.Cut(text, "\nDATABASE_URL ")
		rest, _, _ = strings.Cut(rest, "\nDB_")
		if got, want := strings.ReplaceAll(strings.Join(strings.Fields(rest), ""), "env", ""), strings.ReplaceAll(url, "pw", "***"); got != want {
			t.Errorf("with %d columns the URL is %s, want %s:\n%s", width, got, want, text)
		}
	}
	for line := range strings.Lines(config.Text(c.Report(), 0)) {
		if strings.Contains(line, "postgres://") != strings.HasPrefix(line, "DATABASE_URL") {
			t.Errorf("without a terminal a value is cut: %s", line)
		}
	}
}

// The report shows what is in force, not only what was written.
func TestReportInForce(t *testing.T) {
	t.Parallel()
	c := load(t, env{
		"REDIS_URL": "rediss://:pw@h:1/3", "DATABASE_URL": "postgres://u@d/n?sslmode=require",
		"AUTOSCALE": "9,1", "SMTP_USE_TLS": "no", "SMTP_PORT": "465", "FROM_NAME": "A\x1b[31mB",
	})
	got := make(map[string][2]string)
	for _, s := range c.Report() {
		got[s.Variable] = [2]string{s.Value, s.Source}
	}
	for variable, want := range map[string][2]string{
		"REDIS_URL": {"rediss://:***@h:1/3", "env"}, "REDIS_HOST": {"h", "REDIS_URL"}, "REDIS_PORT": {"1", "REDIS_URL"},
		"REDIS_PASSWORD": {"***", "REDIS_URL"}, "REDIS_USE_TLS": {"true", "REDIS_URL"}, "REDIS_DB": {"3", "REDIS_URL"},
		"DB_HOST": {"d", "DATABASE_URL"}, "DB_NAME": {"n", "DATABASE_URL"}, "DB_SSLMODE": {"require", "DATABASE_URL"},
		"CONCURRENCY": {"9,1", "AUTOSCALE"}, "SMTP_MAX_CONNS": {"9", "CONCURRENCY"}, "SMTP_TLS_MODE": {"implicit", "SMTP_USE_TLS"},
		"WORKER_NAME": {c.Worker.Name, "default"}, "FROM_NAME": {"A\ufffd[31mB", "env"}, "SMTP_HOST": {"smtp.gmail.com", "default"},
	} {
		if got[variable] != want {
			t.Errorf("%s: value and source %q, want %q", variable, got[variable], want)
		}
	}
	if config.Config.Report(config.Config{}) != nil {
		t.Error("a Config that was not loaded has a report")
	}
}

// The table of the README is the one of the program. To renew it: go test
// ./config -run README -update
func TestREADME(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../README.md", "<!-- config:begin -->\n", "<!-- config:end -->"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("no table between %s and %s", strings.TrimSpace(begin), end)
	}
	want := "\n" + config.Markdown() + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimSpace(table) != strings.TrimSpace(want) {
		t.Error("the table of variables is not that of the program; go test ./config -run README -update renews it")
	}
}

// Fingerprints tell values apart, and say nothing about them without the key.
func TestFingerprints(t *testing.T) {
	t.Parallel()
	prints := func(key string, values map[string]string) map[string]config.Fingerprint {
		c := load(t, values)
		all := map[string]config.Fingerprint{}
		for _, f := range c.Fingerprints([]byte(key)) {
			all[f.Variable] = f
		}
		if len(all) != len(config.Table()) {
			t.Errorf("%d fingerprints, want one of each variable", len(all))
		}
		return all
	}
	set := map[string]string{
		"DB_PASSWORD": "geheim-ünd", "REDIS_URL": "redis://:secret-1@h:1/0", "SMTP_URLS": "smtp://u:secret-1@a:587 smtp://b:25",
		"LEDGER_DATABASE_URL": "postgres://u:secret-1@h/n", "QUEUES": "a,b", "ZERO_URL": "https://zero.example/x",
	}
	a := prints("key", set)
	for variable, want := range map[string]config.Fingerprint{
		"DB_PASSWORD": {Secret: true, Source: "env"}, "REDIS_URL": {Secret: true, Source: "env"},
		"SMTP_URLS": {Secret: true, Source: "env"}, "LEDGER_DATABASE_URL": {Secret: true, Source: "env"},
		"QUEUES": {Source: "env"}, "ZERO_URL": {Source: "env"}, "CONCURRENCY": {Source: "default"},
	} {
		got := a[variable]
		length := 10
		if want.Secret { // so short that it helps little to guess a value
			length = 6
		}
		if len(got.Digest) != length {
			t.Errorf("%s: digest %q", variable, got.Digest)
		}
		if want.Variable, want.Digest = variable, got.Digest; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if got := a["WEBHOOK_KEY"]; got.Digest != "" || got.Secret {
		t.Errorf("a secret that is not set: %+v", got)
	}
	if got := a["REDIS_PASSWORD"]; got != (config.Fingerprint{Variable: "REDIS_PASSWORD", Source: "REDIS_URL", Secret: true}) {
		t.Errorf("a secret that is a part of a URL: %+v", got)
	}
	same, other := prints("key", set), prints("another key", set)
	for variable, f := range a {
		if same[variable] != f || f.Digest != "" && other[variable].Digest == f.Digest {
			t.Errorf("%s: %+v, then %+v, with another key %+v", variable, f, same[variable], other[variable])
		}
	}
	for variable, value := range map[string]string{
		"DB_PASSWORD": "geheim-und", "REDIS_URL": "redis://:secret-2@h:1/0", "SMTP_URLS": "smtp://u:secret-2@a:587 smtp://b:25",
		"LEDGER_DATABASE_URL": "postgres://u:secret-2@h/n", "QUEUES": "a,c",
	} {
		changed := map[string]string{}
		for k, v := range set {
			changed[k] = v
		}
		changed[variable] = value
		if prints("key", changed)[variable].Digest == a[variable].Digest {
			t.Errorf("%s: another value has the same digest", variable)
		}
	}
}
