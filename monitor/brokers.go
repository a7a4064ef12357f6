package monitor

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evently/workers/worker/broker"
)

// BrokerConfig is what the health server asks of one broker's side of the process. Its
// functions must cost no I/O; all but Worker may be nil.
type BrokerConfig struct {
	Name   string // "" if there is one broker
	Worker func() WorkerState

	// Ledger is the state of the history of this broker's mails, Letters the numbers of its
	// dead letters, and Queues how its queues were seen last.
	Ledger  func() LedgerState
	Letters func() (counts broker.LetterCounts, at time.Time, known bool)
	Queues  func() QueuesState
	// Events is the state of what listens to events; nil: nothing does.
	Events func() EventsState

	// Mails and Runs count for /metrics, and Collectors makes further metrics.
	Mails      *Mails
	Runs       *Runs
	Collectors []prometheus.Collector
}

// BrokerReport is one of several brokers in a [Report].
type BrokerReport struct {
	Name        string `json:"name"`
	Status      string `json:"status"` // StatusHealthy, StatusDegraded or StatusUnhealthy
	Worker      Part   `json:"worker"`
	Queue       Part   `json:"queue"`
	Keys        Part   `json:"keys"`
	History     Part   `json:"history"`
	DeadLetters Part   `json:"dead_letters"`
	Events      Part   `json:"events"`
	Tasks       Tasks  `json:"tasks"`
}

// brokerHealth is the health of one broker's side.
type brokerHealth struct {
	cfg   BrokerConfig
	grown growth // of the open dead letters
}

func (b *brokerHealth) report(now time.Time) BrokerReport {
	w := b.cfg.Worker()
	r := BrokerReport{
		Name: b.cfg.Name, Worker: workerPart(w), Queue: b.queuePart(w, now), Keys: keysPart(w),
		History: b.historyPart(now), DeadLetters: b.lettersPart(now), Events: b.eventsPart(now), Tasks: w.tasks(),
	}
	switch {
	case !w.Consuming:
		r.Status = StatusUnhealthy
	case !r.Keys.OK:
		r.Status = StatusDegraded
	default:
		r.Status = StatusHealthy
	}
	return r
}

// isNamed reports whether the brokers have names.
func (h *Health) isNamed() bool { return h.brokers[0].cfg.Name != "" }

// workers returns the state of the process: the sum of its workers. It consumes while one of
// them does, so that the outage of one broker does not end the process.
func (h *Health) workers() WorkerState {
	all := h.brokers[0].cfg.Worker()
	for _, b := range h.brokers[1:] {
		w := b.cfg.Worker()
		if w.Consuming && !all.Consuming || all.State != "running" && w.State == "running" {
			all.State, all.Waits = w.State, w.Waits
		}
		all.Consuming = all.Consuming || w.Consuming
		all.LastLook = latest(all.LastLook, w.LastLook)
		all.Faults = append(all.Faults, w.Faults...)
		all.LeftBehind += w.LeftBehind
		all.Concurrency, all.Running, all.Waiting = all.Concurrency+w.Concurrency, all.Running+w.Running, all.Waiting+w.Waiting
		all.MinConcurrency, all.MaxConcurrency = all.MinConcurrency+w.MinConcurrency, all.MaxConcurrency+w.MaxConcurrency
		all.Received, all.Succeeded, all.Failed = all.Received+w.Received, all.Succeeded+w.Succeeded, all.Failed+w.Failed
		all.Retried, all.Revoked, all.DeadLetters = all.Retried+w.Retried, all.Revoked+w.Revoked, all.DeadLetters+w.DeadLetters
	}
	return all
}

// joinBrokers returns a part of the process, made of that of each broker. It is ok while one
// of them is; needed tells that then the others have to be, too.
func joinBrokers(all []BrokerReport, part func(*BrokerReport) *Part, needed bool) Part {
	if all[0].Name == "" {
		return *part(&all[0])
	}
	joined := Part{Checks: []Check{}}
	var texts, reasons, advices []string
	brokers := map[string][]string{} // by advice
	ok, worst := 0, PartOK
	for i := range all {
		r := &all[i]
		p := part(r)
		texts = append(texts, r.Name+": "+p.Text)
		if p.OK {
			ok++
		}
		if p.Status != PartOK {
			reasons = append(reasons, r.Name+": "+p.Reason)
			if p.Advice != "" && brokers[p.Advice] == nil {
				advices = append(advices, p.Advice)
			}
			brokers[p.Advice] = append(brokers[p.Advice], r.Name)
			worst = PartDegraded
		}
		if p.Since > joined.Since {
			joined.Since = p.Since
		}
		if joined.AgeSeconds == nil || p.AgeSeconds != nil && *p.AgeSeconds > *joined.AgeSeconds {
			joined.AgeSeconds = p.AgeSeconds
		}
		for _, c := range p.Checks {
			joined.Checks = append(joined.Checks, Check{Name: r.Name + ": " + c.Name, Status: c.Status, Text: c.Text})
		}
	}
	joined.OK = ok == len(all) || ok > 0 && !needed
	if ok == 0 {
		worst = PartFailed
	}
	joined.Text, joined.Status = strings.Join(texts, "; "), worst
	for i, advice := range advices {
		advices[i] = fmt.Sprintf("%s (%s)", advice, strings.Join(brokers[advice], ", "))
	}
	joined.Reason, joined.Advice = strings.Join(reasons, "; "), strings.Join(advices, "; ")
	return joined
}

// tasks returns the counts for a report.
func (w *WorkerState) tasks() Tasks {
	return Tasks{
		Concurrency: w.Concurrency, Running: w.Running, Waiting: w.Waiting,
		Received: w.Received, Succeeded: w.Succeeded, Failed: w.Failed, Retried: w.Retried,
		Revoked: w.Revoked, DeadLetters: w.DeadLetters,
	}
}

// register registers the metrics of a broker. With several brokers each has its label.
func (b *brokerHealth) register(r prometheus.Registerer) {
	switch {
	case b.cfg.Name == "" && b.cfg.Mails != nil:
		r.MustRegister(b.cfg.Mails)
	case b.cfg.Name != "":
		r = prometheus.WrapRegistererWith(prometheus.Labels{"broker": b.cfg.Name}, r)
		if b.cfg.Mails != nil {
			r.MustRegister(b.cfg.Mails.sent()...)
		}
	}
	r.MustRegister(b.cfg.Collectors...)
	if b.cfg.Runs != nil {
		r.MustRegister(b.cfg.Runs)
	}
	if b.cfg.Ledger != nil {
		r.MustRegister(ledgerCollector(b.cfg.Ledger)...)
	}
	if b.cfg.Letters != nil {
		r.MustRegister(letterCollector(b.cfg.Letters)...)
	}
	r.MustRegister(newWorkerCollector(b.cfg.Worker))
}
