package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/protocol"
)

// Answer is the answer of one worker to a command.
type Answer struct {
	Node string
	Text string // of the worker, such as "pool will grow"
	// Err tells why the worker did not carry out the command: a *[RefusedError], or a
	// *[SilentError] for a named worker that did not answer.
	Err error
}

// RefusedError is a command that a worker has refused.
type RefusedError struct {
	Node, Command string
	Answer        string // of the worker
	Advice        string // what to do; "": not known
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("%s refused %s: %s", e.Node, e.Command, e.Answer)
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

// SilentError is a worker that did not answer in time.
type SilentError struct {
	Node, Command string
	After         time.Duration
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("%s did not answer %s within %.1f s: it has stopped, is too busy to answer, or its remote control is off "+
		"(REMOTE_CONTROL, or worker_enable_remote_control of a Python worker)", e.Node, e.Command, e.After.Seconds())
}

// Failed returns the errors of answers, joined, nil when all workers have carried out the
// command.
func Failed(answers []Answer) error {
	errs := make([]error, len(answers))
	for i, a := range answers {
		errs[i] = a.Err
	}
	return errors.Join(errs...)
}

// refusals are parts of answers, with what to do.
var refusals = []struct{ part, advice string }{
	{"limited by its configuration", "set REMOTE_CONTROL=full where the worker runs"},
	{"not supported with autoscale", "change the bounds of autoscaling instead"},
	{"Autoscale not enabled", "start the worker with autoscaling (AUTOSCALE, or --autoscale of a Python worker)"},
	{"bounded to", "raise its bound (MAX_CONCURRENCY), or start another worker"},
	{"and one must stay", "drain or stop the worker instead"},
	{"attribute 'grow'", "its pool has a fixed size: start it with another --concurrency, or with --pool prefork"},
	{"attribute 'shrink'", "its pool has a fixed size: start it with another --concurrency, or with --pool prefork"},
	{"NotImplementedError", "its pool cannot do that: a Python worker needs --pool prefork"},
	{"Can't shrink pool", "all its processes are busy: try again when some have ended"},
	{"KeyError(", "its version does not know the command"},
	{"unknown task", "write the whole name of a task that the worker has"},
	{"Invalid rate limit", `write a rate such as "10/s", "100/m" or "1000/h", or 0 for none`},
	{"Pool restarts not enabled", "set worker_pool_restarts of the Python worker"},
}

func advice(answer string) string {
	for _, r := range refusals {
		if strings.Contains(answer, r.part) {
			return r.advice
		}
	}
	return ""
}

// command sends a command to these workers, or to all, and returns their answers in the order
// of the nodes. A worker that refuses, or is named and does not answer, has an error there.
// The error is one of the broker.
func (c *Client) command(ctx context.Context, name string, arguments map[string]any, nodes []string) ([]Answer, error) {
	wait := Patience
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	replies, err := c.askWith(ctx, name, arguments, nodes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	answers := make([]Answer, 0, len(nodes))
	for _, r := range replies {
		answers = append(answers, readAnswer(r, name))
	}
	for _, n := range nodes {
		if !slices.ContainsFunc(answers, func(a Answer) bool { return a.Node == n }) {
			answers = append(answers, Answer{Node: n, Err: &SilentError{Node: n, Command: name, After: wait}})
		}
	}
	sorting.Stable(answers, func(a, b Answer) int { return strings.Compare(a.Node, b.Node) })
	return answers, nil
}

// readAnswer reads {"ok": …} or {"error": …}.
func readAnswer(r answer, command string) Answer {
	var said struct{ OK, Error any }
	if err := protocol.Unmarshal(r.value, &said); err != nil {
		return Answer{Node: r.node, Err: &RefusedError{Node: r.node, Command: command, Answer: "an answer that cannot be read"}}
	}
	if said.Error != nil {
		text := bounded(fmt.Sprint(said.Error))
		return Answer{Node: r.node, Err: &RefusedError{Node: r.node, Command: command, Answer: text, Advice: advice(text)}}
	}
	if said.OK == nil {
		return Answer{Node: r.node}
	}
	return Answer{Node: r.node, Text: bounded(fmt.Sprint(said.OK))}
}

// bounded cuts a text that a stranger may have written.
func bounded(text string) string {
	const most = 500
	text = strings.ToValidUTF8(text, "�")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// Grow adds slots to the pools of these workers, or of all.
func (c *Client) Grow(ctx context.Context, n int, nodes ...string) ([]Answer, error) {
	return c.command(ctx, "pool_grow", map[string]any{"n": n}, nodes)
}

// Shrink removes slots. Tasks that run are not ended.
func (c *Client) Shrink(ctx context.Context, n int, nodes ...string) ([]Answer, error) {
	return c.command(ctx, "pool_shrink", map[string]any{"n": n}, nodes)
}

// Autoscale sets the bounds of autoscaling.
func (c *Client) Autoscale(ctx context.Context, most, least int, nodes ...string) ([]Answer, error) {
	return c.command(ctx, "autoscale", map[string]any{"max": most, "min": least}, nodes)
}

// RestartPool restarts the pools.
func (c *Client) RestartPool(ctx context.Context, nodes ...string) ([]Answer, error) {
	return c.command(ctx, "pool_restart", nil, nodes)
}

// AddConsumer starts consuming a queue.
func (c *Client) AddConsumer(ctx context.Context, queue string, nodes ...string) ([]Answer, error) {
	return c.command(ctx, "add_consumer", map[string]any{"queue": queue}, nodes)
}

// CancelConsumer stops consuming a queue. Messages that were taken from it run.
func (c *Client) CancelConsumer(ctx context.Context, queue string, nodes ...string) ([]Answer, error) {
	return c.command(ctx, "cancel_consumer", map[string]any{"queue": queue}, nodes)
}

// RateLimit sets the rate limit of a task, such as "10/m"; "0" for none.
func (c *Client) RateLimit(ctx context.Context, task, limit string, nodes ...string) ([]Answer, error) {
	return c.command(ctx, "rate_limit", map[string]any{"task_name": task, "rate_limit": limit}, nodes)
}

// TimeLimit sets the time limits of a task, 0 for none.
func (c *Client) TimeLimit(ctx context.Context, task string, soft, hard time.Duration, nodes ...string) ([]Answer, error) {
	seconds := func(d time.Duration) any {
		if d <= 0 {
			return nil
		}
		return d.Seconds()
	}
	return c.command(ctx, "time_limit", map[string]any{"task_name": task, "soft": seconds(soft), "hard": seconds(hard)}, nodes)
}

// Revocation says which tasks must not run.
type Revocation struct {
	IDs []string
	// Terminate ends tasks that run. Signal is for the processes of Python workers, default
	// SIGTERM; workers of this kind end the context of the task.
	Terminate bool
	Signal    string
}

// Revoke tells the live workers which tasks must not run. A worker that starts later does not
// hear of it: see [Operator.Revoke].
func (c *Client) Revoke(ctx context.Context, r Revocation, nodes ...string) ([]Answer, error) {
	arguments := map[string]any{"task_id": r.IDs, "terminate": r.Terminate, "signal": cmp.Or(r.Signal, "SIGTERM")}
	return c.command(ctx, "revoke", arguments, nodes)
}

// Shutdown asks workers to stop: they take nothing more, and end when their running tasks have.
// Workers do not answer this command. Without nodes it is an error, because it would stop all.
func (c *Client) Shutdown(ctx context.Context, nodes ...string) error {
	if len(nodes) == 0 {
		return errors.New("shutdown: want the names of the workers")
	}
	raw, err := c.request("shutdown", nil, nodes, protocol.ReplyTo{}, "", time.Time{})
	if err == nil {
		err = c.remote.Broadcast(ctx, raw)
	}
	if err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	return nil
}
