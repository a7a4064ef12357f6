package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"

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
happens (/chaos). Ports taken by others are stepped over. Mails look as
TEMPLATES_DIR, DEFAULT_LOCALE and BRAND_* say. No other variable is used, but
those of OpenTelemetry.

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
		Out: t.Out, Open: c.Open, Logger: log, Look: os.LookupEnv,
		OpenMonitor: func(settings config.Lookup, groups ...web.Group) (dev.Monitor, error) {
			cfg, err := config.Load(settings)
			if err != nil {
				return nil, err
			}
			return app.OpenMonitorWith(cfg, log, "dev", groups...)
		},
		RunWorker: func(ctx context.Context, w dev.Worker) error {
			cfg, err := config.Load(w.Settings)
			if err != nil {
				return err
			}
			return app.RunWorker(ctx, cfg, app.WorkerParts{Users: w.Users, Middleware: w.Middleware, Health: w.Health, HealthEvery: w.HealthEvery}, log)
		},
	})
}
