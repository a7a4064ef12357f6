package redis_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// TestExamine finds nothing missing for the user of the recipe, each right that is taken away,
// and leaves nothing behind.
func TestExamine(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	words := recipe(t, 0)
	setuser := []any{"SETUSER"}
	var granted []string
	for _, word := range words {
		setuser = append(setuser, word)
		if command, ok := strings.CutPrefix(word, "+"); ok {
			granted = append(granted, command)
		}
	}
	slices.Sort(granted)
	if diff := cmp.Diff(granted, redis.ExaminedCommands()); diff != "" {
		t.Errorf("commands of the recipe and of the examination (-recipe +examined):\n%s", diff)
	}
	do(t, c, "ACL", setuser...)
	cfg := redis.Config{URL: "redis://evently:secret@" + s.Addr + "/0", Logger: quiet()}
	queues := []string{"email_notifications"}
	e := must(redis.Examine(t.Context(), cfg, queues))(t)
	if len(e.Lacks) > 0 || e.Fault != "" || !strings.HasPrefix(e.Server, "Redis 7") && !strings.HasPrefix(e.Server, "Redis 8") || e.Role != "master" {
		t.Errorf("the user of the recipe: %+v", e)
	}
	for _, command := range granted {
		if command == "role" { // for Sentinels and clusters
			continue
		}
		do(t, c, "ACL", "SETUSER", "evently", "-"+command)
		e := must(redis.Examine(t.Context(), cfg, queues))(t)
		if len(e.Lacks) != 1 || e.Lacks[0].Right != "+"+command || e.Lacks[0].Cost == "" {
			t.Errorf("without %s: %+v", command, e.Lacks)
		}
		do(t, c, "ACL", "SETUSER", "evently", "+"+command)
	}
	do(t, c, "ACL", "SETUSER", "evently", "resetkeys", "~_goworker.1.*", "~unacked*")
	e = must(redis.Examine(t.Context(), cfg, queues))(t)
	if !slices.ContainsFunc(e.Lacks, func(l redis.Lack) bool { return l.Right == "~email_notifications" && l.Required }) {
		t.Errorf("without the queue: %+v", e.Lacks)
	}
	for _, key := range must(redigo.Strings(c.Do("KEYS", "*")))(t) { // the right to DEL was missing once
		if ttl := count(t, c, "TTL", key); ttl < 0 || ttl > 60 {
			t.Errorf("the key %s stays for %d s", key, ttl)
		}
	}
	do(t, c, "REPLICAOF", "127.0.0.1", "1")
	if e := must(redis.Examine(t.Context(), cfg, queues))(t); !strings.Contains(e.Fault, "replica") {
		t.Errorf("a replica: %+v", e)
	}
	cfg.URL = fmt.Sprintf("redis://evently:wrong@%s/0", s.Addr)
	if e := must(redis.Examine(t.Context(), cfg, queues))(t); !strings.Contains(e.Fault, "refuses the login") {
		t.Errorf("a wrong password: %+v", e)
	}
}

// TestExamineWrongServers names what is wrong with servers that cannot be the one.
func TestExamineWrongServers(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	greeter := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { greeter.Close() })
	var greeting sync.WaitGroup
	t.Cleanup(greeting.Wait)
	greeting.Go(func() {
		for {
			c, err := greeter.Accept()
			if err != nil {
				return
			}
			greeting.Go(func() {
				defer c.Close()
				_, _ = c.Write([]byte("220 mx ESMTP\r\n"))
				_, _ = c.Read(make([]byte, 100))
			})
		}
	})
	t.Cleanup(func() { greeter.Close() })
	locked := redistest.Start(t, "--requirepass", "secret")
	for address, want := range map[string]string{
		web.Listener.Addr().String(): "it is a web server: look at host and port",
		greeter.Addr().String():      "it is a mail server: look at host and port",
		locked.Addr:                  "it wants a login: set REDIS_PASSWORD",
		redistest.Start(t, "--cluster-enabled", "yes").Addr:      "set REDIS_CLUSTER=true",
		redistest.Start(t, "--replicaof", "127.0.0.1", "1").Addr: "it is a replica and refuses writes",
		":secret@" + redistest.Start(t).Addr:                     "it has no password, and one is given",
		":secret@" + locked.Addr + "/99":                         "it has fewer databases",
		redistest.Start(t, "--min-replicas-to-write", "3").Addr:  "start them",
		redistest.Start(t, "--maxmemory", "1").Addr:              "it is full and refuses writes",
	} {
		if !strings.Contains(address, "/") {
			address += "/0"
		}
		e, err := redis.Examine(t.Context(), redis.Config{URL: "redis://" + address, Logger: quiet()}, []string{"q"})
		if err != nil || !strings.Contains(e.Fault, want) {
			t.Errorf("%s: %+v, %v; want %s", address, e, err, want)
		}
	}
}
