package canvas

import (
	"fmt"
	"slices"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// New makes the signature of one task with positional arguments, which are written by
// [protocol.Marshal]. An argument may be a signature.
func New(task string, args ...any) *Signature {
	s := &Signature{task: task, tuple: true, kw: &keywords{}, opts: &options{}}
	if task == "" {
		s.keep(&SignatureError{"task", "missing"})
	}
	for i, a := range args {
		raw, err := protocol.Marshal(a)
		if err != nil {
			s.keep(fmt.Errorf("argument %d of a signature: %w", i, err))
		}
		s.args = append(s.args, raw)
	}
	return s
}

// Kwarg adds a keyword argument, written by [protocol.Marshal].
func (s *Signature) Kwarg(name string, v any) *Signature {
	raw, err := protocol.Marshal(v)
	if err != nil {
		s.keep(fmt.Errorf("keyword argument of a signature: %w", err))
		return s
	}
	if s.subtask == "" {
		s.kw.fields = overlay(s.kw.fields, []protocol.Field{{Name: name, Value: raw}})
	} else {
		s.keep(&SignatureError{"kwargs", "only tasks have keyword arguments of their own"})
	}
	return s
}

// Map makes a task that runs another one for each item, one after the other.
func Map(task *Signature, items ...any) *Signature { return mapping("celery.map", task, items) }

// Starmap makes a [Map] whose items are arrays of arguments.
func Starmap(task *Signature, items ...any) *Signature { return mapping("celery.starmap", task, items) }

// Chunks makes a group of [Starmap] of n items each.
func Chunks(task *Signature, n int, items ...any) *Signature {
	s := mapping("celery.chunks", task, items).Kwarg("n", n)
	s.kind = kindChunks
	if n < 1 {
		s.keep(&SignatureError{"kwargs.n", "less than one"})
	}
	return s
}

func mapping(name string, task *Signature, items []any) *Signature {
	if items == nil {
		items = []any{}
	}
	s := New(name).Kwarg("task", task).Kwarg("it", items)
	if task == nil {
		s.keep(&SignatureError{"kwargs.task", "missing"})
	} else if task.err != nil {
		s.keep(task.err)
	}
	s.kind, s.immutable = kindMap, true
	return s
}

// Options holds the execution options that Celery knows. [Signature.Set] sets the fields
// that are not zero and replaces earlier values. See "Calling Tasks" in the Celery
// manual.
type Options struct {
	TaskID    string        // id of the task; of a chain, the id of its last task
	Countdown time.Duration // delay after the publishing, at least
	ETA       time.Time     // not before
	ExpiresIn time.Duration // expires this long after the publishing
	Expires   time.Time     // expires at; ExpiresIn takes precedence

	Queue, Exchange, RoutingKey string
	Priority                    *int
	Serializer, Compression     string
	Headers                     map[string]any // custom headers

	Link, LinkError []*Signature // replace the present ones; see [Signature.Link]
	// Chord is the body that waits for the task. Chain holds the tasks that follow it, of
	// which the last one runs next. Celery sets both itself.
	Chord *Signature
	Chain []*Signature

	TimeLimit, SoftTimeLimit time.Duration
	GroupID                  string
	GroupIndex               *int
	RootID, ParentID         string
	ReplyTo                  string
	Shadow                   string // name to show instead of the task's
	IgnoreResult             *bool
	Retries                  int
	ReplacedTaskNesting      int
	AddToParent              *bool // false: not a child of the task that publishes it
}

// Set sets execution options.
func (s *Signature) Set(o Options) *Signature {
	texts := []struct{ name, value string }{
		{"task_id", o.TaskID}, {"queue", o.Queue}, {"exchange", o.Exchange}, {"routing_key", o.RoutingKey},
		{"serializer", o.Serializer}, {"compression", o.Compression}, {"group_id", o.GroupID},
		{"root_id", o.RootID}, {"parent_id", o.ParentID}, {"reply_to", o.ReplyTo}, {"shadow", o.Shadow},
	}
	for _, t := range texts {
		if t.value != "" {
			s.SetOption(t.name, t.value)
		}
	}
	durations := []struct {
		name  string
		value time.Duration
	}{
		{"countdown", o.Countdown}, {"expires", o.ExpiresIn},
		{"time_limit", o.TimeLimit}, {"soft_time_limit", o.SoftTimeLimit},
	}
	for _, d := range durations {
		if d.value != 0 {
			s.SetOption(d.name, seconds(d.value))
		}
	}
	if !o.ETA.IsZero() {
		s.SetOption("eta", protocol.FormatTime(o.ETA))
	}
	if !o.Expires.IsZero() && o.ExpiresIn == 0 {
		s.SetOption("expires", protocol.FormatTime(o.Expires))
	}
	if o.Priority != nil {
		s.SetOption("priority", *o.Priority)
	}
	if o.GroupIndex != nil {
		s.SetOption("group_index", *o.GroupIndex)
	}
	if o.IgnoreResult != nil {
		s.SetOption("ignore_result", *o.IgnoreResult)
	}
	if o.AddToParent != nil {
		s.SetOption("add_to_parent", *o.AddToParent)
	}
	if o.Retries != 0 {
		s.SetOption("retries", o.Retries)
	}
	if o.ReplacedTaskNesting != 0 {
		s.SetOption("replaced_task_nesting", o.ReplacedTaskNesting)
	}
	if o.Headers != nil {
		s.SetOption("headers", o.Headers)
	}
	s.setSignatures("link", o.Link)
	s.setSignatures("link_error", o.LinkError)
	s.setSignatures("chain", o.Chain)
	if o.Chord != nil {
		s.build(func(c *composer) { s.opts.set("chord", checked(c.budget, o.Chord)) })
	}
	return s
}

// seconds returns a whole number if the duration is one.
func seconds(d time.Duration) any {
	if d%time.Second == 0 {
		return int64(d / time.Second)
	}
	return d.Seconds()
}

func (s *Signature) setSignatures(name string, all []*Signature) {
	if all == nil {
		return
	}
	s.build(func(c *composer) {
		l := &list{}
		for _, t := range all {
			l.items = append(l.items, checked(c.budget, t))
		}
		s.opts.set(name, l)
	})
}

// signatureOptions are the options that hold signatures.
var signatureOptions = [...]string{"link", "link_error", "chain", "chord"}

// SetOption sets an option by its name. An option that Celery does not know becomes a
// property of the message. The value is written by [protocol.Marshal]; nil is null.
// Options that hold signatures are set by [Signature.Set] only.
func (s *Signature) SetOption(name string, v any) *Signature {
	if slices.Contains(signatureOptions[:], name) {
		s.keep(&OptionError{name, "set by name"})
		return s
	}
	raw, err := protocol.Marshal(v)
	if err != nil {
		s.keep(fmt.Errorf("option %s: %w", name, err))
		return s
	}
	s.opts.set(name, protocol.Raw(raw))
	return s
}
