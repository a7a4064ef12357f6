package e2e_test

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestStop ends a worker with SIGTERM in the middle of its work: what it does
// not finish lies at the front of the queue again, in order, for Python.
func TestStop(t *testing.T) {
	t.Parallel()
	const tasks = 24
	r := startRedis(t)
	ours := startWorker(t, r, "ours", "-prefetch", "4", "-grace", "1500ms")
	// Four run at a time and prefetch more: the first ones finish in time, the
	// second batch of long ones does not.
	long := flood(t, celeryNew, r, queue, tasks, "e2e.work", []any{60, "%d"}, nil)
	eventually(t, time.Minute, "16 tasks are claimed and 4 of them run", func() bool {
		started := 0
		for _, result := range r.results(long) {
			if result.Status == "STARTED" {
				started++
			}
		}
		return started == 4 && r.int("HLEN", "unacked") == 16
	})
	begin := time.Now()
	ours.signal(syscall.SIGTERM)
	if code := ours.wait(time.Minute); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	t.Logf("stopped after %s", time.Since(begin).Round(time.Millisecond))
	if n := r.int("HLEN", "unacked") + r.int("ZCARD", "unacked_index"); n != 0 {
		t.Errorf("%d entries left in unacked and unacked_index", n)
	}
	// The right end of the list is served first.
	list := r.strings("LRANGE", queue, 0, -1)
	slices.Reverse(list)
	if len(list) != tasks {
		t.Fatalf("%d messages in the queue, want all %d", len(list), tasks)
	}
	for i, message := range list {
		m := parseMessage(t, message)
		if m.Headers.ID != long[i] {
			t.Errorf("place %d has task %s, want %s", i, m.Headers.ID, long[i])
		}
		if want := i < 16; m.Headers.Redelivered != want || m.Properties.DeliveryInfo.Redelivered != want {
			t.Errorf("place %d: redelivered %t and %t, want %t", i, m.Headers.Redelivered, m.Properties.DeliveryInfo.Redelivered, want)
		}
	}

	// A Python worker takes over what we gave back.
	r.do("DEL", queue)
	short := flood(t, celeryNew, r, queue, tasks, "e2e.work", []any{0.8, "%d"}, nil)
	ours = startWorker(t, r, "ours", "-prefetch", "4", "-grace", "500ms") // late: on a busy machine the flood outlasts the tasks
	eventually(t, time.Minute, "our worker holds more tasks than it runs", func() bool { return r.int("HLEN", "unacked") > 4 })
	ours.signal(syscall.SIGTERM)
	if code := ours.wait(time.Minute); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	peer := startPeer(t, celeryNew, r, queue, "theirs", time.Hour)
	c := awaitResults(r, short, time.Minute)
	t.Logf("taken over by Python: %s", c)
	r.settled(queue)
	checkPeer(t, peer)
}

// TestStopUnderLoad ends workers with SIGTERM while they are busy: each exits
// with 0, and every task runs once.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	const tasks = 600
	r := startRedis(t)
	ids := flood(t, celeryNew, r, queue, tasks, "e2e.work", []any{0.05, "%d"}, nil)
	w := startWorker(t, r, "ours", "-prefetch", "4") // late: on a busy machine the flood outlasts the tasks
	for range 5 {
		enough := min(len(r.runs())+60, tasks) // the worker may be far ahead of this test
		eventually(t, time.Minute, "this worker has done sixty", func() bool { return len(r.runs()) >= enough })
		w.signal(syscall.SIGTERM)
		if code := w.wait(time.Minute); code != 0 {
			t.Errorf("exit code %d after SIGTERM, want 0", code)
		}
		if n := r.int("HLEN", "unacked"); n != 0 {
			t.Errorf("%d messages left claimed", n)
		}
		w = startWorker(t, r, "ours", "-prefetch", "4")
	}
	if c := awaitResults(r, ids, time.Minute); c.twice != 0 {
		t.Errorf("%s; a stop must not make a task run twice", c)
	}
	r.settled(queue)
}
