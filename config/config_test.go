package config_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/connurl"
)

// env is an environment for one test.
type env map[string]string

func (e env) lookup(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

func load(t *testing.T, e env) config.Config {
	t.Helper()
	c, err := config.Load(e.lookup)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// problems returns what is wrong with e, by variable.
func problems(t *testing.T, e env) map[string]config.Problem {
	t.Helper()
	c, err := config.Load(e.lookup)
	if err == nil {
		return nil
	}
	fault, ok := errors.AsType[*config.Error](err)
	if !ok {
		t.Fatalf("Load: %v is a %T, want a *config.Error", err, err)
	}
	if c.Worker.Concurrency != 0 || c.Redis.Address != "" {
		t.Error("Load returned a Config beside its error")
	}
	found := make(map[string]config.Problem)
	for _, p := range fault.Problems {
		if _, twice := found[p.Variable]; twice {
			t.Errorf("%s is reported twice", p.Variable)
		}
		found[p.Variable] = p
	}
	return found
}

// The defaults are what the Python service did.
func TestDefaults(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	got := load(t, nil)
	want := config.Config{
		Redis: config.Redis{
			Network: "tcp", Address: "localhost:6379", PrioritySteps: []int{0, 3, 6, 9},
			VisibilityTimeout: time.Hour, OwnerTimeout: 15 * time.Second, ResultExpires: time.Hour, DeadLettersMax: 10000,
		},
		Worker: config.Worker{
			Name: "email-worker@" + host, Queues: []string{"email_notifications"}, QueueOrder: "round_robin",
			Concurrency: 4, RemoteControl: "full", PrefetchMultiplier: 1, TaskTimeLimit: 300 * time.Second, TaskSoftTimeLimit: 240 * time.Second,
			MaxRetries: 3, RetryDelay: time.Minute, MaxRedeliveries: 3, UnknownTasks: "dead-letter",
			ShutdownGrace: 25 * time.Second, MaxBytes: 16 << 20, MaxDepth: 500, MaxElements: 16 << 20,
		},
		SMTP:     config.SMTP{Host: "smtp.gmail.com", Port: 587, TLSMode: "starttls", MaxConns: 4},
		Mail:     config.Mail{FromName: "Evently", FromAddress: "noreply@evently.com"},
		Delivery: config.Delivery{UnknownPolicy: "hold", Suppressions: "on", ReplyTimeout: 2 * time.Minute, GiveUpAfter: 96 * time.Hour},
		Database: config.Database{Host: "localhost", Port: 5432, Name: "evently", User: "evently", SSLMode: "prefer"},
		Service:  config.Service{HealthAddr: ":8004", HealthPprof: "off", MonitorAddr: "127.0.0.1:5555", LogLevel: slog.LevelInfo, ZeroRefresh: 5 * time.Minute},
	}
	for _, part := range []struct {
		name      string
		got, want any
	}{
		{"Redis", got.Redis, want.Redis}, {"Worker", got.Worker, want.Worker}, {"SMTP", got.SMTP, want.SMTP},
		{"Mail", got.Mail, want.Mail}, {"Delivery", got.Delivery, want.Delivery}, {"Database", got.Database, want.Database}, {"Service", got.Service, want.Service},
	} {
		if diff := cmp.Diff(part.want, part.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", part.name, diff)
		}
	}
	if len(got.Warnings) != 0 {
		t.Errorf("warnings about nothing: %v", got.Warnings)
	}
}

// Compose files pass an unset variable as an empty one, which is no value.
func TestEmptyIsNotSet(t *testing.T) {
	t.Parallel()
	e := env{}
	for _, s := range config.Table() {
		e[s.Variable] = " "
	}
	got, want := load(t, e), load(t, nil)
	if diff := cmp.Diff(want.Report(), got.Report(), cmp.AllowUnexported(config.Setting{})); diff != "" {
		t.Errorf("empty variables change something (-unset +empty):\n%s", diff)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		env  env
		get  func(config.Config) any
		want any
	}{
		{"seconds", env{"SHUTDOWN_GRACE": "90"}, grace, 90 * time.Second},
		{"fraction of seconds", env{"SHUTDOWN_GRACE": " 1.5 "}, grace, 1500 * time.Millisecond},
		{"seconds with a unit", env{"SHUTDOWN_GRACE": "90s"}, grace, 90 * time.Second},
		{"compound time", env{"SHUTDOWN_GRACE": "1h30m"}, grace, 90 * time.Minute},
		{"no time limit", env{"TASK_TIME_LIMIT": "0"}, func(c config.Config) any { return c.Worker.TaskTimeLimit }, time.Duration(0)},
		{"no retries", env{"MAX_RETRIES": "0"}, func(c config.Config) any { return c.Worker.MaxRetries }, 0},
		{"queues", env{"QUEUES": "a, b,c"}, func(c config.Config) any { return c.Worker.Queues }, []string{"a", "b", "c"}},
		{"order of queues", env{"QUEUE_ORDER": "Sorted"}, func(c config.Config) any { return c.Worker.QueueOrder }, "sorted"},
		{"weights", env{"QUEUES": "a,b:c", "QUEUE_WEIGHTS": "a:6, b:c : 1"}, func(c config.Config) any { return c.Worker.QueueWeights }, map[string]int{"a": 6, "b:c": 1}},
		{"no order beside weights", env{"QUEUES": "a", "QUEUE_WEIGHTS": "a:6"}, func(c config.Config) any { return c.Worker.QueueOrder }, ""},
		{"bytes", env{"MESSAGE_MAX_BYTES": "2048"}, maxBytes, 2048},
		{"KiB", env{"MESSAGE_MAX_BYTES": "512KiB"}, maxBytes, 512 << 10},
		{"MiB", env{"MESSAGE_MAX_BYTES": "2 MiB"}, maxBytes, 2 << 20},
		{"GiB", env{"MAX_MEMORY": "1GiB"}, func(c config.Config) any { return c.Worker.MaxMemory }, 1 << 30},
		{"priority steps", env{"PRIORITY_STEPS": "0, 1,9"}, func(c config.Config) any { return c.Redis.PrioritySteps }, []int{0, 1, 9}},
		{"autoscale", env{"AUTOSCALE": "10,3", "CONCURRENCY": "2"}, func(c config.Config) any { return c.Worker.Concurrency }, 10},
		{"autoscale bounds", env{"AUTOSCALE": "10,3"}, func(c config.Config) any { return c.Worker.Autoscale }, config.Autoscale{Min: 3, Max: 10}},
		{"autoscale maximum alone", env{"AUTOSCALE": "10"}, func(c config.Config) any { return c.Worker.Autoscale }, config.Autoscale{Min: 1, Max: 10}},
		{"remote control", env{"REMOTE_CONTROL": "Harmless"}, func(c config.Config) any { return c.Worker.RemoteControl }, "harmless"},
		{"unknown tasks", env{"UNKNOWN_TASKS": "Requeue"}, func(c config.Config) any { return c.Worker.UnknownTasks }, "requeue"},
		{"connections follow", env{"CONCURRENCY": "12"}, func(c config.Config) any { return c.SMTP.MaxConns }, 12},
		{"no bound by connections", env{"CONCURRENCY": "12"}, func(c config.Config) any { return c.Worker.MaxConcurrency }, 0},
		{"tasks for connections", env{"CONCURRENCY": "12", "SMTP_MAX_CONNS": "3"}, func(c config.Config) any { return []int{c.Worker.Concurrency, c.Worker.MaxConcurrency} }, []int{3, 3}},
		{"default tasks for connections", env{"SMTP_MAX_CONNS": "1"}, func(c config.Config) any { return []int{c.Worker.Concurrency, c.Worker.MaxConcurrency} }, []int{1, 1}},
		{"fewer tasks than connections", env{"CONCURRENCY": "2", "SMTP_MAX_CONNS": "3"}, func(c config.Config) any { return []int{c.Worker.Concurrency, c.Worker.MaxConcurrency} }, []int{2, 3}},
		{"autoscale for connections", env{"AUTOSCALE": "10,5", "SMTP_MAX_CONNS": "3"}, func(c config.Config) any { return c.Worker.Autoscale }, config.Autoscale{Min: 3, Max: 3}},
		{"connections", env{"CONCURRENCY": "12", "SMTP_MAX_CONNS": "3"}, func(c config.Config) any { return c.SMTP.MaxConns }, 3},
		{"pipelining and chunking", env{}, func(c config.Config) any { return c.Relays[0].NoPipelining || c.Relays[0].NoChunking }, false},
		{"keys", env{"DKIM_KEY_FILE": "/a.pem, /b.pem", "DKIM_SELECTOR": "one,two"}, func(c config.Config) any { return c.Mail.DKIM }, config.DKIM{KeyFiles: []string{"/a.pem", "/b.pem"}, Selectors: []string{"one", "two"}}},
		{"no keys", env{"DKIM_SELECTOR": "one", "DKIM_DOMAIN": "evently.com"}, func(c config.Config) any { return c.Mail.DKIM }, config.DKIM{}},
		{"no pipelining", env{"SMTP_PIPELINING": "off"}, func(c config.Config) any { return c.Relays[0].NoPipelining }, true},
		{"no chunking at any relay", env{"SMTP_CHUNKING": "false", "SMTP_URLS": "smtp://a.example smtp://b.example"}, func(c config.Config) any { return c.Relays[0].NoChunking && c.Relays[1].NoChunking }, true},
		{"level", env{"LOG_LEVEL": "debug"}, level, slog.LevelDebug},
		{"level of Python", env{"LOG_LEVEL": "WARNING"}, level, slog.LevelWarn},
		{"no health server", env{"HEALTH_ADDR": "OFF"}, func(c config.Config) any { return c.Service.HealthAddr }, ""},
		{"profiles", env{"HEALTH_PPROF": "Local"}, func(c config.Config) any { return c.Service.HealthPprof }, "local"},
		{"node name", env{"WORKER_NAME": "w%%1@%n.x"}, func(c config.Config) any { return c.Worker.Name }, "w%1@" + shortHost(t) + ".x"},
		{"hosts", env{"LINK_HOSTS": "a.example,b.example:8443"}, func(c config.Config) any { return c.Mail.LinkHosts }, []string{"a.example", "b.example:8443"}},
		{"spaces of a password", env{"SMTP_PASSWORD": " a b "}, func(c config.Config) any { return c.SMTP.Password.Reveal() }, " a b "},

		{"STARTTLS", env{"SMTP_USE_TLS": "true"}, tlsMode, "starttls"},
		{"STARTTLS in Python's writing", env{"SMTP_USE_TLS": "True"}, tlsMode, "starttls"},
		{"anything else is implicit", env{"SMTP_USE_TLS": "false", "SMTP_PORT": "465"}, tlsMode, "implicit"},
		{"the mode wins", env{"SMTP_USE_TLS": "true", "SMTP_TLS_MODE": "none"}, tlsMode, "none"},

		{"TLS off", env{"REDIS_USE_TLS": "false"}, useTLS, false},
		{"TLS 0", env{"REDIS_USE_TLS": "0"}, useTLS, false},
		{"TLS No", env{"REDIS_USE_TLS": "No"}, useTLS, false},
		{"TLS OFF", env{"REDIS_USE_TLS": "OFF"}, useTLS, false},
		{"TLS by any word", env{"REDIS_USE_TLS": "please"}, useTLS, true},

		{"redis by parts", env{"REDIS_HOST": "r", "REDIS_PORT": "6380", "REDIS_PASSWORD": "p@/:", "REDIS_DB": "2", "REDIS_USE_TLS": "1"}, redisURL, "rediss://:p%40%2F%3A@r:6380/2"},
		{"redis on IPv6", env{"REDIS_HOST": "::1"}, redisURL, "redis://[::1]:6379/0"},
		{"redis URL", env{"REDIS_URL": "redis://h"}, redisURL, "redis://h:6379/0"},
		{"redis URL wins", env{"REDIS_URL": "redis://h", "REDIS_HOST": "x", "REDIS_PASSWORD": "x", "REDIS_USE_TLS": "1"}, redisURL, "redis://h:6379/0"},
		{"redis URL without a host", env{"REDIS_URL": "redis://"}, redisURL, "redis://localhost:6379/0"},
		{"redis URL with all", env{"REDIS_URL": "rediss://u:p%40@h:1/5"}, redisURL, "rediss://u:p%40@h:1/5"},
		{"redis URL with a lone user", env{"REDIS_URL": "redis://u@h"}, redisURL, "redis://u@h:6379/0"},
		{"redis URL without a database", env{"REDIS_URL": "redis://h", "REDIS_DB": "4"}, redisURL, "redis://h:6379/4"},
		{"redis URL with a database", env{"REDIS_URL": "redis://h/0", "REDIS_DB": "4"}, redisURL, "redis://h:6379/0"},
		{"redis socket", env{"REDIS_URL": "redis+socket:///run/r.sock?virtual_host=3"}, redisURL, "redis+socket:///run/r.sock?virtual_host=3"},
		{"sentinels", env{"REDIS_URL": "sentinel://:p@h;sentinel://i:1/3", "REDIS_SENTINEL_MASTER": "m"}, redisURL, "sentinel://:p@h:26379;sentinel://i:1/3"},
		{"cluster", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}:", "REDIS_URL": "rediss://u:p@h,i:1"}, func(c config.Config) any { return c.Redis.Nodes }, []string{"h:6379", "i:1"}},
		{"cluster of URLs", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}:", "REDIS_URL": "redis://h;redis://i:1/0"}, func(c config.Config) any { return c.Redis.Nodes }, []string{"h:6379", "i:1"}},
		{"cluster among brokers", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}:", "LEDGER_DATABASE_URL": "off", "REDIS_URLS": "x=redis://h,i:1 y=redis://j;k"}, func(c config.Config) any { return c.Brokers[1].Redis.Nodes }, []string{"j:6379", "k:6379"}},
		{"cluster of a host", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}:", "REDIS_HOST": "h"}, func(c config.Config) any { return c.Redis.Nodes }, []string{"h:6379"}},
		{"cluster for people", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}:", "REDIS_URL": "redis://:p@h,i/0"}, func(c config.Config) any { return c.Redis.String() }, "redis://:***@h:6379,i:6379/0 (cluster)"},
		{"results of a cluster", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}:"}, func(c config.Config) any { return c.Redis.ResultKeyPrefix }, "{a}:"},
		{"results of a cluster with a prefix", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}:", "REDIS_RESULT_KEY_PREFIX": "r{a}:"}, func(c config.Config) any { return c.Redis.ResultKeyPrefix }, "r{a}:"},
		{"redis socket with a password", env{"REDIS_URL": "redis+socket://:p@/run/r.sock"}, redisURL, "redis+socket://:p@/run/r.sock?virtual_host=0"},
		{"verified", env{"REDIS_URL": "rediss://h?ssl_cert_reqs=CERT_REQUIRED"}, skipVerify, false},
		{"not verified by URL", env{"REDIS_URL": "rediss://h?ssl_cert_reqs=none"}, skipVerify, true},
		{"the variable wins over the URL", env{"REDIS_URL": "rediss://h?ssl_cert_reqs=CERT_NONE", "REDIS_TLS_SKIP_VERIFY": "false"}, skipVerify, false},
		{"not verified", env{"REDIS_USE_TLS": "1", "REDIS_TLS_SKIP_VERIFY": "true"}, skipVerify, true},

		{"database URL", env{"DATABASE_URL": "postgres://u:p@h:1/n?sslmode=disable"}, dbURL, "postgres://u:p@h:1/n?sslmode=disable"},
		{"database URL with our TLS", env{"DATABASE_URL": "postgresql://u@h/n", "DB_SSLMODE": "require"}, dbURL, "postgres://u@h/n?sslmode=require"},
		{"redis URL of Valkey", env{"REDIS_URL": "valkeys://u:p@h:1/5"}, redisURL, "rediss://u:p@h:1/5"},
		{"redis URL with a pasted password", env{"REDIS_URL": `redis://:a^b|"c d@e:f@h`}, redisURL, "redis://:a%5Eb%7C%22c%20d%40e%3Af@h:6379/0"},
		{"redis socket of redis-py", env{"REDIS_URL": "unix://u:p@/run/r.sock?db=2"}, redisURL, "redis+socket://u:p@/run/r.sock?virtual_host=2"},
		{"database URL of Neon", env{"DATABASE_URL": "postgresql://u:p@h/n?sslmode=require&channel_binding=require"}, dbURL, "postgres://u:p@h/n?sslmode=require"},
		{"database URL with hosts", env{"DATABASE_URL": "postgres://u:p@a:5432,b:5433/n?target_session_attrs=read-write"}, dbURL, "postgres://u:p@a:5432,b:5433/n?sslmode=prefer&target_session_attrs=read-write"},
		{"database URL with a socket", env{"DATABASE_URL": "postgres:///n?host=/var/run/postgresql"}, dbURL, "postgres:///n?host=%2Fvar%2Frun%2Fpostgresql&sslmode=prefer"},
		{"database URL with a pasted password", env{"DATABASE_URL": `postgres://u:a^b|"c d@e@h/n`}, dbURL, "postgres://u:a%5Eb%7C%22c%20d%40e@h/n?sslmode=prefer"},
		{"database keywords", env{"DATABASE_URL": "host=h port=1 dbname=n user=u password='p w'"}, dbURL, "postgres://u:p%20w@h:1/n?sslmode=prefer"},
		{"database authorities of the system", env{"DATABASE_URL": "postgres://u@h/n?sslrootcert=system"}, dbURL, "postgres://u@h/n?sslmode=verify-full&sslrootcert=system"},
		{"database hosts", env{"DB_HOST": "a,b"}, func(c config.Config) any { return c.Database.Host }, "a,b"},
		{"database URL of SQLAlchemy", env{"DATABASE_URL": "postgresql+asyncpg://u@h/n?ssl=verify-full"}, dbURL, "postgres://u@h/n?sslmode=verify-full"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.get(load(t, test.env))); diff != "" {
				t.Errorf("%v (-want +got):\n%s", test.env, diff)
			}
		})
	}
}

func grace(c config.Config) any      { return c.Worker.ShutdownGrace }
func maxBytes(c config.Config) any   { return c.Worker.MaxBytes }
func level(c config.Config) any      { return c.Service.LogLevel }
func tlsMode(c config.Config) any    { return c.SMTP.TLSMode }
func useTLS(c config.Config) any     { return c.Redis.UseTLS }
func skipVerify(c config.Config) any { return c.Redis.TLS.SkipVerify }

// redisURL returns the address with its secrets as a URL.
func redisURL(c config.Config) any {
	r := connurl.Redis{
		Network: c.Redis.Network, Address: c.Redis.Address, Sentinels: c.Redis.Sentinel.Addresses, TLS: c.Redis.UseTLS, DB: c.Redis.DB,
		Username: c.Redis.Username + c.Redis.UserAlone.Reveal(), Password: c.Redis.Password.Reveal(),
	}
	return r.URL()
}

func dbURL(c config.Config) any { return c.Database.URL.Reveal() }

func shortHost(t *testing.T) string {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(host, ".")
	return short
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		env      env
		variable string
		wrong    string // part of what is wrong
		right    string // part of what is right
	}{
		{"word for a number", env{"CONCURRENCY": "four"}, "CONCURRENCY", "the value is not a whole number", "from 1 to 10000"},
		{"fraction for a number", env{"CONCURRENCY": "1.5"}, "CONCURRENCY", "whole number", "from 1 to 10000"},
		{"zero", env{"CONCURRENCY": "0"}, "CONCURRENCY", "0 is out of range", "from 1 to 10000"},
		{"beyond an int", env{"CONCURRENCY": "99999999999999999999"}, "CONCURRENCY", "whole number", "from 1 to 10000"},
		{"port of Kubernetes", env{"REDIS_PORT": "tcp://10.0.0.1:6379"}, "REDIS_PORT", "Kubernetes", "enableServiceLinks"},
		{"port", env{"SMTP_PORT": "65536"}, "SMTP_PORT", "out of range", "1 to 65535"},
		{"number with a unit", env{"CONCURRENCY": "4x"}, "CONCURRENCY", `"4x" is not a whole number`, "from 1 to 10000"},
		{"time with a strange unit", env{"RETRY_DELAY": "5 min"}, "RETRY_DELAY", `"5 min" is not a time`, "90s"},
		{"time", env{"RETRY_DELAY": "soon"}, "RETRY_DELAY", "the value is not a time", "90s"},
		{"negative time", env{"RETRY_DELAY": "-1"}, "RETRY_DELAY", "out of range", "seconds from 0.1"},
		{"no number", env{"RETRY_DELAY": "NaN"}, "RETRY_DELAY", "not a time", "seconds"},
		{"for ever", env{"RETRY_DELAY": "Inf"}, "RETRY_DELAY", "not a time", "seconds"},
		{"time beyond a Duration", env{"VISIBILITY_TIMEOUT": "1e300"}, "VISIBILITY_TIMEOUT", "out of range", "seconds"},
		{"size", env{"MESSAGE_MAX_BYTES": "1GB"}, "MESSAGE_MAX_BYTES", "not a size", "1MiB"},
		{"size beyond an int", env{"MESSAGE_MAX_BYTES": "9007199254740993MiB"}, "MESSAGE_MAX_BYTES", "out of range", "1MiB"},
		{"true or false", env{"REDIS_TLS_SKIP_VERIFY": "maybe"}, "REDIS_TLS_SKIP_VERIFY", `"maybe"`, "true or false"},
		{"choice", env{"UNKNOWN_TASKS": "drop"}, "UNKNOWN_TASKS", `"drop" is not allowed`, "dead-letter, requeue or reject"},
		{"level", env{"LOG_LEVEL": "loud"}, "LOG_LEVEL", `"loud"`, "debug, info, warn or error"},
		{"empty item", env{"QUEUES": "a,,b"}, "QUEUES", "between two commas", "commas"},
		{"item twice", env{"QUEUES": "a,b,a"}, "QUEUES", `"a" is there twice`, "once"},
		{"key of kombu", env{"QUEUES": "a,unacked"}, "QUEUES", `"unacked" is not the name of a queue`, "producers"},
		{"routing table", env{"QUEUES": "_kombu.binding.a"}, "QUEUES", "not the name of a queue", "producers"},
		{"key of ours", env{"QUEUES": "_goworker.1.dead"}, "QUEUES", "not the name of a queue", "producers"},
		{"result", env{"QUEUES": "celery-task-meta-1"}, "QUEUES", "not the name of a queue", "producers"},
		{"spaces for commas", env{"QUEUES": "a b"}, "QUEUES", "list of names", "commas"},
		{"steps without 0", env{"PRIORITY_STEPS": "3,6"}, "PRIORITY_STEPS", "priority steps", "0 first"},
		{"too little memory", env{"MAX_MEMORY": "12000"}, "MAX_MEMORY", "out of range", "16777216"}, // Celery counts KiB
		{"short owner timeout", env{"OWNER_TIMEOUT": "0.5"}, "OWNER_TIMEOUT", "out of range", "from 1 to 3600"},
		{"weight of a queue that is not consumed", env{"QUEUES": "a", "QUEUE_WEIGHTS": "a:2,b:1"}, "QUEUE_WEIGHTS", `"b" is not among QUEUES`, "QUEUES has"},
		{"weight of zero", env{"QUEUES": "a", "QUEUE_WEIGHTS": "a:0"}, "QUEUE_WEIGHTS", "weights", "critical:6"},
		{"weight without a name", env{"QUEUES": "a", "QUEUE_WEIGHTS": ":2"}, "QUEUE_WEIGHTS", "weights", "critical:6"},
		{"no weight", env{"QUEUES": "a", "QUEUE_WEIGHTS": "a"}, "QUEUE_WEIGHTS", "weights", "critical:6"},
		{"two weights", env{"QUEUES": "a", "QUEUE_WEIGHTS": "a:1,a:2"}, "QUEUE_WEIGHTS", "twice", "once"},
		{"weights and an order", env{"QUEUES": "a", "QUEUE_WEIGHTS": "a:1", "QUEUE_ORDER": "sorted"}, "QUEUE_ORDER", "QUEUE_WEIGHTS", "one of the two"},
		{"unknown order", env{"QUEUE_ORDER": "random"}, "QUEUE_ORDER", "random", "round_robin, sorted or priority"},
		{"falling steps", env{"PRIORITY_STEPS": "0,6,3"}, "PRIORITY_STEPS", "priority steps", "rising"},
		{"autoscale upside down", env{"AUTOSCALE": "3,10"}, "AUTOSCALE", "range", "10,3"},
		{"node name", env{"WORKER_NAME": "worker"}, "WORKER_NAME", "not a node name", "name@host"},
		{"node name with a process", env{"WORKER_NAME": "w-%i@%h"}, "WORKER_NAME", "%i is not known", "%h"},
		{"limits upside down", env{"TASK_TIME_LIMIT": "100"}, "TASK_TIME_LIMIT", "above the hard limit 100", "TASK_SOFT_TIME_LIMIT"},
		{"soft limit too long", env{"TASK_SOFT_TIME_LIMIT": "400"}, "TASK_SOFT_TIME_LIMIT", "above the hard limit 300", "TASK_SOFT_TIME_LIMIT"},
		{"sender with a name", env{"FROM_ADDRESS": "Evently <a@b.c>"}, "FROM_ADDRESS", "not a mail address", "noreply@example.com"},
		{"sender", env{"FROM_ADDRESS": "evently"}, "FROM_ADDRESS", "not a mail address", "noreply@example.com"},
		{"listen without a port", env{"HEALTH_ADDR": "8004"}, "HEALTH_ADDR", "not an address", ":8004"},
		{"monitor without a port", env{"MONITOR_ADDR": "5555"}, "MONITOR_ADDR", "not an address", "127.0.0.1:5555"},
		{"listen on a name", env{"HEALTH_ADDR": "localhost:http"}, "HEALTH_ADDR", "not an address", ":8004"},
		{"one address for two", env{"HEALTH_ADDR": "127.0.0.1:5555"}, "MONITOR_ADDR", "same as HEALTH_ADDR", "different"},
		{"site without TLS", env{"SITE_URL": "http://evently.example"}, "SITE_URL", "not a web address", "https://"},
		{"link host with a path", env{"LINK_HOSTS": "https://a.example/x"}, "LINK_HOSTS", "list of hosts", "tickets.example.com"},
		{"relay with a port", env{"SMTP_HOST": "mail.example:587"}, "SMTP_HOST", "name of a host", "alone"},
		{"password in clear", env{"SMTP_TLS_MODE": "none", "SMTP_USERNAME": "u", "SMTP_PASSWORD": "p"}, "SMTP_TLS_MODE", "in clear", "starttls"},
		{"relays", env{"SMTP_URLS": "smtp://a.example smtps://b.example:x imap://c.example"}, "SMTP_URLS", "URL 2: its port is out of range: not a number from 1 to 65535; URL 3: its scheme", "smtps://user:password@host:465"},
		{"relays with commas", env{"SMTP_URLS": "smtp://a.example,smtp://b.example"}, "SMTP_URLS", "URL 1: it has more than one host, or a path", "spaces between"},
		{"relay twice", env{"SMTP_URLS": "smtp://A.example smtps://b.example smtp://a.example:587"}, "SMTP_URLS", "URL 3: it names the same relay as URL 1", "once"},
		{"relay's password in clear", env{"SMTP_URLS": "smtp://a.example smtp+plain://u:p@b.example"}, "SMTP_URLS", "URL 2: smtp+plain would send the password in clear", "smtps"},
		{"relay's parameter", env{"SMTP_URLS": "smtp://a.example?max_con=2"}, "SMTP_URLS", `URL 1: it has a parameter "max_con"`, "max_conns"},
		{"bounces without a key", env{"BOUNCE_DOMAIN": "bounces.example.com"}, "BOUNCE_KEY", "it is needed, because BOUNCE_DOMAIN is set", "openssl rand"},
		{"short key of bounces", env{"BOUNCE_DOMAIN": "bounces.example.com", "BOUNCE_KEY": "0123456789abcdef,short"}, "BOUNCE_KEY", "less than 16 characters", "openssl rand"},
		{"three keys of bounces", env{"BOUNCE_DOMAIN": "b.example", "BOUNCE_KEY": "0123456789abcdef,1123456789abcdef,2123456789abcdef"}, "BOUNCE_KEY", "more than two keys", "new,old"},
		{"listener without a domain", env{"BOUNCE_LISTEN": "lmtp://127.0.0.1:24"}, "BOUNCE_LISTEN", "it needs BOUNCE_DOMAIN", "BOUNCE_KEY"},
		{"listener of another protocol", env{"BOUNCE_LISTEN": "imap://127.0.0.1:24"}, "BOUNCE_LISTEN", "not an address to listen on", "lmtp+unix:///path"},
		{"socket without a path", env{"BOUNCE_LISTEN": "lmtp+unix://run"}, "BOUNCE_LISTEN", "not the path of a socket", "lmtp+unix:///path"},
		{"webhook without a key", env{"WEBHOOK_ADDR": ":8005"}, "WEBHOOK_KEY", "it is needed, because WEBHOOK_ADDR is set", "openssl rand"},
		{"webhook at the port of health", env{"WEBHOOK_ADDR": ":8004", "WEBHOOK_KEY": "0123456789abcdef"}, "WEBHOOK_ADDR", "the same as HEALTH_ADDR", "two different"},
		{"webhook without a history", env{"WEBHOOK_ADDR": ":8005", "WEBHOOK_KEY": "0123456789abcdef", "LEDGER_DATABASE_URL": "off"}, "WEBHOOK_ADDR", "history of mails", "LEDGER_DATABASE_URL"},
		{"half a certificate of bounces", env{"BOUNCE_TLS_CERT_FILE": "/a.pem"}, "BOUNCE_TLS_KEY_FILE", "BOUNCE_TLS_CERT_FILE is set", "both or none"},
		{"token and password", env{"SMTP_TOKEN_FILE": "/run/token", "SMTP_USERNAME": "u", "SMTP_PASSWORD": "p"}, "SMTP_TOKEN_FILE", "SMTP_PASSWORD is set as well", "one of them"},
		{"keys without selectors", env{"DKIM_KEY_FILE": "/a.pem,/b.pem", "DKIM_SELECTOR": "one"}, "DKIM_SELECTOR", "it has 1 names for 2 files", "one selector for each file"},
		{"token without a user", env{"SMTP_TOKEN_FILE": "/run/token"}, "SMTP_TOKEN_FILE", "SMTP_USERNAME is not set", "set SMTP_USERNAME"},
		{"line break", env{"FROM_NAME": "a\r\nBcc: x"}, "FROM_NAME", "more than one line", "one line"},
		{"no such file", env{"SMTP_TLS_CA_FILE": "/no/such/file"}, "SMTP_TLS_CA_FILE", "does not exist", "PEM"},
		{"file of garbage", env{"REDIS_USE_TLS": "1", "REDIS_TLS_CA_FILE": garbage}, "REDIS_TLS_CA_FILE", "holds no certificate", "PEM"},
		{"certificate without a key", env{"REDIS_USE_TLS": "1", "REDIS_TLS_CERT_FILE": garbage}, "REDIS_TLS_CERT_FILE", "without a key", "REDIS_TLS_KEY_FILE"},
		{"key without a certificate", env{"REDIS_USE_TLS": "1", "REDIS_TLS_KEY_FILE": garbage}, "REDIS_TLS_KEY_FILE", "without a certificate", "REDIS_TLS_CERT_FILE"},
		{"file named by the URL", env{"REDIS_URL": "rediss://h?ssl_ca_certs=/no/such/file"}, "REDIS_URL", "does not exist", "PEM"},
		{"URL for a host", env{"REDIS_HOST": "redis://h:1"}, "REDIS_HOST", "is a URL", "REDIS_URL"},
		{"port at the host", env{"REDIS_HOST": "h:1"}, "REDIS_HOST", "has a port", "REDIS_HOST=h and REDIS_PORT=1"},
		{"scheme", env{"REDIS_URL": "http://h"}, "REDIS_URL", "scheme", "redis://"},
		{"no scheme", env{"REDIS_URL": "h:6379"}, "REDIS_URL", "scheme", "redis://"},
		{"database", env{"REDIS_URL": "redis://h/x"}, "REDIS_URL", "not a number", "redis://"},
		{"port of the URL", env{"REDIS_URL": "redis://h:70000"}, "REDIS_URL", "port", "redis://"},
		{"sentinel without a master", env{"REDIS_URL": "sentinel://h:26379/0"}, "REDIS_SENTINEL_MASTER", "not set", "mymaster"},
		{"sentinel without a host", env{"REDIS_URL": "sentinel://h;;i", "REDIS_SENTINEL_MASTER": "m"}, "REDIS_URL", "does not name Sentinels", "sentinel://host:26379"},
		{"sentinel and another", env{"REDIS_URL": "sentinel://h;redis://i", "REDIS_SENTINEL_MASTER": "m"}, "REDIS_URL", "differ in their scheme", "sentinel://host:26379"},
		{"port of a sentinel", env{"REDIS_URL": "sentinel://h:0", "REDIS_SENTINEL_MASTER": "m"}, "REDIS_URL", "port", "sentinel://host:26379"},
		{"cluster without a tag", env{"REDIS_CLUSTER": "true", "REDIS_URL": "redis://h"}, "REDIS_KEY_PREFIX", "no hash tag", "{celery}:"},
		{"cluster with half a tag", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{celery:"}, "REDIS_KEY_PREFIX", "no hash tag", "{celery}:"},
		{"cluster with another tag", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}", "REDIS_RESULT_KEY_PREFIX": "{b}"}, "REDIS_RESULT_KEY_PREFIX", "another hash tag", "leave it out"},
		{"cluster with a database", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}", "REDIS_URL": "redis://h/1"}, "REDIS_URL", "not 0", "node:6379/0"},
		{"cluster with a database of its own", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}", "REDIS_DB": "1"}, "REDIS_DB", "database 0 only", "write 0"},
		{"cluster behind Sentinels", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}", "REDIS_URL": "sentinel://h"}, "REDIS_URL", "not lead to the nodes", "node:6379"},
		{"cluster behind a socket", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}", "REDIS_URL": "unix:///run/r.sock"}, "REDIS_URL", "not lead to the nodes", "node:6379"},
		{"cluster behind several Sentinels", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}", "REDIS_URL": "sentinel://h;sentinel://i/0"}, "REDIS_URL", "not lead to the nodes", "node:6379"},
		{"cluster among brokers", env{"REDIS_CLUSTER": "true", "REDIS_KEY_PREFIX": "{a}", "REDIS_URLS": "x=redis://h,i/1"}, "REDIS_URLS", "URL of x: its database is not 0", "node:6379"},
		{"nodes of no cluster", env{"REDIS_URL": "redis://h,i"}, "REDIS_URL", "more than one host", "REDIS_CLUSTER=true"},
		{"two URLs", env{"REDIS_URL": "redis://h;redis://i"}, "REDIS_URL", "more than one", "REDIS_CLUSTER=true"},
		{"two hosts", env{"REDIS_HOST": "h,i"}, "REDIS_HOST", "several hosts", "redis://a:6379,b:6379/0"},
		{"socket without a path", env{"REDIS_URL": "redis+socket://run/r.sock"}, "REDIS_URL", "path", "three slashes"},
		{"ssl_cert_reqs", env{"REDIS_URL": "rediss://h?ssl_cert_reqs=x"}, "REDIS_URL", "ssl_cert_reqs", "required or none"},
		{"URL for the database host", env{"DB_HOST": "postgres://h"}, "DB_HOST", "is a URL", "DATABASE_URL"},
		{"other database", env{"DATABASE_URL": "mysql://h/n"}, "DATABASE_URL", "postgres://", "postgres://"},
		{"sslmode of the URL", env{"DATABASE_URL": "postgres://h/n?sslmode=x"}, "DATABASE_URL", "sslmode", "prefer"},
		{"hash in a password", env{"REDIS_URL": "redis://:1234#secret@db/0"}, "REDIS_URL", "@ behind the host", "# as %23"},
		{"question mark in a password", env{"REDIS_URL": "redis://:p@ss?word@h/0"}, "REDIS_URL", "@ behind the host", "? as %3F"},
		{"fragment", env{"REDIS_URL": "redis://h/0#main"}, "REDIS_URL", "# behind the host", "leave out the #"},
		{"TLS without its scheme", env{"REDIS_URL": "redis://h?ssl_cert_reqs=none"}, "REDIS_URL", "parameters of TLS", "rediss://"},
		{"two databases", env{"REDIS_URL": "redis://h/1?db=2"}, "REDIS_URL", "two databases", "redis://"},
		{"hash in a database password", env{"DATABASE_URL": "postgres://u:1234#secret@h/n"}, "DATABASE_URL", "@ behind the host", "# as %23"},
		{"unknown database parameter", env{"DATABASE_URL": "postgres://h/n?frobnicate=1"}, "DATABASE_URL", `"frobnicate"`, "options"},
		{"weak sslmode", env{"DATABASE_URL": "postgres://h/n?sslmode=require&sslrootcert=system"}, "DATABASE_URL", "too weak", "verify-full"},
		{"more ports than hosts", env{"DATABASE_URL": "postgres://h/n?port=1,2"}, "DATABASE_URL", "1 hosts and 2 ports", "one port"},
		{"port at the database host", env{"DB_HOST": "h:1"}, "DB_HOST", "has a port", "DB_PORT"},
		{"login at the database host", env{"DB_HOST": "u:p@h"}, "DB_HOST", "not the name of a host", "several with commas"},
		{"other database of the history", env{"LEDGER_DATABASE_URL": "mysql://h/n"}, "LEDGER_DATABASE_URL", "postgres://", "sqlite:/path"},
		{"history in memory", env{"LEDGER_DATABASE_URL": "sqlite::memory:"}, "LEDGER_DATABASE_URL", "path of a file", "sqlite:/path"},
		{"history without a file", env{"LEDGER_DATABASE_URL": "sqlite://"}, "LEDGER_DATABASE_URL", "path of a file", "or off"},
		{"history without a database", env{"LEDGER_DATABASE_URL": "no"}, "LEDGER_DATABASE_URL", "postgres://", "or off"},
		{"short key of dead letters", env{"DEAD_LETTER_KEY": "0123456789abcdef,short"}, "DEAD_LETTER_KEY", "less than 16 characters", "openssl rand"},
		{"three keys of dead letters", env{"DEAD_LETTER_KEY": "0123456789abcdef,1123456789abcdef,2123456789abcdef"}, "DEAD_LETTER_KEY", "more than two keys", "new,old"},
		{"short key", env{"LEDGER_KEY": "0123456789abcde"}, "LEDGER_KEY", "less than 16", "openssl"},
		{"short former key", env{"LEDGER_KEY": "0123456789abcdef,x"}, "LEDGER_KEY", "less than 16", "openssl"},
		{"three keys", env{"LEDGER_KEY": "0123456789abcdef,1123456789abcdef,2123456789abcdef"}, "LEDGER_KEY", "more than two", "new,old"},
		{"retention in seconds", env{"LEDGER_RETENTION": "7776000"}, "LEDGER_RETENTION", "out of range", "such as 90 or 90d"},
		{"retention in words", env{"LEDGER_RETENTION": "long"}, "LEDGER_RETENTION", "not a number of days", "such as 90 or 90d"},
		{"Zero", env{"ZERO_URL": "zero.example"}, "ZERO_URL", "may be sent to", "https://"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := problems(t, test.env)
			p, ok := found[test.variable]
			if !ok || len(found) != 1 {
				t.Fatalf("%v: problems %v, want one with %s", test.env, found, test.variable)
			}
			if !strings.Contains(p.Wrong, test.wrong) || !strings.Contains(p.Right, test.right) {
				t.Errorf("%v: %q, want %q and %q in it", test.env, p, test.wrong, test.right)
			}
			if strings.ContainsAny(p.String(), "\r\n") {
				t.Errorf("%q is more than one line", p)
			}
		})
	}
}

// One restart per mistake would be a long day.
func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(env{
		"SMTP_PORT": "x", "CONCURRENCY": "0", "REDIS_URL": "ftp://u:pw@h", "DB_SSLMODE": "never",
		"HEALTH_ADDR": "1", "TASK_TIME_LIMIT": "5", "LOG_FORMAT": "xml",
	}.lookup)
	want := `7 mistakes in the configuration:
  REDIS_URL: it does not begin with a scheme that is known; write redis://[user]:[password]@host:6379/0, rediss:// for TLS, redis+socket:///path?virtual_host=0, or sentinel://host:26379;sentinel://host:26379/0
  CONCURRENCY: 0 is out of range; write a whole number from 1 to 10000
  TASK_TIME_LIMIT: the soft limit 240 is above the hard limit 5; write a TASK_SOFT_TIME_LIMIT that is not above TASK_TIME_LIMIT
  SMTP_PORT: the value is not a whole number; write a whole number from 1 to 65535
  DB_SSLMODE: "never" is not allowed; write disable, allow, prefer, require, verify-ca or verify-full
  HEALTH_ADDR: "1" is not an address to listen on; write host:port such as 127.0.0.1:8004, :8004 for all addresses of the host, or off
  LOG_FORMAT: "xml" is not allowed; write json or text`
	if err == nil || err.Error() != want {
		t.Errorf("Load: %v\nwant: %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		env      env
		variable string
		text     string
	}{
		{env{"CONCURRENCY": "16", "SMTP_MAX_CONNS": "1"}, "CONCURRENCY", "at most 1 tasks run at once"},
		{env{"DKIM_SELECTOR": "one"}, "DKIM_KEY_FILE", "mails are not signed here"},
		{env{"AUTOSCALE": "16,2", "SMTP_MAX_CONNS": "1"}, "AUTOSCALE", "at most 1 tasks run at once"},
		{env{"REDIS_USE_TLS": "1", "REDIS_TLS_SKIP_VERIFY": "1"}, "REDIS_TLS_SKIP_VERIFY", "not verified"},
		{env{"REDIS_URL": "rediss://h?ssl_cert_reqs=none"}, "REDIS_URL", "not verified"},
		{env{"REDIS_URL": "redis://h?foo=1"}, "REDIS_URL", `"foo" is not used`},
		{env{"REDIS_CLUSTER": "1", "REDIS_KEY_PREFIX": "{a}{b}:"}, "REDIS_KEY_PREFIX", "the first one only, {a}"},
		{env{"REDIS_URL": "redis://h", "REDIS_PORT": "1"}, "REDIS_PORT", "REDIS_URL is set"},
		{env{"REDIS_URL": "redis://user@h"}, "REDIS_URL", "user but no password"},
		{env{"REDIS_URL": "redis://h?socket_timeout=5"}, "REDIS_URL", `"socket_timeout" is not used`},
		{env{"REDIS_URL": "rediss://h?ssl_check_hostname=false"}, "REDIS_URL", "may pass for Redis"},
		{env{"DATABASE_URL": "postgres://h/n?channel_binding=require"}, "DATABASE_URL", "channel_binding"},
		{env{"DATABASE_URL": "postgres://h/n?sslmode=verify-full&sslrootcert=/no/such"}, "DATABASE_URL", "does not exist"},
		{env{"DATABASE_URL": "postgres://h/n?pgbouncer=true"}, "DATABASE_URL", "pgbouncer"},
		{env{"REDIS_TLS_CA_FILE": "/x"}, "REDIS_TLS_CA_FILE", "no TLS"},
		{env{"DATABASE_URL": "postgres://h/n", "DB_HOST": "x"}, "DB_HOST", "DATABASE_URL is set"},
		{env{"SMTP_USERNAME": "u"}, "SMTP_USERNAME", "SMTP_PASSWORD is not set"},
		{env{"SMTP_PASSWORD": "u"}, "SMTP_PASSWORD", "SMTP_USERNAME is not set"},
		{env{"SMTP_USE_TLS": "1", "SMTP_PORT": "465"}, "SMTP_USE_TLS", "only the word true"},
		{env{"SMTP_USE_TLS": "false"}, "SMTP_PORT", "587 is the port of STARTTLS"},
		{env{"SMTP_PORT": "465"}, "SMTP_PORT", "465 is the port of implicit TLS"},
		{env{"SMTP_TLS_MODE": "none"}, "SMTP_TLS_MODE", "in clear"},
		{env{"SMTP_URLS": "smtp://a", "SMTP_HOST": "b"}, "SMTP_HOST", "SMTP_URLS is set"},
		{env{"SMTP_URLS": "smtp://a", "SMTP_USE_TLS": "1"}, "SMTP_USE_TLS", "SMTP_URLS is set"},
		{env{"SMTP_URLS": "smtp://a smtp+plain://b"}, "SMTP_URLS", "URL 2: smtp+plain: mails"},
		{env{"SMTP_URLS": "smtp+plain://u:p@localhost smtps://b:587"}, "SMTP_URLS", "URL 2: 587 is the port of STARTTLS"},
		{env{"SMTP_URLS": "smtp://b:465"}, "SMTP_URLS", "URL 1: 465 is the port of implicit TLS"},
		{env{"SMTP_URLS": "smtp://b?max_conns=3", "CONCURRENCY": "9"}, "CONCURRENCY", "each connection of SMTP_URLS"},
		{env{"BOUNCE_DOMAIN": "bounces.example.com", "BOUNCE_KEY": "0123456789abcdef, 1123456789abcdef"}, "BOUNCE_DOMAIN", "many relays refuse"},
		{env{"BOUNCE_KEY": "0123456789abcdef"}, "BOUNCE_KEY", "BOUNCE_DOMAIN is not set"},
		{env{"LEDGER_DATABASE_URL": "off", "LEDGER_KEY": "0123456789abcdef"}, "LEDGER_KEY", "LEDGER_DATABASE_URL is off"},
		{env{"LEDGER_DATABASE_URL": "postgres://h/n?pgbouncer=true"}, "LEDGER_DATABASE_URL", "pgbouncer"},
		{env{"SMTP_REPLY_TIMEOUT": "240"}, "SMTP_REPLY_TIMEOUT", "not below TASK_SOFT_TIME_LIMIT"},
		{env{"TASK_SOFT_TIME_LIMIT": "60"}, "SMTP_REPLY_TIMEOUT", "not below TASK_SOFT_TIME_LIMIT"},
		{env{"HEALTH_PPROF": "all"}, "HEALTH_PPROF", "every client that reaches"},
	} {
		c := load(t, test.env)
		if len(c.Warnings) != 1 || c.Warnings[0].Variable != test.variable || !strings.Contains(c.Warnings[0].Text, test.text) {
			t.Errorf("%v: warnings %q, want one about %s with %q", test.env, c.Warnings, test.variable, test.text)
		}
	}
}

// A further source answers for what the environment does not say.
func TestFurtherSource(t *testing.T) {
	t.Parallel()
	zero := config.Source{Name: "zero", Lookup: env{"REDIS_HOST": "from-zero", "SMTP_PASSWORD": "pw", "DB_PORT": "x"}.lookup}
	_, err := config.Load(env{}.lookup, zero)
	if fault, ok := errors.AsType[*config.Error](err); !ok || fault.Problems[0].Variable != "DB_PORT" {
		t.Errorf("a mistake of the further source gives %v", err)
	}
	c, err := config.Load(env{"REDIS_HOST": "from-env", "DB_PORT": "1", "ZERO_TOKEN": "t"}.lookup, zero)
	if err != nil {
		t.Fatal(err)
	}
	if c.Redis.Address != "from-env:6379" || c.SMTP.Password.Reveal() != "pw" {
		t.Errorf("address %q, password %q: want the first of the environment, the second of the further source",
			c.Redis.Address, c.SMTP.Password.Reveal())
	}
	sources := make(map[string]string)
	for _, s := range c.Report() {
		sources[s.Variable] = s.Source
	}
	for variable, want := range map[string]string{"REDIS_HOST": "env", "SMTP_PASSWORD": "zero", "SMTP_HOST": "default"} {
		if sources[variable] != want {
			t.Errorf("source of %s is %q, want %q", variable, sources[variable], want)
		}
	}
}

// The environment itself is read by envconfig; it must give what a lookup of
// the same values gives.
func TestEnvironment(t *testing.T) {
	for _, s := range config.Table() {
		t.Setenv(s.Variable, "")
	}
	given := env{"CONCURRENCY": "7", "SMTP_PASSWORD": "pw ", "QUEUES": "a,b", "REDIS_URL": "redis://:pw@h/2", "SHUTDOWN_GRACE": "1.5"}
	for name, value := range given {
		t.Setenv(name, value)
	}
	got, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := load(t, given)
	if diff := cmp.Diff(want.Report(), got.Report(), cmp.AllowUnexported(config.Setting{})); diff != "" {
		t.Errorf("environment and lookup differ (-lookup +environment):\n%s", diff)
	}
	if !got.SMTP.Password.Equal(want.SMTP.Password) || got.Worker.ShutdownGrace != want.Worker.ShutdownGrace {
		t.Error("environment and lookup give different values")
	}

	t.Setenv("CONCURRENCY", "x")
	t.Setenv("SMTP_PORT", "y")
	_, err = config.Load(nil)
	if fault, ok := errors.AsType[*config.Error](err); !ok || len(fault.Problems) != 2 {
		t.Errorf("two mistakes in the environment give %v", err)
	}
}

func TestMisspelt(t *testing.T) {
	for _, s := range config.Table() {
		t.Setenv(s.Variable, "")
	}
	meant := map[string]string{
		"REDIS_PASWORD": "REDIS_PASSWORD", "CONCURENCY": "CONCURRENCY", "RETRY_DEALY": "RETRY_DELAY",
		"SMTP_USER": "SMTP_USERNAME", "SMTP_PASS": "SMTP_PASSWORD", "DB_USERNAME": "DB_USER",
		"REDIS_SSL": "REDIS_USE_TLS", "QUEUE": "QUEUES", "redis_host": "REDIS_HOST",
		"HEALTH_ADDRESS": "HEALTH_ADDR", "DB_PASS": "DB_PASSWORD",
	}
	for name := range meant {
		t.Setenv(name, "x")
	}
	// Nothing of ours: what Kubernetes and others set.
	for _, name := range []string{
		"REDIS_SERVICE_HOST", "REDIS_PORT_6379_TCP", "REDIS_PORT_6379_TCP_ADDR", "WEB_CONCURRENCY",
		"PGHOST", "LOGNAME", "HOSTNAME", "SMTP_SERVICE_PORT", "DB_POOL_SIZE",
	} {
		t.Setenv(name, "x")
	}
	t.Setenv("REDIS_HOSTT", "") // empty is not set
	c, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, w := range c.Warnings {
		_, name, _ := strings.Cut(strings.TrimSuffix(w.Text, "?"), "did you mean ")
		got[w.Variable] = name
	}
	if diff := cmp.Diff(meant, got); diff != "" {
		t.Errorf("suggestions (-want +got):\n%s", diff)
	}
}

// A _FILE of a variable without a secret is not passed over in silence.
func TestFilesOfNoSecrets(t *testing.T) {
	t.Setenv("SMTP_USERNAME_FILE", "/run/secrets/user")
	c, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || c.Warnings[0].Variable != "SMTP_USERNAME_FILE" || !strings.Contains(c.Warnings[0].Text, "write the value into SMTP_USERNAME") {
		t.Errorf("warnings %v", c.Warnings)
	}
}

// SMTP_URLS takes the place of the variables for one relay; those for all apply to each.
func TestRelays(t *testing.T) {
	t.Parallel()
	c := load(t, env{
		"SMTP_URLS":       "smtp://u:p%40ss@a.example?max_conns=3  smtps://v@b.example:4650?token_file=/run/token&hello=b.example.com smtp+plain://[::1]:2525",
		"SMTP_HELLO_NAME": "worker.example.com", "SMTP_MAX_CONNS": "7", "CONCURRENCY": "2",
	})
	want := []config.SMTP{
		{URL: 1, Host: "a.example", Port: 587, Username: "u", Password: config.NewSecret("p@ss"), TLSMode: "starttls", HelloName: "worker.example.com", MaxConns: 3},
		{URL: 2, Host: "b.example", Port: 4650, Username: "v", TokenFile: "/run/token", TLSMode: "implicit", HelloName: "b.example.com", MaxConns: 7},
		{URL: 3, Host: "::1", Port: 2525, TLSMode: "none", HelloName: "worker.example.com", MaxConns: 7},
	}
	if diff := cmp.Diff(want, c.Relays); diff != "" {
		t.Errorf("relays (-want +got):\n%s", diff)
	}
	if len(c.Warnings) != 0 || !cmp.Equal(c.SMTP, want[0]) || c.Worker.MaxConcurrency != 3 {
		t.Errorf("warnings %v, preferred relay %+v, at most %d tasks", c.Warnings, c.SMTP, c.Worker.MaxConcurrency)
	}
	report := make(map[string][2]string)
	for _, s := range c.Report() {
		report[s.Variable] = [2]string{s.Value, s.Source}
	}
	for variable, want := range map[string][2]string{
		"SMTP_URLS": {"smtp://u:***@a.example?max_conns=3 smtps://***@b.example:4650?hello=b.example.com&token_file=%2Frun%2Ftoken smtp+plain://[::1]:2525", "env"},
		"SMTP_HOST": {"a.example", "SMTP_URLS"}, "SMTP_PORT": {"587", "SMTP_URLS"}, "SMTP_PASSWORD": {"***", "SMTP_URLS"}, "SMTP_TLS_MODE": {"starttls", "SMTP_URLS"},
	} {
		if report[variable] != want {
			t.Errorf("%s: %q, want %q", variable, report[variable], want)
		}
	}
	one := load(t, env{"SMTP_HOST": "a.example", "SMTP_MAX_CONNS": "5"})
	if len(one.Relays) != 1 || !cmp.Equal(one.Relays[0], one.SMTP) {
		t.Errorf("without SMTP_URLS: %+v, want %+v", one.Relays, one.SMTP)
	}
}

// The history is in the database of the service unless another one is named.
func TestLedger(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	c := load(t, env{"DATABASE_URL": "postgres://u:p@h/n"})
	if c.Ledger.Off || c.Ledger.SQLite != "" || c.Ledger.Database != c.Database || c.Ledger.Retention != 90*day || len(c.Ledger.Keys) != 0 {
		t.Errorf("defaults: %+v", c.Ledger)
	}
	c = load(t, env{"DB_HOST": "a", "DB_SSLMODE": "require", "LEDGER_DATABASE_URL": "postgresql+psycopg2://v:q@b/m", "LEDGER_KEY": "0123456789abcdef, 1123456789abcdef", "LEDGER_RETENTION": "30d"})
	if got := c.Ledger.Database.URL.Reveal(); got != "postgres://v:q@b/m?sslmode=require" || c.Ledger.Database.Host != "" {
		t.Errorf("a separate database: %s, %+v", got, c.Ledger)
	}
	if len(c.Ledger.Keys) != 2 || c.Ledger.Keys[1].Reveal() != "1123456789abcdef" || c.Ledger.Retention != 30*day {
		t.Errorf("keys and retention: %+v", c.Ledger)
	}
	for url, want := range map[string]string{
		"sqlite:/var/h.db": "/var/h.db", "sqlite:h.db": "h.db", "sqlite:///h.db": "h.db", "sqlite:////var/h.db": "/var/h.db",
	} {
		if got := load(t, env{"LEDGER_DATABASE_URL": url}).Ledger.SQLite; got != want {
			t.Errorf("%s is the file %q, want %q", url, got, want)
		}
	}
	for text, want := range map[string]time.Duration{"7": 7 * day, "1.5": 36 * time.Hour, "48h": 2 * day} {
		if got := load(t, env{"LEDGER_RETENTION": text}).Ledger.Retention; got != want {
			t.Errorf("LEDGER_RETENTION=%s is %v, want %v", text, got, want)
		}
	}
	if !load(t, env{"LEDGER_DATABASE_URL": "OFF"}).Ledger.Off {
		t.Error("OFF is not off")
	}
}
