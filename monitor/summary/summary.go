// Package summary puts together what the overview shows: rates, latencies, queues, breakers,
// codes, failures, dead letters, workers, and what an operator should look at. The page, the
// command top and the incident bundle read the same summary.
package summary

import (
	"time"

	"github.com/evently/workers/monitor/attention"
)

// Summary is the state of the fleet at one moment.
type Summary struct {
	At time.Time `json:"at"`

	Rates    Rates               `json:"rates"`
	Latency  Latency             `json:"latency"`
	Outcomes Outcomes            `json:"outcomes"`
	Queues   Queues              `json:"queues"`
	Breakers []Breaker           `json:"breakers"`
	Codes    Codes               `json:"codes"`
	Failures []Failure           `json:"failures"` // of the last hour, the most frequent first
	Letters  Letters             `json:"dead_letters"`
	Workers  []Worker            `json:"workers"`
	Findings []attention.Finding `json:"findings"`
	Missing  []Missing           `json:"missing,omitempty"`

	// Unknown names what is not known at this moment, and will be soon: it was not read yet, or
	// Redis has lost it and the workers will tell it again.
	Unknown []string `json:"unknown,omitempty"`
}

// NotKnown is the phase of breakers and the status of workers while Redis does not answer, and until
// workers have told it again.
const NotKnown = "not known"

// Missing is a part that is not known, with how to get it.
type Missing struct {
	Part   string `json:"part"`
	Why    string `json:"why"`
	Advice string `json:"advice"`
}

// Rates are events a second in the last ten seconds.
type Rates struct {
	Known     bool    `json:"known"`
	Received  float64 `json:"received"`
	Succeeded float64 `json:"succeeded"`
	Retried   float64 `json:"retried"`
	Failed    float64 `json:"failed"`

	// Series holds the counts of each second of the last minutes, the oldest first.
	Series Series `json:"-"`
}

// Series are counts of seconds from Begin on.
type Series struct {
	Begin                                time.Time
	Received, Succeeded, Retried, Failed []uint32
}

// Latency describes the run times of the last five minutes, in seconds, and the time from the
// first claim to acceptance of mails, where the history tells it.
type Latency struct {
	Known   bool    `json:"known"`
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	P99     float64 `json:"p99"`
	Samples int64   `json:"samples"`
}

// Outcomes counts the tasks that ended in the last five minutes. A retry is no end.
type Outcomes struct {
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
}

// Queues tells of all queues together.
type Queues struct {
	Known    bool    `json:"known"`
	Fault    string  `json:"fault,omitempty"`
	Refusal  string  `json:"refusal,omitempty"` // of a Redis that can be read and refuses writes
	Remedy   string  `json:"remedy,omitempty"`  // the cause of either, and what to do
	Messages int     `json:"messages"`
	Unacked  int     `json:"unacked"` // -1: not known
	Oldest   Age     `json:"oldest"`
	All      []Queue `json:"all"`
}

// Age is the age of a message.
type Age struct {
	Known   bool    `json:"known"`
	Seconds float64 `json:"seconds"`
	AtLeast bool    `json:"at_least,omitempty"` // it is older
}

// Duration returns the age, 0 if it is not known.
func (a Age) Duration() time.Duration { return time.Duration(a.Seconds * float64(time.Second)) }

// Queue is one queue.
type Queue struct {
	Name      string    `json:"name"`
	Messages  int       `json:"messages"`
	Oldest    Age       `json:"oldest"`
	In        float64   `json:"in"` // messages a second
	Out       float64   `json:"out"`
	Empty     float64   `json:"seconds_to_empty,omitempty"`
	Consumers int       `json:"consumers"` // -1: not known
	Paused    bool      `json:"paused,omitempty"`
	PausedBy  string    `json:"paused_by,omitempty"`
	Since     time.Time `json:"paused_since,omitzero"`
	Broken    bool      `json:"broken,omitempty"`
}

// Breaker is a circuit breaker of all processes that have it.
type Breaker struct {
	Name    string    `json:"name"`
	Phase   string    `json:"phase"` // the worst of all; or NotKnown
	Reason  string    `json:"reason,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Refused bool      `json:"refused,omitempty"`
	Nodes   []string  `json:"nodes"` // where it is not closed; all when it is closed
}

// Codes tells how codes fare.
type Codes struct {
	Known     bool    `json:"known"` // of the last 24 hours, by the history
	Ended     int64   `json:"ended"`
	InTime    int64   `json:"in_time"`
	Expired   int64   `json:"expired"`
	Share     float64 `json:"share"` // in time; 1 without codes
	P95       float64 `json:"p95"`   // seconds until acceptance
	Objective float64 `json:"objective"`
	// Budget is the part of the allowed failures that is left: 1 all, 0 or less none.
	Budget float64 `json:"budget"`

	Waiting float64 `json:"waiting"` // age in seconds of the oldest one that is not accepted; 0: none
	Number  int     `json:"number"`  // codes that wait
}

// Failure counts the failures of a class.
type Failure struct {
	Class string `json:"class"`
	N     int64  `json:"n"`
}

// Letters tells of dead letters.
type Letters struct {
	Known   bool  `json:"known"`
	Open    int   `json:"open"`
	Grown   int   `json:"grown"` // in the last ten minutes, as far as they are known
	Dropped int64 `json:"dropped"`
}

// Worker is a live worker, of this kind or Python's.
type Worker struct {
	Node        string  `json:"node"`
	Process     string  `json:"process,omitempty"`
	Python      bool    `json:"python"`
	Version     string  `json:"version"`
	Status      string  `json:"status,omitempty"` // of its health report; "" without one; or NotKnown
	Active      int     `json:"active"`
	Concurrency int     `json:"concurrency,omitempty"` // 0: not known
	Processed   int64   `json:"processed"`
	Skew        float64 `json:"skew,omitempty"` // seconds
	Trouble     string  `json:"trouble,omitempty"`
}
