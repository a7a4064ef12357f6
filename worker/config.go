package worker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Config describes a Worker. The zero value of a field means Celery's default,
// with two exceptions, so that nothing is lost: AcksEarly and UnknownTasks.
type Config struct {
	// Broker brings the messages. Required. It serves one worker and one Run.
	Broker broker.Broker

	// Name is the node name, <name>@<host>; %h stands for the host name, %n and
	// %d for its first part and its domain. Default: "celery@%h".
	Name string

	// Queues to consume. Default: "celery". Which of them comes first is the
	// broker's matter; see QueueOrder and QueueWeights of worker/redis.
	Queues []string

	// Tasks maps task names to what runs them. Required.
	Tasks map[string]Definition

	// Concurrency is the number of tasks run at once. Default: the number of
	// processors that Go uses (GOMAXPROCS).
	Concurrency int

	// MaxConcurrency bounds the number of slots, for tasks that share something of
	// which there are that many. Concurrency and Autoscale must not exceed it, and
	// remote control cannot. Default: no bound.
	MaxConcurrency int

	// PrefetchMultiplier times Concurrency is the number of messages held,
	// running ones included; waiting ETA tasks do not count
	// (worker_prefetch_multiplier). With 1 a message is claimed only when it can run
	// at once; with a negative number, for which Celery has 0, there is no bound.
	//
	// Default, 0: as many as are done within 50 milliseconds at the recent pace, one
	// for each slot at least and 1,000 in all at most. Tasks that take no time are
	// claimed a hundred at a time. Of those that take longer none is held but for what
	// was claimed before they proved to be long: that goes back to its queue after
	// 200 milliseconds.
	PrefetchMultiplier int

	// DisablePrefetch claims a message only when it can run at once
	// (worker_disable_prefetch), whatever PrefetchMultiplier says.
	DisablePrefetch bool

	// ETATaskLimit bounds the tasks with an ETA or countdown that are held in
	// memory until they are due (worker_eta_task_limit). While it is reached
	// nothing more is claimed. Default: no limit.
	ETATaskLimit int

	// AcksEarly acknowledges a message before its task runs, as Celery does by
	// default (task_acks_late off): a crash then loses the task. The default
	// here is late, so that no crash can lose anything.
	AcksEarly bool

	// TrackStarted stores the state STARTED (task_track_started).
	TrackStarted bool

	// IgnoreResult stores no results (task_ignore_result). A message can ask
	// for the same.
	IgnoreResult bool

	// IgnoreResultAsSent lets a message decide that says anything about its result,
	// as in Celery 5.7: it can also ask for one that its task would not store.
	// Producers of older versions ask for it with every message, so this is off
	// unless all of them are of that version.
	IgnoreResultAsSent bool

	// TaskTimeLimit and TaskSoftTimeLimit bound the run of every task that
	// has no limits of its own (task_time_limit, task_soft_time_limit).
	// Default: no limits.
	TaskTimeLimit, TaskSoftTimeLimit time.Duration

	// ResultExtended stores the name, the arguments, the worker, the retries, the
	// queue and the stamps with each result (result_extended).
	ResultExtended bool

	// StoreErrorsEvenIfIgnored stores failures of tasks whose results are ignored
	// (task_store_errors_even_if_ignored).
	StoreErrorsEvenIfIgnored bool

	// DeduplicateSuccessful does not run a message again that was delivered before
	// and whose SUCCESS is stored (worker_deduplicate_successful_tasks).
	DeduplicateSuccessful bool

	// RejectOnFailure sets the message of a failed task aside in the dead letters
	// instead of acknowledging it (task_acks_on_failure off).
	RejectOnFailure bool

	// RequeueOnTimeout puts the message of a task that ran over its hard time
	// limit back to the end of its queue (task_acks_on_timeout off).
	RequeueOnTimeout bool

	// DisableRateLimits runs every task as soon as there is a slot
	// (worker_disable_rate_limits).
	DisableRateLimits bool

	// SharedRateLimits makes the rate limits hold for all workers of the broker
	// that set this, and not for each by itself.
	SharedRateLimits bool

	// MaxTasks ends Run, as a stop does, when that many tasks were run, for a
	// supervisor to start a fresh process (worker_max_tasks_per_child). Default:
	// no limit.
	MaxTasks int

	// MaxMemory in bytes ends Run, as MaxTasks does, when after a task the process
	// has more than that in memory (worker_max_memory_per_child, which is in KiB).
	// Garbage is collected before that is decided. A GOMEMLIMIT somewhat below it
	// keeps Go from growing that far without need. Default: no limit.
	MaxMemory int64

	// Publishing says how the worker publishes what handlers send and what
	// follows a task: callbacks, chains, bodies of chords.
	Publishing

	// UnknownTasks says what becomes of messages whose task is not in Tasks.
	// Default: DeadLetterUnknown. Celery does what RejectUnknown does.
	UnknownTasks UnknownTaskPolicy

	// MaxRedeliveries is the number of runs that may end without an end, by a
	// crash of the process, before a message counts as poison and goes to the
	// dead letters. Default: 3.
	MaxRedeliveries int

	// Grace is the time that running tasks get to finish after a stop; then
	// their contexts end. Default: 25 seconds.
	Grace time.Duration

	// Accept lists the serializers of messages to read (accept_content): "json",
	// "yaml", "msgpack", or their content types. pickle is refused always.
	// Default: "json".
	Accept []string

	// Limits bounds what a message may be before it is parsed.
	Limits protocol.Limits

	// Autoscale, when its Max is set, lets the number of slots follow the load, from
	// Autoscale.Min on.
	Autoscale Autoscale

	// Control says what remote control may do (worker_enable_remote_control).
	Control ControlMode

	// SendTaskEvents sends the events of tasks from the start
	// (worker_send_task_events, -E). Remote control can switch it.
	SendTaskEvents bool

	// WithoutHeartbeat sends no events about the worker itself, WithoutGossip
	// listens to none, and WithoutMingle does not ask other workers, at the start,
	// what was revoked: the options of "celery worker" of these names.
	WithoutHeartbeat, WithoutGossip, WithoutMingle bool

	// Redact are names of arguments, and of what is inside of them, whose values
	// must not be seen in events, answers and logs, beside the usual ones; see
	// package redact.
	Redact []string

	// PoolRestart is called for the command of that name, which asks a worker to
	// load its code anew. Default: the command is refused.
	PoolRestart func(context.Context) error

	// Software and SoftwareVersion are what the worker calls itself in heartbeats.
	// Default: the name of this library.
	Software, SoftwareVersion string

	// Middleware wraps every handler, the first one outermost.
	Middleware []Middleware

	// Logger gets what happens. Default: slog.Default().
	Logger *slog.Logger
}

// Definition is one entry of the task table.
type Definition struct {
	// Handler runs the task. Required.
	Handler Handler

	// MaxRetries bounds [Retry]. Default: 3, as Celery's max_retries. See
	// NoRetries and UnlimitedRetries.
	MaxRetries int

	// Backoff is the delay before a retry. Default: 180 seconds, always, as
	// Celery's default_retry_delay.
	Backoff Backoff

	// TimeLimit and SoftTimeLimit bound a run; a message may bring its own.
	// Default: those of the worker.
	TimeLimit, SoftTimeLimit time.Duration

	// RateLimit bounds how often the task is run by this worker, such as "10/m";
	// see [ParseRate]. Default: no limit.
	RateLimit string

	// ErrorCallback is called, in the place of Handler, when the task is the error
	// callback of another that fails in this worker.
	ErrorCallback ErrorCallback

	// ArgumentsAreSecret hides more of the arguments than Config.Redact tells, where
	// the task is shown: all texts and numbers that have no name in an object. It is
	// for tasks whose argument is a secret even when a caller sends it in a wrong form.
	ArgumentsAreSecret bool

	// These switch on for this task what the fields of Config of the same name
	// switch on for all.
	AcksEarly, IgnoreResult, TrackStarted, StoreErrorsEvenIfIgnored, RejectOnFailure, RequeueOnTimeout bool
}

// Values of Definition.MaxRetries that are no numbers.
const (
	NoRetries        = -1
	UnlimitedRetries = -2
)

// maxRetries in the sense of Task.MaxRetries: negative means no limit.
func (d Definition) maxRetries() int {
	switch {
	case d.MaxRetries == 0:
		return 3
	case d.MaxRetries == NoRetries:
		return 0
	default:
		return d.MaxRetries
	}
}

// Backoff is an exponential backoff: Base, 2·Base, 4·Base … up to Max.
type Backoff struct {
	Base time.Duration // delay before the first retry; default 180 s, constant
	Max  time.Duration // default 600 s, as Celery's retry_backoff_max
	// Jitter spreads each delay evenly by this share to both sides, so that
	// what failed together does not come back together: 0.2 means ±20 %.
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

// UnknownTaskPolicy says what becomes of a message whose task name is not in
// the task table.
type UnknownTaskPolicy int

const (
	// DeadLetterUnknown sets the message aside and stores FAILURE with
	// NotRegistered, so that nobody waits for a result in vain.
	DeadLetterUnknown UnknownTaskPolicy = iota
	// RequeueUnknown puts the message to the end of its queue, for a Python
	// worker that shares the queue and knows the task.
	RequeueUnknown
	// RejectUnknown does what Celery does: FAILURE with NotRegistered, and the
	// message is dropped.
	RejectUnknown
)

// normalise fills in defaults and reports everything that is wrong.
func (c Config) normalise() (Config, error) {
	if len(c.Queues) == 0 {
		c.Queues = []string{"celery"}
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("worker configuration: %w", err)
	}

	c.MaxConcurrency = orDefault(c.MaxConcurrency, mostSlots)
	c.Concurrency = orDefault(c.Concurrency, min(processors(), c.MaxConcurrency))
	if c.Autoscale.Max > 0 {
		c.Concurrency = c.Autoscale.Min
	}
	c.Software = or(c.Software, "evently-workers")
	c.MaxRedeliveries = orDefault(c.MaxRedeliveries, 3)
	c.Grace = orDefault(c.Grace, 25*time.Second)
	c.Limits.Size = orDefault(c.Limits.Size, protocol.DefaultSize)
	c.Limits.Depth = orDefault(c.Limits.Depth, protocol.DefaultDepth)
	c.Limits.Elements = orDefault(c.Limits.Elements, max(protocol.DefaultElements, c.Limits.Size))
	if c.Name == "" {
		c.Name = "celery@%h"
	}
	c.Name = nodeName(c.Name)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// nodeName expands the abbreviations of Celery's --hostname option.
func nodeName(pattern string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	short, domain, _ := strings.Cut(host, ".")
	return strings.NewReplacer("%h", host, "%n", short, "%d", domain, "%%", "%").Replace(pattern)
}
