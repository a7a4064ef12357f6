package tasks

import (
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
// became a task of another id. For the kinds of Config.Once the mail belongs to its occurrence,
// such as the confirmation of one booking: its name has a mark in the broker. The task that sets
// the mark first sends the mail. A later one waits until it knows the outcome, and answers as the
// first one did, or sends the mail itself if the first one has not.

// Values of the mark of an occurrence. A time follows the last two.
const (
	onceSent    = "sent"
	onceSending = "sending" // a task is sending the mail, or was when its worker died
	onceUnsure  = "unsure"  // a task was given up, and the mail may have been delivered
)

const (
	// onceWaitLeast and onceWaitMost bound the pause of a task that waits for another one.
	onceWaitLeast, onceWaitMost = time.Second, time.Minute
	// oncePatience is how long a task waits for another one. The other one is held by a worker,
	// or is in a queue, and the mail may have been delivered.
	oncePatience = 24 * time.Hour
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

// look returns nil unless another task has sent this mail, or may be sending it.
func (o *occasions) look(ctx context.Context, a *attempt) error {
	for _, name := range a.occurrences {
		other, err := a.markName(ctx, name, "", false)
		if err == nil {
			err = o.afterOther(a, other)
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
	value := onceSending + " " + protocol.FormatTime(o.now())
	for _, name := range a.occurrences {
		other, err := a.markName(ctx, name, value, false)
		if err != nil || other == "" {
			if err != nil {
				return err
			}
			continue
		}
		if err := o.afterOther(a, other); err != nil {
			return err
		}
		if _, err := a.markName(ctx, name, value, true); err != nil {
			return err
		}
	}
	return nil
}

// afterOther decides about a mail whose occurrence has the mark of another task. It returns nil
// if the mail may be sent: there is no mark, or a person has retried the dead letter and knows of
// the other one.
func (o *occasions) afterOther(a *attempt, other string) error {
	state, text, _ := strings.Cut(other, " ")
	at, err := protocol.ParseTime(text)
	switch {
	case other == "":
		return nil
	case state == onceSent:
		return errOtherSent
	case err == nil && at.Before(a.task.SetAside()):
		return nil
	case err != nil || state != onceSending:
		return &earlierError{}
	}
	age := o.now().Sub(at)
	if age > oncePatience {
		return &earlierError{}
	}
	return &otherError{wait: max(onceWaitLeast, min(age, onceWaitMost))}
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
// it.
func (a *attempt) endNames(value string) {
	for _, name := range a.occurrences {
		a.task.EndName(name, value)
	}
}

// endUnsure has the end of this run tell that the mail may have been delivered.
func (a *attempt) endUnsure() { a.endNames(onceUnsure + " " + protocol.FormatTime(a.now)) }

// keepNames leaves the marks of the occurrence to the next run of this task.
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
