package cli

import (
	"context"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
)

// monitorCmd is the monitor.
type monitorCmd struct {
	Broker term.Broker `help:"Which broker of REDIS_URLS to show; default: MONITOR_BROKER, else the first." placeholder:"NAME"`
}

// Help is the long help of the command.
func (monitorCmd) Help() string {
	return `Serves the pages of the monitor on MONITOR_ADDR, http://127.0.0.1:5555 by
default: workers, queues, tasks, mails, dead letters, and whether a mail was
sent. It reads what the workers have written to Redis and PostgreSQL, and takes
no tasks. One monitor is enough for all workers, also for those of Python;
several of them do no harm. With several brokers each has a monitor.

Redis and PostgreSQL may be down at the start and at any time after; the pages
say what is missing. Give the monitor the variables of the workers. The flag
--monitor of the old start script does the same as this command.

Examples:

    ` + term.ProgramName + ` monitor
    ` + term.ProgramName + ` --monitor
    MONITOR_ADDR=127.0.0.1:8080 ` + term.ProgramName + ` monitor`
}

// Run serves until a signal stops it.
func (monitorCmd) Run(ctx context.Context, t term.Terminal) error {
	return app.RunMonitor(ctx, t.Err)
}

// monitorFlag makes a command line of the old start script, whose only flag was --monitor, one
// of the default command.
func monitorFlag(args []string) []string {
	if len(args) > 0 && args[0] == "--monitor" {
		return append([]string{"run"}, args...)
	}
	return args
}
