package suppressions

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
)

// Fact is one piece of evidence, as far as [Decide] needs it.
type Fact struct {
	At       time.Time
	Class    Class
	Source   Source
	Mail     string // identifies the mail; "" for an unknown one, which counts as another mail
	Enhanced string // enhanced code, such as "5.1.1"
}

// Action is a suppression that follows from evidence.
type Action struct {
	Class    Class
	Scope    Scope
	Hits     int       // pieces of evidence for it
	First    time.Time // of these
	Last     time.Time
	Expires  time.Time // zero: never
	Deciding int       // place in the history of the latest piece of evidence for it
}

// day is 24 hours: no zone matters here.
const day = 24 * time.Hour

// rule says when evidence of a class suppresses an address.
type rule struct {
	class  Class
	scope  Scope
	mails  int           // different mails that must have failed
	within time.Duration // all of them within this time; 0: at any time
	apart  time.Duration // least time between the first and the last of them
	lasts  time.Duration // from the last evidence on; 0: until it is released
}

// rules has the classes that suppress, the strongest first. Evidence of every other class,
// such as policy, reputation, authentication, content, size, protocol or a temporary fault,
// says nothing about the address.
var rules = []rule{
	{class: BadAddress, scope: AllMails, mails: 1},
	{class: BadDomain, scope: AllMails, mails: 2, within: 14 * day, apart: day, lasts: 14 * day},
	{class: MailboxFull, scope: AllMails, mails: 3, within: 7 * day, lasts: 7 * day},
	{class: Unknown, scope: AllMails, mails: 2, within: 30 * day, lasts: 30 * day},
	{class: Complaint, scope: OptionalMails, mails: 1},
}

// Memory is how long evidence counts.
const Memory = 30 * day

// Decide returns the suppressions that follow from the history of one address at a time, at
// most one for each scope. It is a pure function. The history may be in any order.
//
// Evidence without an effect, such as all with an enhanced code x.7.x, is passed over. Of
// several mails each counts once. A delivery ends what soft evidence before it says: one that
// a mail server accepted ends what replies said, and a receipt also what bounces said,
// because a relay accepts mails for mailboxes that it does not know.
func Decide(history []Fact, now time.Time) []Action {
	order := make([]int, len(history))
	for i := range order {
		order[i] = i
	}
	sorting.Stable(order, func(a, b int) int { return history[a].At.Compare(history[b].At) })
	var actions []Action
	for _, r := range rules {
		if slices.ContainsFunc(actions, func(a Action) bool { return a.Scope == r.scope }) {
			continue // a stronger class decides
		}
		if a, ok := r.apply(history, order); ok && (a.Expires.IsZero() || a.Expires.After(now)) {
			actions = append(actions, a)
		}
	}
	return actions
}

// apply returns the suppression of this rule, whether it has ended or not. order has the
// places of the history by time.
func (r rule) apply(history []Fact, order []int) (a Action, ok bool) {
	var counted []int // places of the evidence that counts, the earliest first
	for _, i := range order {
		f := history[i]
		if f.Class == Delivered && r.class.IsSoft() {
			counted = slices.DeleteFunc(counted, func(j int) bool { return f.Source != FromReply || history[j].Source == FromReply })
			if a.ok() && len(counted) == 0 {
				a = Action{}
			}
			continue
		}
		if f.Class != r.class || !f.concernsAddress() {
			continue
		}
		counted = append(counted, i)
		if !r.isMet(history, counted) {
			continue
		}
		a.Class, a.Scope, a.Last, a.Deciding = r.class, r.scope, f.At, i
		a.First, a.Hits = history[counted[0]].At, len(counted)
		if r.lasts > 0 {
			a.Expires = f.At.Add(r.lasts)
		}
	}
	return a, a.ok()
}

func (a Action) ok() bool { return a.Class != "" }

// isMet reports whether the latest of the counted facts, and those before it within the
// time of the rule, are enough.
func (r rule) isMet(history []Fact, counted []int) bool {
	last := history[counted[len(counted)-1]]
	first := last.At
	mails := map[string]bool{}
	unnamed := 0
	for _, i := range counted {
		f := history[i]
		if r.within > 0 && last.At.Sub(f.At) > r.within {
			continue
		}
		if f.At.Before(first) {
			first = f.At
		}
		if f.Mail == "" {
			unnamed++
		} else {
			mails[f.Mail] = true
		}
	}
	return len(mails)+unnamed >= r.mails && last.At.Sub(first) >= r.apart
}

// concernsAddress reports whether the enhanced code allows that the address is at fault: a
// code x.7.x is about security or policy, also with words of another class.
func (f Fact) concernsAddress() bool {
	_, rest, found := strings.Cut(f.Enhanced, ".")
	return f.Class == Complaint || !found || !strings.HasPrefix(rest, "7.")
}

// Question asks about a mail.
type Question struct {
	Address  string
	Optional bool // the recipient can do without mails of this kind
	Code     bool // a person waits for the code in the mail
}

// CodeAfter is the age from which a soft suppression does not keep a code from its reader:
// the mailbox may have room again, and a person waits.
const CodeAfter = 15 * time.Minute

// Withholds reports whether s keeps a mail from being sent at a time.
func (s Suppression) Withholds(q Question, now time.Time) bool {
	switch {
	case s.StateAt(now) != Active:
		return false
	case s.Scope == OptionalMails:
		return q.Optional
	case q.Code && s.Class.IsSoft() && !s.Source.isManual():
		return now.Sub(s.Last) < CodeAfter
	}
	return true
}

// strongest returns the suppression that decides about a mail, nil for none.
func strongest(all []Suppression, q Question, now time.Time) *Suppression {
	var best *Suppression
	for i := range all {
		s := &all[i]
		if s.Withholds(q, now) && (best == nil || strength(*s) < strength(*best)) {
			best = s
		}
	}
	return best
}

// strength orders suppressions: that of the lowest number is shown.
func strength(s Suppression) int {
	return cmp.Or(slices.Index(Classes(), s.Class)+1, len(Classes())+1)
}
