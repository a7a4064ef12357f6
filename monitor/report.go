package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

	Worker        State `json:"worker"`
	Queue         State `json:"queue"`
	Keys          State `json:"keys"`
	Database      State `json:"database"`
	Mail          State `json:"mail"`
	Held          State `json:"held"`
	History       State `json:"history"`
	DeadLetters   State `json:"dead_letters"`
	Bounces       State `json:"bounces"`
	Configuration State `json:"configuration"`

	Breakers []Breaker `json:"breakers"`

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
	now, w := h.cfg.Now(), h.cfg.Worker()
	r := Report{
		Service:       "email_workers",
		Node:          w.Node,
		Timestamp:     now.UTC().Format(time.RFC3339),
		UptimeSeconds: int64(now.Sub(h.started).Seconds()),
		Worker:        State{OK: w.State == "running", Text: w.State},
		Queue:         queueState(w, now),
		Keys:          keysState(w),
		Database:      h.databaseState(now),
		Mail:          h.mailState(now),
		Held:          h.heldState(),
		History:       h.historyState(now),
		DeadLetters:   h.lettersState(),
		Bounces:       h.bouncesState(now),
		Breakers:      h.reportBreakers(),
		Configuration: h.cfg.Configuration,
		Tasks: Tasks{
			Concurrency: w.Concurrency, Running: w.Running, Waiting: w.Waiting,
			Received: w.Received, Succeeded: w.Succeeded, Failed: w.Failed, Retried: w.Retried,
			Revoked: w.Revoked, DeadLetters: w.DeadLetters,
		},
	}
	if w.Waits != "" {
		r.Database = State{OK: true, Text: "not asked yet"}
		r.Mail = State{OK: true, Text: "no mail sent yet"}
		r.Configuration = State{Text: w.Waits}
	}
	switch {
	case !w.Consuming:
		r.Status = StatusUnhealthy
	case !r.Keys.OK || !r.Database.OK || !r.Mail.OK || !r.Held.OK || !r.Configuration.OK:
		r.Status = StatusDegraded
	default:
		r.Status = StatusHealthy
	}
	return r
}

// keysState tells of keys in the way. The worker consumes what they do not concern.
func keysState(w WorkerState) State {
	if len(w.Faults) > 0 {
		return State{Text: strings.Join(w.Faults, "; ")}
	}
	return State{OK: true, Text: "no key has a wrong type"}
}

func queueState(w WorkerState, now time.Time) State {
	switch {
	case w.Consuming:
		return State{OK: true, Text: "consuming"}
	case w.Waits != "":
		return State{Text: "not consuming: " + w.Waits}
	case w.State != "running":
		return State{Text: "not consuming: the worker is " + w.State}
	}
	return State{Text: "no answer for " + span(now.Sub(w.LastLook))}
}

// summarized is an error with words that all may read.
type summarized interface {
	error
	Summary() string
}

func (h *Health) databaseState(now time.Time) State {
	if h.cfg.Database == nil {
		return State{OK: true, Text: "not used"}
	}
	if s, isOpen := h.openDatabase(now); isOpen {
		return s
	}
	h.mu.Lock()
	last := h.database
	h.mu.Unlock()
	switch {
	case last.at.IsZero():
		return State{OK: true, Text: "not asked yet"}
	case last.err != nil:
		down := span(now.Sub(last.down))
		if fault, ok := errors.AsType[summarized](last.err); ok {
			return State{Text: "no recipient can be looked up for " + down + ": " + fault.Summary()}
		}
		return State{Text: "no answer for " + down}
	}
	return State{OK: true, Text: "answered " + span(now.Sub(last.at)) + " ago"}
}

func (h *Health) mailState(now time.Time) State {
	if h.cfg.Mail == nil {
		return State{OK: true, Text: "not used"}
	}
	m := h.cfg.Mail()
	var faults []string
	var since time.Time // when the last relay failed
	for _, r := range m.Faulty {
		since = latest(since, r.Since)
		faults = append(faults, fmt.Sprintf("%s takes none for %s, %s: %s", r.Name, span(now.Sub(r.Since)), r.progress(now), r.Fault))
	}
	switch {
	case m.stuck() && len(m.Faulty) == 1:
		return State{Text: fmt.Sprintf("no mail gets out for %s, %s: %s", span(now.Sub(since)), m.Faulty[0].progress(now), m.Faulty[0].Fault)}
	case m.stuck():
		return State{Text: fmt.Sprintf("no mail gets out for %s: %s", span(now.Sub(since)), strings.Join(faults, "; "))}
	case len(faults) > 0:
		return State{Text: "mails go by the other relays: " + strings.Join(faults, "; ")}
	}
	text := "no mail sent yet"
	if !m.Accepted.IsZero() {
		text = "sent a mail " + span(now.Sub(m.Accepted)) + " ago"
	}
	if len(m.Retried) > 0 {
		text += "; tried again after an outage, with few mails at a time: " + strings.Join(m.Retried, ", ")
	}
	return State{OK: true, Text: text}
}

// progress tells when the relay was tried, or will be.
func (r *RelayState) progress(now time.Time) string {
	switch {
	case r.Next.IsZero():
		return "last tried " + span(now.Sub(r.Tried)) + " ago"
	case r.Next.After(now):
		return "next probe in " + span(r.Next.Sub(now)+time.Second)
	}
	return "being probed"
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func span(d time.Duration) string { return fmt.Sprintf("%d s", max(0, int(d.Seconds()))) }

// Handler returns the pages of the health server.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		state := h.cfg.Worker().State
		answer(w, state != "stopped", State{OK: state != "stopped", Text: state})
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
		part, ok := map[string]State{
			"worker": r.Worker, "queue": r.Queue, "keys": r.Keys, "database": r.Database, "configuration": r.Configuration,
			"mail": r.Mail, "email": r.Mail, "held": r.Held, "history": r.History, "dead_letters": r.DeadLetters, "bounces": r.Bounces,
		}[req.PathValue("part")]
		if !ok {
			notFound(w, req)
			return
		}
		answer(w, part.OK, part)
	})
	mux.Handle("GET /metrics", h.metrics())
	mux.HandleFunc("GET /", notFound)
	h.profiles(mux)
	return mux
}

// notFound lists the pages that there are.
func notFound(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, `not found; this is the health server of a worker, with these pages:

/livez                 the process answers
/readyz                the worker consumes
/health                a report of all parts
/health/worker         one part; also queue, database, mail (or email), held, history, bounces,
                       configuration
/metrics               figures for Prometheus
/debug/pprof/heap      a profile, where HEALTH_PPROF allows; also profile, allocs, goroutine, trace`, http.StatusNotFound)
}

func answer(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(body) // a reader that left is no fault
}
