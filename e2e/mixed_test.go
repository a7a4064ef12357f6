package e2e_test

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMixed lets a Python worker and one of ours share a queue and kills them in
// turn: no task may be lost, and Python must not suffer from what we leave.
func TestMixed(t *testing.T) {
	t.Parallel()
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			t.Parallel()
			mixed(t, celery)
		})
	}
}

func mixed(t *testing.T, celery string) {
	const (
		tasks      = 1800
		kills      = 20 // of each
		visibility = 5 * time.Second
	)
	chance := seeded(t)
	r := startRedis(t)
	flags := []string{"-visibility", visibility.String(), "-redeliveries", "100", "-concurrency", "2"}
	ours := startWorker(t, r, "ours", flags...)
	theirs := startPeer(t, celery, r, queue, "theirs", visibility)
	ids := flood(t, celeryNew, r, queue, tasks, "e2e.work", []any{0.05, "%d"}, nil)
	begin := time.Now()
	holes := 0
	for range kills {
		awaitRuns(t, r, "python")
		pause(t, between(chance, 50*time.Millisecond, 300*time.Millisecond))
		checkPeer(t, theirs)
		holes += killPeer(t, r, theirs, func() []string { return r.nowhere(queue, ids) }, func() {})
		theirs = startPeer(t, celery, r, queue, "theirs", visibility)

		awaitRuns(t, r, "go")
		pause(t, between(chance, 50*time.Millisecond, 300*time.Millisecond))
		ours.kill()
		ours = startWorker(t, r, "ours", flags...)
	}
	t.Logf("%d kills of each in %s, %d tasks still waiting; %d kills put off, as Python would have lost a task by itself",
		kills, time.Since(begin).Round(time.Millisecond), r.waiting(queue), holes)
	c := awaitResults(r, ids, 2*time.Minute)
	t.Logf("%s; runs by %v", c, r.strings("HGETALL", "e2e:by"))
	checkNumbers(r, ids)
	r.settled(queue)
	checkPeer(t, theirs)
	// What Python holds it must be able to read again.
	if dead := deadLetters(t, r); len(dead) != 0 {
		t.Errorf("%d dead letters, the first one: %+v", len(dead), dead[0])
	}
}

// awaitRuns waits until a worker, "go" or "python", has run a task, or none is
// left. Python takes seconds to start: a kill before it works proves nothing.
func awaitRuns(t *testing.T, r *redisServer, who string) {
	t.Helper()
	before := r.int("HINCRBY", "e2e:by", who, 0)
	eventually(t, 60*time.Second, "the "+who+" worker works", func() bool {
		return r.int("HINCRBY", "e2e:by", who, 0) > before || r.waiting(queue) == 0
	})
}

// killPeer kills a Python worker at a moment when it can lose nothing by itself,
// and returns how often it had to wait for one; last is called right before. kombu pops a message first and
// enters it as unacknowledged afterwards; what lies between, in its memory or in
// its socket, dies with the process. That hole is Python's own, so it must not
// hide one of ours: while Redis takes no writes and Python is stopped, every task
// is waiting, claimed or done, or it is in the hole.
func killPeer(t *testing.T, r *redisServer, peer *process, inHole func() []string, last func()) (holes int) {
	t.Helper()
	for range 100 {
		peer.signal(syscall.SIGSTOP)
		r.do("CLIENT", "PAUSE", 10_000, "WRITE")
		nowhere := inHole()
		if len(nowhere) == 0 {
			last()
			peer.kill()
		}
		r.do("CLIENT", "UNPAUSE")
		if len(nowhere) == 0 {
			return holes
		}
		holes++
		peer.signal(syscall.SIGCONT)
		pause(t, 20*time.Millisecond)
	}
	t.Fatal("there is always a task that is neither waiting nor claimed nor done")
	return holes
}

// checkPeer fails when a Python worker has suffered from what it found.
func checkPeer(t *testing.T, peer *process) {
	t.Helper()
	out := peer.out.String()
	if peer.ended() {
		t.Errorf("the Python worker has ended by itself")
	}
	for _, bad := range []string{"Unrecoverable error", "Traceback", "CRITICAL"} {
		if i := strings.Index(out, bad); i >= 0 {
			t.Errorf("the Python worker logged:\n%s", clip(out[i:], 3000))
			return
		}
	}
}

// TestUnknownRequeued has tasks in the queue that only the Python worker knows:
// ours leaves them to it.
func TestUnknownRequeued(t *testing.T) {
	t.Parallel()
	const tasks = 20
	r := startRedis(t)
	startWorker(t, r, "ours", "-unknown", "requeue")
	unknown := flood(t, celeryNew, r, queue, tasks, "e2e.only_python", []any{"%d"}, nil)
	known := flood(t, celeryNew, r, queue, tasks, "e2e.work", []any{0.01, "%d"}, nil)
	awaitResults(r, known, 30*time.Second)
	if c := countResults(r, unknown); c.missing != tasks {
		t.Errorf("without Python: %s", c)
	}
	peer := startPeer(t, celeryNew, r, queue, "theirs", time.Hour)
	c := awaitResults(r, unknown, time.Minute)
	t.Logf("left to Python: %s", c)
	if c.twice != 0 {
		t.Errorf("%s; want each to run once", c)
	}
	r.settled(queue)
	checkPeer(t, peer)
}
