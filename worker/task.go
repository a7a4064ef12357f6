package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Task is one delivery of a task message, as a [Handler] sees it.
type Task struct {
	ID            string // task id, a UUID unless the producer chose another
	Name          string // task name, as registered
	RootID        string // first task of the tree; the own id when unknown
	ParentID      string // task that published this one, or ""
	CorrelationID string
	Queue         string // queue that the message came from
	Retries       int    // attempts made before this one
	MaxRetries    int    // retries that are allowed; negative: no limit
	ETA           time.Time
	Expires       time.Time
	Redelivered   bool // an earlier delivery was not acknowledged

	// Message is the whole message. Treat it as read-only.
	Message *protocol.Message

	// Logger carries the task's name, id, root id and correlation id.
	Logger *slog.Logger

	held func(context.Context) (bool, error)
}

// LastAttempt reports whether a [Retry] now would be one too many and so end in
// FAILURE.
func (t *Task) LastAttempt() bool { return t.MaxRetries >= 0 && t.Retries >= t.MaxRetries }

// Bind decodes the arguments into the struct that args points to; see [Func].
// Its errors are TypeErrors that name the parameter, never its value.
func (t *Task) Bind(args any) error {
	return bind(t.Name, t.Message.Args, t.Message.Kwargs, args)
}

// Held asks the broker whether this worker still has the message. Call it right
// before a step that cannot be taken back: after a pause of the process, longer
// than the visibility timeout, another worker may be running the task. It
// returns nil when the message is ours, [ErrLost] when it is not, and another
// error when the broker could not be asked.
func (t *Task) Held(ctx context.Context) error {
	if t.held == nil {
		return nil
	}
	ok, err := t.held(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return ErrLost
	}
	return nil
}
