package worker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// A command carries out one request of remote control (celery.worker.control).
// What it returns is the answer; an error is answered as {"error": its repr in
// Python}.
type command struct {
	run func(ctx context.Context, w *Worker, args arguments) (any, error)
	// changes tells commands that change what the worker does from those that
	// look only.
	changes bool
	silent  bool // is not answered, whoever asks
}

// commands are all commands by their names in Python.
func commands() map[string]command {
	inspect := func(f func(*Worker, arguments) (any, error)) command {
		return command{run: func(_ context.Context, w *Worker, args arguments) (any, error) { return f(w, args) }}
	}
	change := func(f func(context.Context, *Worker, arguments) (any, error)) command {
		return command{run: f, changes: true}
	}
	table := map[string]command{
		"ping":          inspect(func(*Worker, arguments) (any, error) { return ok("pong"), nil }),
		"clock":         inspect((*Worker).inspectClock),
		"hello":         inspect((*Worker).hello),
		"active":        inspect((*Worker).inspectActive),
		"reserved":      inspect((*Worker).inspectReserved),
		"scheduled":     inspect((*Worker).inspectScheduled),
		"revoked":       inspect((*Worker).inspectRevoked),
		"registered":    inspect((*Worker).inspectRegistered),
		"query_task":    inspect((*Worker).inspectQueryTask),
		"stats":         inspect((*Worker).inspectStats),
		"conf":          inspect((*Worker).inspectConf),
		"report":        inspect((*Worker).inspectReport),
		"memsample":     inspect((*Worker).inspectMemsample),
		"memdump":       inspect((*Worker).inspectMemdump),
		"objgraph":      inspect((*Worker).inspectObjgraph),
		"active_queues": inspect((*Worker).inspectActiveQueues),

		"enable_events":  inspect((*Worker).enableEvents),
		"disable_events": inspect((*Worker).disableEvents),
		"heartbeat":      inspect((*Worker).heartbeatNow),
		"election":       inspect(func(*Worker, arguments) (any, error) { return nil, nil }),

		"revoke":                    change(revokeCommand),
		"terminate":                 change(terminateCommand),
		"revoke_by_stamped_headers": change(revokeByStampsCommand),
		"rate_limit":                change(rateLimitCommand),
		"time_limit":                change(timeLimitCommand),
		"pool_grow":                 change(poolGrowCommand),
		"pool_shrink":               change(poolShrinkCommand),
		"pool_restart":              change(poolRestartCommand),
		"autoscale":                 change(autoscaleCommand),
		"add_consumer":              change(addConsumerCommand),
		"cancel_consumer":           change(cancelConsumerCommand),
		"shutdown":                  {run: shutdownCommand, changes: true, silent: true},
	}
	for alias, name := range map[string]string{
		"dump_active": "active", "dump_reserved": "reserved", "dump_schedule": "scheduled", "dump_revoked": "revoked",
		"dump_tasks": "registered", "dump_conf": "conf",
	} {
		table[alias] = table[name]
	}
	return table
}

// answer is what commands say of themselves.
type answer struct {
	OK    any `json:"ok,omitempty"`
	Error any `json:"error,omitempty"`
}

func ok(text string) answer  { return answer{OK: text} }
func nok(text string) answer { return answer{Error: text} }

// control carries out one request and answers it.
func (w *Worker) control(ctx context.Context, raw []byte) {
	q, err := w.remoteDecoder().DecodeControl(raw)
	if err != nil {
		w.log.Debug("remote control request cannot be read", "error", err)
		return
	}
	w.remote.clock.Adjust(q.Clock)
	if !w.meant(q) {
		return
	}
	c, known := w.commands[q.Method]
	value, err := w.carryOut(ctx, c, known, q)
	if err != nil {
		value = answer{Error: canvas.ReprException(wire(err))}
	}
	if !q.Wanted() || c.silent {
		return
	}
	if err := w.answer(ctx, q, value); err != nil {
		w.log.Debug("remote control request cannot be answered", "command", commandName(q, known), "error", err)
	}
}

// commandName is the name of a command for the log: that of a stranger's is his
// own text.
func commandName(q *protocol.ControlRequest, known bool) string {
	if known {
		return q.Method
	}
	return "unknown"
}

// carryOut runs a command; a fault of ours in it is told and does not end more
// than that.
func (w *Worker) carryOut(ctx context.Context, c command, known bool, q *protocol.ControlRequest) (value any, err error) {
	defer func() {
		if v := recover(); v != nil {
			w.log.Error("remote control command panics", "command", commandName(q, known), "stack", string(debug.Stack()))
			err = &Exception{Type: "RuntimeError", Args: []any{"the command failed"}}
		}
	}()
	switch {
	case !known:
		return nil, &Exception{Type: "KeyError", Args: []any{q.Method}}
	case c.changes && w.cfg.Control == ControlHarmless:
		return nok("this worker answers inspect commands only: remote control is limited by its configuration"), nil
	case c.changes:
		w.log.Info("remote control command", "command", q.Method)
	}
	args, err := parseArguments(q.Arguments)
	if err != nil {
		return nil, err
	}
	return c.run(ctx, w, args)
}

// answer sends the answer of this node.
func (w *Worker) answer(ctx context.Context, q *protocol.ControlRequest, value any) error {
	raw, err := protocol.Marshal(value)
	if err != nil {
		return err
	}
	reply := protocol.ControlReply{Node: w.cfg.Name, Value: raw, Clock: w.remote.clock.Forward()}
	message, err := protocol.EncodeReply(q, reply, uuid.NewString())
	if err != nil {
		return err
	}
	return w.can.Remote.Reply(ctx, q.ReplyTo, message)
}

// meant reports whether a request is for this node.
func (w *Worker) meant(q *protocol.ControlRequest) bool {
	switch {
	case len(q.Destination) > 0:
		return slices.Contains(q.Destination, w.cfg.Name)
	case q.Pattern == "" || q.Matcher == "":
		return true
	}
	re, err := nodePattern(q.Matcher, q.Pattern)
	if err != nil {
		w.log.Debug("pattern of a remote control request is not understood", "error", err)
		return false
	}
	return re.MatchString(w.cfg.Name)
}

func nodePattern(matcher, pattern string) (*regexp.Regexp, error) {
	switch matcher {
	case "glob":
		return glob(pattern)
	case "pcre":
		// At the beginning, as re.match does. Go knows less than PCRE, and takes
		// no time without end for it.
		return regexp.Compile(`\A(?:` + pattern + `)`)
	}
	return nil, errors.New("matcher is neither glob nor pcre")
}

// arguments are those of a command, by name.
type arguments map[string]protocol.Raw

func parseArguments(raw protocol.Raw) (arguments, error) {
	fields, err := raw.Fields()
	if err != nil {
		return nil, TypeError("arguments are not an object")
	}
	args := make(arguments, len(fields))
	for _, f := range fields {
		args[f.Name] = f.Value
	}
	return args, nil
}

// required reads an argument that must be there.
func (a arguments) required(command, name string, v any) error {
	if _, given := a[name]; !given {
		return TypeError("%s() missing 1 required positional argument: '%s'", command, name)
	}
	return a.optional(command, name, v)
}

// optional reads an argument; null and absence leave v alone.
func (a arguments) optional(command, name string, v any) error {
	raw := a[name]
	if raw.IsNull() {
		return nil
	}
	if err := protocol.Unmarshal(raw, v); err != nil {
		return &Exception{Type: "TypeError", Err: err,
			Args: []any{fmt.Sprintf("%s() argument '%s' is not of the type that the command takes", command, name)}}
	}
	return nil
}

// truth reads an argument as Python's "if" does: Flower sends 1 for true.
func (a arguments) truth(name string) bool {
	switch strings.TrimSpace(string(a[name])) {
	case "", "null", "false", "0", "0.0", "-0.0", `""`, "[]", "{}":
		return false
	}
	return true
}

// oneOrMany reads an argument that is a text or a list of texts.
func (a arguments) oneOrMany(command, name string) (texts []string, err error) {
	var one string
	if raw := a[name]; !raw.IsNull() && protocol.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	err = a.required(command, name, &texts)
	return texts, err
}
