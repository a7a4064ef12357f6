// Package gocelery_test has a foreign client, gocelery, send tasks to our worker.
// It speaks protocol 1, and in a way of its own: no headers at all, numbers as
// Go writes them, and results polled instead of awaited.
package gocelery_test

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/gocelery/gocelery"
	"github.com/gomodule/redigo/redis"
)

const queue = "celery" // gocelery writes this name into every message

// program starts a program until the test ends.
func program(t *testing.T, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("output of %s:\n%s", path, out.Bytes())
		}
	})
}

// startRedis runs redis-server on a free port.
func startRedis(t *testing.T) *redis.Pool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	program(t, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "")
	pool := &redis.Pool{Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", "127.0.0.1:"+port, redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(5*time.Second))
	}}
	t.Cleanup(func() { pool.Close() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		conn := pool.Get()
		_, err := conn.Do("PING")
		conn.Close()
		if err == nil {
			program(t, testworker(t), "-redis", "redis://127.0.0.1:"+port+"/0", "-queue", queue)
			return pool
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis-server does not answer: %v", err)
		}
	}
}

// testworker builds the worker with tasks made for tests, in the module above.
func testworker(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "testworker")
	build := exec.Command("go", "build", "-race", "-o", binary, "./e2e/cmd/testworker")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return binary
}

func TestDelayAndGet(t *testing.T) {
	pool := startRedis(t)
	client, err := gocelery.NewCeleryClient(gocelery.NewRedisBroker(pool), gocelery.NewRedisBackend(pool), 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		var sent *gocelery.AsyncResult
		if i%2 == 0 {
			sent, err = client.Delay("e2e.add", 40, i)
		} else {
			sent, err = client.DelayKwargs("e2e.add", map[string]any{"x": 40, "y": i})
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := sent.Get(30 * time.Second)
		if err != nil {
			t.Fatalf("get: %v", err)
		}
		if want := fmt.Sprint(40 + i); fmt.Sprint(got) != want {
			t.Errorf("e2e.add returned %v, want %s", got, want)
		}
	}
	conn := pool.Get()
	defer conn.Close()
	for _, key := range []string{"unacked", "unacked_index"} {
		exists, err := redis.Bool(conn.Do("EXISTS", key))
		for end := time.Now().Add(30 * time.Second); exists && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			exists, err = redis.Bool(conn.Do("EXISTS", key))
		}
		if err != nil || exists {
			t.Errorf("%s is left behind: %t, %v", key, exists, err)
		}
	}
}
