package redis_test

import (
	"fmt"
	"slices"
	"strings"
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
		t.Errorf("commands of the recipe and those that are examined (-recipe +examined):\n%s", diff)
	}
	do(t, c, "ACL", setuser...)
	cfg := redis.Config{URL: "redis://evently:secret@" + s.Addr + "/0", Logger: quiet()}
	queues := []string{"email_notifications"}
	e := must(redis.Examine(t.Context(), cfg, queues))(t)
	if len(e.Lacks) > 0 || e.Fault != "" || !strings.HasPrefix(e.Server, "Redis 7") && !strings.HasPrefix(e.Server, "Redis 8") || e.Role != "master" {
		t.Errorf("the user of the recipe: %+v", e)
	}
	for _, command := range granted {
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
	if _, err := redis.Examine(t.Context(), cfg, queues); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password: %v", err)
	}
}
