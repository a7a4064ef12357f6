package worker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"strings"
	"time"
	"unicode"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/fnmatch"
	"github.com/evently/workers/worker/internal/ratelimit"
	"github.com/evently/workers/worker/internal/scale"
	"github.com/evently/workers/worker/protocol"
)

// faults collects what is wrong with a configuration.
type faults []error

func (fs *faults) add(format string, args ...any) { *fs = append(*fs, fmt.Errorf(format, args...)) }

// normalise fills in defaults and reports all faults.
func (c Config) normalise() (Config, error) {
	if len(c.Queues) == 0 {
		c.Queues = []string{"celery"}
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("worker configuration: %w", err)
	}
	c.Name = nodeName(cmp.Or(c.Name, "celery@%h"))
	c.Software = cmp.Or(c.Software, reflect.TypeFor[Config]().PkgPath())
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.MaxConcurrency = cmp.Or(c.MaxConcurrency, scale.MostSlots)
	c.Concurrency = cmp.Or(c.Concurrency, min(processors(), c.MaxConcurrency))
	if c.Autoscale.Max > 0 {
		c.Concurrency = c.Autoscale.Min
	}
	c.MaxRedeliveries = cmp.Or(c.MaxRedeliveries, 3)
	c.Grace = cmp.Or(c.Grace, 25*time.Second)
	c.Limits.Size = cmp.Or(c.Limits.Size, protocol.DefaultSize)
	c.Limits.Depth = cmp.Or(c.Limits.Depth, protocol.DefaultDepth)
	c.Limits.Elements = cmp.Or(c.Limits.Elements, max(protocol.DefaultElements, c.Limits.Size))
	return c, nil
}

func processors() int { return runtime.GOMAXPROCS(0) }

// nodeName expands the abbreviations of Celery's --hostname option.
func nodeName(pattern string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	short, domain, _ := strings.Cut(host, ".")
	return strings.NewReplacer("%h", host, "%n", short, "%d", domain, "%%", "%").Replace(pattern)
}

// check reports everything that is wrong with c, in an order that stays.
func (c Config) check() error {
	var fs faults
	c.checkBroker(&fs)
	c.checkTasks(&fs)
	c.checkQueues(&fs)
	c.checkNumbers(&fs)
	c.checkWords(&fs)
	fs = append(fs, c.Publishing.check()...)
	for i, m := range c.Middleware {
		if m == nil {
			fs.add("Middleware[%d] is nil: leave it out", i)
		}
	}
	return errors.Join(fs...)
}

func (c Config) checkBroker(fs *faults) {
	if isNil(c.Broker) {
		fs.add("Broker is missing: take one from worker/redis")
	} else if _, ok := c.Broker.(broker.Limiter); c.SharedRateLimits && !ok {
		fs.add("SharedRateLimits needs a Broker that implements broker.Limiter")
	}
}

// isNil reports whether an interface has no value, or one that is a nil pointer or a
// nil function.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func:
		return r.IsNil()
	}
	return false
}

func (c Config) checkTasks(fs *faults) {
	if len(c.Tasks) == 0 {
		fs.add("Tasks is empty: register at least one task")
	}
	for _, name := range sorting.Keys(c.Tasks) {
		if name == "" {
			fs.add("Tasks has an entry without a name")
		}
		c.Tasks[name].check(fs, fmt.Sprintf("Tasks[%q]", name), c.TaskTimeLimit)
	}
}

// check reports what is wrong with the entry that where names; limit is the hard time
// limit of tasks without their own.
func (d Definition) check(fs *faults, where string, limit time.Duration) {
	if isNil(d.Handler) {
		fs.add("%s has no Handler: take worker.Func of your function", where)
	} else if h, ok := d.Handler.(interface{ typeFaults() []error }); ok {
		for _, err := range h.typeFaults() {
			fs.add("%s.Handler: %w", where, err)
		}
	}
	if _, err := ratelimit.Parse(d.RateLimit); err != nil {
		fs.add("%s.RateLimit: %w", where, err)
	}
	if d.MaxRetries < NoRetries {
		fs.add("%s.MaxRetries is %d: want a count, NoRetries or UnlimitedRetries", where, d.MaxRetries)
	}
	if d.Backoff.Base < 0 || d.Backoff.Max < 0 {
		fs.add("%s.Backoff has a negative delay: want 0 for the default, or more", where)
	}
	if j := d.Backoff.Jitter; !(j >= 0 && j <= 1) {
		fs.add("%s.Backoff.Jitter is %v: want a share from 0 to 1", where, j)
	}
	switch {
	case d.TimeLimit < 0 || d.SoftTimeLimit < 0:
		fs.add("%s has a negative time limit: want 0 for that of the worker, or more", where)
	case d.TimeLimit > 0 && d.SoftTimeLimit > d.TimeLimit:
		fs.add("%s.SoftTimeLimit %v is above TimeLimit %v: it would never pass", where, d.SoftTimeLimit, d.TimeLimit)
	case d.TimeLimit == 0 && limit > 0 && d.SoftTimeLimit > limit:
		fs.add("%s.SoftTimeLimit %v is above TaskTimeLimit %v: set %s.TimeLimit too", where, d.SoftTimeLimit, limit, where)
	}
}

func (a Autoscale) check() error {
	if a == (Autoscale{}) {
		return nil
	}
	return scale.Check(a.Min, a.Max)
}

func (c Config) checkQueues(fs *faults) {
	seen := map[string]bool{}
	for _, q := range c.Queues {
		if err := checkQueue(q); err != nil {
			fs.add("Queues has the name %q: %w", q, err)
		}
		if seen[q] {
			fs.add("Queues names %q twice", q)
		}
		seen[q] = true
	}
}

func (c Config) checkNumbers(fs *faults) {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"Concurrency", int64(c.Concurrency)}, {"MaxConcurrency", int64(c.MaxConcurrency)}, {"ETATaskLimit", int64(c.ETATaskLimit)},
		{"MaxRedeliveries", int64(c.MaxRedeliveries)}, {"MaxTasks", int64(c.MaxTasks)}, {"MaxMemory", c.MaxMemory},
		{"Limits.Size", int64(c.Limits.Size)}, {"Limits.Depth", int64(c.Limits.Depth)}, {"Limits.Elements", int64(c.Limits.Elements)},
	} {
		if n.value < 0 {
			fs.add("%s is %d: want 0 for the default, or more", n.name, n.value)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"TaskTimeLimit", c.TaskTimeLimit}, {"TaskSoftTimeLimit", c.TaskSoftTimeLimit}, {"Grace", c.Grace}} {
		if d.value < 0 {
			fs.add("%s is %v: want 0 for the default, or more", d.name, d.value)
		}
	}
	if c.TaskTimeLimit > 0 && c.TaskSoftTimeLimit > c.TaskTimeLimit {
		fs.add("TaskSoftTimeLimit %v is above TaskTimeLimit %v: it would never pass", c.TaskSoftTimeLimit, c.TaskTimeLimit)
	}
	if err := c.Autoscale.check(); err != nil {
		fs.add("Autoscale is %w", err)
	}
	if c.PrefetchMultiplier < PrefetchUnlimited {
		fs.add("PrefetchMultiplier is %d: want a number of messages, PrefetchAdaptive or PrefetchUnlimited", c.PrefetchMultiplier)
	}
	if most := max(c.Concurrency, c.Autoscale.Max); c.MaxConcurrency > 0 && most > c.MaxConcurrency {
		fs.add("MaxConcurrency is %d: Concurrency and Autoscale must not exceed it, and one of them is %d", c.MaxConcurrency, most)
	}
}

func (c Config) checkWords(fs *faults) {
	if strings.ContainsFunc(c.Name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		fs.add("Name is %q: want <name>@<host>, without spaces", c.Name)
	}
	if c.UnknownTasks < DeadLetterUnknown || c.UnknownTasks > RejectUnknown {
		fs.add("UnknownTasks is %d: want DeadLetterUnknown, RequeueUnknown or RejectUnknown", c.UnknownTasks)
	}
	if c.Control < ControlFull || c.Control > ControlOff {
		fs.add("Control is %d: want ControlFull, ControlHarmless or ControlOff", c.Control)
	}
	if err := (&protocol.Decoder{Accept: c.Accept}).Validate(); err != nil {
		fs.add("Accept: %w", err)
	}
	for i, name := range c.Redact {
		if !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			fs.add("Redact[%d] is %q: want the name of an argument", i, name)
		}
	}
}

// check reports everything that is wrong with p.
func (p Publishing) check() []error {
	var fs faults
	for _, r := range p.Routes {
		if err := r.check(); err != nil {
			fs = append(fs, err)
		}
	}
	if err := checkQueue(p.DefaultQueue); p.DefaultQueue != "" && err != nil {
		fs.add("DefaultQueue is %q: %w", p.DefaultQueue, err)
	}
	if err := p.Encoding.Validate(); err != nil {
		fs.add("the encoding: %w", err)
	}
	if l := p.CanvasLimits; min(l.Depth, l.Messages, l.Work, l.Bytes) < 0 {
		fs.add("CanvasLimits has a negative number: want 0 for the default, or more")
	}
	return fs
}

func (r Route) check() error {
	if err := r.Encoding.Validate(); err != nil {
		return fmt.Errorf("route of %q: %w", r.Task, err)
	}
	if err := checkQueue(r.Queue); r.Queue != "" && err != nil {
		return fmt.Errorf("route of %q has the queue %q: %w", r.Task, r.Queue, err)
	}
	if r.Regexp != nil {
		return nil
	}
	if _, err := fnmatch.Compile(r.Task); err != nil || r.Task == "" {
		return fmt.Errorf("a route has the pattern %q: want a task name, or one with * and ?", r.Task)
	}
	return nil
}

// checkQueue reports a fault of the name of a queue.
func checkQueue(name string) error {
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' }) {
		return errors.New("want the name of a queue, without control characters")
	}
	return nil
}
