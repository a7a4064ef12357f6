package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// startWorker starts the worker made for tests on a queue; more are its flags.
func startWorker(t testing.TB, r *redisServer, name string, flags ...string) *process {
	t.Helper()
	return startWorkerAt(t, r, r.url(), name, flags...)
}

// startWorkerAt does so with a broker URL of its own, such as that of a proxy;
// its notes go straight to Redis.
func startWorkerAt(t testing.TB, r *redisServer, url, name string, flags ...string) *process {
	t.Helper()
	args := append([]string{"-redis", url, "-queue", queue, "-name", name + "@%h"}, flags...)
	return start(t, name, []string{"NOTES_URL=" + r.url()}, bin.testworker, args...)
}

// seeded returns a source of chance that E2E_SEED repeats.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("E2E_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("E2E_SEED: %v", err)
		}
	}
	t.Logf("seed %d; E2E_SEED=%d repeats it", seed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between draws a duration.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// count is how a number of tasks ended.
type count struct {
	tasks, succeeded, failed, missing int
	twice                             int // runs to the end beyond the first of each task
}

func (c count) String() string {
	return fmt.Sprintf("%d tasks: %d succeeded, %d failed, %d without a result; %d extra runs", c.tasks, c.succeeded, c.failed, c.missing, c.twice)
}

// countResults reads how tasks ended.
func countResults(r *redisServer, ids []string) count {
	r.t.Helper()
	c := count{tasks: len(ids)}
	results := r.results(ids)
	for _, id := range ids {
		switch results[id].Status {
		case "SUCCESS":
			c.succeeded++
		case "FAILURE":
			c.failed++
		default:
			c.missing++
		}
	}
	runs := r.runs()
	for _, id := range ids {
		c.twice += max(0, runs[id]-1)
	}
	return c
}

// awaitResults waits until all tasks have succeeded.
func awaitResults(r *redisServer, ids []string, d time.Duration) count {
	r.t.Helper()
	var c count
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(d); ; <-tick.C {
		if c = countResults(r, ids); c.succeeded == c.tasks {
			return c
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("not all within %s: %s; waiting %d, unacked %d, unacked_index %d", d, c,
				r.waiting(queue), r.int("HLEN", "unacked"), r.int("ZCARD", "unacked_index"))
		}
	}
}

// checkNumbers wants of each task the number that it was sent with.
func checkNumbers(r *redisServer, ids []string) {
	r.t.Helper()
	results := r.results(ids)
	for i, id := range ids {
		if got := string(results[id].Result); got != strconv.Itoa(i) {
			r.t.Errorf("task %s returned %s, want %d", id, got, i)
		}
	}
}

// pause waits a random time: chance is the test here, nothing is awaited.
func pause(t testing.TB, d time.Duration) { testkit.Pause(t, d) }
