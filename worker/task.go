package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
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

	// TimeLimit and SoftTimeLimit are the limits of this run, of the message, of
	// the task or of the worker; 0: none.
	TimeLimit, SoftTimeLimit time.Duration

	// Message is the whole message. Treat it as read-only.
	Message *protocol.Message

	// Logger carries the task's name, id, root id and correlation id. Who keeps it keeps
	// the task with its message.
	Logger *slog.Logger

	worker  *Worker  // nil outside of one
	request *request // likewise
	claim   string   // "" once it was acknowledged

	mu       sync.Mutex
	children []protocol.Raw  // result tuples of what the task has published
	ran      context.Context // that the handler runs in; nil before
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
// before a step that cannot be taken back: after a pause of the process another
// worker may be running the task. A pause while Held asks is noticed; one between its
// return and the step is not. With worker/redis it takes a pause that is
// longer than OwnerTimeout, 15 seconds, where others of this kind run, and longer
// than the visibility timeout where only Python workers do. Held returns nil when
// the message is ours, [ErrLost] when it is not, and another error when the
// broker could not be asked.
func (t *Task) Held(ctx context.Context) error {
	if t.request == nil || t.request.acksEarly {
		return nil
	}
	if !t.worker.held.has(t.request) {
		return ErrLost
	}
	ok, err := t.worker.broker.Held(ctx, t.request.delivery.Claim)
	if err != nil {
		return err
	}
	if !ok {
		return ErrLost
	}
	return nil
}

// errNoWorker is what a Task that no worker made cannot do.
var errNoWorker = errors.New("this task is not run by a worker")

// Send publishes a signature as a child of this task; see [Client.Send]. The
// message is on its way when Send returns, whatever becomes of the task.
func (t *Task) Send(ctx context.Context, s *canvas.Signature) (*AsyncResult, error) {
	return t.publish(ctx, "send", func(c canvas.Context) (*canvas.Plan, error) { return canvas.Apply(s, nil, nil, c) })
}

// AddToChord adds a task to the header of the chord that this task is a member
// of, while it runs (Task.add_to_chord).
func (t *Task) AddToChord(ctx context.Context, s *canvas.Signature) (*AsyncResult, error) {
	return t.publish(ctx, "add to the chord", func(c canvas.Context) (*canvas.Plan, error) { return canvas.AddToChord(t.Message, s, c) })
}

func (t *Task) publish(ctx context.Context, what string, plan func(canvas.Context) (*canvas.Plan, error)) (*AsyncResult, error) {
	if t.worker == nil {
		return nil, fmt.Errorf("%s: %w", what, errNoWorker)
	}
	p, err := plan(t.worker.canvasContext(t.Message))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if _, ok := TaskFrom(ctx); !ok {
		ctx = NewContext(ctx, t)
	}
	changes, err := t.worker.pub.changes(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := t.worker.publish(ctx, changes); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	t.addChildren(p.Children)
	return parseHandle(t.worker.can.Backend, p.Handle)
}

// Redact returns a text, such as that of an error, as it may be shown to others: in
// a log, a trace, a metric. The secrets of the arguments are hidden in it, and what
// looks like one; see Config.Redact.
func (t *Task) Redact(text string) string {
	if t.worker == nil {
		return redact.New().Text(text)
	}
	return t.worker.present.text(t.Message, text)
}

func (t *Task) addChildren(tuples []protocol.Raw) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.children = append(t.children, tuples...)
}

// published returns the children so far.
func (t *Task) published() []protocol.Raw {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.children)
}

// childrenRaw is the array of the children; nil when there are none.
func (t *Task) childrenRaw() protocol.Raw {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.children) == 0 {
		return nil
	}
	b := protocol.Raw("[")
	for i, c := range t.children {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, c...)
	}
	return append(b, ']')
}

// UpdateState stores a state of your own, such as PROGRESS, with what belongs to
// it (Task.update_state); meta must be encodable as JSON. It returns [ErrLost]
// when the message is not ours any more.
func (t *Task) UpdateState(ctx context.Context, state string, meta any) error {
	if t.worker == nil {
		return fmt.Errorf("update the state: %w", errNoWorker)
	}
	r := t.worker.result(t, state)
	r.Result = meta
	r.Children = t.childrenRaw()
	if err := t.worker.can.Backend.Publish(ctx, broker.Changes{Claim: t.claim, Results: []*protocol.Result{r}}); err != nil {
		return fmt.Errorf("update the state: %w", err)
	}
	return nil
}
