package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// failBody fails the body of a chord and all that follows it in its chain.
func (w *work) failBody(body *Signature, f *chordFailure) {
	w.plan.BodyFailed = true
	exc := f.exception()
	if body.kind == kindGroup {
		w.failGroupBody(body, f)
	} else {
		id := body.opts.text("task_id")
		if id == "" {
			id = w.newID()
			body.opts.set("task_id", quote(id))
		}
		w.callErrbacks(id, "", signatures(body.opts.get("link_error")), exc, nil)
		w.failTask(id, exc, chordTraceback(exc))
	}
	w.failChain(signatures(body.opts.get("chain")), exc, nil)
}

// failGroupBody fails every task of a group with the failure of the member
// itself, and sees to it that none of them runs.
func (w *work) failGroupBody(body *Signature, f *chordFailure) {
	exc := f.cause
	if exc == nil {
		exc = f.exception()
	}
	frozen := w.freeze(body, frozen{})
	own := map[string][]*Signature{}
	for _, t := range body.kw.tasks.items {
		id, errbacks := w.resultErrbacks(t)
		own[id] = errbacks
	}
	for _, r := range frozen.members {
		var errbacks []*Signature
		for _, e := range slices.Concat(own[r.id], signatures(body.opts.get("link_error"))) {
			if !slices.ContainsFunc(errbacks, func(o *Signature) bool { return w.equal(o, e) }) {
				errbacks = append(errbacks, e)
			}
		}
		w.callErrbacks(r.id, "", errbacks, exc, nil)
		w.failTask(r.id, exc, chordTraceback(exc))
	}
	w.failTask(frozen.id, exc, nil)
	w.plan.Revoke = append(w.plan.Revoke, w.leaves(frozen)...)
}

// chordTraceback is the traceback of a failure that the end of a header has raised.
func chordTraceback(exc *protocol.Exception) *string {
	text := Traceback(exc, GoFrame("celery.chord", ""))
	return &text
}

// resultErrbacks returns the id of the result of a signature and its errbacks: of
// a chord also those of its body, of a group also those of its tasks.
func (w *work) resultErrbacks(s *Signature) (id string, errbacks []*Signature) {
	w.enter()
	defer w.leave()
	s = w.signature(s)
	for s.kind == kindChord && s.kw.body != nil {
		errbacks = append(errbacks, signatures(s.opts.get("link_error"))...)
		s = w.signature(s.kw.body)
	}
	errbacks = append(errbacks, signatures(s.opts.get("link_error"))...)
	if s.kind == kindGroup {
		for _, t := range s.kw.tasks.items {
			_, more := w.resultErrbacks(t)
			errbacks = append(errbacks, more...)
		}
	}
	return s.opts.text("task_id"), errbacks
}

func (w *work) leaves(r *result) []string {
	if !r.group {
		return []string{r.id}
	}
	var ids []string
	for _, m := range r.members {
		ids = append(ids, w.leaves(m)...)
	}
	return ids
}

// failTask stores a failure for a task that will never run. Its children are
// those of the running task: so a producer finds the error callbacks that were
// published for it.
func (w *work) failTask(id string, exc *protocol.Exception, traceback *string) {
	children := arrayRaw(slices.Concat(w.Children, w.plan.Children))
	if w.bytes += len(children); w.bytes > w.Limits.Bytes {
		children = nil // the failure is what somebody waits for
	}
	w.plan.Results = append(w.plan.Results, &protocol.Result{
		TaskID: id, Status: protocol.StateFailure, Exception: exc, Traceback: traceback, DateDone: w.Now, Children: children,
	})
}
