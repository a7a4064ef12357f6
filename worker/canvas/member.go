package canvas

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/evently/workers/worker/protocol"
)

// MemberEntry is what is recorded of one member of a chord that has ended
// (celery-taskset-meta-<id>.j).
type MemberEntry struct {
	GroupID string
	TaskID  string
	// Score orders the results: the group index, or "+inf" of a task without.
	Score string
	// JSON is [1, id, state, result]. The same member with the same result is
	// the same text, so that one that ran twice is recorded once.
	JSON protocol.Raw
	// Size is how many members the chord has, as far as its signature says so. Celery
	// before 5.1 writes it there and nowhere else; 0: its producer has stored it.
	Size int
}

// Member returns the entry of m in the chord that it belongs to, for its final
// state; result is its return value, or its exception as it is stored. ok is
// false when it belongs to none.
func Member(m *protocol.Message, state string, result protocol.Raw) (entry MemberEntry, ok bool) {
	if m.Chord.IsNull() || m.Group == "" || m.ID == "" {
		return MemberEntry{}, false
	}
	entry = MemberEntry{GroupID: m.Group, TaskID: m.ID, Score: "+inf", Size: chordSize(m.Chord)}
	if m.GroupIndex != nil {
		entry.Score = strconv.Itoa(*m.GroupIndex)
	}
	if len(result) == 0 {
		result = null
	}
	entry.JSON = arrayRaw([]protocol.Raw{protocol.Raw("1"), quoteSafe(m.ID), quoteSafe(state), result})
	return entry, true
}

// chordSize returns the size of a chord in the signature of its body, 0 when there is
// none, or null as producers since Celery 5.1 write it.
func chordSize(body protocol.Raw) int {
	if !sized(body) { // a body may hold a workflow of megabytes
		return 0
	}
	var s struct {
		Size int `json:"chord_size"`
	}
	if err := protocol.Unmarshal(body, &s); err != nil {
		return 0
	}
	return max(s.Size, 0)
}

// sized reports whether any signature in a text has a chord size that is a number.
func sized(text []byte) bool {
	const name = `"chord_size":`
	for {
		i := bytes.Index(text, []byte(name))
		if i < 0 {
			return false
		}
		text = bytes.TrimLeft(text[i+len(name):], " ")
		if len(text) > 0 && '1' <= text[0] && text[0] <= '9' {
			return true
		}
	}
}

// quoteSafe is quote outside of work that may abort.
func quoteSafe(s string) protocol.Raw {
	b, err := protocol.Marshal(s)
	if err != nil {
		return null // a string always has a form
	}
	return b
}

// ExceptionRaw returns an exception as it is stored in results and given to
// [Member].
func ExceptionRaw(e *protocol.Exception) (protocol.Raw, error) {
	b, err := protocol.EncodeResult(&protocol.Result{TaskID: "-", Status: protocol.StateFailure, Exception: e})
	if err != nil {
		return nil, fmt.Errorf("encode exception: %w", err)
	}
	fields, err := protocol.Raw(b).Fields()
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if f.Name == "result" {
			return f.Value, nil
		}
	}
	return null, nil
}
