package worker

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/pause"
	"github.com/evently/workers/worker/internal/present"
	"github.com/evently/workers/worker/internal/process"
	"github.com/evently/workers/worker/internal/ratelimit"
	"github.com/evently/workers/worker/internal/revoked"
	"github.com/evently/workers/worker/internal/scale"
	"github.com/evently/workers/worker/protocol"
)

// node shows a Worker to remote control.
type node struct {
	env
	whereabouts
	can      broker.Capabilities
	decoder  *protocol.Decoder
	tasks    *taskTable
	present  *present.Presenter
	revoked  *revoked.Set
	exchange *revoked.Exchange
	scaler   *scale.Scaler // nil: none
	counts   *counters
	calls    *calls
	clock    *events.Clock
	queues   *control.Queues
	pauses   *pause.Keeper
	state    *atomic.Int32 // of the Worker
	recycle  context.CancelFunc
}

var _ control.Node = node{}

// request shows a message to remote control.
func (n node) request(m *protocol.Message, started time.Time, acked bool) control.Request {
	s := n.present.Arguments(m, present.InAnswer)
	return control.Request{
		Message: m, Started: started, Acked: acked, Name: n.present.Name(m),
		Args: s.Args, Kwargs: s.Kwargs, ArgsRepr: s.ArgsRepr, KwargsRepr: s.KwargsRepr,
	}
}

func (n node) requestOf(r *request) control.Request {
	started := r.state.startedAt()
	return n.request(r.msg, started, r.acksEarly && !started.IsZero())
}

func (n node) requests(rs []*request, most int, deadline time.Time) (shown []control.Request) {
	sorting.By(rs, func(a, b *request) int { return cmp.Compare(a.delivery.Claim, b.delivery.Claim) })
	for _, r := range rs[:min(len(rs), most)] {
		if time.Now().After(deadline) {
			break
		}
		shown = append(shown, n.requestOf(r))
	}
	return shown
}

// Active implements [control.Inspector].
func (n node) Active(most int, deadline time.Time) []control.Request {
	active, _ := n.pool.Items()
	return n.requests(active, most, deadline)
}

// Reserved implements [control.Inspector].
func (n node) Reserved(most int, deadline time.Time) []control.Request {
	_, waiting := n.pool.Items()
	return n.requests(append(waiting, n.limits.Items()...), most, deadline)
}

// Scheduled implements [control.Inspector].
func (n node) Scheduled(most int, deadline time.Time) (shown []control.Request) {
	for _, e := range n.schedule.First(most) {
		if time.Now().After(deadline) {
			n.log.Warn("inspect scheduled shows only a part: deadline exceeded", "shown", len(shown), "waiting", n.schedule.Len())
			break
		}
		if m, err := n.decoder.Decode(e.Item.delivery.Raw); err == nil {
			r := n.request(m, time.Time{}, false)
			r.ETA = e.At
			shown = append(shown, r)
		}
	}
	return shown
}

// Find implements [control.Inspector].
func (n node) Find(ids []string) map[string]control.Found {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	found := map[string]control.Found{}
	look := func(state string, rs []*request) {
		for _, r := range rs {
			if wanted[r.msg.ID] {
				found[r.msg.ID] = control.Found{State: state, Request: n.requestOf(r)}
			}
		}
	}
	for _, e := range n.scheduled(ids) {
		if m, err := n.decoder.Decode(e.entry.Item.delivery.Raw); err == nil {
			found[m.ID] = control.Found{State: "scheduled", Request: n.request(m, time.Time{}, false)}
		}
	}
	look("reserved", n.limits.Items())
	active, waiting := n.pool.Items()
	look("reserved", waiting)
	look("active", active)
	return found
}

// Registered implements [control.Inspector].
func (n node) Registered() []string {
	names := make([]string, 0, len(n.tasks.definitions))
	for name := range n.tasks.definitions {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Attribute implements [control.Inspector].
func (n node) Attribute(task, item string) (value string, ok bool) {
	d := n.tasks.get(task)
	limits := n.tasks.timeLimits(d)
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
		limit := n.limits.Limit(task)
		return limit, limit != ""
	case "max_retries":
		most := d.maxRetries()
		return strconv.Itoa(most), most < UnlimitedRetries
	case "default_retry_delay":
		return strconv.FormatFloat(max(d.Backoff.Base, 0).Seconds(), 'f', -1, 64), d.Backoff.Base > 0
	case "time_limit":
		return seconds(limits.hard)
	case "soft_time_limit":
		return seconds(limits.soft)
	case "acks_late":
		return python(!d.AcksEarly && !n.cfg.AcksEarly)
	case "ignore_result":
		return python(d.IgnoreResult || n.cfg.IgnoreResult)
	case "track_started":
		return python(d.TrackStarted || n.cfg.TrackStarted)
	case "store_errors_even_if_ignored":
		return python(d.StoreErrorsEvenIfIgnored || n.cfg.StoreErrorsEvenIfIgnored)
	case "serializer":
		return cmp.Or(n.cfg.Encoding.Serializer, "json"), true
	}
	return "", false
}

// Queues implements [control.Inspector]. It leaves out paused ones.
func (n node) Queues() []string { return n.pauses.Without(n.queues.List()) }

// Revoked implements [control.Inspector].
func (n node) Revoked() []string { return n.revoked.IDs() }

// Stats implements [control.Inspector].
func (n node) Stats() control.Stats {
	b := n.can.Describer.Info()
	stats := control.BrokerStats{
		Hostname: b.Hostname, VirtualHost: b.VirtualHost, Port: b.Port, SSL: b.TLS, Transport: b.Transport,
		ConnectTimeout: b.ConnectTimeout.Seconds(), TransportOptions: map[string]any{}, FailoverStrategy: "round-robin", Alternates: []string{},
	}
	if b.UserID != "" {
		stats.UserID = &b.UserID
	}
	var most any = "N/A"
	if n.cfg.MaxTasks > 0 {
		most = n.cfg.MaxTasks
	}
	s := control.Stats{
		Total: n.counts.byTask(), PID: os.Getpid(), Clock: fmt.Sprint(n.clock.Now()),
		Uptime: max(int(n.counts.uptime(n.now()).Seconds()), 1),
		Pool: control.PoolStats{
			Implementation: "goroutines", MaxConcurrency: n.pool.Size(), Processes: []int{os.Getpid()}, MaxTasks: most,
			Timeouts: [2]float64{n.cfg.TaskSoftTimeLimit.Seconds(), n.cfg.TaskTimeLimit.Seconds()},
			Writes:   control.PoolWrites{Total: n.counts.total(), Strategy: "first come, first served"},
			Running:  n.pool.Running(), Aborted: n.calls.leftBehind(),
		},
		Broker: stats, PrefetchCount: n.prefetchCount(), Rusage: process.Usage(),
		Software: strings.TrimSpace(n.cfg.Software + " " + n.cfg.SoftwareVersion), PausedQueues: n.pauses.Names(), State: State(n.state.Load()).String(),
	}
	if n.scaler != nil {
		i := n.scaler.Info()
		s.Autoscaler = &control.AutoscalerStats{Max: i.Max, Min: i.Min, Current: i.Slots, Qty: i.Items}
	}
	if s.Total == nil {
		s.Total = map[string]int64{}
	}
	return s
}

// Settings implements [control.Inspector].
func (n node) Settings() map[string]any {
	cfg := n.cfg
	seconds := func(d time.Duration) any {
		if d <= 0 {
			return nil
		}
		return d.Seconds()
	}
	accept := cfg.Accept
	if len(accept) == 0 {
		accept = []string{"json"}
	}
	routes := map[string]any{}
	for _, r := range cfg.Routes {
		name := r.Task
		if r.Regexp != nil {
			name = r.Regexp.String()
		}
		routes[name] = map[string]any{"queue": r.Queue}
	}
	url := n.can.Describer.Info().URL
	queues := n.queues.List()
	return map[string]any{
		"accept_content": accept, "broker_heartbeat": nil, "broker_url": url, "deprecated_settings": nil,
		"enable_utc": true, "include": []string{}, "result_backend": url, "result_extended": cfg.ResultExtended,
		"result_serializer": "json", "task_acks_late": !cfg.AcksEarly, "task_acks_on_failure_or_timeout": !cfg.RejectOnFailure,
		"task_default_queue": cmp.Or(cfg.DefaultQueue, "celery"), "task_ignore_result": cfg.IgnoreResult,
		"task_queues": queues, "task_reject_on_worker_lost": true, "task_routes": routes,
		"task_serializer": cmp.Or(cfg.Encoding.Serializer, "json"), "task_soft_time_limit": seconds(cfg.TaskSoftTimeLimit),
		"task_store_errors_even_if_ignored": cfg.StoreErrorsEvenIfIgnored, "task_time_limit": seconds(cfg.TaskTimeLimit),
		"task_track_started": cfg.TrackStarted, "timezone": "UTC", "worker_concurrency": cfg.Concurrency,
		"worker_deduplicate_successful_tasks": cfg.DeduplicateSuccessful, "worker_disable_rate_limits": cfg.DisableRateLimits,
		"worker_enable_remote_control": cfg.Control != ControlOff, "worker_eta_task_limit": zeroIsNull(cfg.ETATaskLimit),
		"worker_hijack_root_logger": false, "worker_log_color": false, "worker_max_tasks_per_child": zeroIsNull(cfg.MaxTasks),
		"worker_disable_prefetch": false, "worker_prefetch_multiplier": n.multiplier(), "worker_send_task_events": cfg.SendTaskEvents,
		"worker_soft_shutdown_timeout": cfg.Grace.Seconds(),
	}
}

func zeroIsNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

// Revoke implements [control.Changer].
func (n node) Revoke(ctx context.Context, r broker.Revocation, terminate bool) (ended []string) {
	ended = n.revoke(n.revoked, r, terminate)
	if err := n.exchange.Store(ctx, r); err != nil { // the other workers got the command, too
		n.log.Error("revocation not stored: a worker that starts will not know it", "error", err)
	}
	return ended
}

// LearnRevoked implements [control.Changer].
func (n node) LearnRevoked(ids []string) { n.revoked.Add(broker.Revocation{IDs: ids}) }

// LimitRate implements [control.Changer].
func (n node) LimitRate(task, limit string) (off bool, err error) {
	every, err := ratelimit.Parse(limit)
	if err != nil {
		return false, err
	}
	if _, known := n.tasks.lookup(task); !known {
		return false, control.ErrUnknownTask
	}
	if every > 0 && n.cfg.DisableRateLimits {
		n.limits.Set(task, "", 0)
		return false, nil
	}
	n.limits.Set(task, limit, every)
	return every == 0, nil
}

// LimitTime implements [control.Changer].
func (n node) LimitTime(task string, soft, hard time.Duration) error {
	if _, known := n.tasks.lookup(task); !known {
		return control.ErrUnknownTask
	}
	n.tasks.setTimeLimits(task, timeLimits{soft: soft, hard: hard})
	return nil
}

// Resize implements [control.Changer].
func (n node) Resize(delta int) error {
	if n.scaler != nil {
		return control.ErrAutoscaled
	}
	size := n.pool.Size()
	switch target := size + delta; {
	case target > scale.MostSlots:
		return fmt.Errorf("want a number of slots from 0 to %d", scale.MostSlots)
	case target > n.cfg.MaxConcurrency:
		return fmt.Errorf("the pool has %d slots, and this worker is bounded to %d", size, n.cfg.MaxConcurrency)
	case target < 1:
		return fmt.Errorf("the pool has %d slots, and one must stay", size)
	default:
		n.pool.Resize(target)
		n.log.Info("pool resized by remote control", "slots", target)
		return nil
	}
}

// Autoscale implements [control.Changer].
func (n node) Autoscale(most, least *int) (high, low int, err error) {
	if n.scaler == nil {
		return 0, 0, &control.Error{Type: "ValueError", Text: "Autoscale not enabled"} // Celery's text
	}
	if high, low, err = n.scaler.Set(most, least); err != nil {
		err = &control.Error{Type: "ValueError", Text: err.Error()}
	}
	return high, low, err
}

// AddQueue implements [control.Changer].
func (n node) AddQueue(ctx context.Context, queue string) error {
	if err := checkQueue(queue); err != nil {
		return &control.Error{Type: "ValueError", Text: err.Error()}
	}
	if _, err := n.can.QueueSet.AddQueue(ctx, queue); err != nil {
		return err
	}
	n.queues.Add(queue)
	return nil
}

// CancelQueue implements [control.Changer].
func (n node) CancelQueue(ctx context.Context, queue string) error {
	if _, err := n.can.QueueSet.CancelQueue(ctx, queue); err != nil {
		return err
	}
	n.queues.Remove(queue)
	return nil
}

// RestartPool implements [control.Changer].
func (n node) RestartPool(ctx context.Context) error {
	if n.cfg.PoolRestart == nil {
		return &control.Error{Type: "ValueError", Text: "Pool restarts not enabled"}
	}
	return n.cfg.PoolRestart(ctx)
}

// Shutdown implements [control.Changer].
func (n node) Shutdown() { n.recycle() }

// prefetchCount returns prefetch_count in Celery's terms: 0 for no bound.
func (n node) prefetchCount() int {
	if !n.cfg.prefetch().Bounded() {
		return 0
	}
	most, _ := n.pool.Prefetched()
	return most
}

// multiplier returns worker_prefetch_multiplier in Celery's terms: 0 for no bound.
func (n node) multiplier() int {
	if p := n.cfg.prefetch(); !p.Adaptive() {
		return max(0, int(p))
	}
	_, each := n.pool.Prefetched()
	return each
}
