package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// latency sends tasks one at a time, and measures until the SUCCESS is published.
func (b *bench) latency(ctx context.Context, w contender, next template) (figures, error) {
	if _, err := b.Do("FLUSHDB"); err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, w.env, w.argv...)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	listener, err := redigo.DialURLContext(ctx, b.url)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	results := redigo.PubSubConn{Conn: listener}
	if err := results.PSubscribe("celery-task-meta-*"); err != nil {
		return nil, err
	}
	var took []time.Duration
	for i := range b.singles + b.singles/10 {
		raw, _ := next()
		began := time.Now()
		if _, err := b.Do("LPUSH", queue, raw); err != nil {
			return nil, err
		}
		if err := awaitSuccess(results); err != nil {
			return nil, fmt.Errorf("%w: %s", err, p.out.String())
		}
		if i >= b.singles/10 { // the first ones find the worker starting
			took = append(took, time.Since(began))
		}
		time.Sleep(10 * time.Millisecond)
	}
	slices.Sort(took)
	return figures{"p50 ms": took[len(took)/2].Seconds() * 1e3, "p99 ms": took[len(took)*99/100].Seconds() * 1e3}, nil
}

// awaitSuccess passes over what else is published, such as STARTED.
func awaitSuccess(results redigo.PubSubConn) error {
	for {
		switch m := results.ReceiveWithTimeout(30 * time.Second).(type) {
		case error:
			return fmt.Errorf("wait for a result: %w", m)
		case redigo.Message:
			if strings.Contains(string(m.Data), `"SUCCESS"`) {
				return nil
			}
		}
	}
}

// idle measures the time from the start of a process until the result of a task
// that waits for it is there, and then what it costs while it has nothing to do.
func (b *bench) idle(ctx context.Context, w contender, next template) (figures, error) {
	if _, err := b.Do("FLUSHDB"); err != nil {
		return nil, err
	}
	raw, id := next()
	if _, err := b.Do("LPUSH", queue, raw); err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := startProcess(ctx, w.env, w.argv...)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	for {
		result, err := redigo.String(b.Do("GET", "celery-task-meta-"+id))
		if err == nil && strings.Contains(result, `"SUCCESS"`) {
			break
		}
		if err := p.ended(); err != nil {
			return nil, err
		}
		if time.Since(began) > 30*time.Second {
			return nil, fmt.Errorf("no result after %v: %s", time.Since(began), p.out.String())
		}
		time.Sleep(500 * time.Microsecond)
	}
	start := time.Since(began)
	pause(ctx, 3*time.Second) // what comes with the start is over
	before, err := b.served()
	if err != nil {
		return nil, err
	}
	from, err := fleet{p}.usage()
	if err != nil {
		return nil, err
	}
	watched := time.Now()
	pause(ctx, b.idleTime)
	took := time.Since(watched).Seconds()
	to, err := fleet{p}.usage()
	if err != nil {
		return nil, err
	}
	after, err := b.served()
	if err != nil {
		return nil, err
	}
	return figures{
		"start ms": start.Seconds() * 1e3, "idle CPU %": (to.cpu - from.cpu).Seconds() / took * 100,
		"Redis calls/s": float64(after.commands-before.commands) / took,
		"RSS MiB":       float64(to.rss) / (1 << 20), "PSS MiB": float64(to.pss) / (1 << 20),
	}, ctx.Err()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
