// Package doctor is the command that examines what the worker connects to.
package doctor

import (
	"context"
	"sync"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
)

// Cmd is the command.
type Cmd struct {
	Timeout time.Duration `default:"10s" help:"Time for each server."`
	Login   bool          `help:"Log in to the mail relays as well."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `Connects to what the worker needs, as the worker does, and says for each thing
whether it works and what to do: secrets in Zero, Redis, the database of the users,
that of the history, the mail relays, the templates of TEMPLATES_DIR.

For Redis it tells which server answers, its version and role, the settings that can
lose messages, and each command or right that the user lacks, with what does not
work then. It tries the commands on a key of its own, which it removes. Nothing else
is written, and no mail is sent. Relays are asked up to EHLO; --login logs in, which
some count towards a limit.

The exit code is 0 when the worker can work, 1 when something has failed, and 2
when the configuration is wrong.

Examples:

    ` + term.ProgramName + ` doctor
    REDIS_URL=rediss://:secret@redis:6380/0 ` + term.ProgramName + ` doctor --json`
}

// Run examines and prints.
func (c Cmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, err := app.LoadConfig(ctx)
	zero := examineZero(err)
	if err != nil && zero.Status != failed {
		return err
	}
	r := newReport([]finding{zero})
	if zero.Status != failed { // else the settings of the others are not known
		r = newReport(append([]finding{zero}, c.examine(ctx, c.checks(cfg))...))
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, r)
	} else {
		err = r.print(t.Out, term.ParagraphWidth(t))
	}
	if err == nil && r.Status == failed {
		return term.ErrSilent
	}
	return err
}

// check examines one thing.
type check func(ctx context.Context) finding

// checks returns what is to be examined.
func (c Cmd) checks(cfg config.Config) (all []check) {
	for _, b := range cfg.Brokers {
		own := cfg
		own.Redis = b.Redis
		all = append(all, func(ctx context.Context) finding { return examineRedis(ctx, own, b.Name) })
	}
	all = append(all,
		func(ctx context.Context) finding { return examineDatabase(ctx, cfg) },
		func(ctx context.Context) finding { return examineHistory(ctx, cfg, c.Timeout) })
	for i := range cfg.Relays {
		all = append(all, func(ctx context.Context) finding { return examineRelay(ctx, cfg, i, c.Login) })
	}
	return append(all, func(ctx context.Context) finding { return examineTemplates(ctx, cfg) })
}

// examine runs the checks at the same time, and returns their findings in the order of checks.
func (c Cmd) examine(ctx context.Context, checks []check) []finding {
	findings := make([]finding, len(checks))
	var all sync.WaitGroup
	for i, f := range checks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			findings[i] = f(ctx)
		})
	}
	all.Wait()
	return findings
}
