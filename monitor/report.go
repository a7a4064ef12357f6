package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"
)

// Values of Report.Status.
const (
	StatusHealthy   = "healthy"
	StatusDegraded  = "degraded"  // consuming, but a part is in trouble
	StatusUnhealthy = "unhealthy" // not consuming
)

// Report is the answer of /health.
type Report struct {
	Status        string `json:"status"`
	Service       string `json:"service"`
	Node          string `json:"node"`
	Timestamp     string `json:"timestamp"` // RFC 3339, UTC
	UptimeSeconds int64  `json:"uptime_seconds"`

	Worker        Part `json:"worker"`
	Queue         Part `json:"queue"`
	Keys          Part `json:"keys"`
	Database      Part `json:"database"`
	Mail          Part `json:"mail"`
	Held          Part `json:"held"`
	History       Part `json:"history"`
	DeadLetters   Part `json:"dead_letters"`
	Bounces       Part `json:"bounces"`
	Events        Part `json:"events"`
	Configuration Part `json:"configuration"`

	Breakers []Breaker `json:"breakers"`

	// Brokers are the brokers of a process that has named ones. The parts above are of all.
	Brokers []BrokerReport `json:"brokers,omitempty"`

	Tasks Tasks `json:"tasks"`
}

// Tasks counts tasks: those at hand, and those since the start.
type Tasks struct {
	Concurrency int `json:"concurrency"`
	Running     int `json:"running"`
	Waiting     int `json:"waiting"`

	Received    int64 `json:"received"`
	Succeeded   int64 `json:"succeeded"`
	Failed      int64 `json:"failed"`
	Retried     int64 `json:"retried"`
	Revoked     int64 `json:"revoked"`
	DeadLetters int64 `json:"dead_letters"`
}

// Report returns the health as it is now, without I/O.
func (h *Health) Report() Report {
	now, w := h.cfg.Now(), h.workers()
	var brokers []BrokerReport
	stalled := false
	for _, b := range h.brokers {
		r := b.report(now)
		brokers, stalled = append(brokers, r), stalled || r.Status == StatusUnhealthy
	}
	r := Report{
		Service:       "email_workers",
		Node:          w.Node,
		Timestamp:     now.UTC().Format(time.RFC3339),
		UptimeSeconds: int64(now.Sub(h.started).Seconds()),
		Worker:        joinBrokers(brokers, func(b *BrokerReport) *Part { return &b.Worker }, false),
		Queue:         joinBrokers(brokers, func(b *BrokerReport) *Part { return &b.Queue }, false),
		Keys:          joinBrokers(brokers, func(b *BrokerReport) *Part { return &b.Keys }, true),
		Database:      h.databasePart(now),
		Mail:          h.mailPart(now),
		Held:          h.heldPart(),
		History:       joinBrokers(brokers, func(b *BrokerReport) *Part { return &b.History }, true),
		DeadLetters:   joinBrokers(brokers, func(b *BrokerReport) *Part { return &b.DeadLetters }, true),
		Bounces:       h.bouncesPart(now),
		Events:        joinBrokers(brokers, func(b *BrokerReport) *Part { return &b.Events }, true),
		Breakers:      h.reportBreakers(),
		Configuration: h.configurationPart(w, now),
		Tasks:         w.tasks(),
	}
	if h.isNamed() {
		r.Brokers = brokers
	}
	if w.Waits != "" {
		r.Database, r.Mail = unasked().from(h.started), unasked().from(h.started)
	}
	for name, p := range r.parts() {
		h.changes.note(name, p, now)
	}
	switch {
	case !w.Consuming:
		r.Status = StatusUnhealthy
	case stalled || !r.Keys.OK || !r.Database.OK || !r.Mail.OK || !r.Held.OK || r.Configuration.Status != PartOK:
		r.Status = StatusDegraded
	default:
		r.Status = StatusHealthy
	}
	return r
}

// parts returns the parts by their names below /health/.
func (r *Report) parts() map[string]*Part {
	return map[string]*Part{
		"worker": &r.Worker, "queue": &r.Queue, "keys": &r.Keys, "database": &r.Database, "mail": &r.Mail, "held": &r.Held,
		"history": &r.History, "dead_letters": &r.DeadLetters, "bounces": &r.Bounces, "events": &r.Events, "configuration": &r.Configuration,
	}
}

// Changes returns the latest changes of the parts, the latest first. They are seen every Every
// and with each report.
func (h *Health) Changes() []Change { return h.changes.list() }

// progress tells when the relay was tried, or will be.
func (r *RelayState) progress(now time.Time) string {
	switch {
	case r.Next.IsZero():
		return "last tried " + span(now.Sub(r.Tried)) + " ago"
	case r.Next.After(now):
		return "next probe in " + span(r.Next.Sub(now))
	}
	return "being probed"
}

// untried tells of the last mail.
func (r *RelayState) untried(now time.Time) string {
	return "the last mail failed " + span(now.Sub(r.Tried)) + " ago, and no mail has been tried since: " + r.Fault
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// span writes a duration in seconds that have begun: something that was just noticed lasts for 1 s.
func span(d time.Duration) string { return fmt.Sprintf("%d s", max(1, int(math.Ceil(d.Seconds())))) }

// Handler returns the pages of the health server.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		state := h.workers().State
		p := newPart(State{OK: state != "stopped", Text: state})
		answer(w, p.OK, p.advised("restart the process"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := h.Report()
		answer(w, r.Queue.OK, r.Queue)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		r := h.Report()
		answer(w, r.Status != StatusUnhealthy, r)
	})
	mux.HandleFunc("GET /health/{part}", func(w http.ResponseWriter, req *http.Request) {
		r := h.Report()
		parts := r.parts()
		parts["email"] = parts["mail"]
		part, ok := parts[req.PathValue("part")]
		if !ok {
			notFound(w, req)
			return
		}
		answer(w, part.OK, part)
	})
	mux.Handle("GET /metrics", h.metrics())
	mux.HandleFunc("GET /", notFound)
	h.profiles(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// A browser shows the answers as they are, and nothing around them.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		mux.ServeHTTP(w, req)
	})
}

// notFound lists the pages that there are.
func notFound(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, `not found; this is the health server of a worker, with these pages:

/livez                 the process answers
/readyz                the worker consumes
/health                a report of all parts
/health/worker         one part; also queue, keys, database, mail (or email), held, history,
                       dead_letters, bounces, events, configuration
/metrics               figures for Prometheus
/debug/pprof/heap      a profile, where HEALTH_PPROF allows; also profile, allocs, goroutine, trace`, http.StatusNotFound)
}

func answer(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(body) // a reader that left is no fault
}
