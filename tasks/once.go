package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// A mail may be asked for twice, by the task of its producer and by an event of the platform that
// became a task of another id (EventHeader). For the kinds of Config.Once the mail belongs to its
// occurrence, such as the confirmation of one booking: its name has a mark in the broker. The task
// that sets the mark first sends the mail. A later one waits until it knows the outcome, and
// answers as the first one did, or sends the mail itself if the first one has not.
//
// A producer may send another task for the same occurrence, because its user asks for the mail
// again. So the mail of an event stands in for one task, and that of a task for its event, but no
// task stands in for another one. The first task after the mail of an event takes the mark of its
// pair, by which the next one knows that its own mail is wanted.

// EventHeader is the name of the header of a task that was an event, with the channel of it.
const EventHeader = "evently_channel"

// Values of the mark of an occurrence. A time follows, then who set it: "event" and the name
// of its pair, or "task" and the name of the task.
const (
	onceSent    = "sent"
	onceSending = "sending" // a task is sending the mail, or was when its worker died
	onceUnsure  = "unsure"  // a task was given up, and the mail may have been delivered

	onceEvent, onceTask = "event", "task"
	oncePaired          = "paired" // the value of the mark of a pair
)

const (
	// onceWaitLeast and onceWaitMost bound the pause of a task that waits for another one.
	onceWaitLeast, onceWaitMost = time.Second, time.Minute
	// oncePatience is how long a task waits for another one. The other one is held by a worker,
	// or is in a queue, and the mail may have been delivered.
	oncePatience = 24 * time.Hour
	// oncePair is for how long the mail of an event stands in for a task. A task may be older
	// when it is sent: the time at which a worker has first seen it counts.
	oncePair = 24 * time.Hour
	// onceNameMost bounds the ids that are written into names as they are.
	onceNameMost = 64
)

// errOtherSent says that another task has sent the same mail.
var errOtherSent = errors.New("another task has sent this mail")

// otherError says that another task has asked for the same mail, and may be sending it.
type otherError struct{ wait time.Duration }

func (e *otherError) Error() string { return "another task may be sending this mail" }

// occasions tells mails about the same occurrence from others. Its methods may be called by
// several goroutines.
type occasions struct {
	kinds     []templates.Kind
	now       func() time.Time
	unguarded sync.Once // logs a mail without an id
}

// of returns the names of what a mail is about, nil if its kind is not of Config.Once or it does
// not tell. An id and a reference name the same booking.
func (o *occasions) of(a *attempt) (names []string) {
	kind := a.data.Kind()
	if !slices.Contains(o.kinds, kind) {
		return nil
	}
	for _, id := range append([]string{a.reference}, a.aliases...) {
		if id = strings.TrimSpace(id); id != "" {
			names = append(names, "once."+string(kind)+"."+nameOf(id))
		}
	}
	if names == nil {
		o.unguarded.Do(func() {
			a.log.Warn("mail cannot be told from that of its event: its task has no id of the booking or waitlist entry; logged once", "kind", kind)
		})
	}
	return names
}

// nameOf returns an id as a part of a key: as it is if that is short and plain, else a hash.
func nameOf(id string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_", r)
	}
	if len(id) <= onceNameMost && strings.TrimFunc(id, plain) == "" {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:16])
}

// onceMark is the mark of an occurrence.
type onceMark struct {
	state string
	at    time.Time // zero: it does not tell
	event bool      // the task of an event has set it
	name  string    // of the pair of an event, or of the task; "": it does not tell
}

func (m onceMark) String() string {
	author := onceTask
	if m.event {
		author = onceEvent
	}
	return strings.Join([]string{m.state, protocol.FormatTime(m.at), author, m.name}, " ")
}

// parseOnce reads the mark of an occurrence. One that it cannot read is unsure: the mail may
// have been delivered.
func parseOnce(text string) onceMark {
	fields := strings.Fields(text)
	for len(fields) < 4 {
		fields = append(fields, "")
	}
	m := onceMark{state: fields[0], event: fields[2] != onceTask, name: fields[3]}
	var err error
	if m.at, err = protocol.ParseTime(fields[1]); err != nil {
		m.at = time.Time{}
	}
	if m.state != onceSent && (m.state != onceSending || m.at.IsZero()) {
		m.state = onceUnsure
	}
	return m
}

// onceMark returns the mark that this task sets. It has occurrences.
func (a *attempt) onceMark(state string, now time.Time) string {
	m := onceMark{state: state, at: now, event: a.fromEvent, name: a.onceName()}
	if m.event {
		m.name = pairOf(a.occurrences[0])
	}
	return m.String()
}

// onceName returns the name of this task in marks.
func (a *attempt) onceName() string { return nameOf(a.task.Fingerprint()) }

// pairOf returns the name of the mark of the task that the mail of an event stands in for.
func pairOf(occurrence string) string { return occurrence + ".pair" }

// look returns nil unless another task has sent this mail, or may be sending it.
func (o *occasions) look(ctx context.Context, a *attempt) error {
	for _, name := range a.occurrences {
		other, err := a.markName(ctx, name, "", false)
		if err == nil && other != "" {
			_, err = o.afterOther(ctx, a, name, parseOnce(other))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hold sets the marks of the occurrence. It is called directly before the end of the mail. After
// an error the mail must not be sent.
func (o *occasions) hold(ctx context.Context, a *attempt) error {
	if a.occurrences == nil {
		return nil
	}
	value := a.onceMark(onceSending, o.now())
	for _, name := range a.occurrences {
		other, err := a.markName(ctx, name, value, false)
		if err != nil || other == "" {
			if err != nil {
				return err
			}
			continue
		}
		stays, err := o.afterOther(ctx, a, name, parseOnce(other))
		if err != nil {
			return err
		}
		if stays { // until this mail is sent
			continue
		}
		if _, err := a.markName(ctx, name, value, true); err != nil {
			return err
		}
	}
	return nil
}

// afterOther decides about a mail whose occurrence has the mark of another task. The error is nil
// if the mail may be sent: a person has retried the dead letter and knows of the other one, or this
// task asks for a separate mail. stays reports that the mark tells of a mail that was sent, or
// may have been.
func (o *occasions) afterOther(ctx context.Context, a *attempt, name string, other onceMark) (stays bool, err error) {
	if o.isAnother(a, other) {
		return true, nil
	}
	switch {
	case other.state == onceSent:
		err = errOtherSent
	case !other.at.IsZero() && other.at.Before(a.task.SetAside()):
		return false, nil
	case other.state != onceSending:
		err = &earlierError{}
	default:
		age := o.now().Sub(other.at)
		if age <= oncePatience {
			return false, &otherError{wait: max(onceWaitLeast, min(age, onceWaitMost))}
		}
		if !a.fromEvent && !other.event {
			return false, nil // it is gone, and this task asks for a separate mail
		}
		err = &earlierError{}
	}
	if a.fromEvent || !other.event {
		return false, err
	}
	first, fault := a.pair(ctx, cmp.Or(other.name, pairOf(name)))
	if fault != nil {
		return false, fault
	}
	if !first {
		return true, nil
	}
	return false, err
}

// isAnother reports whether this task asks for a separate mail, although the occurrence had one,
// or may have had one: that of another task, or that of an event long ago.
func (o *occasions) isAnother(a *attempt, other onceMark) bool {
	switch {
	case a.fromEvent || other.state == onceSending:
		return false
	case other.event:
		return !other.at.IsZero() && a.seen.Sub(other.at) > oncePair
	}
	return other.name != a.onceName()
}

// pair reports whether this task is the one that the mail of an event stands in for: it is the
// first one to ask.
func (a *attempt) pair(ctx context.Context, name string) (first bool, err error) {
	other, err := a.markName(ctx, name, oncePaired, false)
	return other == "", err
}

// markName sets the mark of a name, or looks for it if value is "". It repeats the question
// while the broker does not answer.
func (a *attempt) markName(ctx context.Context, name, value string, over bool) (other string, err error) {
	err = a.insist(ctx, func(ctx context.Context) (err error) {
		other, err = a.task.MarkName(ctx, name, value, over)
		return err
	})
	return other, err
}

// endNames has the end of this run end the marks of the occurrence with a value, "" to let go of
// it. A run may let go only after ask has found that no earlier run may have sent the mail. Until
// then it leaves the marks as they are, because a worker that died may have set them.
func (a *attempt) endNames(value string) {
	for _, name := range a.occurrences {
		a.task.EndName(name, value)
	}
}

// endSent has the end of this run tell that the mail was sent.
func (a *attempt) endSent() { a.endOnce(onceSent) }

// endUnsure has the end of this run tell that the mail may have been delivered.
func (a *attempt) endUnsure() { a.endOnce(onceUnsure) }

func (a *attempt) endOnce(state string) {
	if a.occurrences != nil {
		a.endNames(a.onceMark(state, a.now))
	}
}

// endNotSent has the end of this run tell that an earlier run may have sent the mail, if that is so.
// This run ends the task, and has not sent it.
func (a *attempt) endNotSent() {
	if a.isUnsure() {
		a.endUnsure()
	}
}

// keepNames leaves the marks of the occurrence as they are.
func (a *attempt) keepNames() {
	for _, name := range a.occurrences {
		a.task.KeepName(name)
	}
}

// awaitOther retries a mail that another task may be sending. The history says nothing of it,
// because this task has not begun a mail.
func (s *Service) awaitOther(ctx context.Context, a *attempt, other *otherError) (Result, error) {
	if cause := endedByEngine(ctx); cause != nil {
		return Result{}, errors.Join(other, cause)
	}
	if a.outlives(other.wait) {
		return s.expired(a, errExpired, other.Error()), nil
	}
	a.guard.withdraw(a.task)
	a.log.DebugContext(ctx, "mail waits for another task that sends it", "kind", a.data.Kind(), "pause", other.wait.Seconds())
	return Result{}, &worker.RetryError{Err: &failure{text: errOther, err: other}, Free: true, Countdown: other.wait}
}
