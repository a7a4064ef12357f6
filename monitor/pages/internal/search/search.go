// Package search reads the search boxes of the monitor: words of the form name:value, such as
// user:42, and words without a name.
package search

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/store/ledger"
)

// Query is what a person typed.
type Query struct {
	Named map[string][]string // values by name
	Words []string            // without a name
}

// Parse reads a query. Only the given names are names: another word with a colon is a word.
func Parse(text string, names []string) Query {
	q := Query{Named: map[string][]string{}}
	for word := range strings.FieldsSeq(text) {
		name, value, ok := strings.Cut(word, ":")
		if ok && value != "" && slices.Contains(names, strings.ToLower(name)) {
			name = strings.ToLower(name)
			q.Named[name] = append(q.Named[name], value)
			continue
		}
		q.Words = append(q.Words, word)
	}
	return q
}

// First returns the first value of a name, "" without one.
func (q Query) First(name string) string {
	if values := q.Named[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Has reports whether a name has a value.
func (q Query) Has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return len(q.Named[n]) > 0 })
}

// MailNames are the names that the history of mails knows.
var MailNames = []string{"state", "kind", "user", "booking", "domain", "address", "class", "task"}

// Filter returns the mails that a query asks for. A word is an address if it has an @, and the id
// of a task otherwise. The error is a sentence for people.
func (q Query) Filter() (f ledger.Filter, err error) {
	f.Kinds, f.Classes = q.Named["kind"], q.Named["class"]
	f.Booking, f.Domain, f.Address, f.TaskID = q.First("booking"), q.First("domain"), q.First("address"), q.First("task")
	for _, name := range q.Named["state"] {
		s, err := ledger.ParseState(strings.ToLower(name))
		if err != nil {
			return f, err
		}
		f.States = append(f.States, s)
	}
	if text := q.First("user"); text != "" {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return f, fmt.Errorf("%q is not the id of a user: it is a number, as in user:42", text)
		}
		f.UserID = &id
	}
	for _, word := range q.Words {
		switch {
		case strings.Contains(word, "@") && f.Address == "":
			f.Address = word
		case f.TaskID == "":
			f.TaskID = word
		default:
			return f, fmt.Errorf("the search has more than one task: %q and %q; other words need a name, such as user: or domain: before them", f.TaskID, word)
		}
	}
	if f.Address != "" && !strings.Contains(f.Address, "@") {
		return f, fmt.Errorf("%q is not a whole address; use domain: for a domain", f.Address)
	}
	return f, nil
}

// Since reads the begin of a time: a time ago such as 90m, 24h or 7d, a day, or a time of UTC.
func Since(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.UTC); err == nil {
			return t, nil
		}
	}
	ago, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago < 0 || ago > 100*366*24*time.Hour {
		return time.Time{}, fmt.Errorf("%q is not a time: write a time ago such as 90m, 24h or 7d, or a time of UTC such as 2026-11-29T14:00", text)
	}
	return now.Add(-ago), nil
}
