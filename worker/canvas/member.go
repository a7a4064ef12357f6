package canvas

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/evently/workers/worker/protocol"
)

// MemberEntry is the record of one member of a chord that has ended
// (celery-taskset-meta-<id>.j).
type MemberEntry struct {
	GroupID string
	TaskID  string
	// Score orders the results: the group index, or "+inf" of a task without.
	Score string
	// JSON is [1, id, state, result]. The same member with the same result gives the same
	// text, so that a member that ran twice is recorded once.
	JSON protocol.Raw
	// Size is the number of members that the signature of the chord gives. Celery before
	// 5.1 writes it only there; 0: the producer has stored it.
	Size int
}

// Member returns the entry of m in its chord, for its final state. result is its return
// value, or its exception as it is stored. ok is false if m belongs to no chord.
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

// chordSize returns the size of a chord from the signature of its body. It is 0 if the
// size is absent, or null as Celery 5.1 and later write it.
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

// quoteSafe does what quote does, where nothing may abort.
func quoteSafe(s string) protocol.Raw {
	b, err := protocol.Marshal(s)
	if err != nil {
		return null // a string always has a form
	}
	return b
}

// ExceptionRaw returns an exception as results store it and [Member] takes it.
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
