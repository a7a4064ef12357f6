package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/config"
)

// Quotes, comments and line ends of env files are removed from values, with a warning.
func TestEnvFiles(t *testing.T) {
	t.Parallel()
	queues := func(c config.Config) any { return c.Worker.Queues }
	host := func(c config.Config) any { return c.Redis.Address }
	steps := func(c config.Config) any { return c.Redis.PrioritySteps }
	smtpPassword := func(c config.Config) any { return c.SMTP.Password.Reveal() }
	for _, test := range []struct {
		variable, value string
		get             func(config.Config) any
		want            any
		warning         string
	}{
		{"QUEUES", `"email_notifications"`, queues, []string{"email_notifications"}, "read as email_notifications"},
		{"QUEUES", `'a,b'`, queues, []string{"a", "b"}, "read as a,b"},
		{"QUEUES", `'"a"'`, queues, []string{"a"}, "read as a"},
		{"QUEUES", "“a,b”", queues, []string{"a", "b"}, "read as a,b"},
		{"QUEUES", `"a","b"`, queues, []string{"a", "b"}, "quotes around its items"},
		{"QUEUES", `["a","b"]`, queues, []string{"a", "b"}, "in brackets; read as a,b"},
		{"QUEUES", `["a", "b"]`, queues, []string{"a", "b"}, "in brackets"},
		{"QUEUES", `'["a","b"]'`, queues, []string{"a", "b"}, "in brackets"},
		{"QUEUES", `['a', 'b',]`, queues, []string{"a", "b"}, "in brackets"},
		{"QUEUES", `("a", "b")`, queues, []string{"a", "b"}, "in brackets"},
		{"QUEUES", `[a, b]`, queues, []string{"a", "b"}, "in brackets"},
		{"QUEUES", `["a"]`, queues, []string{"a"}, "in brackets"},
		{"QUEUES", "a,b\r", queues, []string{"a", "b"}, "line break"},
		{"QUEUES", "\"a\"\r\n", queues, []string{"a"}, "line break"},
		{"QUEUES", "\ufeffa", queues, []string{"a"}, ""},
		{"QUEUES", "a,b  # the queues", queues, []string{"a", "b"}, "comment"},
		{"QUEUES", `"a,b" # the queues`, queues, []string{"a", "b"}, "comment"},
		{"QUEUES", "a#b", queues, []string{"a#b"}, ""},
		{"QUEUES", `""`, queues, []string{"email_notifications"}, "counts as not set"},
		{"QUEUES", "# none", queues, []string{"email_notifications"}, "counts as not set"},
		{"REDIS_HOST", `"redis"`, host, "redis:6379", "read as redis"},
		{"REDIS_HOST", "redis # db", host, "redis:6379", "comment"},
		{"REDIS_HOST", "''", host, "localhost:6379", "counts as not set"},
		{"CONCURRENCY", `"8"`, func(c config.Config) any { return c.Worker.Concurrency }, 8, "read as 8"},
		{"CONCURRENCY", "8 # cores", func(c config.Config) any { return c.Worker.Concurrency }, 8, "comment"},
		{"SHUTDOWN_GRACE", `'90s'`, grace, mustDuration("90s"), "read as 90s"},
		{"MESSAGE_MAX_BYTES", `"2KiB"`, maxBytes, 2048, "read as 2KiB"},
		{"PRIORITY_STEPS", "[0, 3, 9]", steps, []int{0, 3, 9}, "in brackets"},
		{"PRIORITY_STEPS", `"0,3,9"`, steps, []int{0, 3, 9}, "quotes"},
		{"AUTOSCALE", "[10, 3]", func(c config.Config) any { return c.Worker.Autoscale }, config.Autoscale{Min: 3, Max: 10}, "in brackets"},
		{"QUEUE_WEIGHTS", `{"email_notifications": 6}`, func(c config.Config) any { return c.Worker.QueueWeights["email_notifications"] }, 6, ""},
		{"LINK_HOSTS", `["a.example","b.example:8443"]`, func(c config.Config) any { return c.Mail.LinkHosts }, []string{"a.example", "b.example:8443"}, "in brackets"},
		{"REDIS_USE_TLS", `"false"`, useTLS, false, "read as false"},
		{"REDIS_USE_TLS", `'0'`, useTLS, false, "quotes"},
		{"REDIS_USE_TLS", "false # no TLS", useTLS, false, "comment"},
		{"REDIS_USE_TLS", "no\r", useTLS, false, "line break"},
		{"REDIS_USE_TLS", "disabled", useTLS, true, `"disabled" turns it on`},
		{"SMTP_USE_TLS", `"true"`, tlsMode, "starttls", "quotes"},
		{"SMTP_USE_TLS", `'True' # STARTTLS`, tlsMode, "starttls", "comment"},
		{"TASK_EVENTS", `"yes"`, func(c config.Config) any { return c.Worker.TaskEvents }, true, "quotes"},
		{"LOG_FORMAT", `"text"`, func(c config.Config) any { return c.Service.LogFormat }, "text", "quotes"},
		{"HEALTH_ADDR", `"off"`, func(c config.Config) any { return c.Service.HealthAddr }, "", "quotes"},
		{"FROM_ADDRESS", `"me@example.com"`, func(c config.Config) any { return c.Mail.FromAddress }, "me@example.com", "quotes"},
		{"FROM_NAME", `"Evently & Co"`, func(c config.Config) any { return c.Mail.FromName }, "Evently & Co", "quotes"},
		{"FROM_NAME", `Ann's "Events" # 1`, func(c config.Config) any { return c.Mail.FromName }, `Ann's "Events" # 1`, "is kept"},
		{"REDIS_URL", `"redis://h/3"`, redisURL, "redis://h:6379/3", "quotes"},
		{"REDIS_URL", `'redis://:a"b@h'`, redisURL, "redis://:a%22b@h:6379/0", "quotes"},
		{"REDIS_URL", `"redis://:a"b@h"`, redisURL, "redis://:a%22b@h:6379/0", "quotes"},
		{"REDIS_URL", "redis://h/3  # main", redisURL, "redis://h:6379/3", "comment"},
		{"REDIS_URL", "redis://:a b@h # main", redisURL, "redis://:a%20b@h:6379/0", "comment"},
		{"DATABASE_URL", `"postgres://u@h/n"`, dbURL, "postgres://u@h/n?sslmode=prefer", "quotes"},
		{"DATABASE_URL", `"host=h password='a # b'"`, dbURL, "postgres://:a%20%23%20b@h?sslmode=prefer", "quotes"},

		{"SMTP_PASSWORD", `"hunter2"`, smtpPassword, "hunter2", "quotes"},
		{"SMTP_PASSWORD", `'hun"ter2'`, smtpPassword, `hun"ter2`, "quotes"},
		{"SMTP_PASSWORD", `"hunter 2 "`, smtpPassword, "hunter 2 ", "quotes"},
		{"SMTP_PASSWORD", "\"hunter2\"\r", smtpPassword, "hunter2", "line break"},
		{"SMTP_PASSWORD", `"hunter2"  # of the relay`, smtpPassword, "hunter2", "comment"},
		{"SMTP_PASSWORD", `""hunter2""`, smtpPassword, `"hunter2"`, "two pairs"},
		{"SMTP_PASSWORD", `"hun"ter2"`, smtpPassword, `"hun"ter2"`, "all are kept"},
		{"SMTP_PASSWORD", `"hunter2`, smtpPassword, `"hunter2`, "kept"},
		{"SMTP_PASSWORD", "hunter2 # x", smtpPassword, "hunter2 # x", "kept"},
		{"SMTP_PASSWORD", `""`, smtpPassword, "", "counts as not set"},
	} {
		c, err := config.Load(env{test.variable: test.value, "SMTP_USERNAME": "u"}.lookup)
		if err != nil {
			t.Errorf("%s=%s: %v", test.variable, test.value, err)
			continue
		}
		if diff := cmp.Diff(test.want, test.get(c)); diff != "" {
			t.Errorf("%s=%s (-want +got):\n%s", test.variable, test.value, diff)
		}
		var about string
		for _, w := range c.Warnings {
			if w.Variable == test.variable {
				about += w.Text + "\n"
			}
			if strings.Contains(w.Text, "hunter") || strings.Contains(w.Text, "ter2") {
				t.Errorf("%s=%s: the warning shows the secret: %s", test.variable, test.value, w.Text)
			}
		}
		if !strings.Contains(about, test.warning) || test.warning == "" && strings.Contains(about, "left out") {
			t.Errorf("%s=%s: warnings %q, want %q", test.variable, test.value, about, test.warning)
		}
	}
}

// Half a pair of quotes is a mistake where it can be nothing else.
func TestStrayQuotes(t *testing.T) {
	t.Parallel()
	for variable, value := range map[string]string{
		"QUEUES": `"email_notifications`, "LINK_HOSTS": `a.example"`, "REDIS_HOST": `"redis`, "SMTP_HOST": `relay.example"`,
		"DB_HOST": `'db`, "CONCURRENCY": `"8`, "UNKNOWN_TASKS": `requeue'`, "TASK_EVENTS": `"true`, "PRIORITY_STEPS": "[0,3",
	} {
		_, err := config.Load(env{variable: value}.lookup)
		e, ok := errors.AsType[*config.Error](err)
		if !ok || len(e.Problems) != 1 || e.Problems[0].Variable != variable {
			t.Errorf("%s=%s: %v, want one mistake", variable, value, err)
		}
	}
}

// A name that an env file has spoilt is not passed over in silence.
func TestSpoiltNames(t *testing.T) {
	for _, s := range config.Table() {
		t.Setenv(s.Variable, "")
	}
	for _, name := range []string{"export REDIS_HOST", "\ufeffREDIS_PORT", "CONCURRENCY ", `"QUEUES"`} {
		t.Setenv(name, "x")
		c, err := config.Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Warnings) != 1 || c.Warnings[0].Variable != name || !strings.Contains(c.Warnings[0].Text, "did you mean") {
			t.Errorf("%q: warnings %v", name, c.Warnings)
		}
		os.Unsetenv(name)
	}
}

// Quotes around nothing are nothing, in the environment as in a lookup.
func TestQuotesAroundNothing(t *testing.T) {
	e := env{}
	for _, s := range config.Table() {
		t.Setenv(s.Variable, `""`)
		e[s.Variable] = `""`
	}
	got, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := load(t, e)
	if diff := cmp.Diff(want.Report(), got.Report(), cmp.AllowUnexported(config.Setting{})); diff != "" {
		t.Errorf("environment and lookup differ (-lookup +environment):\n%s", diff)
	}
	if diff := cmp.Diff(want.Warnings, got.Warnings); diff != "" || len(got.Warnings) != len(e) {
		t.Errorf("%d warnings about %d variables (-lookup +environment):\n%s", len(got.Warnings), len(e), diff)
	}
	if diff := cmp.Diff(load(t, nil).Report(), got.Report(), cmp.AllowUnexported(config.Setting{})); diff != "" {
		t.Errorf("quotes around nothing change something (-unset +quotes):\n%s", diff)
	}
}

func mustDuration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}
