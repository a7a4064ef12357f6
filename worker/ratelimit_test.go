package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/worker"
)

func TestRateLimit(t *testing.T) {
	for _, shared := range []bool{false, true} {
		var mu sync.Mutex
		var at []time.Time
		tasks := one(func(context.Context) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return nil, nil
		})
		d := tasks["t"]
		d.RateLimit = "10/s"
		tasks["t"], tasks["free"] = d, worker.Definition{Handler: do(func(context.Context) (any, error) { return nil, nil })}
		b := start(t, worker.Config{Tasks: tasks, SharedRateLimits: shared})
		const n = 4
		for range n {
			b.send(t, "t")
		}
		free := b.send(t, "free")
		b.eventually(t, "another task runs", func() bool { return b.status(free) == "SUCCESS" })
		mu.Lock()
		if len(at) == n {
			t.Error("the limited tasks have run before the one behind them")
		}
		mu.Unlock()
		b.eventually(t, "all have run", func() bool { mu.Lock(); defer mu.Unlock(); return len(at) == n })
		mu.Lock()
		for i := 1; i < n; i++ {
			if d := at[i].Sub(at[i-1]); d < 80*time.Millisecond {
				t.Errorf("run %d came %v after the one before it, want a tenth of a second", i, d)
			}
		}
		mu.Unlock()
		b.stop(t)
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "0/m": 0, "-1": 0, "2": time.Second / 2, "2/s": time.Second / 2, "10/m": 6 * time.Second, "0.5/h": 2 * time.Hour, " 1/h ": time.Hour,
	} {
		if got, err := worker.ParseRate(text); got != want || err != nil {
			t.Errorf("ParseRate(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "1/d", "/m", "1e400", "NaN", "1e-300/h", "1/m/s"} {
		if got, err := worker.ParseRate(text); err == nil && got != 0 {
			t.Errorf("ParseRate(%q) = %v, want an error", text, got)
		}
	}
}
