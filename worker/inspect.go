package worker

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// requestInfo is how a request is shown (celery.worker.request.Request.info).
type requestInfo struct {
	ID           string       `json:"id"`
	Name         string       `json:"name"`
	Args         any          `json:"args"`
	Kwargs       any          `json:"kwargs"`
	Type         string       `json:"type"`
	Hostname     string       `json:"hostname"`
	TimeStart    *float64     `json:"time_start"`
	Acknowledged bool         `json:"acknowledged"`
	DeliveryInfo deliveryInfo `json:"delivery_info"`
	WorkerPID    *int         `json:"worker_pid"`
}

type deliveryInfo struct {
	Exchange    string `json:"exchange"`
	RoutingKey  string `json:"routing_key"`
	Priority    int    `json:"priority"`
	Redelivered bool   `json:"redelivered"`
}

// info describes a message; safe shows representations in the place of values.
func (w *Worker) info(m *protocol.Message, started time.Time, acknowledged, safe bool) requestInfo {
	s := w.present.arguments(m, shownInAnswer)
	i := requestInfo{
		ID: m.ID, Name: w.present.name(m), Args: s.args, Kwargs: s.kwargs, Type: m.Task, Hostname: w.cfg.Name,
		Acknowledged: acknowledged,
		DeliveryInfo: deliveryInfo{m.Exchange, m.RoutingKey, m.Priority, m.Redelivered},
	}
	if safe {
		i.Args, i.Kwargs = s.argsRepr, s.kwargsRepr
	}
	if !started.IsZero() {
		at, pid := float64(started.UnixMicro())/1e6, os.Getpid()
		i.TimeStart, i.WorkerPID = &at, &pid
	}
	return i
}

func (w *Worker) infoOf(r *request, safe bool) requestInfo {
	r.mu.Lock()
	started := r.started
	r.mu.Unlock()
	return w.info(r.msg, started, r.acksEarly && !started.IsZero(), safe)
}

// Bounds of one answer: a Python client reads it as a whole, and waits a second for
// it unless told otherwise.
const (
	inspectMost     = 10_000 // tasks
	inspectPatience = 500 * time.Millisecond
)

func (w *Worker) infos(rs []*request, safe bool) []requestInfo {
	slices.SortFunc(rs, func(a, b *request) int { return cmp.Compare(a.delivery.Claim, b.delivery.Claim) })
	infos := make([]requestInfo, 0, len(rs))
	began := time.Now()
	for _, r := range rs[:min(len(rs), inspectMost)] {
		if time.Since(began) > inspectPatience {
			break
		}
		infos = append(infos, w.infoOf(r, safe))
	}
	return infos
}

func (w *Worker) inspectActive(args arguments) (any, error) {
	active, _ := w.pool.split()
	return w.infos(active, args.truth("safe")), nil
}

// inspectReserved shows what was received and has not begun, for want of a slot or
// of a token of its rate limit.
func (w *Worker) inspectReserved(arguments) (any, error) {
	_, waiting := w.pool.split()
	return w.infos(append(waiting, w.limits.requests()...), false), nil
}

// scheduledInfo is a task that waits for its ETA. Its priority is that in the
// timer of a Python worker, and always the same.
type scheduledInfo struct {
	ETA      string      `json:"eta"`
	Priority int         `json:"priority"`
	Request  requestInfo `json:"request"`
}

func (w *Worker) inspectScheduled(arguments) (any, error) {
	infos := []scheduledInfo{}
	began := time.Now()
	for _, e := range w.eta.first(inspectMost) {
		if time.Since(began) > inspectPatience {
			w.log.Warn("inspect scheduled shows a part of the tasks that wait: all would take too long", "shown", len(infos), "waiting", w.eta.len())
			break
		}
		if m, err := w.decoder.Decode(e.request.delivery.Raw); err == nil {
			infos = append(infos, scheduledInfo{protocol.FormatTime(e.eta), 6, w.info(m, time.Time{}, false, false)})
		}
	}
	return infos, nil
}

func (w *Worker) inspectRevoked(arguments) (any, error) {
	ids := w.revoked.list()
	return ids[max(0, len(ids)-revokesMax):], nil
}

// inspectQueryTask looks for tasks by their ids. Unknown ones are left out.
func (w *Worker) inspectQueryTask(args arguments) (any, error) {
	ids, err := args.oneOrMany("query_task", "ids")
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	found := map[string][2]any{}
	look := func(state string, rs []*request) {
		for _, r := range rs {
			if wanted[r.msg.ID] {
				found[r.msg.ID] = [2]any{state, w.infoOf(r, false)}
			}
		}
	}
	for _, e := range w.waiting(ids) {
		if m, err := w.decoder.Decode(e.entry.request.delivery.Raw); err == nil {
			found[m.ID] = [2]any{"scheduled", w.info(m, time.Time{}, false, false)}
		}
	}
	look("reserved", w.limits.requests())
	active, waiting := w.pool.split()
	look("reserved", waiting)
	look("active", active)
	return found, nil
}

func (w *Worker) inspectClock(arguments) (any, error) {
	return map[string]int64{"clock": w.remote.clock.Now()}, nil
}

// inspectRegistered lists the tasks, each with the attributes that are asked for
// and that it has.
func (w *Worker) inspectRegistered(args arguments) (any, error) {
	var items []string
	if err := args.optional("registered", "taskinfoitems", &items); err != nil {
		return nil, err
	}
	builtins := args.truth("builtins")
	if len(items) == 0 {
		items = []string{"exchange", "routing_key", "rate_limit"}
	}
	names := []string{}
	for name := range w.tasks {
		if builtins || !strings.HasPrefix(name, "celery.") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		var has []string
		for _, item := range items {
			if v, ok := w.attribute(name, item); ok {
				has = append(has, item+"="+v)
			}
		}
		if len(has) > 0 {
			names[i] = fmt.Sprintf("%s [%s]", name, strings.Join(has, " "))
		}
	}
	return names, nil
}

// attribute is what Python shows of an attribute of a task.
func (w *Worker) attribute(task, item string) (value string, ok bool) {
	d := w.definition(task)
	soft, hard := w.timeLimits(d)
	seconds := func(t time.Duration) (string, bool) {
		return strconv.FormatFloat(t.Seconds(), 'f', -1, 64), t > 0
	}
	python := func(b bool) (string, bool) {
		if b {
			return "True", true
		}
		return "False", true
	}
	switch item {
	case "name":
		return task, true
	case "rate_limit":
		limit := w.limits.limit(task)
		return limit, limit != ""
	case "max_retries":
		n := d.maxRetries()
		return strconv.Itoa(n), n >= 0
	case "default_retry_delay":
		return strconv.FormatFloat(max(d.Backoff.Base, 0).Seconds(), 'f', -1, 64), d.Backoff.Base > 0
	case "time_limit":
		return seconds(hard)
	case "soft_time_limit":
		return seconds(soft)
	case "acks_late":
		return python(!d.AcksEarly && !w.cfg.AcksEarly)
	case "ignore_result":
		return python(d.IgnoreResult || w.cfg.IgnoreResult)
	case "track_started":
		return python(d.TrackStarted || w.cfg.TrackStarted)
	case "store_errors_even_if_ignored":
		return python(d.StoreErrorsEvenIfIgnored || w.cfg.StoreErrorsEvenIfIgnored)
	case "serializer":
		return or(w.cfg.Encoding.Serializer, "json"), true
	}
	return "", false
}

// queueInfo is a queue as kombu shows it; all but the name is the same for every
// queue that Celery declares by itself.
type queueInfo struct {
	Name              string       `json:"name"`
	Exchange          exchangeInfo `json:"exchange"`
	RoutingKey        string       `json:"routing_key"`
	QueueArguments    any          `json:"queue_arguments"`
	BindingArguments  any          `json:"binding_arguments"`
	ConsumerArguments any          `json:"consumer_arguments"`
	Durable           bool         `json:"durable"`
	Exclusive         bool         `json:"exclusive"`
	AutoDelete        bool         `json:"auto_delete"`
	NoAck             bool         `json:"no_ack"`
	Alias             any          `json:"alias"`
	Bindings          []any        `json:"bindings"`
	NoDeclare         any          `json:"no_declare"`
	Expires           any          `json:"expires"`
	MessageTTL        any          `json:"message_ttl"`
	MaxLength         any          `json:"max_length"`
	MaxLengthBytes    any          `json:"max_length_bytes"`
	MaxPriority       any          `json:"max_priority"`
}

type exchangeInfo struct {
	Name         string `json:"name"`
	Type         string `json:"type"`
	Arguments    any    `json:"arguments"`
	Durable      bool   `json:"durable"`
	Passive      bool   `json:"passive"`
	AutoDelete   bool   `json:"auto_delete"`
	DeliveryMode any    `json:"delivery_mode"`
	NoDeclare    bool   `json:"no_declare"`
}

func (w *Worker) inspectActiveQueues(arguments) (any, error) {
	infos := []queueInfo{}
	for _, q := range w.queues.list() {
		infos = append(infos, queueInfo{
			Name: q, Exchange: exchangeInfo{Name: q, Type: "direct", Durable: true}, RoutingKey: q,
			Durable: true, Bindings: []any{},
		})
	}
	return infos, nil
}

// inspectMemsample is the resident size of the process.
func (w *Worker) inspectMemsample(arguments) (any, error) {
	return strconv.FormatFloat(float64(residentSize())/(1<<20), 'f', -1, 64) + "MB", nil
}

// inspectMemdump says what Go knows of its memory.
func (w *Worker) inspectMemdump(arguments) (any, error) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/gc/heap/objects:objects"},
	}
	metrics.Read(samples)
	var b strings.Builder
	fmt.Fprintf(&b, "resident: %d bytes\ngoroutines: %d\n", residentSize(), runtime.NumGoroutine())
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			fmt.Fprintf(&b, "%s: %d\n", s.Name, s.Value.Uint64())
		}
	}
	return b.String(), nil
}

// inspectObjgraph draws Python objects.
func (w *Worker) inspectObjgraph(arguments) (any, error) {
	return nil, &Exception{Type: "ImportError", Args: []any{"objgraph draws Python objects, and this worker is written in Go"}}
}

// enableEvents and disableEvents switch the events of tasks. Unlike in Celery they
// can be switched off in a worker that was started with them.
func (w *Worker) enableEvents(arguments) (any, error) {
	if !w.events.EnableTasks() {
		return ok("task events already enabled"), nil
	}
	w.log.Info("task events enabled by remote control")
	return ok("task events enabled"), nil
}

func (w *Worker) disableEvents(arguments) (any, error) {
	if !w.events.DisableTasks() {
		return ok("task events already disabled"), nil
	}
	w.log.Info("task events disabled by remote control")
	return ok("task events disabled"), nil
}

func (w *Worker) heartbeatNow(arguments) (any, error) {
	w.events.Heartbeat()
	return nil, nil
}
