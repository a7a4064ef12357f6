package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

const queue = "bench"

// figures are what one run has measured.
type figures struct {
	perSecond float64 // tasks
	cpu       float64 // seconds of the worker for 10,000 tasks
	redisCPU  float64 // seconds of Redis for 10,000 tasks
	rss       int64   // bytes, the most
	p50, p99  time.Duration
}

// server is the Redis that the workers use. Its database is emptied.
type server struct {
	redigo.Conn
	url string
}

// fill puts n messages into the queue, as Celery writes them.
func (s server) fill(n int) error {
	for i := range n {
		raw, err := message()
		if err != nil {
			return err
		}
		if err := s.Send("LPUSH", queue, raw); err != nil {
			return err
		}
		if i%1000 == 999 || i == n-1 {
			if _, err := s.Do(""); err != nil {
				return err
			}
		}
	}
	return nil
}

func message() ([]byte, error) {
	id := uuid.NewString()
	return protocol.Encode(&protocol.Message{
		ID: id, Task: "bench.noop", RootID: id, CorrelationID: id, Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"),
		ArgsRepr: "()", KwargsRepr: "{}", Origin: "gen1@bench", DeliveryTag: uuid.NewString(), RoutingKey: queue,
		ReplyTo: uuid.NewString(),
	})
}

func (s server) left() (int, error) {
	waiting, err := redigo.Int(s.Do("LLEN", queue))
	if err != nil {
		return 0, err
	}
	held, err := redigo.Int(s.Do("HLEN", "unacked"))
	return waiting + held, err
}

// cpu is what the server has used, without what it does for the benchmark itself,
// which is little.
func (s server) cpu() (seconds float64, err error) {
	info, err := redigo.String(s.Do("INFO", "cpu"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("INFO cpu: %w", err)
			}
			seconds += n
		}
	}
	return seconds, nil
}

// drain lets a worker empty a full queue. The clock runs while the worker is warm,
// for at most window.
func (s server) drain(ctx context.Context, w contender, n int, window time.Duration) (f figures, err error) {
	if _, err := s.Do("FLUSHDB"); err != nil {
		return f, err
	}
	if err := s.fill(n); err != nil {
		return f, fmt.Errorf("fill the queue: %w", err)
	}
	p, err := startProcess(ctx, w.env, w.argv...)
	if err != nil {
		return f, err
	}
	defer p.stop()
	left, err := s.until(ctx, p, func(left int) bool { return left <= n-n/50 })
	if err != nil {
		return f, fmt.Errorf("wait for the first tasks: %w", err)
	}
	began, first := time.Now(), left
	before, err := p.usage()
	if err != nil {
		return f, err
	}
	redisBefore, err := s.cpu()
	if err != nil {
		return f, err
	}
	left, err = s.until(ctx, p, func(left int) bool { return left == 0 || time.Since(began) > window })
	if err != nil {
		return f, fmt.Errorf("wait for the end: %w", err)
	}
	took := time.Since(began).Seconds()
	after, err := p.usage()
	if err != nil {
		return f, err
	}
	redisAfter, err := s.cpu()
	if err != nil {
		return f, err
	}
	tasks := float64(first - left)
	if tasks == 0 {
		return f, fmt.Errorf("%s did nothing in %.1f s", w.name, took)
	}
	return figures{
		perSecond: tasks / took, cpu: (after.cpu - before.cpu).Seconds() / tasks * 1e4,
		redisCPU: (redisAfter - redisBefore) / tasks * 1e4, rss: after.rss,
	}, nil
}

// until asks for what is left until ok.
func (s server) until(ctx context.Context, p *process, ok func(left int) bool) (int, error) {
	end := time.Now().Add(time.Minute)
	for {
		left, err := s.left()
		if err != nil {
			return 0, err
		}
		if ok(left) {
			return left, nil
		}
		if err := p.ended(); err != nil {
			return 0, err
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("%d messages are left after a minute: %s", left, p.out.String())
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// latency sends tasks one at a time, and measures until the result is published.
func (s server) latency(ctx context.Context, w contender, n int) (f figures, err error) {
	if _, err := s.Do("FLUSHDB"); err != nil {
		return f, err
	}
	p, err := startProcess(ctx, w.env, w.argv...)
	if err != nil {
		return f, err
	}
	defer p.stop()
	listener, err := redigo.DialURLContext(ctx, s.url)
	if err != nil {
		return f, err
	}
	defer listener.Close()
	results := redigo.PubSubConn{Conn: listener}
	if err := results.PSubscribe("celery-task-meta-*"); err != nil {
		return f, err
	}
	if err, failed := results.ReceiveWithTimeout(5 * time.Second).(error); failed {
		return f, fmt.Errorf("subscribe: %w", err)
	}
	var took []time.Duration
	for i := range n + n/10 {
		raw, err := message()
		if err != nil {
			return f, err
		}
		began := time.Now()
		if _, err := s.Do("LPUSH", queue, raw); err != nil {
			return f, err
		}
		if err, failed := results.ReceiveWithTimeout(30 * time.Second).(error); failed {
			return f, fmt.Errorf("wait for a result: %w", err)
		}
		if i >= n/10 { // the first ones find the worker starting
			took = append(took, time.Since(began))
		}
		time.Sleep(10 * time.Millisecond)
	}
	slices.Sort(took)
	f.p50, f.p99 = took[len(took)/2], took[len(took)*99/100]
	return f, nil
}
