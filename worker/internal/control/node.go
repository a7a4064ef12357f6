package control

import (
	"context"
	"errors"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Node is the worker under remote control.
type Node interface {
	Inspector
	Changer
}

// Inspector shows what a worker does. Its methods do no I/O.
type Inspector interface {
	// Active returns the running tasks, in the order of their claims. It stops at the
	// deadline, and after most tasks.
	Active(most int, deadline time.Time) []Request
	// Reserved returns the claimed tasks that wait for a slot or a rate limit.
	Reserved(most int, deadline time.Time) []Request
	// Scheduled returns the tasks that wait for their ETA, the earliest first.
	Scheduled(most int, deadline time.Time) []Request
	// Find returns the tasks with these ids, and the state of each: active, reserved
	// or scheduled.
	Find(ids []string) map[string]Found
	// Registered returns the names of all tasks, sorted.
	Registered() []string
	// Attribute returns an attribute of a task by its name in Python, as Python shows it.
	Attribute(task, name string) (value string, ok bool)
	// Queues returns the consumed queues.
	Queues() []string
	// Revoked returns the ids of revoked tasks, the oldest first.
	Revoked() []string
	// Stats returns the answer to "inspect stats".
	Stats() Stats
	// Settings returns the settings by their names in Celery.
	Settings() map[string]any
}

// Changer changes what a worker does.
type Changer interface {
	// Revoke keeps tasks from running. With terminate it ends running ones. It
	// returns the ids of tasks that ran or waited here.
	Revoke(ctx context.Context, r broker.Revocation, terminate bool) (ended []string)
	// LearnRevoked adds revocations that another worker knows.
	LearnRevoked(ids []string)
	// LimitRate sets the rate limit of a task. The error reports a limit that cannot be
	// read, or is ErrUnknownTask. off reports that the task now has no limit.
	LimitRate(task, limit string) (off bool, err error)
	// LimitTime sets the time limits of a task, 0 for none. The error is ErrUnknownTask.
	LimitTime(task string, soft, hard time.Duration) error
	// Resize adds delta slots. The error reports a number of slots that is out of range,
	// or is ErrAutoscaled.
	Resize(delta int) error
	// Autoscale sets the bounds of autoscaling; nil leaves a bound as it is.
	Autoscale(most, least *int) (high, low int, err error)
	// AddQueue starts and CancelQueue stops consuming a queue.
	AddQueue(ctx context.Context, queue string) error
	CancelQueue(ctx context.Context, queue string) error
	// RestartPool restarts the pool, if the program has a way to do so.
	RestartPool(ctx context.Context) error
	// Shutdown stops the worker as SIGTERM does.
	Shutdown()
}

// Errors of a Changer.
var (
	ErrUnknownTask = errors.New("unknown task")
	ErrAutoscaled  = errors.New("the number of slots is set by autoscaling")
)

// Error is a Python exception that a command raises: it is answered as the repr of that.
type Error struct {
	Type string // such as ValueError
	Text string
}

func (e *Error) Error() string { return e.Type + ": " + e.Text }

// Request is a claimed task.
type Request struct {
	Message *protocol.Message
	ETA     time.Time // of a scheduled one
	Started time.Time // zero: not running
	Acked   bool      // its message was acknowledged already
	// Args, Kwargs and their representations have the secrets hidden.
	Name                 string
	Args, Kwargs         protocol.Raw
	ArgsRepr, KwargsRepr string
}

// Found is a task that was asked for by its id.
type Found struct {
	State   string // active, reserved or scheduled
	Request Request
}

// Stats is the answer to "inspect stats", with what Flower reads.
type Stats struct {
	Total         map[string]int64 `json:"total"` // runs by task
	PID           int              `json:"pid"`
	Clock         string           `json:"clock"`
	Uptime        int              `json:"uptime"` // seconds
	Pool          PoolStats        `json:"pool"`
	Broker        BrokerStats      `json:"broker"`
	PrefetchCount int              `json:"prefetch_count"`
	Rusage        any              `json:"rusage"` // text where the system does not report it
	Autoscaler    *AutoscalerStats `json:"autoscaler,omitempty"`
	Software      string           `json:"software"`
	PausedQueues  []string         `json:"paused_queues,omitempty"` // active_queues leaves them out
	State         string           `json:"state"`                   // running or stopping
}

// PoolStats describes the pool.
type PoolStats struct {
	Implementation string     `json:"implementation"`
	MaxConcurrency int        `json:"max-concurrency"`
	Processes      []int      `json:"processes"`
	MaxTasks       any        `json:"max-tasks-per-child"`
	PutGuarded     bool       `json:"put-guarded-by-semaphore"`
	Timeouts       [2]float64 `json:"timeouts"` // soft, hard; seconds
	Writes         PoolWrites `json:"writes"`
	Running        int        `json:"running"`
	Aborted        int64      `json:"aborted"` // handlers that run on after their hard time limit
}

// PoolWrites counts the tasks that were given to the pool.
type PoolWrites struct {
	Total    int64  `json:"total"`
	Strategy string `json:"strategy"`
}

// BrokerStats describes the broker by the names of kombu.
type BrokerStats struct {
	Hostname         string         `json:"hostname"`
	UserID           *string        `json:"userid"`
	VirtualHost      string         `json:"virtual_host"`
	Port             int            `json:"port"`
	Insist           bool           `json:"insist"`
	SSL              bool           `json:"ssl"`
	Transport        string         `json:"transport"`
	ConnectTimeout   float64        `json:"connect_timeout"`
	TransportOptions map[string]any `json:"transport_options"`
	LoginMethod      *string        `json:"login_method"`
	URIPrefix        *string        `json:"uri_prefix"`
	Heartbeat        float64        `json:"heartbeat"`
	FailoverStrategy string         `json:"failover_strategy"`
	Alternates       []string       `json:"alternates"`
}

// AutoscalerStats describes autoscaling.
type AutoscalerStats struct {
	Max     int `json:"max"`
	Min     int `json:"min"`
	Current int `json:"current"`
	Qty     int `json:"qty"` // requests that run or wait
}
