package redis_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
)

// logBuffer keeps a log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// take returns what was logged since the last call.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// The log tells a Redis that refuses from one that does not answer.
func TestNamesOfFaults(t *testing.T) {
	server := testkit.StartRedis(t)
	var written logBuffer
	log := slog.New(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelError}))
	b, err := redis.New(redis.Config{URL: server.URL(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	running, end := make(chan struct{}, 1), make(chan struct{})
	w, err := worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Concurrency: 1, Logger: log, Tasks: map[string]worker.Definition{
		"wait": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			running <- struct{}{}
			<-end
			return nil, nil
		})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	untilEnd(t, w)
	// fault waits for lines about it, and wants none about the other fault.
	fault := func(name, other string) {
		t.Helper()
		all := ""
		eventually(t, "both events say "+name, func() bool {
			all += written.take()
			return strings.Contains(all, `msg="redis `+name+`, will try again"`) && strings.Contains(all, `msg="broker `+name+`, will try again"`)
		})
		if strings.Contains(all, other+", will try again") {
			t.Errorf("the server is %s, and the log says that it is %s:\n%s", name, other, all)
		}
	}
	begin := func() {
		t.Helper()
		c := server.Pool.Get()
		defer c.Close()
		send(t, c, "q", "wait", "[]")
		<-running
	}
	begin()
	server.Proc.Kill()
	end <- struct{}{}
	fault("unavailable", "refused")
	server.Start()
	begin()
	written.take()
	server.Do("CONFIG", "SET", "min-replicas-to-write", "1") // NOREPLICAS
	end <- struct{}{}
	fault("refused", "unavailable")
	server.Do("CONFIG", "SET", "min-replicas-to-write", "0")
}
