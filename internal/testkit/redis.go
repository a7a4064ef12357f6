package testkit

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Redis is a real redis-server on a free port, with a folder of its own. Make one
// with StartRedis.
type Redis struct {
	Port string
	Proc *Process
	Pool *redis.Pool

	t    T
	args []string
}

// StartRedis runs redis-server without persistence. More arguments, such as
// "--appendonly yes", are those of its command line.
func StartRedis(t T, args ...string) *Redis {
	t.Helper()
	r := &Redis{t: t}
	r.Pool = &redis.Pool{
		MaxIdle: 4,
		Dial: func() (redis.Conn, error) {
			return redis.Dial("tcp", r.Addr(), redis.DialConnectTimeout(2*time.Second), redis.DialReadTimeout(30*time.Second), redis.DialWriteTimeout(30*time.Second))
		},
		TestOnBorrow: func(c redis.Conn, _ time.Time) error { _, err := c.Do("PING"); return err },
	}
	t.Cleanup(func() { r.Pool.Close() })
	dir := t.TempDir()
	// A free port may be taken before the server has it.
	for try := 1; ; try++ {
		r.Port = FreePort(t)
		r.args = append([]string{"--port", r.Port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--loglevel", "warning"}, args...)
		if r.start() {
			return r
		}
		if try == 5 {
			t.Fatalf("redis-server has ended at its start:\n%s", r.Proc.Out.String())
		}
	}
}

// Addr is host:port of the server.
func (r *Redis) Addr() string { return "127.0.0.1:" + r.Port }

// URL of its first database.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// Start runs the server, also again after its end, and waits for its answer.
func (r *Redis) Start() {
	r.t.Helper()
	if !r.start() {
		r.t.Fatalf("redis-server has ended at its start:\n%s", r.Proc.Out.String())
	}
}

// start reports whether the server answers; false is a server that has ended.
func (r *Redis) start() bool {
	r.t.Helper()
	r.Proc = Start(r.t, "redis-server", nil, "redis-server", r.args...)
	// Another server may have the port, whose answer may come before the end of ours is known.
	own := fmt.Sprintf("\r\nprocess_id:%d\r\n", r.Proc.PID())
	answers := false
	Eventually(r.t, 30*time.Second, "redis-server answers", func() bool {
		c := r.Pool.Get()
		defer c.Close()
		info, _ := redis.String(c.Do("INFO", "server"))
		pong, _ := redis.String(c.Do("PING")) // refused while the data is read, when INFO is answered
		answers = strings.Contains(info, own) && pong == "PONG"
		return answers || r.Proc.Ended()
	})
	return answers
}

// Try runs one command that may fail.
func (r *Redis) Try(command string, args ...any) (any, error) {
	c := r.Pool.Get()
	defer c.Close()
	return c.Do(command, args...)
}

// Do runs one command that must succeed.
func (r *Redis) Do(command string, args ...any) any {
	r.t.Helper()
	reply, err := r.Try(command, args...)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return reply
}

// Int runs a command that answers a number.
func (r *Redis) Int(command string, args ...any) int {
	r.t.Helper()
	n, err := redis.Int(r.Do(command, args...), nil)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return n
}

// Strings runs a command that answers a list.
func (r *Redis) Strings(command string, args ...any) []string {
	r.t.Helper()
	list, err := redis.Strings(r.Do(command, args...), nil)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return list
}

// StringMap runs a command that answers a hash.
func (r *Redis) StringMap(command string, args ...any) map[string]string {
	r.t.Helper()
	m, err := redis.StringMap(r.Do(command, args...), nil)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return m
}

// IntMap runs a command that answers a hash of numbers.
func (r *Redis) IntMap(command string, args ...any) map[string]int {
	r.t.Helper()
	m, err := redis.IntMap(r.Do(command, args...), nil)
	if err != nil {
		r.t.Fatalf("redis: %s: %v", command, err)
	}
	return m
}

// Dump returns all that a key holds, as text.
func (r *Redis) Dump(key string) string {
	r.t.Helper()
	switch kind := fmt.Sprint(r.Do("TYPE", key)); kind {
	case "string":
		return fmt.Sprintf("%s", r.Do("GET", key))
	case "list":
		return fmt.Sprint(r.Strings("LRANGE", key, 0, -1))
	case "hash":
		return fmt.Sprint(r.Strings("HGETALL", key))
	case "set":
		return fmt.Sprint(r.Strings("SMEMBERS", key))
	case "zset":
		return fmt.Sprint(r.Strings("ZRANGE", key, 0, -1))
	case "stream":
		return fmt.Sprintf("%s", r.Do("XRANGE", key, "-", "+"))
	case "none": // expired in between
		return ""
	default:
		r.t.Fatalf("key %s is a %s", key, kind)
		return ""
	}
}

// FreePort returns a TCP port of loopback without a listener.
func FreePort(t T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
