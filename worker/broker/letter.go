package broker

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoDeadLetter is returned for an id without a dead letter.
var ErrNoDeadLetter = errors.New("no such dead letter")

// DeadLetter is a message that was set aside for a person.
type DeadLetter struct {
	ID       string    `json:"id"`
	Queue    string    `json:"queue"`
	Reason   string    `json:"reason"`
	TaskName string    `json:"task,omitempty"`    // "" when it cannot be read
	TaskID   string    `json:"task_id,omitempty"` // "" when it cannot be read
	At       time.Time `json:"at"`
	Size     int       `json:"size"` // bytes of the message, as it was set aside

	// Raw holds the exact bytes, which may hold secrets of the producer. Of a wiped letter
	// it is a message with the shape of the arguments and without their values, or nil. It
	// is nil as well when Locked is set.
	Raw []byte `json:"-"`

	State   LetterState `json:"state"`
	StateAt time.Time   `json:"state_at,omitzero"` // when the state changed; zero: never
	By      string      `json:"by,omitempty"`      // who changed it
	Note    string      `json:"note,omitempty"`    // and why

	Replaces   string `json:"replaces,omitempty"`    // id of the dead letter whose edited copy this message is
	ReplacedBy string `json:"replaced_by,omitempty"` // task id of the edited copy of this message

	// ExpiresAt is the time from which the message is of no use, zero for never. Its
	// arguments are wiped then, and it cannot be retried.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Wiped     bool      `json:"wiped,omitempty"`     // the values of the arguments are gone
	Encrypted bool      `json:"encrypted,omitempty"` // at rest
	Locked    error     `json:"-"`                   // why Raw cannot be decrypted, a *[LockedError]; nil: it can
}

// Expired reports whether the message is of no use any more at a time.
func (l *DeadLetter) Expired(now time.Time) bool {
	return !l.ExpiresAt.IsZero() && !now.Before(l.ExpiresAt)
}

// LetterState tells what became of a dead letter.
type LetterState string

// States of a dead letter.
const (
	LetterOpen      LetterState = ""           // waits for a person
	LetterRetried   LetterState = "retried"    // is a message in its queue again
	LetterReplaced  LetterState = "replaced"   // an edited copy is a message in its queue
	LetterDealtWith LetterState = "dealt_with" // needs nothing more
)

// LetterStates are all states.
var LetterStates = []LetterState{LetterOpen, LetterRetried, LetterReplaced, LetterDealtWith}

// String returns the name of the state: "open" for [LetterOpen].
func (s LetterState) String() string {
	if s == LetterOpen {
		return "open"
	}
	return string(s)
}

// MarshalText implements [encoding.TextMarshaler].
func (s LetterState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *LetterState) UnmarshalText(text []byte) error {
	for _, known := range LetterStates {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("%q is no state of a dead letter: want open, retried, replaced or dealt_with", text)
}

// LetterCounts counts dead letters.
type LetterCounts struct {
	Open   int `json:"open"`
	Closed int `json:"closed"` // retried, replaced or dealt with
	// Dropped counts the open ones that were lost because there were too many, and Aged the
	// open ones that became too old, since the first. LastDropped is the time of the last
	// loss of either kind.
	Dropped     int64     `json:"dropped"`
	Aged        int64     `json:"aged"`
	LastDropped time.Time `json:"last_dropped,omitzero"`
}

// LetterStateError reports that a dead letter is not in the state that a change needs. Another
// person may have been quicker.
type LetterStateError struct {
	ID    string
	State LetterState
	At    time.Time // when it got into the state; zero: not known
	By    string    // who did it
}

// Is reports a letter that is not open as missing, for callers that look for an open one.
func (e *LetterStateError) Is(target error) bool {
	return target == ErrNoDeadLetter && e.State != LetterOpen
}

func (e *LetterStateError) Error() string {
	var what string
	switch e.State {
	case LetterOpen:
		return fmt.Sprintf("dead letter %s is open already", e.ID)
	case LetterRetried:
		what = "was retried"
	case LetterReplaced:
		what = "was replaced by an edited copy"
	default:
		what = "is marked as dealt with"
	}
	text := fmt.Sprintf("dead letter %s %s", e.ID, what)
	if e.By != "" {
		text += " by " + e.By
	}
	if !e.At.IsZero() {
		text += " at " + e.At.UTC().Format(time.RFC3339)
	}
	if e.State == LetterDealtWith {
		return text + ": reopen it first"
	}
	return text + ": it is not sent again"
}

// ExpiredError reports that the message of a dead letter is of no use any more.
type ExpiredError struct {
	ID string
	At time.Time
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("dead letter %s expired at %s and its arguments are wiped: mark it as dealt with or delete it, and have the producer send a new message",
		e.ID, e.At.UTC().Format(time.RFC3339))
}

// LockedError reports that the message of a dead letter cannot be decrypted. The letter stays
// as it is.
type LockedError struct {
	ID  string
	Err error // what to do about it
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("dead letter %s is encrypted: %v; nothing was changed", e.ID, e.Err)
}

// Unwrap returns what to do about it.
func (e *LockedError) Unwrap() error { return e.Err }

// ReplacesHeader is the name of the header with the id of the dead letter whose edited copy a
// message is.
const ReplacesHeader = "replaces_dead_letter"

// Sealer encrypts the messages of dead letters at rest. Package worker/seal has one.
type Sealer interface {
	// Key returns a name of the key that Seal uses, which tells nothing of the key.
	Key() string
	// Seal encrypts a message that is stored under an id.
	Seal(id string, clear []byte) (sealed []byte, err error)
	// Open decrypts what Seal has returned for the id. key is the Key of then. The error
	// tells which key is missing, and what to do.
	Open(id, key string, sealed []byte) (clear []byte, err error)
}
