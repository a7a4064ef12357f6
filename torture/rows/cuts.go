package rows

import (
	"slices"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/torture/harness"
)

// set changes the mode of a proxy, which must work.
func set(s *harness.Stage, mode proxy.Mode) {
	s.Helper()
	if err := s.Proxy().Set(mode); err != nil {
		s.Fatalf("%v", err)
	}
}

// percentile of durations; 95 is the value that 95 of 100 do not exceed.
func percentile(ds []time.Duration, p int) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	ds = slices.Sorted(slices.Values(ds))
	return ds[min(len(ds)-1, len(ds)*p/100)]
}

// cuts is R5.
var cuts = harness.Row{
	ID:     "R5",
	Goal:   "connections cut (`CLIENT KILL`, RST, in the middle of an answer), Redis killed and restarted, Redis away for longer",
	Mark:   "working again < 1 s (p95) after cuts and restarts, < 2 s after an outage; 0 lost",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		s.Proxy()
		w := s.Start(harness.Options{Concurrency: 4, Visibility: 30 * time.Second, OwnerTimeout: 5 * time.Second})
		s.Ready()
		rounds := harness.Size(r, 4, 67)
		restarts := harness.Size(r, 2, 20)
		outage := harness.Size(r, 4*time.Second, 3*time.Minute)
		if r.Kind.IsCelery() {
			rounds, restarts, outage = harness.Size(r, 1, 5), harness.Size(r, 1, 3), harness.Size(r, 4*time.Second, 45*time.Second)
		}
		recovers := func(what string) time.Duration {
			d, ok := s.Recovers(time.Minute)
			s.Want(ok, "to work again after %s", what)
			if w.Ended() {
				s.Figure("exits after %s", what)
				s.Fatalf("the worker has ended after %s", what)
			}
			return d
		}
		mark := r.Mark(time.Second)
		var after []time.Duration
		for range rounds {
			s.Redis.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			after = append(after, recovers("CLIENT KILL"))
			s.Proxy().Reset()
			after = append(after, recovers("RST"))
			s.Proxy().CutAfter(1 + r.Chance.IntN(600))
			s.Send(4, harness.Task{})
			after = append(after, recovers("a cut answer"))
		}
		s.Figure("%d cuts: p95 %s, worst %s", len(after), ms(percentile(after, 95)), ms(slices.Max(after)))
		s.Want(percentile(after, 95) < mark, "p95 < %s after cuts", mark)

		// Under load: something is always on its way when Redis dies.
		after = nil
		for range restarts {
			s.Send(60, harness.Task{Seconds: 0.05})
			testkit.Pause(s, between(r, 100*time.Millisecond, 500*time.Millisecond))
			s.Redis.Proc.Signal(syscall.SIGKILL)
			<-s.Redis.Proc.Done
			testkit.Pause(s, time.Second)
			s.Redis.Start()
			after = append(after, recovers("a restart"))
		}
		s.Figure("%d restarts: p95 %s, worst %s", restarts, ms(percentile(after, 95)), ms(slices.Max(after)))
		s.Want(percentile(after, 95) < mark, "p95 < %s after restarts", mark)

		set(s, proxy.Refuse)
		testkit.Pause(s, outage)
		set(s, proxy.Pass)
		d := recovers("an outage")
		s.Figure("away for %s: %s", outage, ms(d))
		s.Want(d < r.Mark(2*time.Second), "< %s after an outage of %s, took %s", r.Mark(2*time.Second), outage, d)
		a := s.Await(s.IDs, time.Minute)
		s.Figure("%d lost of %d", a.Tasks-a.Done, a.Tasks)
		s.Want(a.Done == a.Tasks && a.Failed == 0, "every task done: %s", a)
	},
}

// frozen is R6.
var frozen = harness.Row{
	ID:     "R6",
	Goal:   "open connections frozen without FIN or RST, both ways and on the way back, at idle and under load",
	Mark:   "working again < 10 s, 0 lost",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		s.Proxy()
		w := s.Start(harness.Options{Concurrency: 4, Visibility: 30 * time.Second, OwnerTimeout: 5 * time.Second})
		s.Ready()
		idle, busy, limit := harness.Size(r, 2, 20), harness.Size(r, 1, 20), time.Minute
		if r.Kind.IsCelery() {
			// kombu 5.7 notices after about 51 s by default: a minute proves nothing.
			idle, busy, limit = harness.Size(r, 1, 3), 0, 3*time.Minute
		}
		var after []time.Duration
		for i := range idle + busy {
			if i >= idle {
				s.Send(40, harness.Task{Seconds: 0.02})
			}
			s.Proxy().Stick()
			begin := time.Now()
			d, ok := s.Recovers(limit)
			if !ok {
				s.Figure("not within %s", limit)
				s.Want(false, "to work again after a freeze, not within %s; ended: %t", time.Since(begin), w.Ended())
				break
			}
			after = append(after, d)
		}
		if len(after) > 0 {
			s.Figure("%d freezes: median %s, worst %s", len(after), ms(percentile(after, 50)), ms(slices.Max(after)))
			s.Want(slices.Max(after) < 10*time.Second, "< 10s after a freeze")
		}
		if !r.Kind.IsCelery() {
			after = nil
			for range harness.Size(r, 1, 10) {
				// Commands are carried out and their replies lost: first a claim, whose
				// messages no worker knows of, then all others.
				s.Proxy().StickAt("EVALSHA", "\r\n"+harness.Queue+"\r\n")
				s.Send(20, harness.Task{Seconds: 0.02})
				s.Want(testkit.Poll(30*time.Second, s.Proxy().Sticks), "a claim of 20 tasks")
				d, ok := s.Recovers(limit)
				s.Want(ok && d < 10*time.Second, "< 10s after the answer to a claim froze, took %s", d)
				after = append(after, d)

				s.Send(20, harness.Task{Seconds: 0.02})
				set(s, proxy.FreezeAnswers)
				testkit.Pause(s, between(r, 500*time.Millisecond, 2*time.Second))
				s.Proxy().Stick()
				set(s, proxy.Pass)
				d, ok = s.Recovers(limit)
				s.Want(ok && d < 10*time.Second, "< 10s after the answers froze, took %s", d)
				after = append(after, d)
			}
			s.Figure("answers alone: worst %s", ms(slices.Max(after)))
		}
		patience := harness.Size(r, 10*time.Second, 2*time.Minute)
		if r.Kind.IsCelery() {
			patience = time.Minute
		}
		a := s.Await(s.IDs, patience)
		s.Figure("%d lost of %d", a.Lost, a.Tasks)
		s.Want(a.Lost == 0 && (r.Kind.IsCelery() || a.Done == a.Tasks && a.Failed == 0), "every task done: %s", a)
	},
}
