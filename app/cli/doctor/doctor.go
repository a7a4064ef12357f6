// Package doctor is the command that examines what the worker connects to.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/worker/redis"
)

// Cmd is the command.
type Cmd struct {
	Timeout time.Duration `default:"10s" help:"Time for each server."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `Connects to Redis as the worker does, and tells which server answers, its
version and role, the settings that can lose messages, and each command or right
that the user lacks, with what does not work then. With several brokers it
examines each. It tries the commands on a key of its own, which it removes.

The exit code is 0 when the worker can work, and 1 when it cannot.

Examples:

    ` + term.ProgramName + ` doctor
    REDIS_URL=rediss://:secret@redis:6380/0 ` + term.ProgramName + ` doctor --json`
}

// broker is what is known of one broker.
type broker struct {
	Name   string `json:"name,omitempty"` // of REDIS_URLS
	Status string `json:"status"`         // "ok", "degraded" or "failed"
	Error  string `json:"error,omitempty"`
	redis.Examination
}

// Run examines and prints.
func (c Cmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return err
	}
	brokers := cfg.Brokers
	if len(brokers) == 0 {
		brokers = []config.Broker{{Redis: cfg.Redis}}
	}
	var report struct {
		Redis []broker `json:"redis"`
	}
	failed := false
	for _, b := range brokers {
		own := cfg
		own.Redis = b.Redis
		one := c.examine(ctx, own, b.Name)
		failed = failed || one.Status == "failed"
		report.Redis = append(report.Redis, one)
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, report)
	} else {
		for _, b := range report.Redis {
			b.print(t.Out, term.Columns(t.Out))
		}
	}
	if err == nil && failed {
		return term.ErrSilent
	}
	return err
}

func (c Cmd) examine(ctx context.Context, cfg config.Config, name string) broker {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	e, err := app.ExamineBroker(ctx, cfg, slog.New(slog.DiscardHandler))
	b := broker{Name: name, Status: "ok", Examination: e}
	b.Address = cmp.Or(b.Address, cfg.Redis.String())
	if err != nil {
		b.Error = err.Error()
	}
	for _, lack := range e.Lacks {
		b.Status = "degraded"
		if lack.Required {
			b.Fault = cmp.Or(b.Fault, "rights that the worker needs are missing, see docs/operations.md")
		}
	}
	if err != nil || b.Fault != "" {
		b.Status = "failed"
	}
	return b
}

// print writes the findings, wrapped for a terminal.
func (b broker) print(w io.Writer, columns int) {
	title := "redis " + b.Address
	if b.Name != "" {
		title += " (" + b.Name + ")"
	}
	fmt.Fprintln(w, title)
	line := func(word, colour, text string) {
		const margin = "           "
		text = strings.ReplaceAll(wrap(text, columns-len(margin)), "\n", "\n"+margin)
		fmt.Fprintf(w, "  %s%s%s\n", term.Paint(w, colour, word), margin[2+len(word):], text)
	}
	if b.Server != "" {
		line("server", "", b.Server+", "+cmp.Or(b.Role, "role unknown")+", "+map[bool]string{true: "TLS", false: "no TLS"}[b.TLS])
	}
	for _, warning := range b.Warnings {
		line("warning", term.Yellow, warning)
	}
	for _, lack := range b.Lacks {
		line("lacks", term.Yellow, lack.Right+": "+lack.Cost)
	}
	for _, fault := range []string{b.Error, b.Fault} {
		if fault != "" {
			line("failed", term.Red, fault)
		}
	}
	if b.Status != "failed" {
		line("ok", "", "the worker can work")
	}
}

// wrap breaks a text between words.
func wrap(text string, columns int) string {
	var b strings.Builder
	length := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case columns > 0 && length+1+len(word) > columns:
			b.WriteByte('\n')
			length = 0
		default:
			b.WriteByte(' ')
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}
