package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// A command carries out one request of remote control (celery.worker.control).
// Its result is the answer; an error is answered as {"error": its repr in Python}.
type command struct {
	run func(ctx context.Context, s *Service, args arguments) (any, error)
	// changes reports that the command changes what the worker does.
	changes bool
	silent  bool // never answered
}

// commands returns all commands by their names in Python.
func commands() map[string]command {
	inspect := func(f func(*Service, arguments) (any, error)) command {
		return command{run: func(_ context.Context, s *Service, args arguments) (any, error) { return f(s, args) }}
	}
	change := func(f func(context.Context, *Service, arguments) (any, error)) command {
		return command{run: f, changes: true}
	}
	table := map[string]command{
		"ping":          inspect(func(*Service, arguments) (any, error) { return ok("pong"), nil }),
		"clock":         inspect((*Service).inspectClock),
		"hello":         inspect((*Service).hello),
		"active":        inspect((*Service).inspectActive),
		"reserved":      inspect((*Service).inspectReserved),
		"scheduled":     inspect((*Service).inspectScheduled),
		"revoked":       inspect((*Service).inspectRevoked),
		"registered":    inspect((*Service).inspectRegistered),
		"query_task":    inspect((*Service).inspectQueryTask),
		"stats":         inspect((*Service).inspectStats),
		"conf":          inspect((*Service).inspectConf),
		"report":        inspect((*Service).inspectReport),
		"memsample":     inspect((*Service).inspectMemsample),
		"memdump":       inspect((*Service).inspectMemdump),
		"objgraph":      inspect((*Service).inspectObjgraph),
		"active_queues": inspect((*Service).inspectActiveQueues),

		"enable_events":  inspect((*Service).enableEvents),
		"disable_events": inspect((*Service).disableEvents),
		"heartbeat":      inspect((*Service).heartbeatNow),
		"election":       inspect(func(*Service, arguments) (any, error) { return nil, nil }),

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

// revokeCommand keeps tasks from running, and with terminate ends running ones. The signal
// has no meaning, because their contexts end.
func revokeCommand(ctx context.Context, s *Service, args arguments) (any, error) {
	ids, err := args.oneOrMany("revoke", "task_id")
	if err != nil {
		return nil, err
	}
	return s.revoke(ctx, ids, args.truth("terminate"))
}

func terminateCommand(ctx context.Context, s *Service, args arguments) (any, error) {
	ids, err := args.oneOrMany("terminate", "task_id")
	if err != nil {
		return nil, err
	}
	return s.revoke(ctx, ids, true)
}

func (s *Service) revoke(ctx context.Context, ids []string, terminate bool) (any, error) {
	sort.Strings(ids)
	ids = slices.Compact(ids)
	ended := s.Node.Revoke(ctx, broker.Revocation{IDs: ids}, terminate)
	if !terminate {
		return ok(fmt.Sprintf("tasks %s flagged as revoked", pythonSet(ids))), nil
	}
	if len(ended) == 0 {
		return ok("terminate: tasks unknown"), nil
	}
	sort.Strings(ended)
	return ok("terminate: " + strings.Join(ended, ", ")), nil
}

// pythonSet is how Python shows a set of texts.
func pythonSet(texts []string) string {
	if len(texts) == 0 {
		return "set()"
	}
	shown := make([]string, len(texts))
	for i, s := range texts {
		raw, err := protocol.Marshal(s)
		if err != nil {
			raw = []byte(`"?"`)
		}
		shown[i] = canvas.Repr(raw)
	}
	return "{" + strings.Join(shown, ", ") + "}"
}

// revokeByStampsCommand does the same by stamped headers: an object of names and
// values, or a list of name=value.
func revokeByStampsCommand(ctx context.Context, s *Service, args arguments) (any, error) {
	terminate := args.truth("terminate")
	r, headers, err := stampsOf(args)
	if err != nil {
		return nil, err
	}
	ended := s.Node.Revoke(ctx, r, terminate)
	text := "headers " + canvas.Repr(headers)
	switch {
	case !terminate:
		return ok(text + " flagged as revoked, but not terminated"), nil
	case len(ended) == 0:
		return ok(text + " were not terminated"), nil
	}
	return ok(text + " revoked"), nil
}

func stampsOf(args arguments) (r broker.Revocation, headers protocol.Raw, err error) {
	const name = "revoke_by_stamped_headers"
	if err := args.required(name, "headers", &headers); err != nil {
		return r, nil, err
	}
	r.Stamps = map[string][]protocol.Raw{}
	var pairs []string
	if protocol.Unmarshal(headers, &pairs) == nil {
		object := map[string]string{}
		for _, p := range pairs {
			key, value, ok := strings.Cut(p, "=")
			if !ok {
				return r, nil, &Error{"IndexError", "list index out of range"}
			}
			raw, err := protocol.Marshal(value)
			if err != nil {
				return r, nil, err
			}
			r.Stamps[key], object[key] = []protocol.Raw{raw}, value
		}
		headers, err = protocol.Marshal(object)
		return r, headers, err
	}
	fields, err := headers.Fields()
	if err != nil {
		return r, nil, typeError("%s() argument 'headers' is neither an object nor a list of name=value", name)
	}
	for _, f := range fields {
		values, err := f.Value.Elements()
		if err != nil {
			values = []protocol.Raw{f.Value}
		}
		r.Stamps[f.Name] = values
	}
	return r, headers, nil
}

func rateLimitCommand(_ context.Context, s *Service, args arguments) (any, error) {
	var task string
	if err := args.required("rate_limit", "task_name", &task); err != nil {
		return nil, err
	}
	raw, given := args["rate_limit"]
	if !given {
		return nil, typeError("rate_limit() missing 1 required positional argument: 'rate_limit'")
	}
	// A text, or a number, or null and 0 for none.
	var limit string
	if !raw.IsNull() && protocol.Unmarshal(raw, &limit) != nil {
		limit = strings.TrimSpace(string(raw))
	}
	off, err := s.Node.LimitRate(task, limit)
	switch {
	case errors.Is(err, ErrUnknownTask):
		return nok("unknown task"), nil
	case err != nil:
		return nok(fmt.Sprintf("Invalid rate limit string: ValueError(%s)", canvas.ReprText(err.Error()))), nil
	}
	s.Log.Info("rate limit changed by remote control", "task", task, "rate_limit", limit)
	if off {
		return ok("rate limit disabled successfully"), nil
	}
	return ok("new rate limit set successfully"), nil
}

func timeLimitCommand(_ context.Context, s *Service, args arguments) (any, error) {
	var task string
	var soft, hard *float64
	if err := args.optional("time_limit", "task_name", &task); err != nil {
		return nil, err
	}
	if err := args.optional("time_limit", "soft", &soft); err != nil {
		return nil, err
	}
	if err := args.optional("time_limit", "hard", &hard); err != nil {
		return nil, err
	}
	softLimit, hardLimit := duration(soft), duration(hard)
	if err := s.Node.LimitTime(task, softLimit, hardLimit); err != nil {
		return nok("unknown task"), nil
	}
	s.Log.Info("time limits changed by remote control", "task", task, "soft", softLimit.Seconds(), "hard", hardLimit.Seconds())
	return ok("time limits set successfully"), nil
}

// duration reads seconds; what is no time is none.
func duration(seconds *float64) time.Duration {
	const longest = 100 * 365 * 24 * 3600
	if seconds == nil || !(*seconds > 0) || *seconds > longest {
		return 0
	}
	return time.Duration(*seconds * float64(time.Second))
}

func poolGrowCommand(_ context.Context, s *Service, args arguments) (any, error) {
	return s.resize("pool_grow", args, 1)
}

func poolShrinkCommand(_ context.Context, s *Service, args arguments) (any, error) {
	return s.resize("pool_shrink", args, -1)
}

func (s *Service) resize(name string, args arguments, sign int) (any, error) {
	const most = 1 << 16
	n := 1
	if err := args.optional(name, "n", &n); err != nil {
		return nil, err
	}
	if n < 0 || n > most {
		return nil, &Error{"ValueError", fmt.Sprintf("%s: want a number of slots from 0 to %d", name, most)}
	}
	switch err := s.Node.Resize(sign * n); {
	case errors.Is(err, ErrAutoscaled):
		return nok(name + " is not supported with autoscale. Adjust autoscale range instead."), nil
	case err != nil:
		return nil, &Error{"ValueError", name + ": " + err.Error()}
	}
	return ok(strings.Replace(name, "_", " will ", 1)), nil
}

func poolRestartCommand(ctx context.Context, s *Service, _ arguments) (any, error) {
	if err := s.Node.RestartPool(ctx); err != nil {
		return nil, err
	}
	return ok("reload started"), nil
}

func autoscaleCommand(_ context.Context, s *Service, args arguments) (any, error) {
	var most, least *int
	if err := args.optional("autoscale", "max", &most); err != nil {
		return nil, err
	}
	if err := args.optional("autoscale", "min", &least); err != nil {
		return nil, err
	}
	high, low, err := s.Node.Autoscale(most, least)
	if err != nil {
		return nil, err
	}
	s.Log.Info("autoscale changed by remote control", "max", high, "min", low)
	return ok(fmt.Sprintf("autoscale now max=%d min=%d", high, low)), nil
}

func addConsumerCommand(ctx context.Context, s *Service, args arguments) (any, error) {
	var queue string
	if err := args.required("add_consumer", "queue", &queue); err != nil {
		return nil, err
	}
	// A queue of this worker is bound to the exchange of its own name, as every queue
	// that Celery makes by itself.
	for name, own := range map[string]string{"exchange": queue, "routing_key": queue, "exchange_type": "direct"} {
		var given string
		if err := args.optional("add_consumer", name, &given); err != nil {
			return nil, err
		}
		if given != "" && given != own {
			return nok(fmt.Sprintf("add_consumer: this worker consumes %s with its own exchange only, and not with %s %q", queue, name, given)), nil
		}
	}
	if err := s.Node.AddQueue(ctx, queue); err != nil {
		return nil, err
	}
	s.Log.Info("queue added by remote control", "queue", queue)
	return ok("add consumer " + queue), nil
}

func cancelConsumerCommand(ctx context.Context, s *Service, args arguments) (any, error) {
	var queue string
	if err := args.required("cancel_consumer", "queue", &queue); err != nil {
		return nil, err
	}
	if err := s.Node.CancelQueue(ctx, queue); err != nil {
		return nil, err
	}
	s.Log.Info("queue cancelled by remote control", "queue", queue)
	return ok("no longer consuming from " + queue), nil
}

// shutdownCommand stops the worker as SIGTERM does.
func shutdownCommand(_ context.Context, s *Service, _ arguments) (any, error) {
	s.Log.Warn("shutdown requested by remote control")
	s.Node.Shutdown()
	return nil, nil
}
