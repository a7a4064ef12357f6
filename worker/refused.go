package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// setAside moves an undecodable message to the dead letters.
func (w *Worker) setAside(ctx context.Context, d broker.Delivery, err error) {
	reason := "undecodable"
	if de, ok := errors.AsType[*protocol.DecodeError](err); ok {
		reason = string(de.Reason)
	}
	w.deadLettered(d.Queue, reason)
	if !w.refuse(ctx, d, reason) {
		_ = w.settle(ctx, "set a message aside", nil, broker.Settlement{Delivery: d, DeadLetter: reason})
	}
}

// refuse settles a message that this worker refuses to run as a failure of its task, as
// far as it can be read: a result, a chord or an error callback may wait for it. A Python
// worker might have run it. It reports whether there was an id to answer to.
func (w *Worker) refuse(ctx context.Context, d broker.Delivery, reason string) bool {
	m := w.decoder.Salvage(d.Raw)
	if m == nil {
		return false
	}
	r := w.newRequest(d, m)
	if def, known := w.tasks[m.Task]; known {
		r.use(def, w)
	}
	exc := &protocol.Exception{Type: "DecodeError", Module: "kombu.exceptions", Args: []any{w.refusal(reason)}}
	letter := reason
	if d.Refused != nil { // it is one already
		letter = ""
	}
	r.log.Warn("message cannot be run, its task has failed", "reason", reason)
	w.failUnrun(ctx, r, exc, letter)
	return true
}

// refusal tells the producer why a message was refused.
func (w *Worker) refusal(reason string) string {
	lim := w.cfg.Limits
	text := "the message was refused by the worker and is kept in the dead letters: " + reason
	switch protocol.Reason(reason) {
	case protocol.ReasonTooLarge:
		text += fmt.Sprintf(", it reads %d bytes at most", lim.Size)
	case protocol.ReasonTooDeep:
		text += fmt.Sprintf(", it reads arrays and objects %d levels deep at most", lim.Depth)
	case protocol.ReasonTooManyElements:
		text += fmt.Sprintf(", it reads %d values at most", lim.Elements)
	}
	return text
}
