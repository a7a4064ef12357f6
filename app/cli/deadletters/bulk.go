package deadletters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/worker/broker"
)

// chosen are the dead letters that a command is for.
type chosen struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of dead letters, or their beginnings."`
	conditions
	All    bool      `help:"All that are in the state that the command is for."`
	Yes    bool      `help:"Do not ask before."`
	DryRun bool      `help:"Count the letters that meet the conditions, and do nothing."`
	Rate   desk.Rate `default:"0" help:"Most a second, minute or hour, such as 50/s or 600/m; 0 is no limit." placeholder:"RATE"`
	JSON   bool      `name:"json" help:"Print a JSON array."`
}

// Validate checks the flags.
func (c chosen) Validate() error {
	named, filtered := len(c.IDs) > 0, !c.filter(nil).IsZero()
	switch {
	case !named && !filtered && !c.All:
		return errors.New("name the ids of dead letters, conditions such as --reason, or --all")
	case named && (filtered || c.All), filtered && c.All:
		return errors.New("name either ids, or conditions, or --all")
	}
	return c.check()
}

// job is what a command does to dead letters.
type job struct {
	title  string // such as Retry
	doing  string // such as retrying dead letters
	done   string // such as back in their queues
	verb   desk.Verb
	note   string
	states []state // of the letters
}

// run does the job to each chosen letter, also after failures of others, and tells what was done.
func (c chosen) run(ctx context.Context, t term.Terminal, b *box, j job) error {
	ids, outcomes, err := c.choose(ctx, t, b, j)
	if err != nil || c.DryRun {
		return err
	}
	failed := len(outcomes) // names of no letter
	results, done, err := c.work(ctx, t, b, j, ids)
	outcomes = append(outcomes, results...)
	failed += len(results) - done
	if c.JSON {
		if err := term.PrintJSON(t.Out, append([]desk.Outcome{}, outcomes...)); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(t.Out, "%s: %d\n", j.done, done)
	}
	if err != nil {
		return err
	}
	if stopped := len(ids) - len(results); stopped > 0 {
		return fmt.Errorf("stopped after %d of %d; run the same command to go on", len(results), len(ids))
	}
	if failed > 0 {
		return term.ErrSilent
	}
	return nil
}

// choose returns the ids of the letters, after a question unless they were named one by one.
// Names of no letter are told at once.
func (c chosen) choose(ctx context.Context, t term.Terminal, b *box, j job) (ids []string, wrong []desk.Outcome, err error) {
	if len(c.IDs) > 0 {
		return c.named(ctx, t, b, j)
	}
	f := c.filter(j.states)
	items, err := b.gather(ctx, f, t)
	if err != nil {
		return nil, nil, err
	}
	if c.DryRun {
		return nil, nil, c.preview(t, items, f)
	}
	if len(items) > 0 {
		what := term.Count(int64(len(items)), "dead letter")
		if !c.Yes && t.Interactive() {
			fmt.Fprint(t.Err, causeTable(shortList(group(items, false)), term.Columns(t.Err)))
		}
		if !c.Yes {
			if err := t.Confirm(fmt.Sprintf("%s %s?", j.title, what), fmt.Sprintf("%s %s", j.title, what)); err != nil {
				return nil, nil, err
			}
		}
	}
	for i := range items {
		ids = append(ids, items[i].ID)
	}
	// The oldest first, as their mails are the latest.
	slices.Reverse(ids)
	return ids, nil, nil
}

// named completes the ids of the command line. An id that was named twice counts once.
func (c chosen) named(ctx context.Context, t term.Terminal, b *box, j job) (ids []string, wrong []desk.Outcome, err error) {
	for _, prefix := range c.IDs {
		id, err := b.Find(ctx, prefix)
		if err != nil {
			if _, down := errors.AsType[*unreachableError](unreachable(err)); down || ctx.Err() != nil {
				return nil, nil, unreachable(err)
			}
			fmt.Fprintln(t.Err, err)
			wrong = append(wrong, desk.Outcome{ID: prefix, Error: err.Error()})
		} else if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if !c.DryRun {
		return ids, wrong, nil
	}
	var items []desk.Item
	for _, id := range ids {
		l, err := b.Get(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		items = append(items, desk.New(l))
	}
	return nil, wrong, c.preview(t, items, desk.Filter{})
}

// shortList returns the largest causes, as a question must fit on a screen.
func shortList(causes []desk.Cause) []desk.Cause { return causes[:min(len(causes), 5)] }

// preview tells which letters would be chosen.
func (c chosen) preview(t term.Terminal, items []desk.Item, f desk.Filter) error {
	causes := group(items, false)
	if c.JSON {
		return term.PrintJSON(t.Out, causes)
	}
	if len(items) == 0 {
		_, err := fmt.Fprintln(t.Out, none(f))
		return err
	}
	_, err := fmt.Fprintf(t.Out, "%s\n%s, nothing was done\n", causeTable(causes, term.Columns(t.Out)), term.Count(int64(len(items)), "dead letter"))
	return err
}

// longJob is the number of letters from which a bar shows the progress.
const longJob = 50

// work does the job. A signal stops it between two calls, so that it is known what was done.
func (c chosen) work(ctx context.Context, t term.Terminal, b *box, j job, ids []string) (results []desk.Outcome, done int, err error) {
	going, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(going, stop) // a second signal ends the process
	faults := &limitedErrors{}
	bar := &term.Progress{Out: t.Err, Doing: j.doing, Total: len(ids)}
	if len(ids) > longJob || len(ids) > 1 && c.Rate.Every() > 0 {
		bar.Start()
		defer bar.Stop()
		faults.print = bar.Print
	} else {
		faults.print = func(text string) { fmt.Fprintln(t.Err, text) }
		bar = nil
	}
	details := c.filter(nil).Details()
	if c.All {
		details["all"] = true
	}
	bulk := desk.Bulk{Letters: b, Verb: j.verb, By: person(), Note: j.note, Rate: c.Rate, Details: details, Audit: b.audit}
	bulk.Report = func(outcomes []desk.Outcome) {
		failed := 0
		for _, o := range outcomes {
			if !o.Done {
				faults.add(o.Error)
				failed++
			}
		}
		done += len(outcomes) - failed
		results = append(results, outcomes...)
		if bar != nil {
			bar.Add(len(outcomes)-failed, failed)
		}
	}
	_, err = bulk.Run(context.WithoutCancel(ctx), going, ids)
	faults.end()
	return results, done, err
}

// audit runs do between two entries of the audit trail.
func (b *box) audit(ctx context.Context, a desk.Action, do func(context.Context) (map[string]any, error)) error {
	return app.Audit(ctx, b.cfg, app.Action(a), do)
}

// limitedErrors prints errors until there are many.
type limitedErrors struct {
	print func(string)
	n     int
}

const mostErrors = 20

func (l *limitedErrors) add(text string) {
	if l.n++; l.n <= mostErrors {
		l.print(text)
	}
}

func (l *limitedErrors) end() {
	if l.n > mostErrors {
		l.print(fmt.Sprintf("and %d more errors; see all of them with --json", l.n-mostErrors))
	}
}

var (
	onlyOpen      = []state{{LetterState: broker.LetterOpen}}
	onlyDealtWith = []state{{LetterState: broker.LetterDealtWith}}
)
