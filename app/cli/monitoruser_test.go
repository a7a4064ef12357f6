package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/evently/workers/monitor/guard"
)

// testMonitorUser makes users of the monitor by a pipe and on a terminal.
func testMonitorUser(t *testing.T, p binary) {
	const password = canary + "-long"
	for _, test := range []struct {
		input  string
		args   []string
		code   int
		stderr string
	}{
		{password + "\r\n", []string{"ada", "--role=admin"}, 0, ""},
		{password, []string{"ada"}, 0, ""},
		{"", []string{"ada"}, 2, "no password"},
		{"short\n", []string{"ada"}, 2, "less than 10"},
		{strings.Repeat("x", 73), []string{"ada"}, 2, "more than 72"},
		{password, []string{"a:b"}, 2, "name of a user"},
		{password, []string{"ada", "--role=root"}, 2, "--role"},
		{password, []string{"ada", password}, 2, "unexpected argument"},
	} {
		cmd := p.command(t, nil, append([]string{"monitor-user"}, test.args...)...)
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(test.input), &out, &errs
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(errs.String(), test.stderr) {
			t.Errorf("%q: exit code %d, stderr %q; want %d and %q", test.args, code, errs.String(), test.code, test.stderr)
		}
		if test.code != 0 {
			continue
		}
		u, err := guard.ParseUser(strings.TrimSpace(out.String()))
		if err != nil || u.Name != "ada" || bcrypt.CompareHashAndPassword([]byte(u.Hash), []byte(password)) != nil || strings.Contains(out.String(), canary) {
			t.Errorf("%q: user %+v of %q, %v", test.args, u, out.String(), err)
		}
	}
	out, code := onTerminal(t, p.command(t, nil, "monitor-user", "ada"), "first-password\nother-password\n")
	if code != 1 || !strings.Contains(out, "Password of ada") || !strings.Contains(out, "differ") || strings.Contains(out, "$2") {
		t.Errorf("two passwords: exit code %d, %q", code, out)
	}
}
