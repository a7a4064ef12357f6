package letters

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/moment"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
)

// query is what a list shows: a state, and the words of the search box.
type query struct {
	state string // of stateNames, or "all"
	terms []term
	after string // place of the page before

	filter desk.Filter
}

// term is a condition of the search box. A term without a key is a part of the reason.
type term struct{ key, value string }

// keys are the conditions that the search box knows.
var keys = []string{"reason", "task", "kind", "domain", "since", "until"}

const allStates = "all"

// stateNames are the states in the order of the list.
var stateNames = []struct {
	name  string
	state broker.LetterState
	title string
	tone  web.Tone
}{
	{"open", broker.LetterOpen, "Open", web.Bad},
	{"retried", broker.LetterRetried, "Retried", web.Info},
	{"replaced", broker.LetterReplaced, "Replaced", web.Info},
	{"dealt_with", broker.LetterDealtWith, "Dealt with", web.Calm},
}

// readQuery reads the state, q and after of a URL or a form.
func readQuery(v url.Values, now time.Time) (*query, error) {
	q := &query{state: v.Get("state"), after: v.Get("after")}
	if q.state == "" {
		q.state = "open"
	}
	if q.state != allStates {
		i := slices.IndexFunc(stateNames, func(s struct {
			name  string
			state broker.LetterState
			title string
			tone  web.Tone
		}) bool {
			return s.name == q.state
		})
		if i < 0 {
			return nil, web.Invalid(fmt.Sprintf("%q is not a state: use open, retried, replaced, dealt_with or all.", q.state))
		}
		q.filter.States = []broker.LetterState{stateNames[i].state}
	}
	const longest = 500
	if text := v.Get("q"); len(text) > longest {
		return nil, web.Invalid(fmt.Sprintf("The search has %d bytes, at most %d are read.", len(text), longest))
	}
	var err error
	if q.terms, err = readTerms(v.Get("q")); err != nil {
		return nil, err
	}
	return q, q.fill(now)
}

// readTerms splits the text of a search box: words, key:value and key:"a value".
func readTerms(text string) (terms []term, err error) {
	var words []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		key, rest := "", text
		if before, after, ok := strings.Cut(text, ":"); ok && slices.Contains(keys, strings.ToLower(before)) {
			key, rest = strings.ToLower(before), after
		}
		var value string
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, web.Invalid(`A quotation mark is missing in the search: write reason:"550 5.1.1".`)
			}
			value, _ = strconv.Unquote(quoted) // it is quoted
			rest = rest[len(quoted):]
		} else {
			value, rest, _ = strings.Cut(rest, " ")
		}
		switch {
		case key == "" && value != "":
			words = append(words, value)
		case value == "":
			return nil, web.Invalid(fmt.Sprintf("%s: has no value. It would choose all letters; leave it out for that.", key))
		default:
			terms = append(terms, term{key, value})
		}
		text = rest
	}
	if len(words) > 0 {
		terms = append(terms, term{"", strings.Join(words, " ")})
	}
	return terms, nil
}

// fill makes the filter of the terms.
func (q *query) fill(now time.Time) error {
	f := &q.filter
	for _, t := range q.terms {
		var err error
		switch t.key {
		case "", "reason":
			f.Reasons = append(f.Reasons, t.value)
		case "task":
			f.Tasks = append(f.Tasks, t.value)
		case "kind":
			f.Kinds = append(f.Kinds, t.value)
		case "domain":
			f.Domains = append(f.Domains, t.value)
		case "since":
			f.Since, err = moment.Parse(t.value, now)
		case "until":
			f.Until, err = moment.Parse(t.value, now)
		}
		if err != nil {
			return web.Invalid(t.key + ": " + err.Error() + ".")
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return web.Invalid("since: must be before until:.")
	}
	return nil
}

// text returns the terms as people write them.
func (q *query) text() string {
	var parts []string
	for _, t := range q.terms {
		switch quoted := strconv.Quote(t.value); {
		case t.key == "":
			parts = append(parts, t.value)
		case strings.Contains(t.value, " ") || quoted != `"`+t.value+`"`:
			parts = append(parts, t.key+":"+quoted)
		default:
			parts = append(parts, t.key+":"+t.value)
		}
	}
	return strings.Join(parts, " ")
}

// values returns the query of a URL of the list.
func (q *query) values() url.Values {
	v := url.Values{}
	if q.state != "open" {
		v.Set("state", q.state)
	}
	if text := q.text(); text != "" {
		v.Set("q", text)
	}
	if q.after != "" {
		v.Set("after", q.after)
	}
	return v
}

// href returns the path of the list.
func (q *query) href() string { return href("/dead-letters", q.values()) }

func href(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// inState returns the same search in another state, from its beginning.
func (q *query) inState(name string) *query {
	return &query{state: name, terms: q.terms}
}

// with returns the search with one value of a key, and without its other values. An empty
// value only removes them.
func (q *query) with(key, value string) *query {
	terms := slices.DeleteFunc(slices.Clone(q.terms), func(t term) bool { return t.key == key || key == "reason" && t.key == "" })
	if value != "" {
		terms = append(terms, term{key, value})
	}
	return &query{state: q.state, terms: terms}
}

// has reports whether a condition is set to a value.
func (q *query) has(key, value string) bool { return slices.Contains(q.terms, term{key, value}) }

// place is the place of an item in a list, for the page after it.
func place(it *desk.Item) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", it.At.UnixNano(), it.ID))
}

func readPlace(text string) (at time.Time, id string, err error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	nanos, id, ok := strings.Cut(string(plain), " ")
	n, err2 := strconv.ParseInt(nanos, 10, 64)
	if err != nil || err2 != nil || !ok {
		return at, "", web.Invalid("This is not a page of the list: go back to its beginning.")
	}
	return time.Unix(0, n), id, nil
}
