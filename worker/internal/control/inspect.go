package control

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/process"
	"github.com/evently/workers/worker/protocol"
)

// requestInfo shows a request (celery.worker.request.Request.info).
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

// info shows a request. safe shows representations instead of values.
func (s *Service) info(r Request, safe bool) requestInfo {
	m := r.Message
	i := requestInfo{
		ID: m.ID, Name: r.Name, Args: r.Args, Kwargs: r.Kwargs, Type: m.Task, Hostname: s.Name,
		Acknowledged: r.Acked,
		DeliveryInfo: deliveryInfo{m.Exchange, m.RoutingKey, m.Priority, m.Redelivered},
	}
	if safe {
		i.Args, i.Kwargs = r.ArgsRepr, r.KwargsRepr
	}
	if !r.Started.IsZero() {
		at, pid := float64(r.Started.UnixMicro())/1e6, os.Getpid()
		i.TimeStart, i.WorkerPID = &at, &pid
	}
	return i
}

// Bounds of one answer. A Python client reads it as a whole, and waits one second unless
// told otherwise.
const (
	inspectMost     = 10_000 // tasks
	inspectPatience = 500 * time.Millisecond
)

func (s *Service) infos(rs []Request, safe bool) []requestInfo {
	infos := make([]requestInfo, 0, len(rs))
	size := 0
	for _, r := range rs {
		size += len(r.Args) + len(r.Kwargs)
		if size > infoBytes {
			r.ArgsRepr, r.KwargsRepr = shortened(r.ArgsRepr), shortened(r.KwargsRepr)
		}
		infos = append(infos, s.info(r, safe || size > infoBytes))
	}
	return infos
}

// shortened returns the beginning of a repr that has too many bytes for an answer with many.
func shortened(repr string) string {
	if len(repr) <= reprMost {
		return repr
	}
	return strings.ToValidUTF8(repr[:reprMost], "") + "..."
}

func (s *Service) inspectActive(args arguments) (any, error) {
	return s.infos(s.Node.Active(inspectMost, s.deadline()), args.truth("safe")), nil
}

// inspectReserved shows the tasks that wait for a slot or a rate limit.
func (s *Service) inspectReserved(arguments) (any, error) {
	return s.infos(s.Node.Reserved(inspectMost, s.deadline()), false), nil
}

func (s *Service) deadline() time.Time { return time.Now().Add(inspectPatience) }

// scheduledInfo shows a task that waits for its ETA. Its priority is that in the timer of a
// Python worker, and always the same.
type scheduledInfo struct {
	ETA      string      `json:"eta"`
	Priority int         `json:"priority"`
	Request  requestInfo `json:"request"`
}

func (s *Service) inspectScheduled(arguments) (any, error) {
	infos := []scheduledInfo{}
	rs := s.Node.Scheduled(inspectMost, s.deadline())
	for i, info := range s.infos(rs, false) {
		infos = append(infos, scheduledInfo{protocol.FormatTime(rs[i].ETA), 6, info})
	}
	return infos, nil
}

func (s *Service) inspectRevoked(arguments) (any, error) { return s.revokedIDs(), nil }

// revokedIDs returns the ids that were revoked last, as many as one answer may hold.
func (s *Service) revokedIDs() []string {
	ids := s.Node.Revoked()
	return ids[max(0, len(ids)-RevokesMax):]
}

// inspectQueryTask looks for tasks by their ids. Unknown ones are left out.
func (s *Service) inspectQueryTask(args arguments) (any, error) {
	ids, err := args.oneOrMany("query_task", "ids")
	if err != nil {
		return nil, err
	}
	found := map[string][2]any{}
	for id, f := range s.Node.Find(ids) {
		found[id] = [2]any{f.State, s.infos([]Request{f.Request}, false)[0]}
	}
	return found, nil
}

func (s *Service) inspectClock(arguments) (any, error) {
	return map[string]int64{"clock": s.Clock.Now()}, nil
}

// inspectRegistered lists the tasks, each with the requested attributes that it has.
func (s *Service) inspectRegistered(args arguments) (any, error) {
	var items []string
	if err := args.optional("registered", "taskinfoitems", &items); err != nil {
		return nil, err
	}
	builtins := args.truth("builtins")
	if len(items) == 0 {
		items = []string{"exchange", "routing_key", "rate_limit"}
	}
	names := []string{}
	for _, name := range s.Node.Registered() {
		if !builtins && strings.HasPrefix(name, "celery.") {
			continue
		}
		var has []string
		for _, item := range items {
			if v, ok := s.Node.Attribute(name, item); ok {
				has = append(has, item+"="+v)
			}
		}
		if len(has) > 0 {
			name = fmt.Sprintf("%s [%s]", name, strings.Join(has, " "))
		}
		names = append(names, name)
	}
	return names, nil
}

// queueInfo shows a queue as kombu does. All but the name is the same for every queue that
// Celery declares by itself.
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

func (s *Service) inspectActiveQueues(arguments) (any, error) {
	infos := []queueInfo{}
	for _, q := range s.Node.Queues() {
		infos = append(infos, queueInfo{
			Name: q, Exchange: exchangeInfo{Name: q, Type: "direct", Durable: true}, RoutingKey: q,
			Durable: true, Bindings: []any{},
		})
	}
	return infos, nil
}

func (s *Service) inspectStats(arguments) (any, error) { return s.Node.Stats(), nil }

// inspectConf shows the settings that exist here too, or that clients look for.
func (s *Service) inspectConf(arguments) (any, error) { return s.Node.Settings(), nil }

// inspectReport describes the software for people.
func (s *Service) inspectReport(arguments) (any, error) {
	var b strings.Builder
	stats, settings := s.Node.Stats(), s.Node.Settings()
	fmt.Fprintf(&b, "\nsoftware -> celery:%s (protocol of 5.7, a worker in Go) go:%s\n", stats.Software, runtime.Version())
	fmt.Fprintf(&b, "platform -> system:%s arch:%s\n", events.System(), runtime.GOARCH)
	fmt.Fprintf(&b, "settings -> transport:%s results:%s\n\n", stats.Broker.Transport, settings["result_backend"])
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		raw, err := protocol.Marshal(settings[name])
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", name, canvas.Repr(raw))
	}
	return ok(b.String()), nil
}

// inspectMemsample shows the resident memory of the process.
func (s *Service) inspectMemsample(arguments) (any, error) {
	return strconv.FormatFloat(float64(process.Resident())/(1<<20), 'f', -1, 64) + "MB", nil
}

// inspectMemdump shows the memory statistics of the Go runtime.
func (s *Service) inspectMemdump(arguments) (any, error) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/gc/heap/objects:objects"},
	}
	metrics.Read(samples)
	var b strings.Builder
	fmt.Fprintf(&b, "resident: %d bytes\ngoroutines: %d\n", process.Resident(), runtime.NumGoroutine())
	for _, sample := range samples {
		if sample.Value.Kind() == metrics.KindUint64 {
			fmt.Fprintf(&b, "%s: %d\n", sample.Name, sample.Value.Uint64())
		}
	}
	return b.String(), nil
}

// inspectObjgraph refuses: there are no Python objects to draw.
func (s *Service) inspectObjgraph(arguments) (any, error) {
	return nil, &Error{"ImportError", "objgraph draws Python objects, and this worker is written in Go"}
}

// enableEvents starts the events of tasks.
func (s *Service) enableEvents(arguments) (any, error) {
	if !s.Events.EnableTasks() {
		return ok("task events already enabled"), nil
	}
	s.Log.Info("task events enabled by remote control")
	return ok("task events enabled"), nil
}

// disableEvents stops the events of tasks. Unlike in Celery this also works in a worker
// that was started with them.
func (s *Service) disableEvents(arguments) (any, error) {
	if !s.Events.DisableTasks() {
		return ok("task events already disabled"), nil
	}
	s.Log.Info("task events disabled by remote control")
	return ok("task events disabled"), nil
}

func (s *Service) heartbeatNow(arguments) (any, error) {
	s.Events.Heartbeat()
	return nil, nil
}
