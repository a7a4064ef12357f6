package worker

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/protocol"
)

// statsInfo is the answer to "inspect stats", with what Flower reads.
type statsInfo struct {
	Total         map[string]int64 `json:"total"`
	PID           int              `json:"pid"`
	Clock         string           `json:"clock"`
	Uptime        int              `json:"uptime"` // seconds
	Pool          poolInfo         `json:"pool"`
	Broker        brokerInfo       `json:"broker"`
	PrefetchCount int              `json:"prefetch_count"`
	Rusage        any              `json:"rusage"` // text where the system does not tell
	Autoscaler    *autoscalerInfo  `json:"autoscaler,omitempty"`
	Software      string           `json:"software"`
}

type poolInfo struct {
	Implementation string     `json:"implementation"`
	MaxConcurrency int        `json:"max-concurrency"`
	Processes      []int      `json:"processes"`
	MaxTasks       any        `json:"max-tasks-per-child"`
	PutGuarded     bool       `json:"put-guarded-by-semaphore"`
	Timeouts       [2]float64 `json:"timeouts"` // soft, hard; seconds
	Writes         poolWrites `json:"writes"`
	Running        int        `json:"running"`
	Aborted        int64      `json:"aborted"` // handlers that run on though nobody waits for them
}

type poolWrites struct {
	Total    int64  `json:"total"`
	Strategy string `json:"strategy"`
}

type brokerInfo struct {
	Hostname         string         `json:"hostname"`
	UserID           *string        `json:"userid"`
	VirtualHost      string         `json:"virtual_host"`
	Port             int            `json:"port"`
	Insist           bool           `json:"insist"`
	SSL              bool           `json:"ssl"`
	Transport        string         `json:"transport"`
	ConnectTimeout   float64        `json:"connect_timeout"`
	TransportOptions map[string]any `json:"transport_options"`
	LoginMethod      *string        `json:"login_method"`
	URIPrefix        *string        `json:"uri_prefix"`
	Heartbeat        float64        `json:"heartbeat"`
	FailoverStrategy string         `json:"failover_strategy"`
	Alternates       []string       `json:"alternates"`
}

type autoscalerInfo struct {
	Max     int `json:"max"`
	Min     int `json:"min"`
	Current int `json:"current"`
	Qty     int `json:"qty"` // requests that run or wait
}

func (w *Worker) inspectStats(arguments) (any, error) {
	b := w.can.Describer.Info()
	broker := brokerInfo{
		Hostname: b.Hostname, VirtualHost: b.VirtualHost, Port: b.Port, SSL: b.TLS, Transport: b.Transport,
		ConnectTimeout: b.ConnectTimeout.Seconds(), TransportOptions: map[string]any{}, FailoverStrategy: "round-robin", Alternates: []string{},
	}
	if b.UserID != "" {
		broker.UserID = &b.UserID
	}
	var most any = "N/A"
	if w.cfg.MaxTasks > 0 {
		most = w.cfg.MaxTasks
	}
	slots := w.pool.size()
	s := statsInfo{
		Total: w.totals.each(), PID: os.Getpid(), Clock: fmt.Sprint(w.remote.clock.Now()),
		Uptime: max(int(w.now().Sub(w.born).Seconds()), 1),
		Pool: poolInfo{
			Implementation: "goroutines", MaxConcurrency: slots, Processes: []int{os.Getpid()}, MaxTasks: most,
			Timeouts: [2]float64{w.cfg.TaskSoftTimeLimit.Seconds(), w.cfg.TaskTimeLimit.Seconds()},
			Writes:   poolWrites{w.totals.all(), "first come, first served"},
			Running:  w.pool.running(), Aborted: w.aborted.Load(),
		},
		Broker: broker, PrefetchCount: w.prefetchCount(), Rusage: resourceUsage(),
		Software: strings.TrimSpace(w.cfg.Software + " " + w.cfg.SoftwareVersion),
	}
	if s.Total == nil {
		s.Total = map[string]int64{}
	}
	s.Autoscaler = w.scaler.info()
	return s, nil
}

// inspectConf shows the settings by their names in Celery, as far as they are
// settings here too, or clients look for them.
func (w *Worker) inspectConf(arguments) (any, error) { return w.settings(), nil }

func (w *Worker) settings() map[string]any {
	seconds := func(d time.Duration) any {
		if d <= 0 {
			return nil
		}
		return d.Seconds()
	}
	accept := w.cfg.Accept
	if len(accept) == 0 {
		accept = []string{"json"}
	}
	routes := map[string]any{}
	for _, r := range w.cfg.Routes {
		name := r.Task
		if r.Regexp != nil {
			name = r.Regexp.String()
		}
		routes[name] = map[string]any{"queue": r.Queue}
	}
	url := w.can.Describer.Info().URL
	queues := w.queues.list()
	return map[string]any{
		"accept_content": accept, "broker_heartbeat": nil, "broker_url": url, "deprecated_settings": nil,
		"enable_utc": true, "include": []string{}, "result_backend": url, "result_extended": w.cfg.ResultExtended,
		"result_serializer": "json", "task_acks_late": !w.cfg.AcksEarly, "task_acks_on_failure_or_timeout": !w.cfg.RejectOnFailure,
		"task_default_queue": or(w.cfg.DefaultQueue, "celery"), "task_ignore_result": w.cfg.IgnoreResult,
		"task_queues": queues, "task_reject_on_worker_lost": true, "task_routes": routes,
		"task_serializer": or(w.cfg.Encoding.Serializer, "json"), "task_soft_time_limit": seconds(w.cfg.TaskSoftTimeLimit),
		"task_store_errors_even_if_ignored": w.cfg.StoreErrorsEvenIfIgnored, "task_time_limit": seconds(w.cfg.TaskTimeLimit),
		"task_track_started": w.cfg.TrackStarted, "timezone": "UTC", "worker_concurrency": w.cfg.Concurrency,
		"worker_deduplicate_successful_tasks": w.cfg.DeduplicateSuccessful, "worker_disable_rate_limits": w.cfg.DisableRateLimits,
		"worker_enable_remote_control": w.cfg.Control != ControlOff, "worker_eta_task_limit": zeroIsNull(w.cfg.ETATaskLimit),
		"worker_hijack_root_logger": false, "worker_log_color": false, "worker_max_tasks_per_child": zeroIsNull(w.cfg.MaxTasks),
		"worker_disable_prefetch": w.cfg.DisablePrefetch, "worker_prefetch_multiplier": w.multiplier(), "worker_send_task_events": w.cfg.SendTaskEvents,
		"worker_soft_shutdown_timeout": w.cfg.Grace.Seconds(),
	}
}

func zeroIsNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

// inspectReport is for people who ask what they are talking to.
func (w *Worker) inspectReport(arguments) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nsoftware -> celery:%s (protocol of 5.7, a worker in Go) go:%s\n", strings.TrimSpace(w.cfg.Software+" "+w.cfg.SoftwareVersion), runtime.Version())
	fmt.Fprintf(&b, "platform -> system:%s arch:%s\n", events.System(), runtime.GOARCH)
	fmt.Fprintf(&b, "settings -> transport:%s results:%s\n\n", w.can.Describer.Info().Transport, w.can.Describer.Info().URL)
	settings := w.settings()
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		raw, err := protocol.Marshal(settings[name])
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", name, canvas.Repr(raw))
	}
	return ok(b.String()), nil
}
