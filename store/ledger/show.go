package ledger

import (
	"context"
	"encoding/json"
	"time"
)

// History is a mail with its events, the earliest first.
type History struct {
	Mail
	Events []Record `json:"events"`
}

// Record is an event of a mail, as it is stored.
type Record struct {
	At        time.Time  `json:"at"`
	State     State      `json:"state"`
	Attempt   int        `json:"attempt,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	NextAt    *time.Time `json:"next_at,omitempty"`
	Stage     string     `json:"stage,omitempty"`
	Code      int        `json:"code,omitempty"`
	Enhanced  string     `json:"enhanced,omitempty"`
	Class     string     `json:"class,omitempty"`
	Text      string     `json:"text,omitempty"` // words of the server
	Endpoint  string     `json:"endpoint,omitempty"`
	TLS       string     `json:"tls,omitempty"`
	QueueID   string     `json:"queue_id,omitempty"`
	MessageID string     `json:"message_id,omitempty"`
	Worker    string     `json:"worker,omitempty"`
	Phases    []Phase    `json:"phases,omitempty"`
}

// MarshalJSON implements [json.Marshaler]: the duration is a number of seconds.
func (p Phase) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name    string  `json:"name"`
		Seconds float64 `json:"seconds"`
	}{p.Name, p.Took.Seconds()})
}

// mostEvents is the number of events of one answer.
const mostEvents = 2000

// Show returns the mails with that id of a task or fingerprint, the latest first, each with
// its events. A producer may have used an id for several mails. There are at most 20 mails.
func (r *Reader) Show(ctx context.Context, id string) ([]History, error) {
	const most = 20
	var found []Mail
	for _, f := range []Filter{{TaskID: id, Limit: most}, {Mail: id, Limit: most}} {
		page, err := r.List(ctx, f)
		if err != nil {
			return nil, err
		}
		if found = page.Mails; len(found) > 0 {
			break
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	return r.Histories(ctx, found)
}

// Histories returns mails with their events.
func (r *Reader) Histories(ctx context.Context, mails []Mail) ([]History, error) {
	if len(mails) == 0 {
		return nil, nil
	}
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	names := make([]string, len(mails))
	earliest := mails[0].FirstSeen
	for i, m := range mails {
		names[i] = m.Mail
		if m.FirstSeen.Before(earliest) {
			earliest = m.FirstSeen
		}
	}
	var rows []eventRow
	err := r.db.query(ctx, r.db.db, &rows, "SELECT "+eventsTable.names("")+" FROM evently_mail.events WHERE mail IN (?) AND event_at >= ? ORDER BY mail, entry_ms, entry_seq LIMIT ?",
		names, r.db.time(earliest.Add(-sameMail)), mostEvents)
	if err != nil {
		return nil, r.fault("read the events of mails", err)
	}
	histories := make([]History, len(mails))
	for i, m := range mails {
		histories[i].Mail = m
	}
	for _, e := range rows {
		if i := owner(mails, e.Mail, e.At.Time); i >= 0 {
			histories[i].Events = append(histories[i].Events, e.record())
		}
	}
	return histories, nil
}

// owner returns the place of the mail that an event belongs to: of the mails of that
// fingerprint the latest one that was claimed before it.
func owner(mails []Mail, name string, at time.Time) int {
	best := -1
	for i, m := range mails {
		switch {
		case m.Mail != name:
		case best < 0:
			best = i
		case !m.FirstSeen.After(at) && (m.FirstSeen.After(mails[best].FirstSeen) || mails[best].FirstSeen.After(at)):
			best = i
		}
	}
	return best
}

// eventRow is a row of the table events.
type eventRow struct {
	Mail      string `db:"mail"`
	EntryMS   int64  `db:"entry_ms"`
	EntrySeq  int64  `db:"entry_seq"`
	At        stamp  `db:"event_at"`
	State     State  `db:"state"`
	Attempt   int    `db:"attempt"`
	Reason    string `db:"reason"`
	NextAt    stamp  `db:"next_at"`
	Stage     string `db:"stage"`
	Code      int    `db:"code"`
	Enhanced  string `db:"enhanced"`
	Class     string `db:"class"`
	Text      string `db:"words"`
	Endpoint  string `db:"endpoint"`
	TLS       string `db:"tls"`
	QueueID   string `db:"queue_id"`
	MessageID string `db:"message_id"`
	Worker    string `db:"worker"`
	Phases    string `db:"phases"`
}

func (e eventRow) record() Record {
	var d decoder // a value that it cannot read gives no phases
	return Record{
		At: e.At.Time, State: e.State, Attempt: e.Attempt, Reason: e.Reason, NextAt: optional(e.NextAt.Time), Stage: e.Stage,
		Code: e.Code, Enhanced: e.Enhanced, Class: e.Class, Text: e.Text, Endpoint: e.Endpoint, TLS: e.TLS, QueueID: e.QueueID,
		MessageID: e.MessageID, Worker: e.Worker, Phases: d.phases(fieldPhases, e.Phases),
	}
}
