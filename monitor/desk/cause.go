package desk

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
)

// CauseOf returns a reason without ids, addresses, quoted words and large numbers, so that
// letters of one cause have one text. Codes of mail servers stay.
func CauseOf(reason string) string {
	const most = 200
	if runes := []rune(reason); len(runes) > most {
		reason = string(runes[:most])
	}
	words := strings.Fields(withoutQuotes(reason))
	if len(words) == 0 {
		return "no reason"
	}
	for i, word := range words {
		core := strings.Trim(word, ",.;:()[]<>")
		if general := generalize(core); general != core {
			words[i] = strings.Replace(word, core, general, 1)
		}
	}
	return strings.Join(words, " ")
}

// withoutQuotes replaces what stands in quotes. An apostrophe begins no quotation.
func withoutQuotes(text string) string {
	for _, pair := range [][2]string{{`"`, `"`}, {"“", "”"}, {" '", "'"}} {
		var b strings.Builder
		for {
			before, rest, opened := strings.Cut(text, pair[0])
			_, after, closed := strings.Cut(rest, pair[1])
			if !opened || !closed {
				break
			}
			b.WriteString(before + strings.TrimRight(pair[0], "'\"“") + "“…”")
			text = after
		}
		text = b.String() + text
	}
	return text
}

// generalize returns a word without what differs from letter to letter.
func generalize(word string) string {
	switch hex := strings.ReplaceAll(word, "-", ""); {
	case strings.Contains(strings.Trim(word, "@"), "@"):
		return "(address)"
	case len(hex) >= 12 && strings.ContainsAny(hex, "0123456789") && strings.Trim(hex, "0123456789abcdefABCDEF") == "":
		return "(id)"
	case len(word) >= 4 && strings.Trim(word, "0123456789") == "":
		return "(number)"
	}
	host, _, _ := strings.Cut(word, ":")
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		return "(host)"
	}
	return word
}

// advice tells what to do about reasons that begin with a text. docs/operations.md has the
// same table with more words.
var advice = []struct{ begins, text string }{
	{"not-json", "not a Celery message: find the producer, then delete"},
	{"not-utf8", "not a Celery message: find the producer, then delete"},
	{"not-object", "not a Celery message: find the producer, then delete"},
	{"no-", "not a Celery message: find the producer, then delete"},
	{"bad-", "a damaged message: find the producer, then delete"},
	{"body-encoding", "a damaged message: find the producer, then delete"},
	{"undecodable", "a damaged message: find the producer, then delete"},
	{"compression", "a damaged body: find the producer, then delete"},
	{"content-type", "have the producer send JSON, then delete"},
	{"pickle", "have the producer send JSON, then delete; pickle is never read"},
	{"too-", "raise MESSAGE_MAX_* and retry, or delete"},
	{"unknown task", "start a worker that has the task, then retry"},
	{"poison", "find out why the process died, then retry"},
	{"not restorable", "delete"},
	{"recipient address refused", "correct the address with edit, or delete"},
	{"recipient address is not usable", "correct the address with edit, or delete"},
	{"mail refused", "read the words of the relay with show, correct the cause, then retry"},
	{"mail could not be made", "correct the data with edit"},
	{"delivery unsure", "look for the Message-ID in the log of the relay; retry may send a second copy"},
	{"mail server", "mend the relay, then retry"},
	{"no connection to", "retry"},
	{"database", "mend the database, then retry"},
	{"user lookup failed", "mend the database, then retry"},
	{"time limit", "find out what was slow, then retry"},
	{"internal error", "read the log of the worker, then retry"},
	{"rejected", "the task refused its message: read the log of the worker"},
	{"retry cannot be published", "mend Redis, then retry"},
	{"what follows", "correct the chain of the producer; the task itself is done"},
}

// AdviceFor tells what to do about a reason.
func AdviceFor(reason string) string {
	reason = strings.ToLower(strings.TrimSpace(reason))
	for _, status := range []string{" 4.2.2 ", " 5.2.2 "} {
		if strings.Contains(reason+" ", status) {
			return "the mailbox is full: retry in some days, or mark as dealt with"
		}
	}
	for _, a := range advice {
		if strings.HasPrefix(reason, a.begins) {
			return a.text
		}
	}
	if strings.Contains(reason, " is not ") {
		return "correct the field with edit"
	}
	return "read the reason, correct the cause, then retry"
}

// Cause is the dead letters of one cause, and of one task unless Causes.AllTasks is set.
type Cause struct {
	Cause   string         `json:"cause"`
	Task    string         `json:"task,omitempty"` // without the module
	Kind    string         `json:"kind,omitempty"`
	Count   int            `json:"count"`
	First   time.Time      `json:"first"`
	Last    time.Time      `json:"last"`
	Example string         `json:"example"`           // id of the newest one
	Domains []DomainCount  `json:"domains,omitempty"` // of recipients, the most frequent first
	Advice  string         `json:"advice"`
	Expired int            `json:"expired"` // of no use any more
	domains map[string]int // by name, as long as letters are added
	tasks   map[string]int // by kind, or by task where there is none
}

// mostNames bounds the names in a text.
const mostNames = 2

// DomainText names the most frequent domains, with their numbers of letters.
func (c *Cause) DomainText() string { return frequent(c.domains) }

// TaskText names the most frequent kinds of mails, and tasks of others, with their numbers of
// letters. The only one has no number.
func (c *Cause) TaskText() string {
	if len(c.tasks) == 1 {
		return sorting.Keys(c.tasks)[0]
	}
	return frequent(c.tasks)
}

// frequent writes the names with the most letters.
func frequent(counts map[string]int) string {
	names := byCount(counts)
	var parts []string
	for i, name := range names {
		if i == mostNames {
			parts = append(parts, fmt.Sprintf("%d more", len(names)-mostNames))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}

// byCount returns names, the most frequent first.
func byCount(counts map[string]int) []string {
	names := sorting.Keys(counts)
	sorting.Stable(names, func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
	return names
}

// DomainCount counts the dead letters to a domain.
type DomainCount struct {
	Domain string `json:"domain"`
	Count  int    `json:"count"`
}

// Causes groups dead letters.
type Causes struct {
	ByDomain bool // each domain has a separate cause
	AllTasks bool // the tasks of one cause are together
	Now      time.Time

	groups map[causeKey]*Cause
}

type causeKey struct{ cause, task, domain string }

// Add adds a dead letter.
func (c *Causes) Add(it *Item) {
	key := causeKey{cause: it.Cause}
	if !c.AllTasks {
		key.task = it.Task()
	}
	if c.ByDomain {
		key.domain = it.Domain
	}
	g := c.groups[key]
	if g == nil {
		if c.groups == nil {
			c.groups = map[causeKey]*Cause{}
		}
		g = &Cause{Cause: it.Cause, Task: it.Task(), Kind: it.Kind, First: it.At, Advice: it.Advice, domains: map[string]int{}, tasks: map[string]int{}}
		c.groups[key] = g
	}
	if g.Task != it.Task() {
		g.Task, g.Kind = "", ""
	}
	g.tasks[cmp.Or(it.Kind, it.Task(), "unreadable")]++
	g.Count++
	if it.At.Before(g.First) {
		g.First = it.At
	}
	if g.Example == "" || it.At.After(g.Last) {
		g.Last, g.Example = it.At, it.ID
	}
	if it.Domain != "" {
		g.domains[it.Domain]++
	}
	if it.Expired(c.Now) {
		g.Expired++
	}
}

// List returns the causes, the most frequent first.
func (c *Causes) List() []Cause {
	all := []Cause{}
	for _, g := range c.groups {
		for _, name := range byCount(g.domains) {
			g.Domains = append(g.Domains, DomainCount{Domain: name, Count: g.domains[name]})
		}
		all = append(all, *g)
	}
	sorting.By(all, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), strings.Compare(a.Cause, b.Cause), strings.Compare(a.Example, b.Example))
	})
	return all
}
