package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
)

// healthCmd asks the health server.
type healthCmd struct {
	Addr    string        `help:"Where the health server listens, as host:port. The default is HEALTH_ADDR of the environment." placeholder:"ADDR"`
	Timeout time.Duration `default:"3s" help:"Time to wait for the answer."`
	JSON    bool          `name:"json" xor:"json" help:"Print the whole report."`
	Monitor bool          `xor:"json" help:"Ask the monitor, at --addr or MONITOR_ADDR, instead of the worker."`
}

// Help is the long help of the command.
func (healthCmd) Help() string {
	return `Asks the worker on this machine whether it consumes. The exit code is 0 when it
does and 1 when it does not, or does not answer: what a HEALTHCHECK or an exec
probe wants. It needs no shell and no other program. With --monitor it asks whether
the monitor answers. When HEALTH_ADDR or MONITOR_ADDR is off there is no server to
ask, and the exit code is 0.

Examples:

    ` + term.ProgramName + ` health
    ` + term.ProgramName + ` health --addr 10.0.0.7:8004 --json
    ` + term.ProgramName + ` health --monitor
    HEALTHCHECK CMD ["/` + term.ProgramName + `", "health"]`
}

// Validate checks the flags.
func (c healthCmd) Validate() error {
	if _, _, err := net.SplitHostPort(c.Addr); c.Addr != "" && err != nil {
		return fmt.Errorf("--addr: %q is not an address; write host:port, such as 127.0.0.1:8004", c.Addr)
	}
	return nil
}

// Run asks and prints.
func (c healthCmd) Run(ctx context.Context, t term.Terminal) error {
	addr := c.Addr
	if c.Monitor {
		return c.askMonitor(ctx, t)
	}
	if addr == "" {
		var err error
		if addr, err = config.HealthAddr(nil); err != nil {
			// Not a wrong usage of this command: the worker is not up.
			return fmt.Errorf("no worker can run here: %v", err)
		}
	}
	if addr == "" {
		// Not a failure: a container whose health server is off would never be well.
		_, err := fmt.Fprintln(t.Out, "not known: HEALTH_ADDR is off, so there is no health server to ask")
		return err
	}
	report, err := askHealth(ctx, dialable(addr), c.Timeout)
	if err != nil {
		return noAnswer(dialable(addr), "worker", err)
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, report)
	} else {
		_, err = fmt.Fprintf(t.Out, "%s: %s; worker %s; queue %s; database %s; mail %s\n",
			report.Node, report.Status, report.Worker.Text, report.Queue.Text, report.Database.Text, report.Mail.Text)
	}
	if err == nil && report.Status == monitor.StatusUnhealthy {
		return term.ErrSilent
	}
	return err
}

// askMonitor asks the monitor whether it answers.
func (c healthCmd) askMonitor(ctx context.Context, t term.Terminal) error {
	addr, encrypted, err := config.MonitorAddr(nil)
	if err != nil {
		return fmt.Errorf("no monitor can run here: %v", err)
	}
	if addr = cmp.Or(c.Addr, addr); addr == "" {
		_, err := fmt.Fprintln(t.Out, "not known: MONITOR_ADDR is off, so there is no monitor to ask")
		return err
	}
	addr = dialable(addr)
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	target := url.URL{Scheme: "http", Host: addr, Path: "/healthcheck"}
	// The certificate is for the name that browsers use, and nothing secret is sent.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if encrypted {
		target.Scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return noAnswer(addr, "monitor", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the monitor at %s answers with HTTP status %s", addr, resp.Status)
	}
	_, err = fmt.Fprintf(t.Out, "%s: the monitor answers\n", addr)
	return err
}

// noAnswer is the error of a server that cannot be asked.
func noAnswer(addr, program string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the method and the path are no news
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return fmt.Errorf("no answer from %s: %w; does the %s run?", addr, errno, program)
	}
	return fmt.Errorf("no answer from %s: %w", addr, err)
}

// dialable turns an address to listen on into one to connect to.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

func askHealth(ctx context.Context, addr string, timeout time.Duration) (monitor.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
	if err != nil {
		return monitor.Report{}, err
	}
	// Not the default transport: a proxy has no business between us.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return monitor.Report{}, err
	}
	defer resp.Body.Close()
	const most = 64 << 10
	var report monitor.Report
	if err := json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(&report); err != nil || report.Status == "" {
		return monitor.Report{}, fmt.Errorf("this is not a health server of ours: HTTP status %s", resp.Status)
	}
	return report, nil
}
