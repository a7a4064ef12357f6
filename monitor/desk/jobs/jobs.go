// Package jobs runs work that takes long in the process of the monitor: it goes on when the
// page is closed, tells how far it is, and can be stopped. Its state is in the broker, so that
// other monitors see it, and that after a crash it is known how far it has come.
package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
)

// State says how a job is.
type State string

// The states.
const (
	Running     State = "running"
	Done        State = "done"        // everything was tried
	Stopped     State = "stopped"     // by a person
	Interrupted State = "interrupted" // the monitor ended before the job
	Failed      State = "failed"      // by an error of the job
)

// Job is what is known of a job.
type Job struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // such as retry
	Title   string    `json:"title"`
	Facts   []Fact    `json:"facts,omitempty"` // how its letters were chosen, for people
	By      string    `json:"by"`
	State   State     `json:"state"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"` // when the state was written
	Ended   time.Time `json:"ended,omitzero"`

	Total   int      `json:"total"` // 0: not known
	Done    int      `json:"done"`
	Refused int      `json:"refused"`          // tried, and not done
	Faults  []string `json:"faults,omitempty"` // the first of them, or what was found
	More    int      `json:"more,omitempty"`   // others
	Result  []string `json:"result,omitempty"` // lines for people, at the end
	Error   string   `json:"error,omitempty"`  // of a failed job
}

// Fact is a name and a value.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Tried returns how many were tried.
func (j *Job) Tried() int { return j.Done + j.Refused }

// Rest estimates how long a running job takes yet, 0 if that is not known.
func (j *Job) Rest() time.Duration {
	tried, spent := j.Tried(), j.Seen.Sub(j.Started)
	if j.State != Running || tried == 0 || j.Total <= tried || spent < time.Second {
		return 0
	}
	return time.Duration(float64(spent) / float64(tried) * float64(j.Total-tried))
}

// Share returns the share that was tried, in percent.
func (j *Job) Share() int {
	if j.Total <= 0 {
		return 0
	}
	return min(100, 100*j.Tried()/j.Total)
}

// Spec describes a job to start.
type Spec struct {
	Kind, Title, By string
	Facts           []Fact
	// Key is what two jobs must not do at once, such as a verb with a filter.
	Key   string
	Total int
	// Work does the job. The end of going asks it to stop at a good place. Its lines become
	// Job.Result.
	Work func(going context.Context, p *Progress) (lines []string, err error)
}

// Config is the configuration of a [Runner].
type Config struct {
	Board  broker.Board  // keeps the states; nil: only this process knows them
	Leaser broker.Leaser // keeps two monitors from the same job; nil: there is one monitor
	Logger *slog.Logger
	Now    func() time.Time
}

// Runner runs jobs. [Runner.Run] must be running for [Runner.Start].
type Runner struct {
	cfg   Config
	owner string
	table table
	going sync.WaitGroup
}

// New returns a Runner.
func New(cfg Config) *Runner {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Runner{cfg: cfg, owner: rand.Text(), table: table{active: map[string]*active{}}}
}

// errStopped is why a person's stop ends a job.
var errStopped = errors.New("stopped by a person")

// Run lets jobs run until ctx ends. Then it asks them to stop, and waits for them.
func (r *Runner) Run(ctx context.Context) error {
	r.table.open(ctx)
	<-ctx.Done()
	r.table.close()
	r.going.Wait()
	return nil
}

// SameError says that such a job runs already.
type SameError struct{ ID string }

func (e *SameError) Error() string {
	if e.ID == "" {
		return "the same job runs already, in another monitor"
	}
	return "the same job runs already"
}

// leaseTime is how long a job is another's after its monitor crashed.
const leaseTime = 15 * time.Second

// Start starts a job and returns its id. The error is a [*SameError] while a job with that key
// runs, here or in another monitor.
func (r *Runner) Start(ctx context.Context, s Spec) (id string, err error) {
	now := r.cfg.Now()
	id = strings.ToLower(rand.Text()[:16])
	p := &Progress{job: Job{
		ID: id, Kind: s.Kind, Title: s.Title, Facts: s.Facts, By: s.By, State: Running, Started: now, Seen: now, Total: s.Total,
	}, now: r.cfg.Now}
	a := &active{key: s.Key, p: p}
	if err := r.table.add(id, a, &r.going); err != nil {
		return "", err
	}
	if err := r.lease(ctx, s.Key); err != nil {
		r.table.remove(id)
		r.going.Done()
		return "", err
	}
	go r.work(a, s)
	return id, nil
}

// lease takes the lease of a key.
func (r *Runner) lease(ctx context.Context, key string) error {
	if r.cfg.Leaser == nil {
		return nil
	}
	held, err := r.cfg.Leaser.Lease(ctx, leaseName(key), r.owner, leaseTime)
	if err != nil {
		return fmt.Errorf("start a job: %w", err)
	}
	if !held {
		return &SameError{}
	}
	return nil
}

func leaseName(key string) string { return "repair." + key }

// work runs a job and keeps its state.
func (r *Runner) work(a *active, s Spec) {
	defer r.going.Done()
	ended := make(chan struct{})
	var kept sync.WaitGroup
	kept.Go(func() { r.keep(a, ended) })
	lines, err := s.Work(a.going, a.p)
	close(ended)
	kept.Wait()
	stopped, byPerson := a.going.Err() != nil, errors.Is(context.Cause(a.going), errStopped)
	a.stop(nil)
	a.p.end(lines, err, stopped, byPerson)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.going), patience)
	defer cancel()
	job := a.p.Job()
	r.write(ctx, job)
	if r.cfg.Leaser != nil {
		if err := r.cfg.Leaser.Release(ctx, leaseName(a.key), r.owner); err != nil {
			r.cfg.Logger.Warn("lease of a job not released, it ends by itself", "job", job.ID, "error", err)
		}
	}
	r.cfg.Logger.Info("job ended", "job", job.ID, "kind", job.Kind, "by", job.By, "state", string(job.State), "total", job.Total,
		"done", job.Done, "refused", job.Refused, "seconds", job.Ended.Sub(job.Started).Seconds())
	r.table.retire(job)
}

// patience bounds one look at the broker.
const patience = 5 * time.Second

// keep writes the state of a job once a second, renews its lease, and looks whether another
// monitor was asked to stop it.
func (r *Runner) keep(a *active, ended <-chan struct{}) {
	ctx := context.WithoutCancel(a.going)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	r.beat(ctx, a, true)
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			r.beat(ctx, a, false)
		}
	}
}

func (r *Runner) beat(ctx context.Context, a *active, first bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	job := a.p.Job()
	r.write(ctx, job)
	if first {
		r.list(ctx, job.ID)
	}
	if r.cfg.Leaser != nil {
		if _, err := r.cfg.Leaser.Lease(ctx, leaseName(a.key), r.owner, leaseTime); err != nil {
			r.cfg.Logger.Warn("lease of a job not renewed", "job", job.ID, "error", err)
		}
	}
	if r.cfg.Board != nil {
		if asked, err := r.cfg.Board.Posted(ctx, stopName(job.ID)); err == nil && asked[0] != nil {
			a.stop(errStopped)
		}
	}
}

// Stop asks a job to stop, here or in another monitor.
func (r *Runner) Stop(ctx context.Context, id string) error {
	if a := r.table.get(id); a != nil {
		a.stop(errStopped)
		return nil
	}
	job, err := r.Job(ctx, id)
	switch {
	case err != nil:
		return err
	case job.State != Running:
		return fmt.Errorf("the job is %s, it cannot be stopped", job.State)
	}
	if err := r.cfg.Board.Post(ctx, stopName(id), []byte("stop"), time.Hour); err != nil {
		return fmt.Errorf("stop a job of another monitor: %w", err)
	}
	return nil
}
