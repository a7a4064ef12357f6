package jobs_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/monitor/desk/jobs"
)

// shared is a board and leases that several monitors share.
type shared struct {
	mu     sync.Mutex
	values map[string][]byte
	owners map[string]string
	until  map[string]time.Time
}

func newShared() *shared {
	return &shared{values: map[string][]byte{}, owners: map[string]string{}, until: map[string]time.Time{}}
}

func (s *shared) Post(_ context.Context, name string, value []byte, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = slices.Clone(value)
	return nil
}

func (s *shared) Posted(_ context.Context, names ...string) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([][]byte, len(names))
	for i, n := range names {
		values[i] = s.values[n]
	}
	return values, nil
}

func (s *shared) Unpost(_ context.Context, names ...string) error { return nil }

func (s *shared) Lease(_ context.Context, name, owner string, d time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[name]; o != "" && o != owner && time.Now().Before(s.until[name]) {
		return false, nil
	}
	s.owners[name], s.until[name] = owner, time.Now().Add(d)
	return true, nil
}

func (s *shared) Release(_ context.Context, name, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owners[name] == owner {
		delete(s.owners, name)
	}
	return nil
}

// slow is a job of n steps of a second each.
func slow(n int) func(context.Context, *jobs.Progress) ([]string, error) {
	return func(going context.Context, p *jobs.Progress) ([]string, error) {
		for range n {
			select {
			case <-going.Done():
				return nil, nil
			case <-time.After(time.Second):
				p.Add(1, 0)
			}
		}
		return []string{"all"}, nil
	}
}

// monitor runs a runner until end is called.
func monitor(t *testing.T, s *shared) (r *jobs.Runner, end func()) {
	r = jobs.New(jobs.Config{Board: s, Leaser: s})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = r.Run(ctx); close(ended) }()
	synctest.Wait()
	return r, func() { cancel(); <-ended }
}

func state(t *testing.T, r *jobs.Runner, id string) jobs.Job {
	t.Helper()
	j, err := r.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJobRunsToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r, end := monitor(t, s)
		defer end()
		other, endOther := monitor(t, s)
		defer endOther()
		id, err := r.Start(t.Context(), jobs.Spec{Kind: "retry", Key: "k", By: "ada", Total: 10, Work: slow(10)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4500 * time.Millisecond)
		for _, monitor := range []*jobs.Runner{r, other} { // also in the other one
			if j := state(t, monitor, id); j.State != jobs.Running || j.Done < 3 || j.Done > 4 || j.Total != 10 {
				t.Errorf("after 4.5 s: %+v", j)
			}
			var same *jobs.SameError
			if _, err := monitor.Start(t.Context(), jobs.Spec{Key: "k", Work: slow(1)}); !errors.As(err, &same) {
				t.Errorf("the same job a second time: %v", err)
			}
			if all, err := monitor.List(t.Context()); err != nil || len(all) != 1 || all[0].ID != id {
				t.Errorf("list: %v, %+v", err, all)
			}
		}
		time.Sleep(10 * time.Second)
		if j := state(t, other, id); j.State != jobs.Done || j.Done != 10 || j.Result[0] != "all" {
			t.Errorf("at the end: %+v", j)
		}
		if _, err := other.Start(t.Context(), jobs.Spec{Key: "k", Work: slow(1)}); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestJobIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r, end := monitor(t, s)
		defer end()
		other, endOther := monitor(t, s)
		defer endOther()
		for _, by := range []*jobs.Runner{r, other} {
			id, err := r.Start(t.Context(), jobs.Spec{Key: "k", Total: 100, Work: slow(100)})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(3500 * time.Millisecond)
			if err := by.Stop(t.Context(), id); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Second)
			if j := state(t, other, id); j.State != jobs.Stopped || j.Done < 3 || j.Done > 5 {
				t.Errorf("stopped: %+v", j)
			}
			if err := by.Stop(t.Context(), id); err == nil || !strings.Contains(err.Error(), "stopped") {
				t.Errorf("a second stop: %v", err)
			}
		}
	})
}

// A monitor that ends says so, and of one that crashed the others find it out.
func TestJobIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r, end := monitor(t, s)
		id, err := r.Start(t.Context(), jobs.Spec{Key: "k", Total: 100, Work: slow(100)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3500 * time.Millisecond)
		posted, _ := s.Posted(t.Context(), "repair.job."+id)
		end()
		after, endAfter := monitor(t, s)
		defer endAfter()
		if j := state(t, after, id); j.State != jobs.Interrupted || j.Done != 3 {
			t.Errorf("after an orderly end: %+v", j)
		}
		_ = s.Post(t.Context(), "repair.job."+id, posted[0], time.Hour)
		if j := state(t, after, id); j.State != jobs.Running {
			t.Errorf("right after a crash: %+v", j)
		}
		time.Sleep(20 * time.Second)
		if j := state(t, after, id); j.State != jobs.Interrupted || j.Done < 2 || j.Ended.IsZero() {
			t.Errorf("after a crash: %+v", j)
		}
		if _, err := after.Start(t.Context(), jobs.Spec{Key: "k", Work: slow(1)}); err != nil {
			t.Errorf("the job again: %v", err)
		}
		if _, err := r.Start(t.Context(), jobs.Spec{Key: "other", Work: slow(1)}); err == nil {
			t.Error("a monitor that has ended takes a job")
		}
	})
}

func TestFailedJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := jobs.New(jobs.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }()
		synctest.Wait()
		id, err := r.Start(t.Context(), jobs.Spec{Key: "k", Total: 3, Work: func(_ context.Context, p *jobs.Progress) ([]string, error) {
			p.Add(1, 1)
			for range 30 {
				p.Fault(strings.Repeat("長", 600))
			}
			return nil, errors.New("the audit trail cannot be written")
		}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		j := state(t, r, id)
		if j.State != jobs.Failed || !strings.Contains(j.Error, "audit trail") || len(j.Faults) != 20 || j.More != 10 || len([]rune(j.Faults[0])) > 501 || j.Share() != 66 {
			t.Errorf("%+v", j)
		}
		if _, err := r.Job(t.Context(), "other"); !errors.Is(err, jobs.ErrNoJob) {
			t.Error(err)
		}
	})
}
