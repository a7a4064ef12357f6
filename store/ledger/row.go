package ledger

import (
	"database/sql"
	"time"
)

// row is a row of the table mails.
type row struct {
	Mail       string         `db:"mail"`
	FirstSeen  stamp          `db:"first_seen"`
	TaskID     string         `db:"task_id"`
	Kind       string         `db:"kind"`
	State      State          `db:"state"`
	StateAt    stamp          `db:"state_at"`
	Attempts   int64          `db:"attempts"`
	NextAt     stamp          `db:"next_at"`
	AcceptedAt stamp          `db:"accepted_at"`
	UserID     sql.NullInt64  `db:"user_id"`
	Booking    string         `db:"booking"`
	Hash       []byte         `db:"rcpt_hash"`
	Masked     sql.NullString `db:"rcpt_masked"`
	Domain     sql.NullString `db:"rcpt_domain"`
	Sealed     []byte         `db:"rcpt_sealed"`
	Stage      string         `db:"stage"`
	Code       int64          `db:"code"`
	Enhanced   string         `db:"enhanced"`
	Class      string         `db:"class"`
	Reason     string         `db:"reason"`
	Erased     bool           `db:"erased"`
	Ref        int64          `db:"ref"` // see refNumber; only read by what writes the row
}

// mailColumns are the columns of row, in its order.
const mailColumns = "mail, first_seen, task_id, kind, state, state_at, attempts, next_at, accepted_at, user_id, booking, " +
	"rcpt_hash, rcpt_masked, rcpt_domain, rcpt_sealed, stage, code, enhanced, class, reason, erased"

// writeColumns are the columns that a row is read with in order to be changed. Readers do
// without the last one, so that they understand tables of the first migration.
const writeColumns = mailColumns + ", ref"

var mailsTable = table{
	name: "evently_mail.mails",
	columns: []column{
		{"mail", "text"}, {"first_seen", "timestamptz"}, {"task_id", "text"}, {"kind", "text"}, {"state", "smallint"},
		{"state_at", "timestamptz"}, {"attempts", "smallint"}, {"next_at", "timestamptz"}, {"accepted_at", "timestamptz"},
		{"user_id", "bigint"}, {"booking", "text"}, {"rcpt_hash", "bytea"}, {"rcpt_masked", "text"}, {"rcpt_domain", "text"},
		{"rcpt_sealed", "bytea"}, {"stage", "text"}, {"code", "smallint"}, {"enhanced", "text"}, {"class", "text"},
		{"reason", "text"}, {"erased", "boolean"}, {"ref", "bigint"},
	},
	conflict: `ON CONFLICT (mail, first_seen) DO UPDATE SET state = excluded.state, state_at = excluded.state_at,
		attempts = excluded.attempts, next_at = excluded.next_at, accepted_at = excluded.accepted_at,
		user_id = excluded.user_id, booking = excluded.booking, rcpt_hash = excluded.rcpt_hash,
		rcpt_masked = excluded.rcpt_masked, rcpt_domain = excluded.rcpt_domain, rcpt_sealed = excluded.rcpt_sealed,
		stage = excluded.stage, code = excluded.code, enhanced = excluded.enhanced, class = excluded.class,
		reason = excluded.reason, erased = excluded.erased, ref = excluded.ref`,
}

// cells returns the values of the row in the order of mailsTable.
func (r *row) cells() []any {
	return []any{
		r.Mail, r.FirstSeen.Time, r.TaskID, r.Kind, int64(r.State), r.StateAt.Time, r.Attempts, r.NextAt.Time, r.AcceptedAt.Time,
		nullInt(r.UserID), r.Booking, r.Hash, nullText(r.Masked), nullText(r.Domain), r.Sealed,
		r.Stage, r.Code, r.Enhanced, r.Class, r.Reason, r.Erased, r.Ref,
	}
}

func nullInt(n sql.NullInt64) any {
	if !n.Valid {
		return nil
	}
	return n.Int64
}

func nullText(s sql.NullString) any {
	if !s.Valid {
		return nil
	}
	return s.String
}

// merge changes the row by an entry, which may be older than one that was merged before.
func (r *row) merge(e entry) {
	ev := e.event
	r.TaskID, r.Kind = ev.TaskID, ev.Kind
	r.Attempts = max(r.Attempts, int64(ev.Attempt))
	later := e.at.After(r.StateAt.Time) || e.at.Equal(r.StateAt.Time) && ev.State >= r.State
	if !r.Erased {
		r.fill(ev, later)
	}
	if ev.State == Accepted && (r.AcceptedAt.IsZero() || ev.At.Before(r.AcceptedAt.Time)) {
		r.AcceptedAt.Time = ev.At
	}
	if !ev.State.Supersedes(r.State, later) {
		return
	}
	r.State, r.StateAt.Time, r.NextAt.Time = ev.State, e.at, ev.NextAt
	r.Stage, r.Code, r.Enhanced, r.Class, r.Reason = ev.Stage, int64(ev.Code), ev.Enhanced, ev.Class, ev.Reason
}

// fill adds the facts about the recipient that the row lacks. A later event with another
// address overrides the first one: the user has changed it between two attempts.
func (r *row) fill(ev Event, later bool) {
	if !r.UserID.Valid && ev.UserID != 0 {
		r.UserID = sql.NullInt64{Int64: ev.UserID, Valid: true}
	}
	if r.Booking == "" {
		r.Booking = ev.Booking
	}
	to := ev.Recipient
	if to.Domain == "" || r.Hash != nil && (to.Hash == nil || !later) {
		return
	}
	r.Hash, r.Sealed = to.Hash, to.Sealed
	r.Masked = sql.NullString{String: to.Masked, Valid: true}
	r.Domain = sql.NullString{String: to.Domain, Valid: true}
}

var eventsTable = table{
	name: "evently_mail.events",
	columns: []column{
		{"mail", "text"}, {"entry_ms", "bigint"}, {"entry_seq", "bigint"}, {"event_at", "timestamptz"}, {"state", "smallint"},
		{"attempt", "smallint"}, {"reason", "text"}, {"next_at", "timestamptz"}, {"stage", "text"}, {"code", "smallint"},
		{"enhanced", "text"}, {"class", "text"}, {"words", "text"}, {"endpoint", "text"}, {"tls", "text"}, {"queue_id", "text"},
		{"message_id", "text"}, {"worker", "text"}, {"phases", "text"},
	},
	conflict: "ON CONFLICT DO NOTHING",
	events:   true,
}

// cells returns the values of an event in the order of eventsTable.
func (e entry) cells() []any {
	ev := e.event
	return []any{
		ev.Mail, e.ms, e.seq, ev.At, int64(ev.State), int64(ev.Attempt), ev.Reason, ev.NextAt, ev.Stage, int64(ev.Code),
		ev.Enhanced, ev.Class, ev.Text, ev.Endpoint, ev.TLS, ev.QueueID, ev.MessageID, ev.Worker, encodePhases(ev.Phases),
	}
}

var countsTable = table{
	name:     "evently_mail.counts",
	columns:  []column{{"span", "integer"}, {"start_at", "timestamptz"}, {"kind", "text"}, {"state", "smallint"}, {"bucket", "smallint"}, {"n", "bigint"}},
	conflict: "ON CONFLICT (span, start_at, kind, state, bucket) DO UPDATE SET n = t.n + excluded.n",
}

var classesTable = table{
	name:     "evently_mail.classes",
	columns:  []column{{"hour", "timestamptz"}, {"kind", "text"}, {"state", "smallint"}, {"class", "text"}, {"n", "bigint"}},
	conflict: "ON CONFLICT (hour, kind, state, class) DO UPDATE SET n = t.n + excluded.n",
}

var domainsTable = table{
	name:     "evently_mail.domains",
	columns:  []column{{"day", "timestamptz"}, {"domain", "text"}, {"state", "smallint"}, {"class", "text"}, {"n", "bigint"}},
	conflict: "ON CONFLICT (day, domain, state, class) DO UPDATE SET n = t.n + excluded.n",
}

// spans are the lengths of the roll-ups.
var spans = []time.Duration{time.Minute, time.Hour, day}

const day = 24 * time.Hour

// bounds are the upper bounds of the buckets of the histogram, the last bucket has none. A
// bucket has the durations up to its bound, this included.
var bounds = []time.Duration{
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
}

func bucketOf(d time.Duration) int {
	for i, bound := range bounds {
		if d <= bound {
			return i
		}
	}
	return len(bounds)
}
