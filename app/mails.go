package app

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
	"github.com/evently/workers/worker"
)

// mails makes mails of templates that are prepared while the rest of the worker starts:
// they take a third of the time of a start. Who asks for a mail before waits.
type mails struct {
	prepared chan struct{} // closed when the others are set
	keeper   *folder.Keeper
	err      error // of the templates at the start
}

// prepareMails begins to prepare them; it ends by itself.
func prepareMails(prepare func() *folder.Keeper) *mails {
	m := &mails{prepared: make(chan struct{})}
	go func() {
		defer close(m.prepared)
		m.keeper = prepare()
		if err := m.keeper.Err(); err != nil {
			m.err = &UsageError{Err: fmt.Errorf("prepare the mails:\n%w", err), Hint: faultyHint(m.keeper.State())}
		}
	}()
	return m
}

// faultyHint tells what to do about faulty templates.
func faultyHint(s folder.State) string {
	if s.Dir == "" {
		return ""
	}
	return "correct the files of TEMPLATES_DIR, or unset it for the templates of the program;\nthe command \"templates lint " + s.Dir + "\" checks them"
}

// Run replaces the templates when their folder has others, until ctx ends.
func (m *mails) Run(ctx context.Context) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	for _, w := range m.keeper.State().Warnings {
		m.keeper.Warn(w)
	}
	return m.keeper.Run(ctx)
}

// Reload makes Run look at the folder at once.
func (m *mails) Reload() {
	select {
	case <-m.prepared:
		m.keeper.Look()
	default: // it is read for the first time
	}
}

// state returns the templates for the report of the health, without I/O.
func (m *mails) state() monitor.TemplatesState {
	select {
	case <-m.prepared:
	default:
		return monitor.TemplatesState{}
	}
	s := m.keeper.State()
	t := monitor.TemplatesState{Dir: s.Dir, Version: s.Version, Files: s.Files, Since: s.Since, Faulty: s.Faulty}
	if len(s.Faults) > 0 {
		t.Fault = s.Faults.Short(1)
	}
	return t
}

// Describe implements [prometheus.Collector].
func (m *mails) Describe(chan<- *prometheus.Desc) {} // the keeper is not there yet

// Collect implements [prometheus.Collector].
func (m *mails) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-m.prepared:
		m.keeper.Collect(ch)
	default:
	}
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
	return m.keeper.Render(data)
}
