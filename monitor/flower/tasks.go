package flower

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/fleet"
)

// taskInfo answers GET /api/task/info/<id>.
func (a *API) taskInfo(r *http.Request) (any, error) {
	id := r.PathValue("id")
	f, ok := a.cfg.Fleet.Task(id)
	if !ok {
		return nil, refuse(http.StatusNotFound, "Unknown task '%s'", id)
	}
	return dict(&f.Task, a.cfg.Fleet.ChildrenOf(id)), nil
}

// taskTypes answers GET /api/task/types.
func (a *API) taskTypes(*http.Request) (any, error) {
	names := []string{}
	for _, t := range a.cfg.Fleet.Types() {
		names = append(names, t.Name)
	}
	return map[string]any{"task-types": names}, nil
}

// dict has the fields of Task.as_dict of Celery's events.
func dict(t *fleet.Task, children []string) map[string]any {
	text := func(has fleet.Fields, s string) any { return told(t.Has.Has(has), s) }
	stamp := func(s fleet.Seconds) any { return told(s != 0, s) }
	return map[string]any{
		"uuid": t.ID, "name": text(fleet.HasName, t.Name), "state": t.State,
		"received": stamp(t.Received), "sent": stamp(t.Sent), "started": stamp(t.Started), "rejected": stamp(t.Rejected),
		"succeeded": stamp(t.Succeeded), "failed": stamp(t.Failed), "retried": stamp(t.Retried), "revoked": stamp(t.Revoked),
		"args": text(fleet.HasArgs, t.Args), "kwargs": text(fleet.HasKwargs, t.Kwargs),
		"eta": text(fleet.HasETA, t.ETA), "expires": text(fleet.HasExpires, t.Expires),
		"retries": told(t.Has.Has(fleet.HasRetries), t.Retries), "worker": text(fleet.HasWorker, t.Worker),
		"result": text(fleet.HasResult, t.Result), "exception": text(fleet.HasException, t.Exception), "timestamp": stamp(t.At),
		"runtime": told(t.Has.Has(fleet.HasRuntime), t.Runtime), "traceback": text(fleet.HasTraceback, t.Traceback),
		"exchange": text(fleet.HasExchange, t.Exchange), "routing_key": text(fleet.HasRoutingKey, t.RoutingKey), "clock": t.Clock,
		"client": text(fleet.HasClient, t.Client), "root": text(fleet.HasRoot, t.Root), "root_id": text(fleet.HasRoot, t.Root),
		"parent": text(fleet.HasParent, t.Parent), "parent_id": text(fleet.HasParent, t.Parent), "children": children,
	}
}

// inOrder is an object whose members have an order.
type inOrder struct {
	names  []string
	values []any
}

// MarshalJSON implements [json.Marshaler].
func (o *inOrder) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o.values[i])
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// query is what GET /api/tasks asks for.
type query struct {
	limit, offset       int // limit -1: no limit
	worker, name, state string
	start, end          fleet.Seconds
	sort                string
	descending          bool
	search              expression
}

// timeLayout is that of received_start and received_end, in the zone of the monitor.
const timeLayout = "2006-01-02 15:04"

func readQuery(r *http.Request) (q query, err error) {
	if q.limit, err = integer(r, "limit", -1); err != nil {
		return q, err
	}
	if given(r, "limit") {
		q.limit = max(q.limit, 0)
	}
	if q.offset, err = integer(r, "offset", 0); err != nil {
		return q, err
	}
	q.offset = max(q.offset, 0)
	for _, f := range []struct {
		name string
		dst  *string
	}{{"workername", &q.worker}, {"taskname", &q.name}, {"state", &q.state}} {
		if *f.dst = argument(r, f.name); *f.dst == "All" {
			*f.dst = ""
		}
	}
	q.sort = strings.TrimLeft(argument(r, "sort_by"), "-")
	q.descending = strings.HasPrefix(argument(r, "sort_by"), "-")
	if q.sort != "" && !slices.Contains([]string{"name", "state", "received", "started"}, q.sort) {
		return q, refuse(http.StatusBadRequest, "Invalid sort_by '%s', expected one of name, received, started, state", argument(r, "sort_by"))
	}
	for name, dst := range map[string]*fleet.Seconds{"received_start": &q.start, "received_end": &q.end} {
		v := argument(r, name)
		if v == "" {
			continue
		}
		at, err := time.ParseInLocation(timeLayout, v, time.Local)
		if err != nil {
			return q, refuse(http.StatusBadRequest, "Invalid received_start or received_end, expected format 'YYYY-MM-DD HH:MM'")
		}
		*dst = fleet.Seconds(at.Unix())
	}
	q.search, err = parse(argument(r, "search"))
	return q, err
}

// matches reports whether a task is asked for. A task without a time of its receipt is within
// any time.
func (q *query) matches(t *fleet.Task) bool {
	switch {
	case q.name != "" && fold(t.Name) != fold(q.name), q.worker != "" && fold(t.Worker) != fold(q.worker), q.state != "" && fold(t.State) != fold(q.state):
		return false
	case t.Received != 0 && (q.start != 0 && t.Received < q.start || q.end != 0 && t.Received > q.end):
		return false
	}
	return q.search == nil || q.search.matches(t)
}

// compare orders tasks as Flower does: without a sort the latest first, and tasks without a
// value before the others.
func (q *query) compare(a, b *fleet.Task) int {
	var c int
	text := func(x, y string, hasX, hasY bool) int {
		return cmp.Or(cmp.Compare(order(hasX), order(hasY)), cmp.Compare(fold(x), fold(y)))
	}
	switch q.sort {
	case "name":
		c = text(a.Name, b.Name, a.Has.Has(fleet.HasName), b.Has.Has(fleet.HasName))
	case "state":
		c = text(a.State, b.State, true, true)
	case "received":
		c = cmp.Compare(a.Received, b.Received)
	case "started":
		c = cmp.Compare(a.Started, b.Started)
	default:
		return -cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.ID, b.ID))
	}
	if c = cmp.Or(c, cmp.Compare(a.ID, b.ID)); q.descending {
		return -c
	}
	return c
}

func order(there bool) int {
	if there {
		return 1
	}
	return 0
}

// mostListed bounds the tasks of one answer without a limit.
const mostListed = 10_000

// listTasks answers GET /api/tasks.
func (a *API) listTasks(r *http.Request) (any, error) {
	q, err := readQuery(r)
	if err != nil {
		return nil, err
	}
	tasks := a.find.tasks(&q)
	o := &inOrder{}
	for i := range tasks {
		d := dict(&tasks[i], a.cfg.Fleet.ChildrenOf(tasks[i].ID))
		if d["worker"] == nil {
			delete(d, "worker")
		}
		o.names, o.values = append(o.names, tasks[i].ID), append(o.values, d)
	}
	return o, nil
}

// finder looks for tasks.
type finder struct{ fleet *fleet.State }

// tasks returns the tasks that q asks for, in its order. It keeps twice as many as are asked
// for, at most.
func (f finder) tasks(q *query) []fleet.Task {
	most := mostListed
	if q.limit >= 0 {
		most = min(q.limit, mostListed)
	}
	end := min(q.offset, fleet.DefaultTasks) + most
	var found []fleet.Task
	cut := func() {
		sorting.By(found, func(a, b fleet.Task) int { return q.compare(&a, &b) })
		found = found[:min(len(found), end)]
	}
	f.fleet.Each(func(t *fleet.Task) bool {
		if q.matches(t) {
			if found = append(found, *t); len(found) >= 2*end+1000 {
				cut()
			}
		}
		return true
	})
	cut()
	return found[min(q.offset, len(found)):]
}
