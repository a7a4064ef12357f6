package canvas

import (
	"github.com/evently/workers/worker/protocol"
)

// AfterSuccess says what is published after m has returned result: its
// callbacks, and the next element of its chain with the rest of it. It is to be
// published before the result is stored, whose children are Plan.Children.
//
// An error fails the task, as it does in Celery: what the producer has linked to
// it cannot be applied. For a *[TaskError] its exception is what Celery stores.
//
// Several callbacks run as one group, but for groups among them. Ids in c are
// taken from m; c.Priority is that of m when messages are to inherit it.
func AfterSuccess(m *protocol.Message, result protocol.Raw, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	w := newWork(running(m, c))
	if len(result) == 0 {
		result = null
	}
	args := []protocol.Raw{result}
	callbacks, chain := w.parse("callbacks", m.Callbacks), w.parse("chain", m.Chain)
	var plain []*Signature
	switch {
	case len(callbacks) == 1:
		w.apply(callbacks[0], args, nil, w.descent())
	default:
		for _, s := range callbacks {
			if s.kind == kindGroup {
				w.apply(s, args, nil, w.descent())
			} else {
				plain = append(plain, s)
			}
		}
		if len(plain) > 0 {
			w.apply(newGroup(&list{plain}), args, nil, w.descent())
		}
	}
	if n := len(chain) - 1; n >= 0 {
		// What follows is a mapping until its turn comes.
		rest := w.mappings("chain", m.Chain)[:n]
		o := &options{[]option{{"chain", &list{rest}}}}
		o.update(w.descent())
		return w.done(w.apply(chain[n], args, nil, o)), nil
	}
	return &w.plan, nil
}

// running is the context of what a task publishes.
func running(m *protocol.Message, c Context) Context {
	c.ParentID = m.ID
	if c.RootID = m.RootID; c.RootID == "" {
		c.RootID = m.ID
	}
	return c
}

// descent are the options that callbacks and chain elements get from the task
// that has ended.
func (w *work) descent() *options {
	priority := null
	if w.Priority != nil {
		priority = index(*w.Priority)
	}
	return &options{[]option{
		{"parent_id", quote(w.ParentID)}, {"root_id", quote(w.RootID)}, {"priority", priority},
	}}
}

// parse reads the signatures of a field of a message.
func (w *work) parse(path string, raw protocol.Raw) []*Signature {
	return w.signatures(w.mappings(path, raw))
}

func (w *work) mappings(path string, raw protocol.Raw) []*Signature {
	if raw.IsNull() {
		return nil
	}
	p := parser{w}
	return signatures(p.signatures(path, raw))
}
