package worker

import (
	"context"
	"errors"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
)

// ReplaceError asks for another task in the place of this one. Make one with
// [Replace].
type ReplaceError struct {
	Signature *canvas.Signature
	// Stamper, when not nil, stamps the replacement (on_replace).
	Stamper canvas.Stamper
}

func (e *ReplaceError) Error() string { return "replaced by another task" }

// Replace ends a task without a result and runs a signature in its place, under
// the same id (Task.replace): with its callbacks, in its chord, and before the
// rest of its chain.
func Replace(s *canvas.Signature) error { return &ReplaceError{Signature: s} }

// replace adds the messages of a replacement to a settlement.
func (w *Worker) replace(ctx context.Context, r *request, s *broker.Settlement, e *ReplaceError) error {
	if e.Signature == nil {
		return errors.New("replaced by nothing")
	}
	plan, err := canvas.ReplaceStamped(r.msg, e.Signature, e.Stamper, w.canvasContext(r.msg))
	if err != nil {
		return err
	}
	return w.merge(ctx, s, plan)
}
