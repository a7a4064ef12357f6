// Package vitals tells the fleet how each process is. A process posts its health report on
// the board of the broker, where it is gone soon after the process, and notes each change of
// its health in a journal, which survives restarts. Pages and commands read both.
package vitals

import (
	"context"
	"encoding/json"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker/broker"
)

// Process is a process of the fleet, as it described itself last.
type Process struct {
	ID      string    `json:"id"` // random, of this run
	Node    string    `json:"node"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	At      time.Time `json:"at"` // by the clock of the process

	Report   monitor.Report `json:"report"`
	Settings []Setting      `json:"settings,omitempty"`
	Secrets  []Secret       `json:"secrets,omitempty"`

	// VisibilityTimeout is the time after which messages are delivered again, in seconds.
	// 0: not known.
	VisibilityTimeout float64 `json:"visibility_timeout,omitempty"`
}

// Setting is a variable of the configuration of a process. It has no value: digests tell
// whether two processes differ.
type Setting struct {
	Variable string `json:"variable"`
	Source   string `json:"source"`
	Digest   string `json:"digest"`

	// Of a secret only.
	Secret bool      `json:"secret,omitempty"`
	Since  time.Time `json:"since,omitzero"` // when the fleet saw this value first
}

// Secret is a secret in use, without its value. One variable may hold several, such as those of
// REDIS_URLS.
type Secret struct {
	Name   string    `json:"name"`
	Source string    `json:"source,omitempty"`
	Mark   string    `json:"mark,omitempty"`  // of the value, with the key of the fleet
	Since  time.Time `json:"since,omitzero"`  // when the fleet saw the value first, or the process took it over
	Fault  string    `json:"fault,omitempty"` // why another value is not in use
	Advice string    `json:"advice,omitempty"`
}

// SecretsOf returns the secrets of states.
func SecretsOf(states []monitor.SecretState) (all []Secret) {
	for _, s := range states {
		all = append(all, Secret{Name: s.Name, Source: s.Source, Mark: s.Mark, Since: s.Since, Fault: s.Fault, Advice: s.Advice})
	}
	return all
}

// SameDigest reports whether two digests may be of the same value. Versions of the program make
// digests of different lengths, which cannot be compared.
func SameDigest(a, b string) bool { return a == b || a != "" && b != "" && len(a) != len(b) }

// Change is a change of the health of a process.
type Change struct {
	ID      string    `json:"id"` // in the journal
	At      time.Time `json:"at"`
	Process string    `json:"process"` // id of the run
	Node    string    `json:"node"`
	Part    string    `json:"part"` // such as "mail", "breaker relay smtp.example.com:587" or "process"
	OK      bool      `json:"ok"`
	Text    string    `json:"text"`
}

// Journal keeps the changes. A journal of worker/redis is one.
type Journal interface {
	// Append appends entries. head and next are "": the order of writers does not matter.
	Append(ctx context.Context, head, next string, entries ...[]string) (now string, err error)
	// After returns the oldest entries after the one with an id, at most max.
	After(ctx context.Context, id string, max int) ([]broker.Recorded, error)
}

// JournalName is the name of the journal, and JournalMax the number of entries that it keeps.
const (
	JournalName = "health"
	JournalMax  = 5000
)

// Names on the board.
const (
	directoryName = "vitals"
	processPrefix = "vitals.process."
)

// Times of notices. The directory outlives a short stop of all processes.
const (
	postEvery     = 5 * time.Second
	noticeLife    = 20 * time.Second
	directoryLife = time.Hour
	seenLife      = 15 * time.Minute // of an entry of the directory
	seenEvery     = 5 * time.Minute  // how often an entry is renewed
)

// mostProcesses bounds the directory, so that it fits into a notice.
const mostProcesses = 500

// directory holds the processes that may have a notice, with the time at which each was seen.
type directory map[string]time.Time

// readDirectory reads the notice of a directory. An unreadable one is empty: processes enter
// themselves again.
func readDirectory(notice []byte) directory {
	d := directory{}
	if json.Unmarshal(notice, &d) != nil || d == nil {
		return directory{}
	}
	return d
}

// enter renews the entry of a process, and removes old ones. It reports whether anything
// changed.
func (d directory) enter(id string, now time.Time) bool {
	changed := false
	for other, seen := range d {
		if age := now.Sub(seen); age > seenLife || age < -seenLife {
			delete(d, other)
			changed = true
		}
	}
	if now.Sub(d[id]) < seenEvery || len(d) >= mostProcesses {
		return changed
	}
	d[id] = now
	return true
}
