package dev

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/evently/workers/tasks"
)

// Addresses has the addresses of a running development mode.
type Addresses struct {
	Redis string // redis:// URL, broker and result backend
	SMTP  string // host:port of the catcher
	Page  string // http:// URL

	Health  string   // http:// URL of the health report
	Monitor string   // http:// URL; "": there is none
	Taken   []string // sentences about ports that other programs have

	History string // LEDGER_DATABASE_URL for commands
}

// snippet returns a Python program that sends one task and waits for its result. It runs
// unchanged with Celery 5.2 and later.
func snippet(a Addresses) string {
	return fmt.Sprintf(`from celery import Celery

redis = "%s"
app = Celery(broker=redis, backend=redis)
result = app.send_task(
    "%s",
    args=[{
        "email": "ada@evently.test",
        "otp": "482913",
        "user_data": {"username": "ada", "full_name": "Ada Lovelace"},
    }],
    queue="%s",
)
print(result.get(timeout=10))
`, a.Redis, module+tasks.NameOTP, queue)
}

// command returns the command by which a shell runs this program. "go run ." removes its program
// when it ends.
func command(program string) string {
	if filepath.Base(filepath.Dir(program)) == "exe" && strings.Contains(program, "go-build") {
		return "go run ."
	}
	return program
}

// banner writes the addresses and a program to try them.
func banner(w io.Writer, a Addresses) error {
	monitor, taken := "", ""
	if a.Monitor != "" {
		monitor = "\n  Monitor " + a.Monitor + "  (tasks, queues, mails, and faults at " + a.Monitor + "/chaos)"
	}
	for _, text := range a.Taken {
		taken += "\n  " + text
	}
	if taken != "" {
		taken += "\n"
	}
	// The program is not indented, so that it runs when it is copied.
	_, err := fmt.Fprintf(w, `
  Evently Workers, development mode

  Page    %s%s
  Redis   %s  (broker and results)
  SMTP    %s  (catches every mail, sends none)
  Queue   %s
  Health  %s
%s
  The history of the mails, in another terminal:

  export LEDGER_DATABASE_URL=%s
  %s was-it-sent ada@evently.test

  Send a task with the form on the page, or from Python, which needs
  pip install "celery[redis]":

%s
  Ctrl-C stops everything. Nothing is kept.

`, a.Page, monitor, a.Redis, a.SMTP, queue, a.Health, taken, a.History, command(os.Args[0]), snippet(a))
	return err
}
