package incident

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/store/ledger"
)

// Sources are what a bundle is made of. A nil one is missing in it.
type Sources struct {
	Program string // with its version
	Summary func() *summary.Summary
	Vitals  func() vitals.State
	Watch   interface {
		State() *watch.State
		Samples(queue string, after time.Time) []watch.Sample
	}
	Fleet monitor.Fleet
	Mails interface {
		summary.Mails
	}
	Settings     []config.Setting
	Fingerprints func(ctx context.Context) ([]config.Fingerprint, error)

	// Secrets returns the texts that must not be in the bundle, former ones included. Required.
	Secrets func() []string
}

// Steps is the number of steps that Collect takes.
const Steps = 6

// Collect reads a bundle of the time between two times. step is called before each step, with
// what it does; it may be nil.
func (s Sources) Collect(ctx context.Context, since, until time.Time, step func(doing string)) *Bundle {
	if step == nil {
		step = func(string) {}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	b := &Bundle{Manifest: Manifest{Format: Format, Created: time.Now().UTC(), Since: since.UTC(), Until: until.UTC(), Host: host, Program: s.Program}}
	step("summary and health")
	if s.Summary != nil {
		b.Summary = s.Summary()
	}
	if s.Vitals != nil {
		state := s.Vitals()
		if state.At.IsZero() {
			b.miss("the health of the workers: Redis has not told it")
		}
		b.Health.Processes = state.Processes
		for _, c := range state.Changes {
			if !c.At.Before(since) && c.At.Before(until) {
				b.Health.Changes = append(b.Health.Changes, c)
			}
		}
	}
	step("queues")
	s.queues(b, since)
	step("tasks")
	s.tasks(b, since, until)
	step("mails")
	s.mails(ctx, b, since, until)
	step("configuration")
	s.settings(ctx, b)
	step("goroutines")
	b.Goroutines = goroutines()
	return b
}

func (b *Bundle) miss(format string, args ...any) {
	b.Manifest.Missing = append(b.Manifest.Missing, fmt.Sprintf(format, args...))
}

func (s Sources) queues(b *Bundle, since time.Time) {
	if s.Watch == nil {
		b.miss("the readings of the queues: there are none")
		return
	}
	b.Queues = map[string][]watch.Sample{}
	state := s.Watch.State()
	if state.Fault != "" {
		b.miss("what queues, workers and dead letters are like now: Redis does not answer: %s", state.Fault)
	}
	for _, q := range state.Queues {
		samples := s.Watch.Samples(q.Name, since)
		b.Queues[q.Name] = samples[max(0, len(samples)-mostSamples):]
	}
}

// tasks lists tasks without their values and errors.
func (s Sources) tasks(b *Bundle, since, until time.Time) {
	if s.Fleet == nil {
		b.miss("the events of tasks: this program has not listened")
		return
	}
	if s.Fleet.Status().Joined.IsZero() {
		b.miss("the events of tasks: they do not arrive")
	}
	f := fleet.Filter{Since: since, Until: until, Limit: fleet.MaxPage, Terse: true}
	for len(b.Tasks) < mostTasks {
		page, err := s.Fleet.Tasks(f)
		if err != nil {
			b.miss("the events of tasks: %v", err)
			return
		}
		for _, t := range page.Tasks {
			t.Args, t.Kwargs, t.Result, t.Exception, t.Traceback = "", "", "", "", ""
			for i := range t.Attempts {
				t.Attempts[i].Exception = ""
			}
			b.Tasks = append(b.Tasks, t)
		}
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	b.Tasks = head(b.Tasks, mostTasks)
}

func (s Sources) mails(ctx context.Context, b *Bundle, since, until time.Time) {
	if s.Mails == nil {
		b.miss("the history of mails: there is none")
		return
	}
	var errs []string
	note := func(err error) {
		if err != nil && !slices.Contains(errs, err.Error()) {
			errs = append(errs, err.Error())
		}
	}
	f := ledger.Filter{Since: since, Until: until, Limit: 1000}
	for len(b.Mails) < mostMails {
		page, err := s.Mails.List(ctx, f)
		if err != nil {
			note(err)
			break
		}
		for _, m := range page.Mails {
			m.Address = ""
			b.Mails = append(b.Mails, m)
		}
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	b.Mails = head(b.Mails, mostMails)
	var err error
	b.Counts.States, err = s.Mails.Stats(ctx, since, until)
	note(err)
	b.Counts.Classes, err = s.Mails.Classes(ctx, since, until)
	note(err)
	if len(errs) > 0 {
		b.miss("the history of mails: %s", strings.Join(errs, "; "))
	}
}

func (s Sources) settings(ctx context.Context, b *Bundle) {
	prints := map[string]config.Fingerprint{}
	if s.Fingerprints != nil {
		all, err := s.Fingerprints(ctx)
		if err != nil {
			b.miss("fingerprints of the configuration: Redis does not answer")
		}
		for _, f := range all {
			prints[f.Variable] = f
		}
	}
	for _, one := range s.Settings {
		f := prints[one.Variable]
		b.Configuration = append(b.Configuration, Setting{Variable: one.Variable, Value: one.Value, Source: one.Source, Secret: f.Secret, Fingerprint: f.Digest})
	}
}

// Nodes returns the names of nodes in a bundle.
func (b *Bundle) Nodes() (nodes []string) {
	add := func(name string) {
		if name != "" && !slices.Contains(nodes, name) {
			nodes = append(nodes, name)
		}
	}
	for _, p := range b.Health.Processes {
		add(p.Node)
	}
	for _, c := range b.Health.Changes {
		add(c.Node)
	}
	if b.Summary != nil {
		for _, w := range b.Summary.Workers {
			add(w.Node)
		}
	}
	for _, t := range b.Tasks {
		add(t.Worker)
		add(t.Client)
	}
	return nodes
}

// goroutines returns the stacks of this program, without arguments, those of equal stacks
// together.
func goroutines() string {
	const most, grouped = 256 << 10, 1
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, grouped) // into memory
	return b.String()[:min(most, b.Len())]
}
