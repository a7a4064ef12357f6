package rows

import (
	"slices"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// stopping is R9.
var stopping = harness.Row{
	ID:     "R9",
	Goal:   "SIGTERM under load, with tasks that do not end in the grace, and twice",
	Mark:   "no claim 100 ms later, unfinished ones to the front in their old order and with unspent retries, exit 0; the second signal ends at once; 0 lost, 0 run twice",
	Celery: true,
	Run: func(r *harness.Run) {
		if !r.Kind.IsCelery() {
			stopOrder(r)
			stopTwice(r)
		}
		stopBusy(r)
	},
}

// stopOrder stops a worker whose tasks take longer than its grace.
func stopOrder(r *harness.Run) {
	s := harness.NewStage(r)
	const tasks, held = 24, 16
	w := s.Start(harness.Options{Concurrency: 4, Prefetch: 4, Grace: 1500 * time.Millisecond})
	ids := s.Send(tasks, harness.Task{Name: "e2e.mail", Seconds: 60})
	testkit.Eventually(s, 30*time.Second, "16 tasks are claimed and 4 of them run", func() bool {
		return len(s.Begun()) == 4 && s.Redis.Int("HLEN", "unacked") == held
	})
	begin := time.Now()
	w.SignalMain(syscall.SIGTERM)
	code := w.Wait(time.Minute)
	took := time.Since(begin)
	s.Want(code == 0, "exit code 0, is %d", code)
	s.Want(took < r.Mark(5*time.Second), "an end soon with a grace of 1.5s, took %s", took)
	list := s.Redis.Strings("LRANGE", harness.Queue, 0, -1)
	slices.Reverse(list) // the right end is served first
	if !s.Want(len(list) == tasks, "all %d messages in the queue, have %d", tasks, len(list)) {
		return
	}
	for i, raw := range list {
		m := testkit.ParseMessage(s, raw)
		if m.Headers.ID != ids[i] || m.Headers.Redelivered != (i < held) || m.Headers.Retries != 0 {
			s.Errorf("place %d of the queue has task %s, redelivered %t, retries %d", i, m.Headers.ID, m.Headers.Redelivered, m.Headers.Retries)
		}
	}
	s.Figure("grace 1.5s over: exit after %s, %d back in order", ms(took), held)
}

// stopTwice sends a second signal while tasks run.
func stopTwice(r *harness.Run) {
	s := harness.NewStage(r)
	w := s.Start(harness.Options{Concurrency: 4})
	ids := s.Send(4, harness.Task{Name: "e2e.mail", Seconds: 60})
	testkit.Eventually(s, 30*time.Second, "4 tasks run", func() bool { return len(s.Begun()) == 4 })
	w.SignalMain(syscall.SIGTERM)
	testkit.Pause(s, 300*time.Millisecond)
	begin := time.Now()
	w.SignalMain(syscall.SIGTERM)
	code := w.Wait(time.Minute)
	took := time.Since(begin)
	s.Want(code == 0 && took < r.Mark(3*time.Second), "exit code 0 at once after the second signal, was %d after %s", code, took)
	a := s.Account(ids)
	s.Want(a.Queued == 4, "all 4 tasks back: %s", a)
	s.Figure("second signal: exit after %s", ms(took))
}

// stopBusy stops workers again and again while they are busy.
func stopBusy(r *harness.Run) {
	s := harness.NewStage(r)
	stops := harness.Size(r, 3, 100)
	if r.Kind.IsCelery() {
		stops = harness.Size(r, 2, 10)
	}
	options := harness.Options{Concurrency: 4, Prefetch: 4, Visibility: time.Minute}
	w := s.Start(options)
	s.Ready()
	var slowest time.Duration
	var late int
	quiet := r.Mark(100 * time.Millisecond)
	for range stops {
		if s.Redis.Waiting(harness.Queue) < 500 {
			s.Send(500, harness.Task{Seconds: 0.02})
		}
		before := len(s.Redis.Runs())
		testkit.Eventually(s, 30*time.Second, "the worker works", func() bool { return len(s.Redis.Runs()) > before })
		testkit.Pause(s, between(r, 50*time.Millisecond, 400*time.Millisecond))
		begin := time.Now()
		w.SignalMain(syscall.SIGTERM)
		testkit.Pause(s, quiet)
		waiting := s.Redis.Waiting(harness.Queue)
		code := w.Wait(2 * time.Minute)
		slowest = max(slowest, time.Since(begin))
		if s.Redis.Waiting(harness.Queue) < waiting {
			late++
		}
		s.Want(code == 0, "exit code 0, is %d", code)
		if n := s.Redis.Int("HLEN", "unacked"); n != 0 && !r.Kind.IsCelery() {
			s.Errorf("want nothing claimed after the end, have %d", n)
		}
		w = s.Start(options)
	}
	a := s.Await(s.IDs, 2*time.Minute)
	s.Figure("%d stops: %d lost, %d run twice, slowest exit %s, %d claimed later than %s", stops, a.Tasks-a.Done, a.Doubled, ms(slowest), late, quiet)
	s.Want(a.Done == a.Tasks && a.Failed == 0 && a.Doubled == 0, "every task done, and once: %s", a)
	s.Want(late == 0, "no claim %s after the signal, %d of %d times there was", quiet, late, stops)
	s.Want(slowest < 25*time.Second, "no exit beyond the grace, the slowest took %s", slowest)
}
