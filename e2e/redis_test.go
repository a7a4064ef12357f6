package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// redisServer is a real redis-server on a free port, with a folder of its own.
type redisServer struct {
	t    testing.TB
	port string
	args []string
	proc *process
	pool *redis.Pool
}

// startRedis runs redis-server without persistence. More arguments, such as
// "--appendonly yes", are those of its command line.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	r := &redisServer{t: t, port: freePort(t)}
	r.args = append([]string{"--port", r.port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--loglevel", "warning"}, args...)
	r.pool = &redis.Pool{
		MaxIdle: 4,
		Dial: func() (redis.Conn, error) {
			return redis.Dial("tcp", r.addr(), redis.DialConnectTimeout(2*time.Second), redis.DialReadTimeout(10*time.Second), redis.DialWriteTimeout(10*time.Second))
		},
		TestOnBorrow: func(c redis.Conn, _ time.Time) error { _, err := c.Do("PING"); return err },
	}
	t.Cleanup(func() { r.pool.Close() })
	r.start()
	return r
}

func (r *redisServer) addr() string { return "127.0.0.1:" + r.port }
func (r *redisServer) url() string  { return "redis://" + r.addr() + "/0" }

func (r *redisServer) start() {
	r.t.Helper()
	r.proc = start(r.t, "redis-server", nil, "redis-server", r.args...)
	eventually(r.t, 20*time.Second, "redis-server answers", func() bool {
		c := r.pool.Get()
		defer c.Close()
		pong, _ := redis.String(c.Do("PING"))
		return pong == "PONG"
	})
}

// do runs one command that must succeed.
func (r *redisServer) do(command string, args ...any) any {
	r.t.Helper()
	c := r.pool.Get()
	defer c.Close()
	reply, err := c.Do(command, args...)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return reply
}

func (r *redisServer) int(command string, args ...any) int {
	r.t.Helper()
	n, err := redis.Int(r.do(command, args...), nil)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return n
}

func (r *redisServer) strings(command string, args ...any) []string {
	r.t.Helper()
	list, err := redis.Strings(r.do(command, args...), nil)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return list
}

// prioritySuffixes are what kombu appends to the name of a queue.
var prioritySuffixes = []string{"", "\x06\x163", "\x06\x166", "\x06\x169"}

// waiting counts the messages of a queue on all its priority lists.
func (r *redisServer) waiting(queue string) int {
	n := 0
	for _, suffix := range prioritySuffixes {
		n += r.int("LLEN", queue+suffix)
	}
	return n
}

// storedResult is what Celery finds about a task in its result backend.
type storedResult struct {
	Status string          `json:"status"`
	Result json.RawMessage `json:"result"`
	TaskID string          `json:"task_id"`
}

// results reads the stored results of tasks; those without one are left out.
func (r *redisServer) results(ids []string) map[string]storedResult {
	r.t.Helper()
	found := make(map[string]storedResult, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), 1000)
		keys := make([]any, n)
		for i, id := range ids[:n] {
			keys[i] = "celery-task-meta-" + id
		}
		for i, value := range r.strings("MGET", keys...) {
			if value == "" {
				continue
			}
			var result storedResult
			if err := json.Unmarshal([]byte(value), &result); err != nil {
				r.t.Fatalf("result of task %s is not JSON: %v", ids[i], err)
			}
			found[ids[i]] = result
		}
		ids = ids[n:]
	}
	return found
}

// runs returns how often each task has run to its end, as the tasks made for
// tests note it themselves.
func (r *redisServer) runs() map[string]int {
	r.t.Helper()
	counts, err := redis.IntMap(r.do("HGETALL", "e2e:ran"), nil)
	if err != nil {
		r.t.Fatalf("redis: HGETALL e2e:ran: %v", err)
	}
	return counts
}

// nowhere lists the tasks that are neither waiting nor claimed nor done.
func (r *redisServer) nowhere(queue string, ids []string) []string {
	r.t.Helper()
	somewhere := make(map[string]bool)
	for _, suffix := range prioritySuffixes {
		for _, raw := range r.strings("LRANGE", queue+suffix, 0, -1) {
			somewhere[parseMessage(r.t, raw).Headers.ID] = true
		}
	}
	for _, raw := range r.strings("HVALS", "unacked") {
		var entry []json.RawMessage // message, exchange, routing key
		if err := json.Unmarshal([]byte(raw), &entry); err != nil || len(entry) != 3 {
			r.t.Fatalf("entry of unacked: %v, %d parts", err, len(entry))
		}
		somewhere[parseMessage(r.t, string(entry[0])).Headers.ID] = true
	}
	for id, result := range r.results(ids) {
		if result.Status == "SUCCESS" || result.Status == "FAILURE" {
			somewhere[id] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return somewhere[id] })
}

// settled fails unless nothing is claimed or waiting any more.
func (r *redisServer) settled(queue string) {
	r.t.Helper()
	eventually(r.t, 30*time.Second, fmt.Sprintf("queue %s, unacked and unacked_index are empty", queue), func() bool {
		return r.waiting(queue)+r.int("HLEN", "unacked")+r.int("ZCARD", "unacked_index") == 0
	})
}

// freePort finds a TCP port of loopback that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// dump returns all that a key holds, as text.
func (r *redisServer) dump(key string) string {
	r.t.Helper()
	switch kind := fmt.Sprint(r.do("TYPE", key)); kind {
	case "string":
		return fmt.Sprintf("%s", r.do("GET", key))
	case "list":
		return fmt.Sprint(r.strings("LRANGE", key, 0, -1))
	case "hash":
		return fmt.Sprint(r.strings("HGETALL", key))
	case "set":
		return fmt.Sprint(r.strings("SMEMBERS", key))
	case "zset":
		return fmt.Sprint(r.strings("ZRANGE", key, 0, -1))
	case "none": // expired in between
		return ""
	default:
		r.t.Fatalf("key %s is a %s", key, kind)
		return ""
	}
}
