package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// State is the state of a mail. The number is stored in the database. It is also the rank of
// the state: see [State.Supersedes].
type State int16

// The states of a mail.
const (
	Queued     State = 10  // waits for a worker, or for a limit, and was not tried
	Sending    State = 20  // the end of its data may have been sent
	Deferred   State = 30  // the attempt failed, another one follows
	Unknown    State = 40  // the mail may have been accepted: no answer to its end was read
	Suppressed State = 50  // not sent: the address takes no mail
	Expired    State = 51  // not sent: too late to be of use
	Rejected   State = 52  // refused for good, by the server or by the worker
	Dead       State = 53  // became a dead letter
	Accepted   State = 100 // the server took responsibility for it
	Bounced    State = 110 // accepted, and returned later
	Complained State = 120 // accepted, and reported as unwanted by the recipient
)

var stateNames = map[State]string{
	Queued: "queued", Sending: "sending", Deferred: "deferred", Unknown: "unknown",
	Suppressed: "suppressed", Expired: "expired", Rejected: "rejected", Dead: "dead",
	Accepted: "accepted", Bounced: "bounced", Complained: "complained",
}

// States returns all states, by rank.
func States() []State {
	states := make([]State, 0, len(stateNames))
	for s := range stateNames {
		states = append(states, s)
	}
	slices.Sort(states)
	return states
}

// ParseState returns the state of that name.
func ParseState(name string) (State, error) {
	for s, known := range stateNames {
		if known == name {
			return s, nil
		}
	}
	var names []string
	for _, s := range States() {
		names = append(names, s.String())
	}
	return 0, fmt.Errorf("no state of a mail is called %q: use %s", name, strings.Join(names, ", "))
}

func (s State) String() string {
	if name, ok := stateNames[s]; ok {
		return name
	}
	return fmt.Sprintf("State(%d)", int16(s))
}

// IsKnown reports whether s is one of the states above.
func (s State) IsKnown() bool {
	_, ok := stateNames[s]
	return ok
}

// IsFinal reports whether only a state of a higher rank supersedes s, at any time.
func (s State) IsFinal() bool { return s >= Accepted }

// Supersedes reports whether a mail of the state old has the state s after an event with s.
// later says that the event is not older than the one that led to old; of two events of
// one time the one of the higher rank is later.
//
// A final state supersedes states of a lower rank. Between other states the later event
// counts, because a dead letter may be replayed.
func (s State) Supersedes(old State, later bool) bool {
	if s.IsFinal() || old.IsFinal() {
		return s > old
	}
	return later
}

// MarshalText implements [encoding.TextMarshaler] with the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = ParseState(string(text))
	return err
}
