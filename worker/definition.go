package worker

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/evently/workers/worker/internal/ratelimit"
	"github.com/evently/workers/worker/protocol"
)

// Definition is one entry of the task table.
type Definition struct {
	// Handler runs the task. Required.
	Handler Handler

	// MaxRetries bounds [Retry]. Default, 0: 3, as Celery's max_retries. See NoRetries and
	// UnlimitedRetries.
	MaxRetries int

	// Backoff is the delay before a retry. Default: always 180 seconds, as Celery's
	// default_retry_delay.
	Backoff Backoff

	// TimeLimit and SoftTimeLimit bound a run; a message may bring its own. Default: the
	// limits of the worker.
	TimeLimit, SoftTimeLimit time.Duration

	// RateLimit bounds how often this worker runs the task, such as "10/m"; see
	// [ParseRate]. With Config.SharedRateLimits it holds for all workers together.
	// Default: no limit.
	RateLimit string

	// ErrorCallback is called instead of Handler when the task is the error callback of
	// another task that fails in this worker.
	ErrorCallback ErrorCallback

	// ArgumentsAreSecret hides more of the arguments than Config.Redact does, where the
	// task is shown: all texts and numbers that have no name in an object. It is for
	// tasks whose argument is a secret even when a caller sends it in a wrong form.
	ArgumentsAreSecret bool

	// Withdrawn is called for a message that is settled without a run. It may call
	// Task.Record and Task.EndMark, and must return at once. nil: nothing is called.
	Withdrawn func(t *Task, why Withdrawal)

	// These fields switch on for this task what the fields of Config of the same name
	// switch on for all tasks.
	AcksEarly, IgnoreResult, TrackStarted, StoreErrorsEvenIfIgnored, RejectOnFailure, RequeueOnTimeout bool
}

// Withdrawal says why a message does not run.
type Withdrawal string

// The reasons of a Withdrawal.
const (
	WithdrawnExpired Withdrawal = "expired" // its time of expiry has passed
	WithdrawnRevoked Withdrawal = "revoked" // by remote control
	WithdrawnCrashed Withdrawal = "crashed" // its runs have ended their worker, MaxRedeliveries times
)

// Bounds of retries. They mean the same wherever retries are counted: in
// [Definition.MaxRetries], [Task.MaxRetries] and [RetryError.MaxRetries].
const (
	NoRetries        = -1
	UnlimitedRetries = math.MaxInt
)

// maxRetries returns the number of retries that are allowed, with the default applied.
func (d Definition) maxRetries() int {
	if d.MaxRetries == 0 {
		return 3
	}
	return max(d.MaxRetries, 0)
}

// Backoff is an exponential backoff: Base, 2·Base, 4·Base … up to Max.
type Backoff struct {
	Base time.Duration // delay before the first retry; default 180 s, constant
	Max  time.Duration // default 600 s, as Celery's retry_backoff_max
	// Jitter spreads each delay evenly by this share to both sides, so that tasks which
	// failed together do not come back together: 0.2 means ±20 %.
	Jitter float64
}

// Delay returns the time to wait before retry number n, where the first is 0.
func (b Backoff) Delay(n int) time.Duration {
	if b.Base <= 0 {
		return 180 * time.Second
	}
	limit := b.Max
	if limit <= 0 {
		limit = 600 * time.Second
	}
	d := b.Base
	for range n {
		if d >= limit/2 {
			d = limit
			break
		}
		d *= 2
	}
	d = min(d, max(limit, b.Base))
	if b.Jitter > 0 {
		d += time.Duration(float64(d) * b.Jitter * (2*rand.Float64() - 1))
	}
	return max(d, 0)
}

// ErrorCallback is an error callback (link_error) that gets more than the id of the failed
// task. Celery calls functions with three parameters, (request, exception, traceback), in
// the worker in which the task failed, before its message is acknowledged. A [Definition]
// with an ErrorCallback is called in the same way. Its error is logged and changes nothing.
type ErrorCallback func(ctx context.Context, f *FailedTask) error

// FailedTask describes the failure to an [ErrorCallback].
type FailedTask struct {
	ID     string // of the task that failed; of the body when a chord failed
	RootID string
	// Exception and Traceback as they are stored; Traceback may be "".
	Exception *Exception
	Traceback string
	// Args and Kwargs are the arguments of the callback itself.
	Args, Kwargs protocol.Raw
}

// definition is a Definition with everything decided that New can decide.
type definition struct {
	Definition
	handler    Handler // with all middleware
	name       string
	parameters []string // names of the positional arguments, as far as known
}

// taskTable holds the registered tasks, and the time limits that remote control has
// changed.
type taskTable struct {
	definitions map[string]*definition

	mu     sync.RWMutex
	limits map[string]timeLimits // changed ones by task
}

// timeLimits are the limits of a run; 0: none.
type timeLimits struct{ soft, hard time.Duration }

func newTaskTable(definitions map[string]*definition) *taskTable {
	return &taskTable{definitions: definitions, limits: map[string]timeLimits{}}
}

// lookup returns the definition of a registered task.
func (t *taskTable) lookup(task string) (d *definition, known bool) {
	d, known = t.definitions[task]
	return d, known
}

// get returns the definition of a task. The definition of an unknown task is empty.
func (t *taskTable) get(task string) *definition {
	if d, known := t.definitions[task]; known {
		return d
	}
	return &definition{}
}

// setTimeLimits changes the limits of a task.
func (t *taskTable) setTimeLimits(task string, l timeLimits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits[task] = l
}

// timeLimits returns the limits of a task as they are now.
func (t *taskTable) timeLimits(d *definition) timeLimits {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l, changed := t.limits[d.name]; changed {
		return l
	}
	return timeLimits{soft: d.SoftTimeLimit, hard: d.TimeLimit}
}

// ParseRate reads a rate limit as Celery writes it: a number, which may have a fraction, and
// /s, /m or /h; seconds when there is no unit. It returns the time between two tasks, 0 for
// no limit ("", "0" and less).
func ParseRate(s string) (every time.Duration, err error) { return ratelimit.Parse(s) }
