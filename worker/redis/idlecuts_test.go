package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A server and a proxy close connections that were idle for a second. Tasks run once, and the log
// tells of no fault, because there is none.
func TestIdleConnectionsAreCut(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*redistest.Server, *proxy.Proxy){
		"by the server": func(s *redistest.Server, _ *proxy.Proxy) { do(t, s.Conn(0), "CONFIG", "SET", "timeout", "1") },
		"by a proxy":    func(_ *redistest.Server, p *proxy.Proxy) { p.CutIdle(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			p, err := proxy.New(s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			var log lockedLog
			logger := slog.New(slog.NewTextHandler(&log, nil))
			tasks := newCounted()
			b := must(redis.New(redis.Config{URL: "redis://" + p.Addr() + "/0", Logger: logger}))(t)
			w := must(worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Tasks: tasks.tasks(), Concurrency: 2, Logger: logger}))(t)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- w.Run(ctx) }()
			for n := range 4 {
				c := must(s.Dial(30 * time.Second))(t) // the server closes idle ones
				id := send(t, c, "q", "count", fmt.Sprintf("[%d]", n))
				eventually(t, "a task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
				c.Close()
				if n == 0 {
					begin(s, p)
				}
				time.Sleep(1200 * time.Millisecond) // connections are idle
			}
			tasks.once(t)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			var faults []string
			for line := range strings.Lines(log.String()) {
				if !strings.Contains(line, "level=INFO") {
					faults = append(faults, line)
				}
			}
			if len(faults) == 1 && strings.Contains(faults[0], "connection reset by peer") {
				t.Log("a connection was cut between the look at it and the write")
			} else if len(faults) > 0 {
				t.Errorf("logged:\n%s", strings.Join(faults, ""))
			}
		})
	}
}
