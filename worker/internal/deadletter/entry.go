// Package deadletter holds what brokers have in common about dead letters: the entry that is
// stored beside the bytes of each, the message that goes back into a queue, and the form without
// the values of the arguments. It does no I/O.
package deadletter

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Complete is the version of an entry whose fields are all filled in. Workers before it, and the
// scripts, write queue, reason and time only.
const Complete = 2

// Entry is stored beside the bytes of a dead letter, as JSON. Earlier versions read the first
// three fields and ignore the others.
type Entry struct {
	Queue  string  `json:"queue"`
	Reason string  `json:"reason"`
	At     Seconds `json:"at"`

	Version  int     `json:"v,omitempty"`
	Task     string  `json:"task,omitempty"`
	TaskID   string  `json:"id,omitempty"`
	Size     int     `json:"size,omitempty"` // of the message, before it was encrypted
	Key      string  `json:"key,omitempty"`  // name of the key that the bytes are encrypted with; "" for none
	Expires  Seconds `json:"expires,omitempty"`
	Wiped    bool    `json:"wiped,omitempty"`
	Replaces string  `json:"replaces,omitempty"`

	State      string  `json:"state,omitempty"` // "" for an open letter
	StateAt    Seconds `json:"state_at,omitempty"`
	By         string  `json:"by,omitempty"`
	Note       string  `json:"note,omitempty"`
	ReplacedBy string  `json:"replaced_by,omitempty"`
	Token      string  `json:"token,omitempty"` // of the call that wrote the entry
}

// Seconds is a time in seconds since 1970. The scripts write it as text.
type Seconds float64

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Seconds) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	f, err := strconv.ParseFloat(string(b), 64)
	*s = Seconds(f)
	return err
}

// MarshalJSON implements [json.Marshaler]. Scripts read the number, so it has no exponent.
func (s Seconds) MarshalJSON() ([]byte, error) { return []byte(s.String()), nil }

// String returns the number with microseconds.
func (s Seconds) String() string { return strconv.FormatFloat(float64(s), 'f', 6, 64) }

// Time returns the time, zero for 0.
func (s Seconds) Time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(float64(s) * 1e6))).UTC()
}

// SecondsOf returns a time in seconds, 0 for the zero time.
func SecondsOf(t time.Time) Seconds {
	if t.IsZero() {
		return 0
	}
	return Seconds(float64(t.UnixMicro()) / 1e6)
}

// Encode returns the stored form of the entry, without line breaks.
func (e *Entry) Encode() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		return []byte(`{}`) // texts, and finite numbers: cannot happen
	}
	return b
}

// Parse reads a stored entry. One that another program has written counts as empty.
func Parse(text []byte) Entry {
	var e Entry
	if json.Unmarshal(text, &e) != nil {
		return Entry{}
	}
	return e
}

// Lives tells how long the arguments of dead letters of some tasks live, by the names of the
// tasks.
type Lives map[string]time.Duration

// decoded is the size of the largest message whose body is decoded here.
const decoded = 1 << 20

// Fill fills in the fields that follow from the message. It decodes the bodies of small messages
// only: those of protocol 1, which have everything there, and those of edited copies.
func (e *Entry) Fill(raw []byte, lives Lives) {
	e.Version, e.Size = Complete, len(raw)
	env, err := protocol.ParseEnvelope(raw)
	e.Task, e.TaskID = env.Task, env.ID
	expires := env.Expires
	if err == nil && (env.Task == "" || bytes.Contains(raw, []byte(broker.ReplacesHeader))) {
		if m := decode(raw); m != nil {
			e.Task, e.TaskID, expires = m.Task, m.ID, m.Expires
			_ = protocol.Unmarshal(m.Header(broker.ReplacesHeader), &e.Replaces) // a producer may write anything
		}
	}
	if life, ok := lives[e.Task]; ok {
		if end := e.At.Time().Add(life); expires.IsZero() || end.Before(expires) {
			expires = end
		}
	}
	e.Expires = SecondsOf(expires)
}

// Letter returns the dead letter of an entry. clear are its bytes, nil if they cannot be read.
func (e *Entry) Letter(id string, clear []byte, now time.Time) broker.DeadLetter {
	l := broker.DeadLetter{
		ID: id, Queue: e.Queue, Reason: e.Reason, TaskName: e.Task, TaskID: e.TaskID, At: e.At.Time(), Size: e.Size, Raw: clear,
		State: broker.LetterState(e.State), StateAt: e.StateAt.Time(), By: e.By, Note: e.Note,
		Replaces: e.Replaces, ReplacedBy: e.ReplacedBy,
		ExpiresAt: e.Expires.Time(), Wiped: e.Wiped, Encrypted: e.Key != "",
	}
	if l.Expired(now) && !l.Wiped {
		l.Raw, l.Wiped = Wipe(clear), true
	}
	return l
}

// decode reads a message that is not large, nil if it cannot.
func decode(raw []byte) *protocol.Message {
	if len(raw) > decoded {
		return nil
	}
	d := protocol.Decoder{Limits: protocol.Limits{Size: 4 * decoded}, Accept: protocol.Serializers()}
	m, err := d.Decode(raw)
	if err != nil {
		return nil
	}
	return m
}
