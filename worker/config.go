package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/protocol"
)

// Config describes a Worker. The zero value of a field means Celery's default, except for
// these fields, whose zero value loses no message and bounds what one can do: AcksEarly,
// UnknownTasks, MaxRedeliveries, Limits, Grace and PrefetchMultiplier. The comment of each
// tells the default.
type Config struct {
	// Broker brings the messages. Required. It serves one worker and one Run.
	Broker broker.Broker

	// Name is the node name, <name>@<host>; %h stands for the host name, %n and
	// %d for its first part and its domain. Default: "celery@%h".
	Name string

	// Queues are the queues to consume. Default: "celery". The broker decides about their
	// order; see QueueOrder and QueueWeights of worker/redis.
	Queues []string

	// Tasks maps task names to their definitions. Required.
	Tasks map[string]Definition

	// Concurrency is the number of tasks run at once. Default: the number of
	// processors that Go uses (GOMAXPROCS).
	Concurrency int

	// MaxConcurrency bounds the number of slots, for tasks that share a limited resource.
	// Concurrency and Autoscale must not exceed it, and remote control cannot. Default: no
	// bound.
	MaxConcurrency int

	// PrefetchMultiplier times Concurrency is the number of messages held, running ones
	// included; waiting ETA tasks do not count (worker_prefetch_multiplier). With 1 a
	// message is claimed only when it can run at once (worker_disable_prefetch). Default:
	// PrefetchAdaptive.
	PrefetchMultiplier Prefetch

	// ETATaskLimit bounds the tasks with an ETA or countdown that are held in
	// memory until they are due (worker_eta_task_limit). While it is reached
	// nothing more is claimed. Default: no limit.
	ETATaskLimit int

	// AcksEarly acknowledges a message before its task runs, as Celery does by
	// default (task_acks_late off). A crash then loses the task. The default here is late.
	AcksEarly bool

	// TrackStarted stores the state STARTED (task_track_started).
	TrackStarted bool

	// IgnoreResult stores no results (task_ignore_result). A message can ask
	// for the same.
	IgnoreResult bool

	// IgnoreResultAsSent lets the header ignore_result of a message override its task, as
	// in Celery 5.7: a message can also ask for a result that its task would not store.
	// Producers of older versions send the header with every message, so switch this on
	// only when all producers have that version.
	IgnoreResultAsSent bool

	// TaskTimeLimit and TaskSoftTimeLimit bound the run of every task without own limits
	// (task_time_limit, task_soft_time_limit).
	// Default: no limits.
	TaskTimeLimit, TaskSoftTimeLimit time.Duration

	// ResultExtended stores the name, the arguments, the worker, the retries, the
	// queue and the stamps with each result (result_extended).
	ResultExtended bool

	// StoreErrorsEvenIfIgnored stores failures of tasks whose results are ignored
	// (task_store_errors_even_if_ignored).
	StoreErrorsEvenIfIgnored bool

	// DeduplicateSuccessful does not run a message again that was delivered before
	// and whose SUCCESS is stored (worker_deduplicate_successful_tasks). Celery goes by
	// the task id; here the task and its arguments must be the same as well, where a
	// worker of this kind has stored the SUCCESS. See [Task.Fingerprint].
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

	// SharedRateLimits applies the rate limits to all workers of the broker that set this
	// together, and not to each worker.
	SharedRateLimits bool

	// MaxTasks ends Run, as a stop does, when that many tasks were run, for a
	// supervisor to start a fresh process (worker_max_tasks_per_child). Default:
	// no limit.
	MaxTasks int

	// MaxMemory in bytes ends Run, as MaxTasks does, when after a task the process
	// has more than that in memory (worker_max_memory_per_child, which is in KiB).
	// Garbage is collected before the decision. A GOMEMLIMIT somewhat below it keeps the
	// Go heap from growing that far without need. Default: no limit.
	MaxMemory int64

	// Publishing configures the messages that handlers send, and the consequences of a
	// task: callbacks, chains, bodies of chords.
	Publishing

	// UnknownTasks selects the policy for messages whose task is not in Tasks. Default:
	// DeadLetterUnknown. Celery does what RejectUnknown does.
	UnknownTasks UnknownTaskPolicy

	// MaxRedeliveries is the number of runs of a message that may end with a crash of the
	// process before the message goes to the dead letters. Default: 3. Celery has no such
	// bound.
	MaxRedeliveries int

	// Grace is the time that running tasks get to finish after a stop; then their contexts
	// end. Default: 25 seconds. Celery waits without a bound.
	Grace time.Duration

	// Accept lists the serializers of messages to read (accept_content): "json",
	// "yaml", "msgpack", or their content types. pickle is refused always.
	// Default: "json".
	Accept []string

	// Limits bounds the messages that are parsed. Default: 16 MiB, 500 levels, and as many
	// values as bytes. Celery has no such bounds.
	Limits protocol.Limits

	// Autoscale, when its Max is set, lets the number of slots follow the load. It starts
	// with Autoscale.Min.
	Autoscale Autoscale

	// Control selects the commands of remote control that are carried out
	// (worker_enable_remote_control). Default: ControlFull.
	Control ControlMode

	// SendTaskEvents sends the events of tasks from the start
	// (worker_send_task_events, -E). Remote control can switch it.
	SendTaskEvents bool

	// WithoutHeartbeat sends no events about the worker itself. WithoutGossip ignores the
	// events of other workers. WithoutMingle does not ask other workers for revocations at
	// the start. They are the options of "celery worker" of these names.
	WithoutHeartbeat, WithoutGossip, WithoutMingle bool

	// Redact extends the names of arguments, and of members inside of them, whose values
	// are hidden in events, answers and logs; see package redact.
	Redact []string

	// PoolRestart is called for the command pool_restart, which asks a worker to reload its
	// code. Default: the command is refused.
	PoolRestart func(context.Context) error

	// OnControl is called after each command of remote control that changes what the worker
	// does, such as shutdown or revoke, also when it was refused: for an audit trail. Inspect
	// commands are not told. It must return at once, because remote control waits for it.
	// Default: nothing is told.
	OnControl func(ControlChange)

	// Software and SoftwareVersion are the name and the version of the program in
	// heartbeats and answers to remote control. Default: the import path of this library,
	// without a version.
	Software, SoftwareVersion string

	// Middleware wraps every handler, the first one outermost.
	Middleware []Middleware

	// Logger is the logger of the worker and of its tasks. Default: slog.Default().
	Logger *slog.Logger
}

// env is what all parts of a worker have.
type env struct {
	cfg *Config
	log *slog.Logger
	now func() time.Time
}

// UnknownTaskPolicy selects the treatment of a message whose task name is not in the task
// table.
type UnknownTaskPolicy int

const (
	// DeadLetterUnknown sets the message aside and stores FAILURE with NotRegistered, so
	// that no caller waits for a result that never comes.
	DeadLetterUnknown UnknownTaskPolicy = iota
	// RequeueUnknown puts the message to the end of its queue, for a Python
	// worker that shares the queue and knows the task.
	RequeueUnknown
	// RejectUnknown does what Celery does: FAILURE with NotRegistered, and the
	// message is dropped.
	RejectUnknown
)

// Prefetch is the number of messages that a worker holds for each slot, running ones
// included.
type Prefetch int

// Autoscale bounds the number of slots between Min and Max (worker_autoscaler,
// --autoscale). The number follows the load: it grows while all slots are busy and messages
// wait, in the queues or for a slot, and shrinks to the number that was used recently. It
// never cuts off a running task.
type Autoscale struct {
	// Min and Max are numbers of slots, 1 ≤ Min ≤ Max. With Max 0 there is no scaling, and
	// Config.Concurrency holds.
	Min, Max int
}

// ControlMode selects the commands of remote control (pidbox) that are carried out.
type ControlMode int

const (
	// ControlFull carries out all commands, as Celery does (worker_enable_remote_control).
	ControlFull = ControlMode(control.Full)
	// ControlHarmless answers the inspect commands and commands that change only what is
	// shown, such as enable_events. All others are refused with an error that says so.
	ControlHarmless = ControlMode(control.Harmless)
	// ControlOff listens to no requests. Flower and "celery inspect" do not see the
	// worker then.
	ControlOff = ControlMode(control.Off)
)

const (
	// PrefetchAdaptive holds as many messages as are done within 50 milliseconds at the
	// recent pace: one for each slot at least, and 1,000 in all at most. Short tasks are
	// claimed a hundred at a time. Longer tasks are claimed when they can run. Messages that
	// were claimed before their tasks proved to be long go back to their queue after 200
	// milliseconds.
	PrefetchAdaptive Prefetch = 0
	// PrefetchUnlimited holds messages without a bound. Celery writes 0 for that.
	PrefetchUnlimited Prefetch = -1
)

// ControlChange describes a command of remote control that changes what the worker does.
type ControlChange = control.Change

// prefetch returns the prefetch of the pool.
func (c *Config) prefetch() pool.Prefetch { return pool.Prefetch(c.PrefetchMultiplier) }
