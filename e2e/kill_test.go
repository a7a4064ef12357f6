package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKilled kills one of two workers at random, again and again, as a kernel
// without memory would: no task may be lost.
func TestKilled(t *testing.T) {
	t.Parallel()
	const (
		tasks = 5000
		kills = 50
	)
	chance := seeded(t)
	r := startRedis(t)
	// A message may be in the hands of several workers that are killed: more
	// often than the limit for messages that kill workers allows.
	flags := []string{"-redeliveries", "50", "-owner-timeout", "5s"}
	workers := []*process{startWorker(t, r, "left", flags...), startWorker(t, r, "right", flags...)}
	ids := flood(t, celeryNew, r, queue, tasks, "e2e.work", []any{0.05, "%d"}, nil)
	begin := time.Now()
	killed := 0
	for killed < kills && r.waiting(queue) > 100 { // a fast machine is done sooner
		killed++
		victim := chance.IntN(2)
		// The kill of a worker that has not begun yet would prove nothing.
		eventually(t, time.Minute, "the worker consumes", func() bool { return strings.Contains(workers[victim].out.String(), "worker starts") })
		pause(t, between(chance, 200*time.Millisecond, 800*time.Millisecond))
		workers[victim].kill()
		workers[victim] = startWorker(t, r, workers[victim].name, flags...)
	}
	t.Logf("%d kills in %s, %d tasks still waiting after the last one", killed, time.Since(begin).Round(time.Millisecond), r.waiting(queue))
	c := awaitResults(r, ids, 2*time.Minute)
	again := r.int("HLEN", "e2e:redelivered")
	t.Logf("%d kills: %s; %d tasks were in the hands of a worker that was killed", killed, c, again)
	if again < killed || killed < kills/3 {
		t.Errorf("only %d tasks were redelivered: the kills hit idle workers and prove nothing", again)
	}
	checkNumbers(r, ids)
	r.settled(queue)
	// A task that a kill hits after its work and before its acknowledgement
	// runs again; each kill can hit no more than were running.
	if most := killed * 4; c.twice > most {
		t.Errorf("%d extra runs, and only %d tasks were running at the kills", c.twice, most)
	}
	if dead := deadLetters(t, r); len(dead) != 0 {
		t.Errorf("%d dead letters, the first one: %+v", len(dead), dead[0])
	}
}

// TestPoison has one task that kills its worker: it must not do so for ever, and
// the others must be done.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	flags := []string{"-owner-timeout", "2s"}
	supervised := startWorker(t, r, "poisoned", flags...)
	poison := flood(t, celeryNew, r, queue, 1, "e2e.crash", []any{}, nil)[0]
	good := flood(t, celeryNew, r, queue, 20, "e2e.work", []any{0.01, "%d"}, nil)
	crashes := 0
	eventually(t, time.Minute, "the task that kills workers is a dead letter", func() bool {
		if supervised.ended() {
			crashes++
			supervised = startWorker(t, r, "poisoned", flags...)
		}
		return slices.ContainsFunc(deadLetters(t, r), func(d deadLetter) bool { return d.TaskID == poison })
	})
	awaitResults(r, good, 30*time.Second)
	r.settled(queue)
	t.Logf("%d crashes until it was set aside", crashes)
	if crashes > 3 {
		t.Errorf("%d crashes, want 3 at most", crashes)
	}
}
