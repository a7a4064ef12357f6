// Package attention decides what an operator should look at: rules over facts about the
// fleet, each with a sentence, since when it holds, and the page on which it is mended. It
// does no I/O.
package attention

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/sorting"
)

// Level is how soon a finding must be looked at.
type Level int

// The levels of findings.
const (
	Notice  Level = iota + 1 // when there is time
	Warning                  // today
	Urgent                   // now: mails are late or lost
)

func (l Level) String() string {
	switch l {
	case Urgent:
		return "urgent"
	case Warning:
		return "warning"
	}
	return "notice"
}

// MarshalText implements [encoding.TextMarshaler].
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. An unknown word is a notice.
func (l *Level) UnmarshalText(text []byte) error {
	switch string(text) {
	case "urgent":
		*l = Urgent
	case "warning":
		*l = Warning
	default:
		*l = Notice
	}
	return nil
}

// Finding is something to look at.
type Finding struct {
	Rule    string    `json:"rule"`              // name of the rule, one word
	Subject string    `json:"subject,omitempty"` // what it is about, such as a queue; "" for all
	Level   Level     `json:"level"`
	Text    string    `json:"text"`             // one sentence
	Advice  string    `json:"advice,omitempty"` // what to do about it, one sentence
	Since   time.Time `json:"since"`
	Link    string    `json:"link"` // path of the page where it is mended
}

// Look returns the findings of all rules, the most urgent ones first. Since is zero where the
// facts do not tell it.
func Look(f Facts) []Finding {
	var found []Finding
	for _, r := range rules {
		for _, one := range r.look(&f) {
			one.Rule, one.Link = r.name, cmp.Or(one.Link, r.link)
			one.Level = cmp.Or(one.Level, r.level)
			found = append(found, one)
		}
	}
	order(found)
	return found
}

func order(found []Finding) {
	sorting.Stable(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), a.Since.Compare(b.Since), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Subject, b.Subject))
	})
}

// Watcher remembers since when findings hold. Its zero value is ready. Many goroutines may
// use it.
type Watcher struct {
	mu    sync.Mutex
	since map[[2]string]time.Time
	gone  map[[2]string]time.Time // when a finding was missing first
}

// calm is how long a finding may be missing without a new beginning.
const calm = time.Minute

// Look returns the findings of the facts, each since when it holds.
func (w *Watcher) Look(f Facts) []Finding {
	found := Look(f)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == nil {
		w.since, w.gone = map[[2]string]time.Time{}, map[[2]string]time.Time{}
	}
	present := map[[2]string]bool{}
	for i := range found {
		one := &found[i]
		key := [2]string{one.Rule, one.Subject}
		present[key] = true
		delete(w.gone, key)
		first := w.since[key]
		if first.IsZero() {
			first = f.Now
		}
		if !one.Since.IsZero() && one.Since.Before(first) {
			first = one.Since
		}
		w.since[key], one.Since = first, first
	}
	for key := range w.since {
		switch {
		case present[key]:
		case w.gone[key].IsZero():
			w.gone[key] = f.Now
		case f.Now.Sub(w.gone[key]) > calm:
			delete(w.since, key)
			delete(w.gone, key)
		}
	}
	order(found)
	return found
}
