package site

import (
	"github.com/evently/workers/monitor/pages/schedule"
	"github.com/evently/workers/worker/inspect"
)

// makeSchedule makes the page of scheduled tasks and retries.
func makeSchedule(p *Parts) (*Module, error) {
	return &Module{Group: schedule.New(schedule.Config{Schedule: p.schedule()})}, nil
}

// schedule returns the schedule, which the first of its readers makes.
func (p *Parts) schedule() *inspect.Schedule {
	if p.Schedule == nil {
		p.Schedule = inspect.NewSchedule(inspect.ScheduleConfig{
			Source: p.Broker.Queues(), Presenter: p.Presenter, Operator: p.Operator, Results: p.Broker.Results, Redact: p.Config.Worker.Redact,
		})
	}
	return p.Schedule
}
