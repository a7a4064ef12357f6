package site

import (
	"context"
	"maps"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/pages/letters"
	"github.com/evently/workers/monitor/web"
)

// makeLetters makes the pages of the dead letters, and what runs the jobs of all pages.
func makeLetters(p *Parts) (*Module, error) {
	p.Jobs = jobs.New(jobs.Config{Board: p.Broker, Leaser: p.Broker, Logger: p.Log})
	c := letters.Config{
		Letters: p.Broker.Letters(), Jobs: p.Jobs, Audit: auditJobs(p.Trail), MayReveal: len(p.Config.Redis.DeadLetterKeys) > 0, Logger: p.Log,
	}
	if p.Deliveries != nil {
		c.Deliveries = p.Deliveries
	}
	pages := letters.New(c)
	return &Module{Group: pages, Run: func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return p.Jobs.Run(ctx) })
		g.Go(func() error { return pages.Run(ctx) })
		return g.Wait()
	}}, nil
}

// auditJobs returns what records the parts of a job. Without a trail nothing is recorded.
func auditJobs(t Trail) func(context.Context, web.Actor, desk.Action, func(context.Context) (map[string]any, error)) error {
	return func(ctx context.Context, who web.Actor, a desk.Action, do func(context.Context) (map[string]any, error)) error {
		if t == nil {
			_, err := do(ctx)
			return err
		}
		e := web.AuditEntry{Actor: who, From: who.From, Action: a.Name, Subjects: a.Subjects}
		return t.Do(ctx, e, func(ctx context.Context) (map[string]any, error) {
			told, err := do(ctx)
			details := maps.Clone(a.Details)
			maps.Copy(details, told)
			return details, err
		})
	}
}
