package site

import (
	"context"
	"log/slog"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/literal"
	"github.com/evently/workers/monitor/pages/mails"
	"github.com/evently/workers/monitor/preview"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
)

// makeMails makes the pages of the mails: was it sent, and deliveries.
func makeMails(p *Parts) (*Module, error) {
	cfg := mails.Config{Off: p.NoHistory, Redis: traces(p), Unmask: len(p.Config.Ledger.Keys) > 0}
	if p.Deliveries != nil {
		cfg.History, cfg.Figures = p.Deliveries, p.Deliveries
	}
	if p.Templates != nil {
		cfg.Preview = newPreview(p)
	}
	return &Module{Group: mails.New(cfg, tasks.Kinds())}, nil
}

// newPreview returns what makes mails again.
func newPreview(p *Parts) *preview.Maker {
	cfg := preview.Config{Templates: p.Templates, Letters: p.Broker.Letters()}
	// It sends nothing, so it needs neither a relay nor the keys of signatures.
	sender, err := mail.New(mail.Config{
		Host: "127.0.0.1", Security: mail.Plain, HelloName: "localhost",
		FromName: p.Config.Mail.FromName, FromAddress: p.Config.Mail.FromAddress, ReplyTo: p.Config.Mail.ReplyTo,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		cfg.Composer = sender
	}
	if p.Fleet != nil {
		cfg.Arguments = func(id string) (args, kwargs protocol.Raw) {
			t, ok := p.Fleet.Task(id)
			if !ok {
				return nil, nil
			}
			positional, ok := literal.JSON(t.Args)
			keywords, also := literal.JSON(t.Kwargs)
			if !ok || !also {
				return nil, nil
			}
			return positional, keywords
		}
	}
	return preview.New(cfg)
}

// traces returns what looks for the traces of a task in Redis.
func traces(p *Parts) func(ctx context.Context, taskID string) verdict.Traces {
	return func(ctx context.Context, taskID string) verdict.Traces {
		return verdict.Look(ctx, p.Broker, p.Broker.Letters(), taskID)
	}
}
