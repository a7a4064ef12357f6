package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// revokeCommand keeps tasks from running, and with terminate ends those that run
// here. The signal has no meaning: it is their context that ends.
func revokeCommand(ctx context.Context, w *Worker, args arguments) (any, error) {
	ids, err := args.oneOrMany("revoke", "task_id")
	if err != nil {
		return nil, err
	}
	return w.revokeTasks(ctx, ids, args.truth("terminate"))
}

func terminateCommand(ctx context.Context, w *Worker, args arguments) (any, error) {
	ids, err := args.oneOrMany("terminate", "task_id")
	if err != nil {
		return nil, err
	}
	return w.revokeTasks(ctx, ids, true)
}

func (w *Worker) revokeTasks(ctx context.Context, ids []string, terminate bool) (any, error) {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	ended := w.revokeHere(ctx, Revocation{IDs: ids}, terminate)
	if !terminate {
		return ok(fmt.Sprintf("tasks %s flagged as revoked", pythonSet(ids))), nil
	}
	if len(ended) == 0 {
		return ok("terminate: tasks unknown"), nil
	}
	slices.Sort(ended)
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
func revokeByStampsCommand(ctx context.Context, w *Worker, args arguments) (any, error) {
	terminate := args.truth("terminate")
	r, headers, err := stampsOf(args)
	if err != nil {
		return nil, err
	}
	ended := w.revokeHere(ctx, r, terminate)
	text := "headers " + canvas.Repr(headers)
	switch {
	case !terminate:
		return ok(text + " flagged as revoked, but not terminated"), nil
	case len(ended) == 0:
		return ok(text + " were not terminated"), nil
	}
	return ok(text + " revoked"), nil
}

func stampsOf(args arguments) (r Revocation, headers protocol.Raw, err error) {
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
				return r, nil, &Exception{Type: "IndexError", Args: []any{"list index out of range"}}
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
		return r, nil, TypeError("%s() argument 'headers' is neither an object nor a list of name=value", name)
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

func rateLimitCommand(_ context.Context, w *Worker, args arguments) (any, error) {
	var task string
	if err := args.required("rate_limit", "task_name", &task); err != nil {
		return nil, err
	}
	raw, given := args["rate_limit"]
	if !given {
		return nil, TypeError("rate_limit() missing 1 required positional argument: 'rate_limit'")
	}
	// A text, or a number, or null and 0 for none.
	var limit string
	if !raw.IsNull() && protocol.Unmarshal(raw, &limit) != nil {
		limit = strings.TrimSpace(string(raw))
	}
	every, err := ParseRate(limit)
	if err != nil {
		return nok(fmt.Sprintf("Invalid rate limit string: ValueError(%s)", pythonText(err.Error()))), nil
	}
	if _, known := w.tasks[task]; !known {
		return nok("unknown task"), nil
	}
	w.limits.set(task, limit, every)
	w.log.Info("rate limit changed by remote control", "task", task, "rate_limit", limit)
	if every == 0 {
		return ok("rate limit disabled successfully"), nil
	}
	if w.cfg.DisableRateLimits {
		w.limits.set(task, "", 0)
	}
	return ok("new rate limit set successfully"), nil
}

func pythonText(s string) string {
	raw, err := protocol.Marshal(s)
	if err != nil {
		return "''"
	}
	return canvas.Repr(raw)
}

func timeLimitCommand(_ context.Context, w *Worker, args arguments) (any, error) {
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
	if _, known := w.tasks[task]; !known {
		return nok("unknown task"), nil
	}
	limits := timeLimits{soft: duration(soft), hard: duration(hard)}
	w.overrides.set(task, limits)
	w.log.Info("time limits changed by remote control", "task", task, "soft", limits.soft, "hard", limits.hard)
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

func poolGrowCommand(_ context.Context, w *Worker, args arguments) (any, error) {
	return w.resizeBy("pool_grow", args, 1)
}

func poolShrinkCommand(_ context.Context, w *Worker, args arguments) (any, error) {
	return w.resizeBy("pool_shrink", args, -1)
}

func (w *Worker) resizeBy(name string, args arguments, sign int) (any, error) {
	n := 1
	if err := args.optional(name, "n", &n); err != nil {
		return nil, err
	}
	if w.scaler != nil {
		return nok(name + " is not supported with autoscale. Adjust autoscale range instead."), nil
	}
	const most = 1 << 16
	size := w.pool.size()
	target := size + sign*n
	if n < 0 || n > most || target > most {
		return nil, &Exception{Type: "ValueError", Args: []any{fmt.Sprintf("%s: want a number of slots from 0 to %d", name, most)}}
	}
	if target < 1 {
		return nil, &Exception{Type: "ValueError", Args: []any{fmt.Sprintf("%s: the pool has %d slots, and one must stay", name, size)}}
	}
	w.pool.resize(target)
	w.log.Info("pool resized by remote control", "slots", target)
	return ok(strings.Replace(name, "_", " will ", 1)), nil
}

func poolRestartCommand(ctx context.Context, w *Worker, _ arguments) (any, error) {
	if w.cfg.PoolRestart == nil {
		return nil, &Exception{Type: "ValueError", Args: []any{"Pool restarts not enabled"}}
	}
	if err := w.cfg.PoolRestart(ctx); err != nil {
		return nil, err
	}
	return ok("reload started"), nil
}

func autoscaleCommand(_ context.Context, w *Worker, args arguments) (any, error) {
	var most, least *int
	if err := args.optional("autoscale", "max", &most); err != nil {
		return nil, err
	}
	if err := args.optional("autoscale", "min", &least); err != nil {
		return nil, err
	}
	if w.scaler == nil {
		return nil, &Exception{Type: "ValueError", Args: []any{"Autoscale not enabled"}}
	}
	high, low, err := w.scaler.set(most, least)
	if err != nil {
		return nil, &Exception{Type: "ValueError", Args: []any{err.Error()}}
	}
	w.log.Info("autoscale changed by remote control", "max", high, "min", low)
	return ok(fmt.Sprintf("autoscale now max=%d min=%d", high, low)), nil
}

func addConsumerCommand(ctx context.Context, w *Worker, args arguments) (any, error) {
	var queue string
	if err := args.required("add_consumer", "queue", &queue); err != nil {
		return nil, err
	}
	if err := checkQueue(queue); err != nil {
		return nil, &Exception{Type: "ValueError", Args: []any{err.Error()}}
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
	if _, err := w.can.QueueSet.AddQueue(ctx, queue); err != nil {
		return nil, err
	}
	w.queues.add(queue)
	w.log.Info("queue added by remote control", "queue", queue)
	return ok("add consumer " + queue), nil
}

func cancelConsumerCommand(ctx context.Context, w *Worker, args arguments) (any, error) {
	var queue string
	if err := args.required("cancel_consumer", "queue", &queue); err != nil {
		return nil, err
	}
	if _, err := w.can.QueueSet.CancelQueue(ctx, queue); err != nil {
		return nil, err
	}
	w.queues.remove(queue)
	w.log.Info("queue cancelled by remote control", "queue", queue)
	return ok("no longer consuming from " + queue), nil
}

// shutdownCommand stops the worker as SIGTERM does.
func shutdownCommand(_ context.Context, w *Worker, _ arguments) (any, error) {
	w.log.Warn("worker is shut down by remote control")
	w.recycle()
	return nil, nil
}
