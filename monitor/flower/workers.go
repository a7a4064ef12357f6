package flower

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sort"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/exporter"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/worker/protocol"
)

// listWorkers answers GET /api/workers.
func (a *API) listWorkers(r *http.Request) (any, error) {
	refresh, err := truth(r, "refresh")
	if err != nil {
		return nil, err
	}
	status, err := truth(r, "status")
	if err != nil {
		return nil, err
	}
	node := argument(r, "workername")
	if refresh {
		if err := a.inspector.refresh(r.Context(), node); err != nil {
			return nil, refuse(http.StatusServiceUnavailable, "Failed to update workers: the broker does not answer")
		}
	}
	if status {
		all := map[string]bool{}
		for _, w := range a.cfg.Fleet.Workers() {
			all[w.Node] = w.Online
		}
		return all, nil
	}
	if node == "" {
		return a.inspector.all(), nil
	}
	known := a.inspector.known(node)
	if known == nil {
		return nil, unknownWorker(node)
	}
	return map[string]any{node: known}, nil
}

func unknownWorker(node string) error {
	return refuse(http.StatusNotFound, "Unknown worker '%s'", node)
}

// ServeWorkers answers GET /workers?json=1. The page of the workers is at that path, too, so
// that its package calls this.
func (a *API) ServeWorkers(w http.ResponseWriter, _ *http.Request) {
	rows := []map[string]any{}
	for _, one := range a.cfg.Fleet.Workers() {
		rows = append(rows, workerRow(&one))
	}
	answer(w, map[string]any{"data": rows}, nil)
}

// workerRow has the counts of the events of a worker by their types, and its fields.
func workerRow(w *fleet.Worker) map[string]any {
	row := map[string]any{}
	for kind, n := range w.Events {
		row[kind] = n
	}
	heartbeats := w.Heartbeats
	if heartbeats == nil {
		heartbeats = []fleet.Seconds{}
	}
	row["hostname"], row["freq"], row["heartbeats"], row["clock"], row["status"] = w.Node, w.Freq, heartbeats, w.Clock, w.Online
	row["pid"] = told(w.Told.PID, w.PID)
	row["active"] = told(w.Told.Active, w.Active)
	row["processed"] = told(w.Told.Processed, w.Processed)
	row["loadavg"] = told(w.Told.Load, w.Load)
	row["sw_ident"] = told(w.Told.Ident, w.Ident)
	row["sw_ver"] = told(w.Told.Version, w.Version)
	row["sw_sys"] = told(w.Told.System, w.System)
	return row
}

// told returns a value, or nil when it is not known.
func told[T any](known bool, v T) any {
	if !known {
		return nil
	}
	return v
}

// queueLengths answers GET /api/queues/length.
func (a *API) queueLengths(r *http.Request) (any, error) {
	queues := a.queues()
	depths := map[string]int{}
	if a.cfg.Depths != nil {
		var err error
		if depths, err = a.cfg.Depths(r.Context(), queues); err != nil {
			return nil, err
		}
	}
	type length struct {
		Name     string `json:"name"`
		Messages int    `json:"messages"`
	}
	all := []length{}
	for _, q := range queues {
		all = append(all, length{q, depths[q]})
	}
	return map[string]any{"active_queues": all}, nil
}

// queues returns the queues that workers consume, in their order.
func (a *API) queues() []string {
	var queues []string
	for _, c := range a.Consumers() {
		queues = append(queues, c.Queues...)
	}
	sort.Strings(queues)
	if queues = slices.Compact(queues); len(queues) == 0 {
		queues = []string{a.cfg.Queue}
	}
	return queues
}

// Consumers returns the workers that have answered, with the queues that they consume and the
// number of their processes or slots. Silent workers stay for a day. It does no I/O.
func (a *API) Consumers() []exporter.Consumer {
	byNode := map[string]*exporter.Consumer{}
	a.inspector.each("active_queues", func(node string, value protocol.Raw) {
		c := &exporter.Consumer{Node: node}
		var queues []struct{ Name string }
		if protocol.Unmarshal(value, &queues) == nil {
			for _, q := range queues {
				c.Queues = append(c.Queues, q.Name)
			}
		}
		byNode[node] = c
	})
	a.inspector.each("stats", func(node string, value protocol.Raw) {
		var stats struct {
			Software string // of workers of this kind alone
			Pool     struct {
				Processes []protocol.Raw
				Slots     int `json:"max-concurrency"`
			}
		}
		if c := byNode[node]; c != nil && protocol.Unmarshal(value, &stats) == nil {
			if c.Processes = len(stats.Pool.Processes); stats.Software != "" {
				c.Processes = stats.Pool.Slots // one process runs as many tasks at once
			}
		}
	})
	all := make([]exporter.Consumer, 0, len(byNode))
	for _, c := range byNode {
		c.Silent = a.inspector.silent(c.Node)
		all = append(all, *c)
	}
	sorting.By(all, func(a, b exporter.Consumer) int { return cmp.Compare(a.Node, b.Node) })
	return all
}

// worker returns the node of the path if it is known.
func (a *API) worker(r *http.Request, node string) (string, error) {
	if a.inspector.known(node) == nil {
		if err := a.inspector.refresh(r.Context(), node); err != nil {
			return "", err
		}
		if a.inspector.known(node) == nil {
			return "", unknownWorker(node)
		}
	}
	return node, nil
}

// order sends a command to a worker and returns the text of its consent. failed is the text of
// a refusal, with %s for the reason.
func (a *API) order(ctx context.Context, node, command string, arguments map[string]any, failed string) (string, error) {
	replies, err := a.inspector.ask(ctx, command, arguments, []string{node})
	if err != nil {
		return "", err
	}
	reason := "Unknown reason"
	for _, r := range replies {
		if r.node != node {
			continue
		}
		var said struct {
			OK    protocol.Raw `json:"ok"`
			Error string       `json:"error"`
		}
		if protocol.Unmarshal(r.value, &said) != nil {
			continue
		}
		if said.OK != nil {
			text, _ := said.OK.Text()
			return string(text), nil
		}
		reason = cmp.Or(said.Error, reason)
	}
	return "", refuse(http.StatusForbidden, failed, reason)
}
