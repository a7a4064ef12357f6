package site

import (
	"context"
	"time"

	pages "github.com/evently/workers/monitor/pages/tasks"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/inspect"
)

// commandPatience is how long workers are waited for.
const commandPatience = 3 * time.Second

// makeTasks makes the pages of the tasks.
func makeTasks(p *Parts) (*Module, error) {
	cfg := pages.Config{Off: p.NoHistory, Kinds: tasks.Kinds(), Letters: p.Broker.Letters(), Redis: traces(p)}
	if p.Fleet != nil {
		cfg.Fleet = p.Fleet
	}
	if p.Deliveries != nil {
		cfg.History, cfg.Figures = p.Deliveries, p.Deliveries
	}
	operator := inspect.NewOperator(p.Broker)
	cfg.Revoke = func(ctx context.Context, id string, terminate bool) error {
		ctx, cancel := context.WithTimeout(ctx, commandPatience)
		defer cancel()
		answers, err := operator.Revoke(ctx, inspect.Revocation{IDs: []string{id}, Terminate: terminate})
		if err != nil {
			return err
		}
		return inspect.Failed(answers)
	}
	return &Module{Group: pages.New(cfg)}, nil
}
