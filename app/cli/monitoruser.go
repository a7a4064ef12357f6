package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	terminal "golang.org/x/term"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/guard"
)

// monitorUserCmd makes a user of the monitor.
type monitorUserCmd struct {
	Name string `arg:"" help:"Login of the user."`
	Role string `default:"viewer" enum:"viewer,operator,admin" help:"viewer, operator or admin (${default})."`
}

// Help is the long help of the command.
func (monitorUserCmd) Help() string {
	return `Asks for a password, and prints a line for MONITOR_USERS or
MONITOR_USERS_FILE: name, role and the bcrypt hash of the password. Without a
terminal the password is the first line of the input. It is never an argument,
where every process of the machine could read it.

A viewer reads the pages. An operator also does what they offer, such as retry,
pause, purge and unmask. An admin may send any task by the interface for
programs, too.

Examples:

    ` + term.ProgramName + ` monitor-user ada --role=admin >> /etc/evently/users
    pass show monitor | ` + term.ProgramName + ` monitor-user prometheus`
}

// Run asks for the password and prints the line.
func (c *monitorUserCmd) Run(t term.Terminal) error {
	if err := guard.CheckName(c.Name); err != nil {
		return &app.UsageError{Err: err}
	}
	password, err := newPassword(t, c.Name)
	if err != nil {
		return err
	}
	hash, err := guard.Hash(password)
	if err != nil {
		return &app.UsageError{Err: err}
	}
	_, err = fmt.Fprintln(t.Out, c.Name+":"+c.Role+":"+hash)
	return err
}

// newPassword reads a password: twice from a terminal, without echo, or else the first line
// of the input.
func newPassword(t term.Terminal, name string) (string, error) {
	if !t.Interactive() {
		const most = 1 << 10
		line, err := bufio.NewReader(io.LimitReader(t.In, most)).ReadString('\n')
		if err != nil && line == "" {
			return "", &app.UsageError{Err: errors.New("there is no terminal to ask on, and no password in the input")}
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var all [2]string
	for i, question := range []string{"Password of " + name + ": ", "Once more: "} {
		fmt.Fprint(t.Err, question)
		raw, err := terminal.ReadPassword(int(t.In.Fd()))
		fmt.Fprintln(t.Err)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		all[i] = string(raw)
	}
	if all[0] != all[1] {
		return "", errors.New("the two passwords differ; nothing was made")
	}
	return all[0], nil
}
