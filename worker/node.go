package worker

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/internal/process"
	"github.com/evently/workers/worker/protocol"
)

// node shows a Worker to remote control.
type node struct{ w *Worker }

var _ control.Node = node{}

// request shows a message to remote control.
func (n node) request(m *protocol.Message, started time.Time, acked bool) control.Request {
	s := n.w.present.arguments(m, shownInAnswer)
	return control.Request{
		Message: m, Started: started, Acked: acked, Name: n.w.present.name(m),
		Args: s.args, Kwargs: s.kwargs, ArgsRepr: s.argsRepr, KwargsRepr: s.kwargsRepr,
	}
}

func (n node) requestOf(r *request) control.Request {
	r.mu.Lock()
	started := r.started
	r.mu.Unlock()
	return n.request(r.msg, started, r.acksEarly && !started.IsZero())
}

func (n node) requests(rs []*request, most int, deadline time.Time) (shown []control.Request) {
	slices.SortFunc(rs, func(a, b *request) int { return cmp.Compare(a.delivery.Claim, b.delivery.Claim) })
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
	active, _ := n.w.pool.Items()
	return n.requests(active, most, deadline)
}

// Reserved implements [control.Inspector].
func (n node) Reserved(most int, deadline time.Time) []control.Request {
	_, waiting := n.w.pool.Items()
	return n.requests(append(waiting, n.w.limits.requests()...), most, deadline)
}

// Scheduled implements [control.Inspector].
func (n node) Scheduled(most int, deadline time.Time) (shown []control.Request) {
	for _, e := range n.w.eta.first(most) {
		if time.Now().After(deadline) {
			n.w.log.Warn("inspect scheduled shows a part of the waiting tasks: all would take too long", "shown", len(shown), "waiting", n.w.eta.len())
			break
		}
		if m, err := n.w.decoder.Decode(e.request.delivery.Raw); err == nil {
			r := n.request(m, time.Time{}, false)
			r.ETA = e.eta
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
	for _, e := range n.w.waiting(ids) {
		if m, err := n.w.decoder.Decode(e.entry.request.delivery.Raw); err == nil {
			found[m.ID] = control.Found{State: "scheduled", Request: n.request(m, time.Time{}, false)}
		}
	}
	look("reserved", n.w.limits.requests())
	active, waiting := n.w.pool.Items()
	look("reserved", waiting)
	look("active", active)
	return found
}

// Registered implements [control.Inspector].
func (n node) Registered() []string {
	names := make([]string, 0, len(n.w.tasks))
	for name := range n.w.tasks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Attribute implements [control.Inspector].
func (n node) Attribute(task, item string) (value string, ok bool) {
	d := n.w.definition(task)
	soft, hard := n.w.timeLimits(d)
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
		limit := n.w.limits.limit(task)
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
		return python(!d.AcksEarly && !n.w.cfg.AcksEarly)
	case "ignore_result":
		return python(d.IgnoreResult || n.w.cfg.IgnoreResult)
	case "track_started":
		return python(d.TrackStarted || n.w.cfg.TrackStarted)
	case "store_errors_even_if_ignored":
		return python(d.StoreErrorsEvenIfIgnored || n.w.cfg.StoreErrorsEvenIfIgnored)
	case "serializer":
		return or(n.w.cfg.Encoding.Serializer, "json"), true
	}
	return "", false
}

// Queues implements [control.Inspector].
func (n node) Queues() []string { return n.w.queues.list() }

// Revoked implements [control.Inspector].
func (n node) Revoked() []string { return n.w.revoked.list() }

// Stats implements [control.Inspector].
func (n node) Stats() control.Stats {
	w := n.w
	b := w.can.Describer.Info()
	stats := control.BrokerStats{
		Hostname: b.Hostname, VirtualHost: b.VirtualHost, Port: b.Port, SSL: b.TLS, Transport: b.Transport,
		ConnectTimeout: b.ConnectTimeout.Seconds(), TransportOptions: map[string]any{}, FailoverStrategy: "round-robin", Alternates: []string{},
	}
	if b.UserID != "" {
		stats.UserID = &b.UserID
	}
	var most any = "N/A"
	if w.cfg.MaxTasks > 0 {
		most = w.cfg.MaxTasks
	}
	s := control.Stats{
		Total: w.totals.each(), PID: os.Getpid(), Clock: fmt.Sprint(w.clock.Now()),
		Uptime: max(int(w.now().Sub(w.born).Seconds()), 1),
		Pool: control.PoolStats{
			Implementation: "goroutines", MaxConcurrency: w.pool.Size(), Processes: []int{os.Getpid()}, MaxTasks: most,
			Timeouts: [2]float64{w.cfg.TaskSoftTimeLimit.Seconds(), w.cfg.TaskTimeLimit.Seconds()},
			Writes:   control.PoolWrites{Total: w.totals.all(), Strategy: "first come, first served"},
			Running:  w.pool.Running(), Aborted: w.aborted.Load(),
		},
		Broker: stats, PrefetchCount: w.prefetchCount(), Rusage: process.Usage(),
		Software:   strings.TrimSpace(w.cfg.Software + " " + w.cfg.SoftwareVersion),
		Autoscaler: w.scaler.info(),
	}
	if s.Total == nil {
		s.Total = map[string]int64{}
	}
	return s
}

// Settings implements [control.Inspector].
func (n node) Settings() map[string]any {
	cfg := n.w.cfg
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
	url := n.w.can.Describer.Info().URL
	queues := n.w.queues.list()
	return map[string]any{
		"accept_content": accept, "broker_heartbeat": nil, "broker_url": url, "deprecated_settings": nil,
		"enable_utc": true, "include": []string{}, "result_backend": url, "result_extended": cfg.ResultExtended,
		"result_serializer": "json", "task_acks_late": !cfg.AcksEarly, "task_acks_on_failure_or_timeout": !cfg.RejectOnFailure,
		"task_default_queue": or(cfg.DefaultQueue, "celery"), "task_ignore_result": cfg.IgnoreResult,
		"task_queues": queues, "task_reject_on_worker_lost": true, "task_routes": routes,
		"task_serializer": or(cfg.Encoding.Serializer, "json"), "task_soft_time_limit": seconds(cfg.TaskSoftTimeLimit),
		"task_store_errors_even_if_ignored": cfg.StoreErrorsEvenIfIgnored, "task_time_limit": seconds(cfg.TaskTimeLimit),
		"task_track_started": cfg.TrackStarted, "timezone": "UTC", "worker_concurrency": cfg.Concurrency,
		"worker_deduplicate_successful_tasks": cfg.DeduplicateSuccessful, "worker_disable_rate_limits": cfg.DisableRateLimits,
		"worker_enable_remote_control": cfg.Control != ControlOff, "worker_eta_task_limit": zeroIsNull(cfg.ETATaskLimit),
		"worker_hijack_root_logger": false, "worker_log_color": false, "worker_max_tasks_per_child": zeroIsNull(cfg.MaxTasks),
		"worker_disable_prefetch": cfg.DisablePrefetch, "worker_prefetch_multiplier": n.w.multiplier(), "worker_send_task_events": cfg.SendTaskEvents,
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
func (n node) Revoke(ctx context.Context, r Revocation, terminate bool) (ended []string) {
	return n.w.revokeHere(ctx, r, terminate)
}

// LearnRevoked implements [control.Changer].
func (n node) LearnRevoked(ids []string) { n.w.revoked.add(Revocation{IDs: ids}) }

// LimitRate implements [control.Changer].
func (n node) LimitRate(task, limit string) (off bool, err error) {
	every, err := ParseRate(limit)
	if err != nil {
		return false, err
	}
	if _, known := n.w.tasks[task]; !known {
		return false, control.ErrUnknownTask
	}
	if every > 0 && n.w.cfg.DisableRateLimits {
		n.w.limits.set(task, "", 0)
		return false, nil
	}
	n.w.limits.set(task, limit, every)
	return every == 0, nil
}

// LimitTime implements [control.Changer].
func (n node) LimitTime(task string, soft, hard time.Duration) error {
	if _, known := n.w.tasks[task]; !known {
		return control.ErrUnknownTask
	}
	n.w.overrides.set(task, timeLimits{soft: soft, hard: hard})
	return nil
}

// Resize implements [control.Changer].
func (n node) Resize(delta int) error {
	if n.w.scaler != nil {
		return control.ErrAutoscaled
	}
	size := n.w.pool.Size()
	switch target := size + delta; {
	case target > mostSlots:
		return fmt.Errorf("want a number of slots from 0 to %d", mostSlots)
	case target > n.w.cfg.MaxConcurrency:
		return fmt.Errorf("the pool has %d slots, and this worker is bounded to %d", size, n.w.cfg.MaxConcurrency)
	case target < 1:
		return fmt.Errorf("the pool has %d slots, and one must stay", size)
	default:
		n.w.pool.Resize(target)
		n.w.log.Info("pool resized by remote control", "slots", target)
		return nil
	}
}

// Autoscale implements [control.Changer].
func (n node) Autoscale(most, least *int) (high, low int, err error) {
	if n.w.scaler == nil {
		return 0, 0, &control.Error{Type: "ValueError", Text: "Autoscale not enabled"} // Celery's text
	}
	if high, low, err = n.w.scaler.set(most, least); err != nil {
		err = &control.Error{Type: "ValueError", Text: err.Error()}
	}
	return high, low, err
}

// AddQueue implements [control.Changer].
func (n node) AddQueue(ctx context.Context, queue string) error {
	if err := checkQueue(queue); err != nil {
		return &control.Error{Type: "ValueError", Text: err.Error()}
	}
	if _, err := n.w.can.QueueSet.AddQueue(ctx, queue); err != nil {
		return err
	}
	n.w.queues.add(queue)
	return nil
}

// CancelQueue implements [control.Changer].
func (n node) CancelQueue(ctx context.Context, queue string) error {
	if _, err := n.w.can.QueueSet.CancelQueue(ctx, queue); err != nil {
		return err
	}
	n.w.queues.remove(queue)
	return nil
}

// RestartPool implements [control.Changer].
func (n node) RestartPool(ctx context.Context) error {
	if n.w.cfg.PoolRestart == nil {
		return &control.Error{Type: "ValueError", Text: "Pool restarts not enabled"}
	}
	return n.w.cfg.PoolRestart(ctx)
}

// Shutdown implements [control.Changer].
func (n node) Shutdown() { n.w.recycle() }
