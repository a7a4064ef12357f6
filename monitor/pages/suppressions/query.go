package suppressions

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/moment"
	"github.com/evently/workers/monitor/web"
	store "github.com/evently/workers/store/ledger/suppressions"
)

// query is what a list shows.
type query struct {
	state  string // of stateNames, or "all"
	text   string // of the search box: an address, an id or a domain
	class  string
	source string
	kind   string
	since  string
	after  string

	filter store.Filter
}

const allStates = "all"

// readQuery reads the conditions of a URL or a form.
func readQuery(v url.Values, now time.Time) (*query, error) {
	q := &query{
		state: v.Get("state"), text: strings.TrimSpace(v.Get("q")), class: v.Get("class"), source: v.Get("source"), kind: v.Get("kind"),
		since: v.Get("since"), after: v.Get("after"),
	}
	if q.state == "" {
		q.state = string(store.Active)
	}
	f := &q.filter
	f.Kind, f.After = q.kind, q.after
	if q.state != allStates {
		f.State = store.State(q.state)
		if !slices.Contains([]store.State{store.Active, store.Expired, store.Released}, f.State) {
			return nil, web.Invalid("This is not a state: use active, expired, released or all.")
		}
	}
	if q.class != "" {
		var c store.Class
		if err := c.UnmarshalText([]byte(q.class)); err != nil {
			return nil, web.Invalid(sentence(err.Error()))
		}
		f.Classes = []store.Class{c}
	}
	if q.source != "" {
		if err := f.Source.UnmarshalText([]byte(q.source)); err != nil {
			return nil, web.Invalid(sentence(err.Error()))
		}
	}
	if q.since != "" {
		var err error
		if f.Since, err = moment.Parse(q.since, now); err != nil {
			return nil, web.Invalid("since: " + err.Error() + ".")
		}
	}
	switch {
	case q.text == "":
	case strings.HasPrefix(q.text, "@"):
		f.Domain = q.text[1:]
	case strings.Contains(q.text, "@"), !strings.Contains(q.text, "."):
		f.Of = q.text
	default:
		f.Domain = q.text
	}
	return q, nil
}

// values returns the query of a URL of the list.
func (q *query) values() url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.state != string(store.Active) {
		v.Set("state", q.state)
	}
	set("q", q.text)
	set("class", q.class)
	set("source", q.source)
	set("kind", q.kind)
	set("since", q.since)
	set("after", q.after)
	return v
}

func (q *query) href() string { return href("/suppressions", q.values()) }

func href(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// with returns the query with a change, from the beginning of its list. A whole address does not
// go into further links.
func (q *query) with(change func(*query)) *query {
	c := *q
	c.after = ""
	if strings.Contains(c.filter.Of, "@") {
		c.text = ""
	}
	change(&c)
	return &c
}

// narrows reports whether the query chooses some of the suppressions in force.
func (q *query) narrows() bool {
	return q.text != "" || q.class != "" || q.source != "" || q.kind != "" || q.since != ""
}

// conditions are the facts of the query for people.
func (q *query) conditions() (facts []web.Fact) {
	for _, f := range []web.Fact{
		{Name: "Class", Value: q.class}, {Name: "Address or domain", Value: q.shownText()}, {Name: "Source", Value: q.source},
		{Name: "Kind of mail", Value: q.kind}, {Name: "Evidence since", Value: q.since},
	} {
		if f.Value = line(f.Value); f.Value != "" {
			facts = append(facts, f)
		}
	}
	return facts
}

// shownText is the text of the search box, with its address masked.
func (q *query) shownText() string {
	if q.filter.Of != "" {
		return mask(q.text)
	}
	return q.text
}
