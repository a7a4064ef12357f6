package rows

import (
	"strings"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// mixed is R4.
var mixed = harness.Row{
	ID:   "R4",
	Goal: "a Python worker and one of ours on one queue, killed -9 in turn",
	Mark: "0 lost but in Celery's own hole, no entry that Python cannot read, Python never ends by itself",
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		const visibility = 5 * time.Second
		kills := harness.Size(r, 3, 50)
		ourOptions := harness.Options{Name: "ours", Concurrency: 2, Visibility: visibility, Redeliveries: 100}
		theirOptions := harness.Options{Name: "theirs", Concurrency: 2, Visibility: visibility}
		ours, theirs := s.Start(ourOptions), s.StartKind(harness.Celery(), theirOptions)
		holes := 0
		for range kills {
			if s.Redis.Waiting(harness.Queue) < 300 {
				s.Send(300, harness.Task{Seconds: 0.05})
			}
			awaitRuns(s, "python")
			testkit.Pause(s, between(r, 50*time.Millisecond, 300*time.Millisecond))
			checkPeer(s, theirs)
			holes += killPeer(s, theirs)
			theirs = s.StartKind(harness.Celery(), theirOptions)
			awaitRuns(s, "go")
			testkit.Pause(s, between(r, 50*time.Millisecond, 300*time.Millisecond))
			ours.Kill()
			s.Redis.Unacked() // which must be readable at every moment
			ours = s.Start(ourOptions)
		}
		a := s.Await(s.IDs, 2*time.Minute)
		wrong := s.CheckNumbers()
		by := s.Redis.StringMap("HGETALL", "e2e:by")
		s.Figure("%d kills of each, %d tasks (%s by Python): %d lost, %d run twice; %d kills put off, as Celery was about to lose a task by itself",
			kills, a.Tasks, by["python"], a.Lost, a.Doubled, holes)
		s.Want(a.Lost == 0 && a.Done == a.Tasks && a.Failed == 0 && wrong == 0, "every task done: %s, %d wrong", a, wrong)
		s.Want(len(s.DeadLetters()) == 0, "no dead letters, have %d", len(s.DeadLetters()))
		s.Settled(30 * time.Second)
		checkPeer(s, theirs)
	},
}

// awaitRuns waits until a worker, "go" or "python", has run a task: a kill before
// it works proves nothing.
func awaitRuns(s *harness.Stage, who string) {
	s.Helper()
	before := s.Redis.Int("HINCRBY", "e2e:by", who, 0)
	testkit.Eventually(s, 60*time.Second, "the "+who+" worker works", func() bool {
		return s.Redis.Int("HINCRBY", "e2e:by", who, 0) > before || s.Redis.Waiting(harness.Queue) == 0
	})
}

// killPeer kills a Python worker at a moment when it can lose nothing by itself,
// and returns how often it had to wait for one. kombu pops a message first and
// enters it as unacknowledged afterwards; what lies between dies with the process.
// That hole is Python's own, so it must not hide one of ours: while Redis takes no
// writes and Python is stopped, every task is waiting, claimed or done, or it is in
// the hole.
func killPeer(s *harness.Stage, peer *testkit.Process) (holes int) {
	s.Helper()
	for range 100 {
		peer.Signal(syscall.SIGSTOP)
		s.Redis.Do("CLIENT", "PAUSE", 10_000, "WRITE")
		nowhere := s.Redis.Nowhere(harness.Queue, s.IDs)
		if len(nowhere) == 0 {
			peer.Kill()
		}
		s.Redis.Do("CLIENT", "UNPAUSE")
		if len(nowhere) == 0 {
			return holes
		}
		holes++
		peer.Signal(syscall.SIGCONT)
		testkit.Pause(s, 20*time.Millisecond)
	}
	s.Fatalf("there is always a task that is neither waiting nor claimed nor done")
	return holes
}

// checkPeer reports what a Python worker has suffered from what it found.
func checkPeer(s *harness.Stage, peer *testkit.Process) {
	s.Helper()
	out := peer.Out.String()
	s.Want(!peer.Ended(), "the Python worker to go on, it has ended by itself")
	for _, bad := range []string{"Unrecoverable error", "Traceback", "CRITICAL"} {
		if i := strings.Index(out, bad); i >= 0 {
			s.Errorf("the Python worker logged:\n%s", testkit.Clip(out[i:], 3000))
			return
		}
	}
}
