// Package monitor lets people and machines look into a running worker. Today
// that is the health server.
package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/worker/broker"
)

// Times of the server. Answers are small and made from memory; a client that needs longer
// is no probe.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = 5 * time.Second
	idleTimeout  = 60 * time.Second
	closeTimeout = 2 * time.Second
	maxHeader    = 8 << 10
)

// Defaults of [HealthConfig].
const (
	DefaultEvery   = 15 * time.Second
	DefaultTimeout = 5 * time.Second
)

// State is how one part is. Text is a few words for people, without secrets,
// addresses or errors of others: the health port is often open to all.
type State struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// WorkerState is what the health server asks of the worker. It must cost no I/O:
// it is asked for with every probe.
type WorkerState struct {
	Node      string
	State     string // "waiting", "new", "running", "stopping" or "stopped"
	Waits     string // for what it waits before it can begin, in words that all may read; "": for nothing
	Consuming bool   // running, and the queue answers
	LastLook  time.Time
	Refusal   string   // the reply of a server that refuses, such as "LOADING Redis is loading"; "": it does not answer
	Faults    []string // of the queue, that only a person can mend, each a sentence

	LeftBehind int // handlers that go on after the worker stopped waiting for them

	Concurrency, Running, Waiting                              int
	MinConcurrency, MaxConcurrency                             int // of autoscaling; without it both are Concurrency
	Received, Succeeded, Failed, Retried, Revoked, DeadLetters int64
}

// MailState is what the health server asks of the part that sends mails. Like
// WorkerState it must cost no I/O.
type MailState struct {
	Accepted time.Time // when a relay last took a mail; zero: never

	// Faulty lists the relays that take no mails of ours. Working is the number of the
	// others: without any, no mail gets out.
	Faulty  []RelayState
	Working int

	// Retried lists relays that are tried again after an outage, with few mails at a time.
	Retried []string

	// Untried lists relays whose last mail failed a while ago, and that no mail has tried since.
	// It is not known whether they take mails.
	Untried []RelayState

	// Unasked tells that nothing is known yet, for a moment after the start.
	Unasked bool
}

// RelayState describes a relay that takes no mails of ours. Fault is in words that all may
// read: reply codes, where, and what the server said, without addresses and secrets. Since
// and Tried are the first and the last mail that met it.
type RelayState struct {
	Name         string // host and port
	Fault        string
	Since, Tried time.Time
	Next         time.Time // next probe of the circuit breaker; zero: the next mail tries it
}

// stuck reports whether no mail gets out.
func (m *MailState) stuck() bool { return len(m.Faulty) > 0 && m.Working == 0 }

// HealthConfig is what a [Health] needs.
type HealthConfig struct {
	Listener net.Listener // required; Run closes it

	// Brokers are the brokers with their workers. There is one without a name, or each has a
	// name, which then is in the texts, and in the label broker of its metrics. A process with
	// one broker may set Worker, Letters, Ledger, Queues, Mails, Runs and Collectors instead.
	Brokers []BrokerConfig
	Worker  func() WorkerState

	// Database asks the database what the work asks. Every probe sees the last
	// answer: it is asked every Every, for at most Timeout, however many look. Of its
	// error the server shows the text of a method Summary() string alone. Nil:
	// there is no database.
	Database       func(ctx context.Context) error
	Every, Timeout time.Duration // DefaultEvery, DefaultTimeout

	// Mail is what the mails of late have met; nil: no mails are sent.
	Mail func() MailState

	// Breakers are the circuit breakers, and Held the tasks that wait for them; nil: there
	// are none. Ledger is the state of the history of mails; nil: there is none. They must
	// cost no I/O.
	Breakers func() []BreakerState
	Held     func() HeldTasks
	Ledger   func() LedgerState

	// Letters are the numbers of dead letters as they were counted last, and when. known is false
	// before the first count, and while the broker does not answer. nil: they are not counted. It
	// must cost no I/O.
	Letters func() (counts broker.LetterCounts, at time.Time, known bool)

	// Queues is how the queues were seen last, and Secrets the secrets in use; nil: not known.
	// They must cost no I/O.
	Queues  func() QueuesState
	Secrets func() []SecretState

	// Bounces is the state of the servers that take bounces in; nil: there are none.
	Bounces func() BouncesState

	// Templates is the state of the templates of mails; nil: not known. It must cost no I/O.
	Templates func() TemplatesState

	// Events is the state of what listens to events; nil: nothing does. It must cost no I/O.
	Events func() EventsState

	// Mails and Runs count mails and runs of tasks for /metrics; nil: they are not counted.
	// Beside named brokers Mails counts bounces only. Collectors makes further metrics.
	// Suppressions counts suppressions; nil: not known.
	// It must cost no I/O.
	Mails        *Mails
	Runs         *Runs
	Collectors   []prometheus.Collector
	Common       []prometheus.Collector // makes further metrics, of no broker
	Suppressions func() SuppressionCounts
	Spans        func() SpanCounts // of traces; nil: there are none
	Build        Build

	Profiles      Profiles         // who may fetch profiles; default: none
	Configuration State            // as it was at the start
	Now           func() time.Time // default: time.Now
	Logger        *slog.Logger     // default: slog.Default()
}

// Health serves the health of a worker by HTTP:
//
//	/livez    200 while the process answers, and the worker has not ended
//	/readyz   200 while the worker consumes, else 503 with the reason
//	/health   the same status, with a JSON report of all parts; also by part,
//	          as in /health/queue; /health/email is /health/mail
//	/metrics  figures for Prometheus
//	/debug/pprof/profile, heap, allocs, goroutine, trace
//	          profiles as net/http/pprof has them, for whom Profiles allows
//
// A database that does not answer, or a mail server that takes no mails, makes the
// report "degraded" and not 503: the worker consumes, and the mails wait. The state of
// the mail server is that of the last mail or probe of its circuit breaker: no look at a
// page logs in.
//
// It holds up to 128 connections. A further one replaces the oldest that has no
// request in progress.
type Health struct {
	cfg     HealthConfig
	started time.Time
	changes changes
	brokers []*brokerHealth

	mu       sync.Mutex
	database checked
}

// checked is the last answer of a part that is asked from time to time.
type checked struct {
	err  error
	at   time.Time // zero: not asked yet
	down time.Time // since when it fails
}

// NewHealth checks cfg and returns a Health.
func NewHealth(cfg HealthConfig) (*Health, error) {
	switch {
	case cfg.Listener == nil:
		return nil, errors.New("health server: Listener is missing")
	case cfg.Worker == nil && len(cfg.Brokers) == 0:
		return nil, errors.New("health server: Worker is missing")
	case cfg.Every < 0 || cfg.Timeout < 0:
		return nil, errors.New("health server: Every and Timeout must not be negative")
	case !cfg.Profiles.valid():
		return nil, fmt.Errorf("health server: Profiles is %q, not off, local or all", cfg.Profiles)
	}
	cfg.Every = cmp.Or(cfg.Every, DefaultEvery)
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Health{started: cfg.Now()}
	if len(cfg.Brokers) == 0 {
		cfg.Brokers = []BrokerConfig{{
			Worker: cfg.Worker, Ledger: cfg.Ledger, Letters: cfg.Letters, Queues: cfg.Queues, Mails: cfg.Mails, Runs: cfg.Runs, Collectors: cfg.Collectors, Events: cfg.Events,
		}}
	}
	for _, b := range cfg.Brokers {
		b.Worker = b.refused(cfg.Now)
		h.brokers = append(h.brokers, &brokerHealth{cfg: b})
	}
	h.cfg = cfg
	return h, nil
}

// Run serves until ctx ends, and then returns nil.
func (h *Health) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return Serve(ctx, ServerConfig{
			Name: "health", Listener: h.cfg.Listener, Handler: h.Handler(), ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
			MaxHeader: maxHeader, Logger: h.cfg.Logger,
		})
	})
	g.Go(func() error {
		h.watch(ctx)
		return nil
	})
	return g.Wait()
}

// watch asks the database and notes changes of the parts until ctx ends.
func (h *Health) watch(ctx context.Context) {
	for {
		if h.cfg.Database != nil {
			h.ask(ctx)
		}
		h.Report()
		timer := time.NewTimer(h.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// downEvery is the time between two questions to a database that is down.
const downEvery = time.Second

// pause returns the time until the next question. One to a database that is down comes soon, so
// that the page tells early of its end; not to one that refuses the login, for servers lock
// accounts.
func (h *Health) pause() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	refused, answered := errors.AsType[interface {
		error
		SQLState() string
	}](h.database.err)
	if h.database.err == nil || answered && strings.HasPrefix(refused.SQLState(), "28") {
		return h.cfg.Every
	}
	return min(h.cfg.Every, downEvery)
}

// ask asks the database once. Changes are logged with the error, which the
// answers of the server leave out.
func (h *Health) ask(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	err := h.cfg.Database(limited)
	if ctx.Err() != nil {
		return // the stop cut it off
	}
	now := h.cfg.Now()
	h.mu.Lock()
	before := h.database
	h.database = checked{err: err, at: now, down: before.down}
	switch {
	case err == nil:
		h.database.down = time.Time{}
	case before.err == nil:
		h.database.down = now
	}
	h.mu.Unlock()
	switch {
	case err != nil && before.err == nil:
		h.cfg.Logger.Warn("database does not answer lookups", "error", err)
	case err == nil && before.err != nil:
		h.cfg.Logger.Info("database answers again", "after", now.Sub(before.down).Round(time.Second).Seconds())
	}
}
