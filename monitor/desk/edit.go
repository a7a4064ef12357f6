package desk

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Editable returns the message of a letter and its arguments, or why no edited copy of it can
// be sent.
func Editable(l *broker.DeadLetter) (*protocol.Message, *tasks.Arguments, error) {
	switch {
	case l.State != broker.LetterOpen:
		return nil, nil, &broker.LetterStateError{ID: l.ID, State: l.State, At: l.StateAt, By: l.By}
	case l.Expired(time.Now()):
		return nil, nil, &broker.ExpiredError{ID: l.ID, At: l.ExpiresAt}
	case l.Locked != nil:
		return nil, nil, l.Locked
	}
	m, err := Decode(l.Raw)
	if err != nil {
		return nil, nil, fmt.Errorf("dead letter %s cannot be edited, as it is no message: %w", l.ID, err)
	}
	task, ok := tasks.MailTaskOf(m.Task)
	if !ok {
		var names []string
		for _, known := range tasks.Mails() {
			names = append(names, known.Name)
		}
		return nil, nil, fmt.Errorf("dead letter %s is of the task %q, whose fields are not known; edit knows %s", l.ID, m.Task, strings.Join(names, ", "))
	}
	return m, task.Arguments(m.Args, m.Kwargs), nil
}

// Copy returns the message of an edited copy. It has nothing of the runs of the original: no
// retries, and no headers of this service, which hold the Date and the marks of a mail.
func Copy(m *protocol.Message, args *tasks.Arguments) ([]byte, error) {
	c := *m
	c.ID = uuid.NewString()
	if c.RootID == m.ID {
		c.RootID = c.ID
	}
	c.Protocol, c.Retries, c.ETA = 2, 0, time.Time{}
	c.ArgsRepr, c.KwargsRepr, c.Redelivered = "", "", false
	c.Args, c.Kwargs = args.Encode()
	c.Headers = slices.DeleteFunc(slices.Clone(m.Headers), func(h protocol.Header) bool { return strings.HasPrefix(h.Name, "evently_") })
	return protocol.Encode(&c)
}

// Decodable reports whether the message of a letter can be read, so that a worker can run it again.
func Decodable(l *broker.DeadLetter) bool {
	if l.Locked != nil || l.Wiped {
		return false
	}
	_, err := Decode(l.Raw)
	return err == nil
}

// Readable returns why a letter has no values to show, nil if it has.
func Readable(l *broker.DeadLetter) error {
	switch {
	case l.Locked != nil:
		return l.Locked
	case l.Wiped:
		return fmt.Errorf("the values of dead letter %s were wiped: %s", l.ID, whyWiped(l))
	}
	return nil
}

func whyWiped(l *broker.DeadLetter) string {
	switch l.State {
	case broker.LetterRetried:
		return "it is a message in its queue again"
	case broker.LetterReplaced:
		return "an edited copy is a message in its queue"
	}
	return "it expired at " + words.Clock(l.ExpiresAt)
}
