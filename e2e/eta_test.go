package e2e_test

import (
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/testkit"
)

// TestETA holds tasks far beyond the visibility timeout, at which a Python
// worker would hand them to its peers, again and again: each runs once, on time.
// E2E_ETA=60s E2E_VISIBILITY=5s makes it the long form.
func TestETA(t *testing.T) {
	t.Parallel()
	eta := duration(t, "E2E_ETA", 15*time.Second)
	visibility := duration(t, "E2E_VISIBILITY", 3*time.Second)
	const tasks = 20
	r := startRedis(t)
	flags := []string{"-visibility", visibility.String()}
	startWorker(t, r, "left", flags...)
	startWorker(t, r, "right", flags...)
	begin := time.Now()
	ids := flood(t, celeryNew, r, queue, tasks, "e2e.work", []any{0, "%d"}, map[string]any{"countdown": eta.Seconds()})
	sent := time.Now()
	// On a busy machine Python may end when the tasks are due.
	held := testkit.Poll(time.Until(begin.Add(eta)), func() bool { return r.int("HLEN", "unacked") == tasks })
	if !held && sent.Before(begin.Add(eta/2)) {
		t.Error("the tasks were not held until they are due")
	}
	if c := countResults(r, ids); c.succeeded != 0 && time.Now().Before(begin.Add(eta)) {
		t.Errorf("before the ETA: %s", c)
	}
	c := awaitResults(r, ids, eta+30*time.Second)
	if early := begin.Add(eta); time.Now().Before(early) {
		t.Errorf("the last task ran before its ETA")
	}
	t.Logf("ETA %s, visibility timeout %s: the last result %s after the last ETA; %s",
		eta, visibility, time.Since(sent.Add(eta)).Round(time.Millisecond), c)
	r.settled(queue)
	// Long enough for a second run by a worker that takes the first for lost.
	pause(t, visibility+time.Second)
	if c := countResults(r, ids); c.twice != 0 {
		t.Errorf("%s; each must run once", c)
	}
	checkNumbers(r, ids)
	by, err := redis.IntMap(r.do("HGETALL", "e2e:by"), nil)
	if err != nil || by["go"] != tasks {
		t.Errorf("runs %v (%v), want %d", by, err, tasks)
	}
}

func duration(t *testing.T, variable string, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s=%s: %v", variable, strconv.Quote(text), err)
	}
	return time.Duration(math.Max(float64(d), float64(time.Second)))
}
