package flower

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/evently/workers/worker/protocol"
)

type message struct {
	Message string `json:"message"`
}

func say(format string, args ...any) (any, error) { return message{fmt.Sprintf(format, args...)}, nil }

func (a *API) shutdown(ctx context.Context, r *http.Request) (any, error) {
	node, err := a.worker(r, r.PathValue("node"))
	if err != nil {
		return nil, err
	}
	// Workers do not answer this command, so there is no wait.
	if err := a.inspector.tell(ctx, "shutdown", nil, node); err != nil {
		return nil, err
	}
	return say("Shutting down!")
}

func (a *API) restartPool(ctx context.Context, r *http.Request) (any, error) {
	node, err := a.worker(r, r.PathValue("node"))
	if err != nil {
		return nil, err
	}
	if _, err := a.order(ctx, node, "pool_restart", map[string]any{"reload": false}, fmt.Sprintf("Failed to restart the '%s' pool: %%s", escape(node))); err != nil {
		return nil, err
	}
	return say("Restarting '%s' worker's pool", node)
}

func (a *API) grow(ctx context.Context, r *http.Request) (any, error) {
	return a.resize(ctx, r, "pool_grow", "grow", "Growing")
}

func (a *API) shrink(ctx context.Context, r *http.Request) (any, error) {
	return a.resize(ctx, r, "pool_shrink", "shrink", "Shrinking")
}

func (a *API) resize(ctx context.Context, r *http.Request, command, verb, doing string) (any, error) {
	node, err := a.worker(r, r.PathValue("node"))
	if err != nil {
		return nil, err
	}
	n, err := integer(r, "n", 1)
	if err != nil {
		return nil, err
	}
	if _, err := a.order(ctx, node, command, map[string]any{"n": n}, fmt.Sprintf("Failed to %s '%s' worker's pool: %%s", verb, escape(node))); err != nil {
		return nil, err
	}
	return say("%s '%s' worker's pool by %d", doing, node, n)
}

func (a *API) autoscale(ctx context.Context, r *http.Request) (any, error) {
	node, err := a.worker(r, r.PathValue("node"))
	if err != nil {
		return nil, err
	}
	var bounds [2]int
	for i, name := range []string{"min", "max"} {
		if _, err := required(r, name); err != nil {
			return nil, err
		}
		if bounds[i], err = integer(r, name, 0); err != nil {
			return nil, err
		}
	}
	arguments := map[string]any{"min": bounds[0], "max": bounds[1]}
	if _, err := a.order(ctx, node, "autoscale", arguments, fmt.Sprintf("Failed to autoscale '%s' worker: %%s", escape(node))); err != nil {
		return nil, err
	}
	return say("Autoscaling '%s' worker (min=%d, max=%d)", node, bounds[0], bounds[1])
}

func (a *API) addConsumer(ctx context.Context, r *http.Request) (any, error) {
	return a.consumer(ctx, r, "add_consumer", "Failed to add '%s' consumer to '%s' worker: %%s")
}

func (a *API) cancelConsumer(ctx context.Context, r *http.Request) (any, error) {
	return a.consumer(ctx, r, "cancel_consumer", "Failed to cancel '%s' consumer from '%s' worker: %%s")
}

func (a *API) consumer(ctx context.Context, r *http.Request, command, failed string) (any, error) {
	node, err := a.worker(r, r.PathValue("node"))
	if err != nil {
		return nil, err
	}
	queue, err := required(r, "queue")
	if err != nil {
		return nil, err
	}
	ok, err := a.order(ctx, node, command, map[string]any{"queue": queue}, fmt.Sprintf(failed, escape(queue), escape(node)))
	if err != nil {
		return nil, err
	}
	return message{ok}, nil
}

// timeLimit and rateLimit set the limits of a task at one worker.
func (a *API) timeLimit(ctx context.Context, r *http.Request) (any, error) {
	hard, err := decimal(r, "hard")
	if err != nil {
		return nil, err
	}
	soft, err := decimal(r, "soft")
	if err != nil {
		return nil, err
	}
	name, node, err := a.taskAt(r)
	if err != nil {
		return nil, err
	}
	arguments := map[string]any{"task_name": name, "hard": hard, "soft": soft}
	ok, err := a.order(ctx, node, "time_limit", arguments, "Failed to set timeouts: '%s'")
	if err != nil {
		return nil, err
	}
	return message{ok}, nil
}

func (a *API) rateLimit(ctx context.Context, r *http.Request) (any, error) {
	if _, err := required(r, "workername"); err != nil {
		return nil, err
	}
	limit, err := required(r, "ratelimit")
	if err != nil {
		return nil, err
	}
	name, node, err := a.taskAt(r)
	if err != nil {
		return nil, err
	}
	ok, err := a.order(ctx, node, "rate_limit", map[string]any{"task_name": name, "rate_limit": limit}, "Failed to set rate limit: '%s'")
	if err != nil {
		return nil, err
	}
	return message{ok}, nil
}

// taskAt returns the task of the path and the worker of the form.
func (a *API) taskAt(r *http.Request) (name, node string, err error) {
	if node, err = required(r, "workername"); err != nil {
		return "", "", err
	}
	if name = r.PathValue("name"); !a.registered(name) {
		return "", "", refuse(http.StatusNotFound, "Unknown task '%s'", name)
	}
	node, err = a.worker(r, node)
	return name, node, err
}

// registered reports whether a worker knows a task. Flower asks the application that it was
// started with.
func (a *API) registered(name string) (known bool) {
	a.inspector.each("registered", func(_ string, value protocol.Raw) {
		var names []string
		known = known || protocol.Unmarshal(value, &names) == nil && slices.Contains(names, name)
	})
	return known
}

func (a *API) revoke(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	terminate, err := truth(r, "terminate")
	if err != nil {
		return nil, err
	}
	if err := a.end(ctx, id, terminate); err != nil {
		return nil, err
	}
	return say("Revoked '%s'", id)
}

func (a *API) abort(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	if err := a.end(ctx, id, true); err != nil {
		return nil, err
	}
	return say("Aborted '%s'", id)
}

// end keeps a task from running, and ends it if it runs and terminate is set. Workers that
// start later know of it, too.
func (a *API) end(ctx context.Context, id string, terminate bool) error {
	switch {
	case a.cfg.Client == nil:
		return refuse(http.StatusServiceUnavailable, "This monitor has no broker")
	case terminate:
		return a.cfg.Client.Terminate(ctx, id)
	}
	return a.cfg.Client.Revoke(ctx, id)
}

// escape makes a name a part of a format.
func escape(name string) string { return strings.ReplaceAll(name, "%", "%%") }
