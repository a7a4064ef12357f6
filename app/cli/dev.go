package cli

import (
	"context"
	"log/slog"
	"os/signal"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/dev"
	"github.com/evently/workers/monitor/web"
)

// devCmd is the service on embedded parts.
type devCmd struct {
	Open    bool `help:"Open the page in the browser."`
	Verbose bool `short:"v" help:"Log what the worker does."`
}

// Help is the long help of the command.
func (devCmd) Help() string {
	return `Starts everything in one process, on this machine's loopback address and in
memory: a Redis that Python Celery clients can use, a users table, an SMTP
server that catches every mail, the worker, a page that shows the mails and
sends each of the tasks, and the monitor, where parts can be broken to see what
happens (/chaos). Ports taken by others are stepped over. No variable of the
environment is used.

Examples:

    ` + term.ProgramName + ` dev
    ` + term.ProgramName + ` dev --open`
}

// Run runs until SIGTERM, SIGINT or SIGHUP; a second one ends the process.
func (c devCmd) Run(ctx context.Context, t term.Terminal) error {
	app.IgnoreLostOutput()
	ctx, stop := signal.NotifyContext(ctx, app.StopSignals()...)
	defer stop()
	context.AfterFunc(ctx, stop)
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelDebug
	}
	log := app.NewLogger(t.Err, config.Service{LogLevel: level, LogFormat: "text"})
	return dev.Run(ctx, dev.Options{
		Out: t.Out, Open: c.Open, Logger: log,
		OpenMonitor: func(a dev.Addresses, groups ...web.Group) (dev.Monitor, error) {
			settings := map[string]string{
				"REDIS_URL": a.Redis, "LEDGER_DATABASE_URL": a.History, "MONITOR_ADDR": strings.TrimPrefix(a.Monitor, "http://"), "SITE_URL": "https://evently.test",
			}
			cfg, err := config.Load(func(name string) (string, bool) {
				value, ok := settings[name]
				return value, ok
			})
			if err != nil {
				return nil, err
			}
			return app.OpenMonitorWith(cfg, log, "dev", groups...)
		},
	})
}
