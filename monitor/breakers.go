package monitor

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// BreakerState describes a circuit breaker. The reason is in words that all may read.
type BreakerState struct {
	Name   string // such as "relay smtp.example.com:587" or DatabaseBreaker
	Phase  string // "closed", "open", "probing" or "half-open"
	Reason string // why it is not closed
	Since  time.Time
	Next   time.Time // next probe; zero: none is due

	Refused bool // the server refuses this client, for example its login

	Opened, Probes int64 // since the start of the process
}

// DatabaseBreaker is the name of the circuit breaker of the database.
const DatabaseBreaker = "database"

// HeldTasks describes tasks that stay in their queues while they cannot run.
type HeldTasks struct {
	Tasks   int    // kinds of tasks; 0: none is held
	Cause   string // name of a circuit breaker
	Waiting int    // messages in the queues; -1: not known
}

// Breaker is a circuit breaker in a [Report].
type Breaker struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	Reason    string `json:"reason,omitempty"`
	Since     string `json:"since,omitempty"`      // RFC 3339, UTC
	NextProbe string `json:"next_probe,omitempty"` // RFC 3339, UTC
	Refused   bool   `json:"refused,omitempty"`    // the server refuses this client, for example its login
}

// phases are the values of BreakerState.Phase.
var phases = []string{"closed", "open", "probing", "half-open"}

func (b *BreakerState) isOpen() bool { return b.Phase == "open" || b.Phase == "probing" }

// nextProbe tells when the next probe is.
func (b *BreakerState) nextProbe(now time.Time) string {
	if b.Next.After(now) {
		return "next probe in " + span(b.Next.Sub(now)+time.Second)
	}
	return "being probed"
}

func (h *Health) breakers() []BreakerState {
	if h.cfg.Breakers == nil {
		return nil
	}
	return h.cfg.Breakers()
}

// reportBreakers returns the breakers for a report.
func (h *Health) reportBreakers() []Breaker {
	all := []Breaker{}
	for _, b := range h.breakers() {
		r := Breaker{Name: b.Name, State: b.Phase, Reason: b.Reason, Refused: b.Refused}
		if !b.Since.IsZero() {
			r.Since = b.Since.UTC().Format(time.RFC3339)
		}
		if !b.Next.IsZero() {
			r.NextProbe = b.Next.UTC().Format(time.RFC3339)
		}
		all = append(all, r)
	}
	return all
}

// openDatabase returns the state of a database whose breaker is open.
func (h *Health) openDatabase(now time.Time) (p Part, isOpen bool) {
	for _, b := range h.breakers() {
		if b.Name == DatabaseBreaker && b.isOpen() {
			text := fmt.Sprintf("no recipient can be looked up for %s, %s: %s", span(now.Sub(b.Since)), b.nextProbe(now), b.Reason)
			return newPart(State{Text: text}).from(b.Since), true
		}
	}
	return Part{}, false
}

// heldPart tells which tasks wait for the end of an outage, and what to do.
func (h *Health) heldPart() Part {
	var held HeldTasks
	if h.cfg.Held != nil {
		held = h.cfg.Held()
	}
	if held.Tasks == 0 {
		return newPart(State{OK: true, Text: "no tasks are held"})
	}
	waiting := "some"
	if held.Waiting >= 0 {
		waiting = fmt.Sprint(held.Waiting)
	}
	p := newPart(State{Text: fmt.Sprintf("mail tasks are held: %s waiting, until a probe of the %s succeeds", waiting, held.Cause)})
	return p.degraded(fmt.Sprintf("mail tasks are held because of an outage of the %s", held.Cause),
		"correct the cause of the outage and leave the queues alone: no attempt is spent, and all are sent then")
}

// breakerCollector makes metrics of circuit breakers.
type breakerCollector struct {
	health                       *Health
	state, opened, probes, holds *prometheus.Desc
}

func newBreakerCollector(h *Health) *breakerCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
	}
	return &breakerCollector{
		health: h,
		state:  desc("breaker_state", "1 for the state of the circuit breaker, 0 for its other states.", "breaker", "state"),
		opened: desc("breaker_opened_total", "How often the circuit breaker opened.", "breaker"),
		probes: desc("breaker_probes_total", "Probes by this process of the server behind the circuit breaker.", "breaker"),
		holds:  desc("held_task_kinds", "Kinds of mail tasks that stay in their queues until the end of an outage."),
	}
}

// Describe implements [prometheus.Collector].
func (c *breakerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.state, c.opened, c.probes, c.holds} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *breakerCollector) Collect(ch chan<- prometheus.Metric) {
	for _, b := range c.health.breakers() {
		for _, phase := range phases {
			ch <- prometheus.MustNewConstMetric(c.state, prometheus.GaugeValue, boolean(phase == b.Phase), b.Name, phase)
		}
		ch <- prometheus.MustNewConstMetric(c.opened, prometheus.CounterValue, float64(b.Opened), b.Name)
		ch <- prometheus.MustNewConstMetric(c.probes, prometheus.CounterValue, float64(b.Probes), b.Name)
	}
	if held := c.health.cfg.Held; held != nil {
		ch <- prometheus.MustNewConstMetric(c.holds, prometheus.GaugeValue, float64(held().Tasks))
	}
}
