// Package audit keeps the audit trail: who did what, when, from where, to which ids, and how
// it ended. Each row has a hash over its content and the hash of the row before, so that a
// changed, removed or moved row is found.
//
// The trail is in a database ([Store]). While there is none, entries go to a journal of the
// broker ([Journal]) and are moved to the database later, in their order.
package audit

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Entry is one fact of the trail.
type Entry struct {
	// ID is unique. The entry of an outcome has the id of its beginning and a plus sign;
	// further parts of a long entry have a slash and their number.
	ID      string
	At      time.Time
	Actor   string // such as ada@host, the login of a page, or node:celery@host
	Via     string // command, page, control, worker or monitor
	From    string // terminal, address of a client; "" if unknown
	Action  string // such as dead-letters.retry
	IDs     []string
	Details string // a JSON object, or ""
	Outcome string // one of the constants, with a few words after a colon
}

// Outcomes. Words may follow after a colon.
const (
	Started = "started" // a command begins; its outcome is a second entry
	Done    = "done"
	Failed  = "failed"
	Refused = "refused"
)

// repeated is at the end of the id of an entry that was stored in the database, without an
// answer, before it came from the broker as well.
const repeated = "="

// NewID returns the id of an entry.
func NewID() string { return rand.Text() }

// Ended returns the entry of the outcome of e.
func (e Entry) Ended(outcome, details string) Entry {
	e.ID, e.At, e.Outcome, e.Details, e.IDs = e.ID+"+", time.Time{}, outcome, details, nil
	return e
}

// Op returns what the entries of one action have in common: the id of the first one.
func (e Entry) Op() string {
	op, _, _ := strings.Cut(e.ID, "/")
	return strings.TrimSuffix(strings.TrimSuffix(op, repeated), "+")
}

// Bounds of an entry. More ids make more entries.
const (
	mostIDs       = 500
	longestID     = 300 // bytes
	longestText   = 300
	longestDetail = 16 << 10
)

// split returns e as entries with a bounded number of ids, and clean texts.
func (e Entry) split() []Entry {
	if e.ID == "" {
		e.ID = NewID()
	}
	e.At = e.At.UTC().Truncate(time.Microsecond)
	for _, text := range []*string{&e.Actor, &e.Via, &e.From, &e.Action, &e.Outcome} {
		*text = clean(*text, longestText)
	}
	e.Details = cleanJSON(e.Details)
	ids := make([]string, len(e.IDs))
	for i, id := range e.IDs {
		ids[i] = clean(id, longestID)
	}
	if len(ids) <= mostIDs {
		e.IDs = ids
		return []Entry{e}
	}
	var parts []Entry
	for chunk := range slices.Chunk(ids, mostIDs) {
		part := e
		part.IDs = chunk
		if n := len(parts); n > 0 {
			part.ID, part.Details = fmt.Sprintf("%s/%d", e.ID, n+1), ""
		}
		parts = append(parts, part)
	}
	return parts
}

// clean returns a text that every store takes and a terminal shows: valid UTF-8 without
// control and direction characters.
func clean(text string, longest int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff {
			return '?'
		}
		return r
	}, text)
	if len(text) <= longest {
		return text
	}
	cut := longest - len("…")
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// cleanJSON returns details that every store takes. Control characters are escaped in JSON.
func cleanJSON(text string) string {
	switch {
	case text == "":
		return ""
	case len(text) > longestDetail:
		return fmt.Sprintf(`{"omitted":"%d bytes of details"}`, len(text))
	case !json.Valid([]byte(text)) || !utf8.ValidString(text):
		return `{"omitted":"details that are not JSON"}`
	}
	return text
}

// Row is an entry in its place of a chain.
type Row struct {
	Entry
	Chain  string // Database or Stream
	Number int64  // from 1
	Origin string // number and hash that the row had in the stream, "" if it was in none
	Key    string // fingerprint of AUDIT_KEY, "" without one
	Prev   string // hash of the row before, in hex; zeros for the first
	Hash   string // in hex
}

// Chains.
const (
	Database = "database"
	Stream   = "stream"
)
