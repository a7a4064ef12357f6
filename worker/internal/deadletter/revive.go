package deadletter

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Revival is a message that goes back into a queue.
type Revival struct {
	Message *protocol.Message // as it was decoded, with the id of the task
	Queue   string
	Raw     []byte
}

// Retry returns the message of another attempt of a dead letter: with the same task id, unspent
// retries and [broker.SetAsideHeader].
func Retry(l *broker.DeadLetter, now time.Time) (*Revival, error) {
	if err := usable(l, now); err != nil {
		return nil, err
	}
	m, err := decodeAll(l.Raw, 0)
	if err != nil {
		return nil, fmt.Errorf("dead letter %s cannot go back into its queue, no worker could read it: %w", l.ID, err)
	}
	return revive(l, m, nil)
}

// Replace returns the message of an edited copy, under a new task id. It is no member of the
// groups and chords of the original, because the failure of that was counted there.
func Replace(l *broker.DeadLetter, edited []byte, taskID string, now time.Time) (*Revival, error) {
	if l.State != broker.LetterOpen {
		return nil, stateError(l)
	}
	if l.Expired(now) {
		return nil, &broker.ExpiredError{ID: l.ID, At: l.ExpiresAt}
	}
	m, err := decodeAll(edited, len(l.Raw))
	if err != nil {
		return nil, fmt.Errorf("edited copy of dead letter %s is no message that a worker could read: %w", l.ID, err)
	}
	if !m.Expires.IsZero() && !now.Before(m.Expires) {
		return nil, fmt.Errorf("edited copy of dead letter %s expired at %s: give it a later time, or none", l.ID, m.Expires.UTC().Format(time.RFC3339))
	}
	if m.RootID == m.ID || m.RootID == "" {
		m.RootID = taskID
	}
	if m.ParentID == m.ID {
		m.ParentID = ""
	}
	m.ID, m.CorrelationID = taskID, taskID
	m.Group, m.GroupIndex, m.Chord = "", nil, nil
	return revive(l, m, []protocol.Header{{Name: broker.ReplacesHeader, Value: protocol.AppendString(nil, l.ID)}})
}

// usable returns why the message of a letter cannot go back as it is.
func usable(l *broker.DeadLetter, now time.Time) error {
	switch {
	case l.State != broker.LetterOpen:
		return stateError(l)
	case l.Expired(now) || l.Wiped:
		return &broker.ExpiredError{ID: l.ID, At: l.ExpiresAt}
	case l.Locked != nil:
		return l.Locked
	}
	return nil
}

func stateError(l *broker.DeadLetter) error {
	return &broker.LetterStateError{ID: l.ID, State: l.State, At: l.StateAt, By: l.By}
}

func decodeAll(raw []byte, size int) (*protocol.Message, error) {
	d := protocol.Decoder{Limits: protocol.Limits{Size: 2 * max(len(raw), size, protocol.DefaultSize)}, Accept: protocol.Serializers()}
	return d.Decode(raw)
}

// revive encodes a message for the queue of its letter.
func revive(l *broker.DeadLetter, m *protocol.Message, headers []protocol.Header) (*Revival, error) {
	queue := l.Queue
	if queue == "" {
		queue = m.RoutingKey
	}
	if queue == "" {
		return nil, errors.New("dead letter " + l.ID + " cannot go back: neither its entry nor its message names a queue")
	}
	// The earliest time counts, however often it happens.
	if m.Header(broker.SetAsideHeader) == nil {
		headers = append(headers, protocol.TimeHeader(broker.SetAsideHeader, l.At))
	}
	none := 0
	raw, err := protocol.EncodeRetry(m, protocol.RetryOptions{
		DeliveryTag: uuid.NewString(), Origin: m.Origin, Queue: queue, Retries: &none, Headers: headers,
	})
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", l.ID, err)
	}
	return &Revival{Message: m, Queue: queue, Raw: raw}, nil
}

// Close returns the entry of a closed letter.
func (e Entry) Close(state broker.LetterState, by, note, token string, now time.Time) Entry {
	e.State, e.StateAt, e.By, e.Note, e.Token = string(state), SecondsOf(now), by, note, token
	return e
}
