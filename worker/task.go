package worker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/bind"
	"github.com/evently/workers/worker/internal/runclock"
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
	MaxRetries    int    // retries that are allowed, 0 for none; or UnlimitedRetries
	ETA           time.Time
	Expires       time.Time
	Redelivered   bool      // an earlier delivery was not acknowledged
	Received      time.Time // when the worker had claimed the message, or its ETA had come

	// TimeLimit and SoftTimeLimit are the limits of this run, of the message, of
	// the task or of the worker; 0: none.
	TimeLimit, SoftTimeLimit time.Duration

	// Message is the whole message. Treat it as read-only.
	Message *protocol.Message

	// Logger carries the task's name, id, root id, correlation id, queue and attempt. A kept Logger keeps
	// the task and its message in memory.
	Logger *slog.Logger

	workflow *workflow // of the worker; nil outside of one
	request  holder    // nil outside of a worker
	claim    string    // "" once it was acknowledged

	mu       sync.Mutex
	children []protocol.Raw  // result tuples of what the task has published
	ran      context.Context // that the handler runs in; nil before
	endMark  *string         // see EndMark; nil: the mark stays
	names    []broker.Mark   // see EndName
	entries  []broker.Entry  // see Record
}

// holder is the request of a task. It is an interface for the reason that [Worker] names.
type holder interface {
	holds(ctx context.Context) error
	mark(ctx context.Context, value string, entries []broker.Entry) (earlier string, err error)
	markName(ctx context.Context, name, value string, over bool) (other string, err error)
	runClock() *runclock.Clock
	setTimeLimit(decide func() error)
}

type taskKey struct{}

// TaskFrom returns the task that ctx belongs to; ok is false outside a handler.
func TaskFrom(ctx context.Context) (t *Task, ok bool) {
	t, ok = ctx.Value(taskKey{}).(*Task)
	return t, ok
}

// NewContext returns a context that carries t, as a Handler receives it. The engine and
// package workertest call it.
func NewContext(ctx context.Context, t *Task) context.Context {
	return context.WithValue(ctx, taskKey{}, t)
}

// LastAttempt reports whether a [Retry] now would be one too many and so end in
// FAILURE.
func (t *Task) LastAttempt() bool { return t.Retries >= t.MaxRetries }

// Bind decodes the arguments into the struct that args points to; see [Func].
// Its errors are TypeErrors that name the parameter, never its value.
func (t *Task) Bind(args any) error {
	err := bind.Arguments(t.Name, t.Message.Args, t.Message.Kwargs, args)
	if e, ok := errors.AsType[*bind.TypeError](err); ok {
		return &Exception{Type: "TypeError", Args: []any{e.Text}, Err: e.Err}
	}
	return err
}

// Held asks the broker whether this worker still holds the message. Call it right before a
// step that cannot be taken back: after a pause of the process another worker may be
// running the task. Held notices a pause while it asks, but not one between its return and
// the step. With worker/redis a message is lost after a pause that is longer than
// OwnerTimeout, 15 seconds, beside workers of this kind, and longer than the visibility
// timeout beside Python workers only. Held returns nil when this worker holds the message,
// [ErrLost] when it does not, and another error when the broker could not be asked.
func (t *Task) Held(ctx context.Context) error {
	if t.request == nil {
		return nil
	}
	return t.request.holds(ctx)
}

// Mark sets the mark of this task, a value that outlives the worker, if this worker still
// holds the message. Call it instead of Held right before a step that cannot be taken
// back. It returns the mark that an earlier run has set and not ended, "" for none: that
// run may have taken the step. It takes one round trip, as Held does. The entries are
// appended to their streams in the same step as the mark, before the task ends; see Record.
//
// The error is [ErrLost] when this worker does not hold the message; then no mark is set.
// After any other error the mark may be set. Do not take the step then; calling Mark again
// is safe, because a run never gets its own mark.
//
// An empty value only looks: Mark sets nothing, appends nothing, and returns what an earlier
// run has left. A redelivered task may ask so at its beginning.
//
// A mark belongs to the [Task.Fingerprint], so that every delivery and every retry finds
// it. It lasts for seven days, or until EndMark. With AcksEarly the mark is set without a
// claim. A broker that is no [broker.Marker] only says whether the message is held.
func (t *Task) Mark(ctx context.Context, value string, entries ...broker.Entry) (earlier string, err error) {
	if t.request == nil {
		return "", nil
	}
	if value == "" {
		entries = nil
	}
	return t.request.mark(ctx, value, t.whole(entries))
}

// MarkSettled is the mark of an earlier run that has succeeded after it had lost the message;
// see [Task.EndMark].
const MarkSettled = broker.MarkSettled

// EndMark has the end of this run remove the mark of the task, or replace it by value if
// that is not "". Both happens in the step that settles or retries the task. Without
// EndMark, and when the run is cut short by a stop, the mark stays. The last call counts.
//
// When the message was lost meanwhile, only a SUCCESS counts. A mark that it would remove
// becomes [MarkSettled], because the run that has the message must learn of this one. That
// run can remove the settled mark, but not replace it.
func (t *Task) EndMark(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endMark = &value
}

// MarkName sets the mark of a name, which several tasks may want at once although one of them
// must take a step alone. It does nothing else than Mark does, with three differences: the
// runs of all deliveries and retries of this task count as one, a mark that another task has
// set or left stays as it is and is returned, and with over it is replaced instead.
func (t *Task) MarkName(ctx context.Context, name, value string, over bool) (other string, err error) {
	if t.request == nil {
		return "", nil
	}
	return t.request.markName(ctx, name, value, over)
}

// EndName has the end of this run replace the mark of a name by a value, whichever task has set
// it, or remove it if value is "" and this task has set it. It happens in the step that settles
// or retries the task. Without EndName, and when the run is cut short by a stop, the mark stays.
// The last call for a name counts. When the message was lost meanwhile, only a value of a run
// that ends in SUCCESS counts.
func (t *Task) EndName(name, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names = slices.DeleteFunc(t.names, func(m broker.Mark) bool { return m.Task == name })
	t.names = append(t.names, broker.Mark{Task: name, Value: value})
}

// KeepName takes EndName back: the mark of the name stays as it is.
func (t *Task) KeepName(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names = slices.DeleteFunc(t.names, func(m broker.Mark) bool { return m.Task == name })
}

// Record appends an entry of names and values, in turn, to a stream when this run ends, in
// the step that settles or retries the task: the entry is written if and only if the
// outcome is (a transactional outbox). A reader takes it from the [broker.Outbox]. A
// missing last value is "". An entry of more than 1,000 texts is logged and left out.
// Values are stored as they are, so record no secrets.
//
// A run that gives its message back records, too. One that is cut short by a stop records
// nothing, and one whose message was lost only if it ends in SUCCESS. A broker that is no
// Outbox records nothing.
func (t *Task) Record(stream string, fields ...string) {
	t.record(t.whole([]broker.Entry{{Stream: stream, Fields: slices.Clone(fields)}}))
}

func (t *Task) record(entries []broker.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, entries...)
}

// recorded returns the entries so far.
func (t *Task) recorded() []broker.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.entries)
}

// addRecords adds what the run has recorded to its settlement, as far as the broker can.
func (t *Task) addRecords(s *broker.Settlement, can broker.Capabilities) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.endMark != nil && can.Marker != nil {
		s.Mark = &broker.Mark{Task: t.Fingerprint(), Value: *t.endMark}
	}
	if can.Marker != nil {
		for _, m := range t.names {
			s.Names = append(s.Names, broker.NameEnd{Mark: m, Run: t.Fingerprint()})
		}
	}
	if can.Outbox != nil {
		s.Entries = slices.Clone(t.entries)
	}
}

// errNoWorker is the error of an operation that needs a worker.
var errNoWorker = errors.New("this task is not run by a worker")

// Send publishes a signature as a child of this task; see [Client.Send]. The message is
// published when Send returns, independent of the outcome of the task.
func (t *Task) Send(ctx context.Context, s *canvas.Signature) (*AsyncResult, error) {
	return t.publish(ctx, "send", func(c canvas.Context) (*canvas.Plan, error) { return canvas.Apply(s, nil, nil, c) })
}

// AddToChord adds a task to the header of the chord that this task is a member
// of, while it runs (Task.add_to_chord).
func (t *Task) AddToChord(ctx context.Context, s *canvas.Signature) (*AsyncResult, error) {
	return t.publish(ctx, "add to the chord", func(c canvas.Context) (*canvas.Plan, error) { return canvas.AddToChord(t.Message, s, c) })
}

func (t *Task) publish(ctx context.Context, what string, plan func(canvas.Context) (*canvas.Plan, error)) (*AsyncResult, error) {
	if t.workflow == nil {
		return nil, fmt.Errorf("%s: %w", what, errNoWorker)
	}
	p, err := plan(t.workflow.context(t.Message))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if _, ok := TaskFrom(ctx); !ok {
		ctx = NewContext(ctx, t)
	}
	changes, err := t.workflow.pub.changes(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := t.workflow.publish(ctx, changes); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	t.addChildren(p.Children)
	return parseHandle(t.workflow.backend, p.Handle)
}

// Redact returns a text, such as that of an error, as it may be shown to others: in a log,
// a trace, a metric. It hides the secrets of the arguments, and texts that look like a
// secret; see Config.Redact.
func (t *Task) Redact(text string) string {
	if t.workflow == nil {
		return redact.New().Text(text)
	}
	return t.workflow.present.Text(t.Message, text)
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

// UpdateState stores a custom state, such as PROGRESS, with its data (Task.update_state);
// meta must be encodable as JSON. It returns [ErrLost] when this worker does not hold the
// message any more.
func (t *Task) UpdateState(ctx context.Context, state string, meta any) error {
	if t.workflow == nil {
		return fmt.Errorf("update the state: %w", errNoWorker)
	}
	r := t.workflow.result(t, state)
	r.Result = meta
	r.Children = t.childrenRaw()
	if err := t.workflow.backend.Publish(ctx, broker.Changes{Claim: t.claim, Results: []*protocol.Result{r}}); err != nil {
		return fmt.Errorf("update the state: %w", err)
	}
	return nil
}

// Wait calls wait, which waits for a resource that the task shares with others, such as a
// connection of a pool, and returns its error. That time does not count against the time
// limits of the task. The context of wait ends after most, with [ErrWaited] as its cause.
// Then the clock goes on, even if wait does not return.
//
// A handler whose wait took too long should return a free [RetryError], which spends no
// attempt.
func (t *Task) Wait(ctx context.Context, most time.Duration, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, ErrWaited)
	defer cancel()
	if t.request == nil {
		return wait(ctx)
	}
	clock := t.request.runClock()
	clock.Pause()
	resume := sync.OnceFunc(clock.Resume)
	defer resume()
	defer context.AfterFunc(ctx, resume)()
	return wait(ctx)
}

// OnTimeLimit sets the function that decides about the task when its handler has not
// returned by the hard time limit. The error of decide counts as the error of the handler,
// so that [Retry] and [GiveUp] have their usual effect. With nil, or without a function,
// the task ends in FAILURE with TimeLimitExceeded.
//
// decide runs beside the handler, whose context has ended and whose result is ignored.
// Both must agree which of them acts: after decide has asked for a retry, the handler must
// not take a step that cannot be taken back.
func (t *Task) OnTimeLimit(decide func() error) {
	if t.request == nil {
		return
	}
	t.request.setTimeLimit(decide)
}

// Fingerprint identifies the work of a task. It differs where the id, the name or the
// arguments differ. It is the same for every delivery and every retry of a message, even
// if a Python worker has published the retry. Ids alone do not identify work, because
// producers choose them and may choose one twice.
//
// It is keyed with a secret of the broker, so that it reveals no arguments, not even short
// ones such as codes. It may appear in logs, results and mails. Without a worker it is the
// id.
func (t *Task) Fingerprint() string {
	if t.workflow == nil || t.Message == nil {
		return t.ID
	}
	h := hmac.New(sha256.New, t.workflow.secret)
	var buf []byte
	for _, part := range [][]byte{[]byte(t.ID), []byte(t.Name), canonicalForm(t.Message.Args), canonicalForm(t.Message.Kwargs)} {
		buf = binary.AppendUvarint(buf[:0], uint64(len(part)))
		h.Write(buf) // a hash takes everything
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// canonicalForm returns the canonical form of a value, or the value itself if it has none.
func canonicalForm(r protocol.Raw) []byte {
	b, err := protocol.AppendCanonical(make([]byte, 0, len(r)), r)
	if err != nil {
		return r
	}
	return b
}
