// Package desk sorts dead letters for people: what may be shown of each, by which cause it was
// set aside, and which ones a filter chooses.
package desk

import (
	"strings"
	"time"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Item is what may be shown of a dead letter: no value of an argument but ids, and the masked
// address.
type Item struct {
	broker.DeadLetter
	tasks.Summary
	Cause      string `json:"cause"`                // the reason without what differs from letter to letter
	Advice     string `json:"advice,omitempty"`     // what to do about it
	Unreadable string `json:"unreadable,omitempty"` // why the message cannot be read
}

// New returns what may be shown of a dead letter.
func New(l broker.DeadLetter) Item {
	it := Item{DeadLetter: l, Cause: CauseOf(l.Reason), Advice: AdviceFor(l.Reason)}
	m, ok := tasks.MailTaskOf(l.TaskName)
	switch {
	case l.Locked != nil:
		it.Unreadable = l.Locked.Error()
	case !ok:
		return it
	case l.Wiped || l.Raw == nil:
		it.Unreadable = "its values were wiped"
	default:
		message, err := Decode(l.Raw)
		if err == nil {
			it.Summary, _ = tasks.Summarize(l.TaskName, message.Args, message.Kwargs)
			return it
		}
		it.Unreadable = err.Error()
	}
	if ok {
		it.Kind, it.Urgent = m.Kind(), m.Urgent()
	}
	return it
}

// Decode reads the message of a dead letter. The limits are wide, because those of the worker
// may be why the message is here.
func Decode(raw []byte) (*protocol.Message, error) {
	decoder := protocol.Decoder{
		Limits: protocol.Limits{Size: 2 * max(len(raw), protocol.DefaultSize)},
		Accept: protocol.Serializers(),
	}
	return decoder.Decode(raw)
}

// Task returns the name of the task without that of the module.
func (it *Item) Task() string { return strings.TrimPrefix(it.TaskName, tasks.Module+".") }

// Filter chooses dead letters. All conditions must hold; an empty one holds for all letters. Of
// several values of a condition one suffices.
type Filter struct {
	Reasons []string // parts of the reason or the cause, in any case
	Tasks   []string // names, with or without that of the module
	Kinds   []string // of mails
	Domains []string // of recipients
	Since   time.Time
	Until   time.Time
	States  []broker.LetterState
}

// IsZero reports whether the filter chooses all letters of all states.
func (f Filter) IsZero() bool {
	return len(f.Reasons)+len(f.Tasks)+len(f.Kinds)+len(f.Domains) == 0 && f.Since.IsZero() && f.Until.IsZero()
}

// Chooses reports whether the filter chooses a letter.
func (f Filter) Chooses(it *Item) bool {
	return f.choosesTime(it) &&
		among(f.States, func(s broker.LetterState) bool { return s == it.State }) &&
		among(f.Tasks, func(s string) bool { return s == it.TaskName || s == it.Task() }) &&
		among(f.Kinds, func(s string) bool { return s == it.Kind }) &&
		among(f.Domains, func(s string) bool { return it.Domain != "" && strings.EqualFold(s, it.Domain) }) &&
		among(f.Reasons, func(s string) bool { return containsFold(it.Reason, s) || containsFold(it.Cause, s) })
}

func (f Filter) choosesTime(it *Item) bool {
	return (f.Since.IsZero() || !it.At.Before(f.Since)) && (f.Until.IsZero() || it.At.Before(f.Until))
}

func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// among reports whether one of the values fits, or there are none.
func among[T any](values []T, fits func(T) bool) bool {
	for _, v := range values {
		if fits(v) {
			return true
		}
	}
	return len(values) == 0
}
