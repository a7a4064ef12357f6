package site

import (
	"github.com/evently/workers/monitor/pages/queues"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/inspect"
)

// makeWatch makes what looks at the queues once a second, for all pages, and what tells workers
// what to do.
func makeWatch(p *Parts) (*Module, error) {
	p.Operator = inspect.NewOperator(p.Broker)
	p.Presenter = inspect.NewPresenter(p.Config.Worker.Redact, func(task string) (secret, known bool) {
		m, ok := tasks.MailTaskOf(task)
		return m.SecretArguments, ok
	})
	p.Watch = watch.New(watch.Config{
		Source: p.Broker.Queues(), Queues: p.Config.Worker.Queues, Consumers: p.Operator.Consumers,
		Pauses: p.Operator.Paused, Declared: true, Logger: p.Log.With("part", "monitor"),
	})
	return &Module{Run: p.Watch.Run}, nil
}

// makeQueues makes the pages of the queues.
func makeQueues(p *Parts) (*Module, error) {
	return &Module{Group: queues.New(queues.Config{
		Looks: p.Watch, Store: p.Broker.Queues(), Presenter: p.Presenter, Operator: p.Operator,
	})}, nil
}
