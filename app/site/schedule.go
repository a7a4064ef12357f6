package site

import (
	"github.com/evently/workers/monitor/pages/schedule"
	"github.com/evently/workers/worker/inspect"
)

// makeSchedule makes the page of scheduled tasks and retries.
func makeSchedule(p *Parts) (*Module, error) {
	return &Module{Group: schedule.New(schedule.Config{Schedule: inspect.NewSchedule(inspect.ScheduleConfig{
		Source: p.Broker.Queues(), Presenter: p.Presenter, Operator: p.Operator, Results: p.Broker.Results, Redact: p.Config.Worker.Redact,
	})})}, nil
}
