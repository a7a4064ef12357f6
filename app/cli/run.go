package cli

import (
	"context"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
)

// runCmd is the worker.
type runCmd struct {
	Monitor bool `help:"Run the monitor and no worker, as the command monitor does."`
}

// Help is the long help of the command.
func (runCmd) Help() string {
	return `Consumes until SIGTERM, SIGINT or SIGHUP, which a terminal that closes sends.
Then it takes nothing more, finishes what is running for up to SHUTDOWN_GRACE,
gives back the rest to the front of its queue and exits with 0. A second SIGTERM
or SIGINT ends the grace period at once, a third one the process; SIGQUIT leaves
no grace from the start. SIGHUP does not restart the worker, and does nothing
under nohup; with secrets in files or in Zero, or TEMPLATES_DIR, and without a
terminal, it looks at these now. SIGUSR1 logs the stacks of all goroutines.

Redis, PostgreSQL and the mail relay may be down at the start and at any time
after; HEALTH_ADDR and the log say so. Without Redis the worker waits. Without
PostgreSQL or the relay the mails wait in their queues, however long it takes,
and spend no retry. The same goes for a relay that refuses the login, or puts
all mails off.
A wrong configuration is told as a whole, and the exit code is 2.

Examples:

    REDIS_HOST=redis SMTP_HOST=smtp.example.com ` + term.ProgramName + `
    CONCURRENCY=16 SHUTDOWN_GRACE=60 ` + term.ProgramName + ` run

The variables, all optional. A variable that is empty counts as not set; times
are seconds such as 90 or 1.5, or have a unit such as 90s, 5m or 2h. Quotes
around a whole value, and a comment behind it, are left out with a warning.
Each secret may be in a file, named by the variable with _FILE behind its name,
such as SMTP_PASSWORD_FILE. New connections use what the file holds by then.

` + config.Help()
}

// Run runs the worker until a signal stops it.
func (c runCmd) Run(ctx context.Context, t term.Terminal) error {
	if c.Monitor {
		return app.RunMonitor(ctx, t.Err)
	}
	return app.Run(ctx, t.Err)
}
