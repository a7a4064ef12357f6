package app

import (
	"context"
	"fmt"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
)

// mails makes mails of templates that are prepared while the rest of the worker starts:
// they take a third of the time of a start. Who asks for a mail before waits.
type mails struct {
	prepared chan struct{} // closed when one of the others is set
	set      *templates.Set
	err      error
}

// prepareMails begins to prepare them; it ends by itself.
func prepareMails(prepare func() (*templates.Set, error)) *mails {
	m := &mails{prepared: make(chan struct{})}
	go func() {
		defer close(m.prepared)
		if m.set, m.err = prepare(); m.err != nil {
			m.err = &UsageError{Err: fmt.Errorf("prepare the mails: %w", m.err)}
		}
	}()
	return m
}

// wait returns what is wrong with the templates, as far as it is known when ctx ends: the
// program cannot go on then.
func (m *mails) wait(ctx context.Context) error {
	select {
	case <-m.prepared:
	case <-ctx.Done():
	}
	select {
	case <-m.prepared:
		return m.err
	default:
		return nil
	}
}

// Render implements [tasks.Renderer]. With templates that are faulty no task fails, nor
// counts as tried: its message waits for a program that has others.
func (m *mails) Render(data templates.Mail) (templates.Rendered, error) {
	<-m.prepared
	if m.err != nil {
		return templates.Rendered{}, &worker.RejectError{Reason: m.err.Error(), Requeue: true}
	}
	return m.set.Render(data)
}
