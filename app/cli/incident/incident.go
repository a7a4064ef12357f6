// Package incident is the commands about bundles of incidents.
package incident

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/incident"
)

// Cmd is the group of the commands.
type Cmd struct {
	Create createCmd `cmd:"" help:"Write what is known about an incident to a zip."`
	Open   openCmd   `cmd:"" help:"Show a bundle."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `A bundle is a zip with the summary, the health of the workers and its history,
readings of the queues, tasks, the mails of that time, the configuration and
versions. It has no secret, no code and no address in it, and may be handed on.
The monitor makes and opens the same bundles, on its page /incident.

Examples:

    ` + term.ProgramName + ` incident create --since 2h
    ` + term.ProgramName + ` incident open incident-20261130-0300.zip`
}

type createCmd struct {
	Since  term.Moment `help:"From when: a time ago such as 90m or 2h, or a time." default:"1h"`
	Until  term.Moment `help:"Until when; default: now."`
	Broker term.Broker `help:"Which broker of REDIS_URLS; needed if there are several." placeholder:"NAME"`
	Output string      `short:"o" help:"File to write; default: incident-DATE-TIME.zip here. An existing file is not replaced." placeholder:"FILE"`
	JSON   bool        `name:"json" help:"Print JSON about the file."`
}

// Help is the long help of the command.
func (createCmd) Help() string {
	return `Listens to events for five seconds, reads Redis and the database of the
history, and writes a zip. A part that cannot be read is missing in it, and the
command says so. The events of tasks are those of these seconds: the page
/incident of a monitor that has run for longer knows more of them.

Examples:

    ` + term.ProgramName + ` incident create
    ` + term.ProgramName + ` incident create --since 2026-11-29T14:00 -o night.zip`
}

// Validate checks the flags.
func (c createCmd) Validate() error {
	if !c.Until.IsZero() && !c.Until.After(c.Since.Time) {
		return errors.New("--until is not after --since")
	}
	return nil
}

// created is what the command prints as JSON.
type created struct {
	File    string   `json:"file"`
	Bytes   int      `json:"bytes"`
	Mails   int      `json:"mails"`
	Tasks   int      `json:"tasks"`
	Changes int      `json:"changes"` // of health
	Missing []string `json:"missing"` // parts that could not be read
}

// listenFor is how long the command listens to events.
const listenFor = 5 * time.Second

// Run makes a bundle.
func (c createCmd) Run(ctx context.Context, t term.Terminal) error {
	ctx, stop := signal.NotifyContext(ctx, app.StopSignals()...)
	defer stop()
	cfg, err := app.LoadBroker(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	until := c.Until.Time
	if until.IsZero() {
		until = now
	}
	file := c.Output
	if file == "" {
		file = "incident-" + now.UTC().Format("20060102-150405") + ".zip"
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; name another file with --output", file)
	}
	if err != nil {
		return err
	}
	done := false
	defer func() {
		out.Close()
		if !done {
			os.Remove(file)
		}
	}()
	o, err := app.OpenOverview(cfg)
	if err != nil {
		return err
	}
	defer o.Close()
	b, raw, err := collect(ctx, t, o, c.Since.Time, until)
	if err != nil {
		return err
	}
	if _, err := out.Write(raw); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	done = true
	for _, m := range b.Manifest.Missing {
		term.Warn(t.Err, "missing in the bundle: %s", term.Line(m))
	}
	if c.JSON {
		return term.PrintJSON(t.Out, created{file, len(raw), len(b.Mails), len(b.Tasks), len(b.Health.Changes), append([]string{}, b.Manifest.Missing...)})
	}
	_, err = fmt.Fprintf(t.Out, "%s: %d bytes, %s, %s, %s of health\n", file, len(raw), term.Count(int64(len(b.Mails)), "mail"), term.Count(int64(len(b.Tasks)), "task"),
		term.Count(int64(len(b.Health.Changes)), "change"))
	return err
}

// collect listens for a while, and then reads the bundle, with a bar.
func collect(ctx context.Context, t term.Terminal, o *app.Overview, since, until time.Time) (b *incident.Bundle, raw []byte, err error) {
	const ticks = 10
	p := &term.Progress{Out: t.Err, Doing: "listening to events", Total: ticks + incident.Steps + 1}
	p.Start()
	defer p.Stop()
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return o.Run(ctx) })
	g.Go(func() error {
		defer cancel()
		tick := time.NewTicker(listenFor / ticks)
		defer tick.Stop()
		for range ticks {
			select {
			case <-ctx.Done():
				return errors.New("interrupted; nothing was written")
			case <-tick.C:
				p.Add(1, 0)
			}
		}
		p.Does("reading Redis and the history")
		o.Refresh(ctx)
		b = o.Incident().Collect(ctx, since, until, func(doing string) {
			p.Add(1, 0)
			p.Does("collecting the " + doing)
		})
		p.Does("writing the bundle")
		var zip bytes.Buffer
		if err := b.Write(&zip, o.Incident().Secrets(), b.Nodes()); err != nil {
			return err
		}
		p.Add(1, 0)
		raw = zip.Bytes()
		return nil
	})
	return b, raw, g.Wait()
}

type openCmd struct {
	File     string `arg:"" help:"The bundle." type:"path"`
	JSON     bool   `name:"json" help:"Print the summary and the timeline as JSON."`
	Timeline int    `help:"Most entries of the timeline." default:"100"`
}

// Help is the long help of the command.
func (openCmd) Help() string {
	return `Prints the summary of a bundle and what happened. Nothing in it is trusted: a
file that was changed is named, and one that is no bundle is refused.

Examples:

    ` + term.ProgramName + ` incident open incident-20261130-0300.zip
    ` + term.ProgramName + ` incident open night.zip --json`
}

// Run shows a bundle.
func (c openCmd) Run(t term.Terminal) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := incident.Read(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	all := b.Timeline()
	all = all[max(0, len(all)-max(0, c.Timeline)):]
	if c.JSON {
		return term.PrintJSON(t.Out, struct {
			Manifest incident.Manifest `json:"manifest"`
			Faults   []string          `json:"faults,omitempty"`
			Summary  any               `json:"summary"`
			Timeline []incident.Moment `json:"timeline"`
		}{b.Manifest, b.Faults, b.Summary, all})
	}
	for _, fault := range b.Faults {
		term.Warn(t.Err, "%s", fault)
	}
	_, err = io.WriteString(t.Out, describe(b, all, term.ParagraphWidth(t)))
	return err
}

// describe writes a bundle for people. Its texts are foreign.
func describe(b *incident.Bundle, timeline []incident.Moment, width int) string {
	m := b.Manifest
	var w strings.Builder
	rows := [][]string{
		{"made", term.Clock(m.Created) + " on " + term.Line(m.Host) + " by " + term.Line(m.Program)},
		{"time", term.Clock(m.Since) + " to " + term.Clock(m.Until)},
		{"has", fmt.Sprintf("%s, %s, %s of health, %s", term.Count(int64(len(b.Mails)), "mail"), term.Count(int64(len(b.Tasks)), "task"),
			term.Count(int64(len(b.Health.Changes)), "change"), term.Count(int64(len(b.Health.Processes)), "worker"))},
	}
	for _, missing := range m.Missing {
		rows = append(rows, []string{"missing", term.Line(missing)})
	}
	w.WriteString(term.Align(rows))
	if len(b.Summary.Findings) > 0 {
		w.WriteString("\nLook at\n")
		for _, f := range b.Summary.Findings {
			w.WriteString(term.Fold("  "+f.Level.String()+": "+term.Line(f.Text), width, "    ") + "\n")
		}
	}
	w.WriteString("\nWhat happened\n")
	for _, one := range timeline {
		mark := " "
		if one.Bad {
			mark = "!"
		}
		w.WriteString(term.Fold("  "+mark+" "+one.At.Local().Format("15:04:05")+" "+term.Line(one.What)+": "+term.Line(one.Text), width, "             ") + "\n")
	}
	if len(timeline) == 0 {
		w.WriteString("  nothing that the bundle knows of\n")
	}
	return w.String()
}
