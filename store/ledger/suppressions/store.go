package suppressions

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger"
)

// Config is the configuration of a [Store]. DB is required.
type Config struct {
	DB      *sqlx.DB       // of the ledger
	Sealer  *ledger.Sealer // of addresses; nil: only the keys of the database, and no address can be read
	Timeout time.Duration  // of one transaction; default: ledger.DefaultTimeout
	Now     func() time.Time
}

// Store has the suppressions in the database of the ledger. It is safe for concurrent use.
// Without the tables its methods fail with [ledger.ErrNoHistory].
type Store struct {
	db     *ledger.DB
	sealer *ledger.Sealer
	now    func() time.Time
}

// New returns a Store. It does no I/O.
func New(cfg Config) *Store {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Store{db: ledger.NewDB(cfg.DB, cfg.Timeout), sealer: cfg.Sealer, now: cfg.Now}
}

// Suppression is one suppression, in force or not.
type Suppression struct {
	ID      string `json:"id"`                // the hash of the address, in hexadecimal digits
	Address string `json:"address,omitempty"` // only with the key of the operator
	To      string `json:"to,omitempty"`      // masked
	Domain  string `json:"domain,omitempty"`

	Scope   Scope      `json:"scope"`
	Class   Class      `json:"class"`
	Source  Source     `json:"source"`
	State   State      `json:"state"` // at the time of the answer
	Hits    int        `json:"hits"`  // pieces of evidence
	First   time.Time  `json:"first_at"`
	Last    time.Time  `json:"last_at"`
	Expires *time.Time `json:"expires_at"` // nil: it does not end by itself

	Code       int    `json:"code,omitempty"` // of the latest evidence, as the rest
	Enhanced   string `json:"enhanced,omitempty"`
	Diagnostic string `json:"diagnostic,omitempty"`
	Mail       string `json:"mail,omitempty"`
	TaskID     string `json:"task_id,omitempty"`

	CreatedBy string     `json:"created_by,omitempty"` // person; "": evidence
	Note      string     `json:"note,omitempty"`
	Ended     *time.Time `json:"ended_at,omitempty"` // when it was released or lifted
	EndedBy   string     `json:"ended_by,omitempty"`
	EndedNote string     `json:"ended_note,omitempty"`
}

// State says whether a suppression is in force.
type State string

// The states.
const (
	Active   State = "active"
	Expired  State = "expired"  // it ended by itself
	Released State = "released" // by a person, or by a mail that arrived
)

// StateAt returns the state at a time.
func (s Suppression) StateAt(now time.Time) State {
	switch {
	case s.Ended != nil:
		return Released
	case s.Expires != nil && !s.Expires.After(now):
		return Expired
	}
	return Active
}

// columns are the columns of row.
const columns = "rcpt_hash, scope, class, source, rcpt_masked, rcpt_domain, rcpt_sealed, hits, first_at, last_at, expires_at, " +
	"code, enhanced, diagnostic, mail, task_id, created_by, note, ended_at, ended_by, ended_note"

// row is a row of the table suppressions.
type row struct {
	Hash       []byte      `db:"rcpt_hash"`
	Scope      Scope       `db:"scope"`
	Class      Class       `db:"class"`
	Source     Source      `db:"source"`
	Masked     string      `db:"rcpt_masked"`
	Domain     string      `db:"rcpt_domain"`
	Sealed     []byte      `db:"rcpt_sealed"`
	Hits       int         `db:"hits"`
	First      ledger.Time `db:"first_at"`
	Last       ledger.Time `db:"last_at"`
	Expires    ledger.Time `db:"expires_at"`
	Code       int         `db:"code"`
	Enhanced   string      `db:"enhanced"`
	Diagnostic string      `db:"diagnostic"`
	Mail       string      `db:"mail"`
	TaskID     string      `db:"task_id"`
	CreatedBy  string      `db:"created_by"`
	Note       string      `db:"note"`
	Ended      ledger.Time `db:"ended_at"`
	EndedBy    string      `db:"ended_by"`
	EndedNote  string      `db:"ended_note"`
}

// isActive reports whether the row is in force at a time.
func (r *row) isActive(now time.Time) bool {
	return r.Ended.IsZero() && (r.Expires.IsZero() || r.Expires.After(now))
}

// suppression returns the row for people and programs.
func (s *Store) suppression(r row) Suppression {
	p := Suppression{
		ID: hex.EncodeToString(r.Hash), To: r.Masked, Domain: r.Domain, Scope: r.Scope, Class: r.Class, Source: r.Source,
		Hits: r.Hits, First: r.First.Time, Last: r.Last.Time, Expires: optional(r.Expires.Time),
		Code: r.Code, Enhanced: r.Enhanced, Diagnostic: r.Diagnostic, Mail: r.Mail, TaskID: r.TaskID,
		CreatedBy: r.CreatedBy, Note: r.Note, Ended: optional(r.Ended.Time), EndedBy: r.EndedBy, EndedNote: r.EndedNote,
	}
	p.State = p.StateAt(s.now())
	if len(r.Sealed) > 0 {
		p.Address, _ = s.sealer.Open(r.Sealed) // the masked form remains
	}
	return p
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// table has the suppressions. A row replaces that of the same address and scope.
var table = ledger.Table{
	Name: "evently_mail.suppressions",
	Columns: [][2]string{
		{"rcpt_hash", "bytea"}, {"scope", "text"}, {"class", "text"}, {"source", "text"}, {"rcpt_masked", "text"}, {"rcpt_domain", "text"},
		{"rcpt_sealed", "bytea"}, {"hits", "integer"}, {"first_at", "timestamptz"}, {"last_at", "timestamptz"}, {"expires_at", "timestamptz"},
		{"code", "smallint"}, {"enhanced", "text"}, {"diagnostic", "text"}, {"mail", "text"}, {"task_id", "text"}, {"created_by", "text"},
		{"note", "text"}, {"ended_at", "timestamptz"}, {"ended_by", "text"}, {"ended_note", "text"},
	},
	Conflict: `ON CONFLICT (rcpt_hash, scope) DO UPDATE SET class = excluded.class, source = excluded.source, rcpt_masked = excluded.rcpt_masked,
		rcpt_domain = excluded.rcpt_domain, rcpt_sealed = excluded.rcpt_sealed, hits = excluded.hits, first_at = excluded.first_at,
		last_at = excluded.last_at, expires_at = excluded.expires_at, code = excluded.code, enhanced = excluded.enhanced,
		diagnostic = excluded.diagnostic, mail = excluded.mail, task_id = excluded.task_id, created_by = excluded.created_by,
		note = excluded.note, ended_at = excluded.ended_at, ended_by = excluded.ended_by, ended_note = excluded.ended_note`,
}

// cells returns the values of the row in the order of table.
func (r *row) cells() []any {
	return []any{
		r.Hash, string(r.Scope), string(r.Class), string(r.Source), r.Masked, r.Domain, r.Sealed, int64(r.Hits), r.First.Time, r.Last.Time,
		r.Expires.Time, int64(r.Code), r.Enhanced, r.Diagnostic, r.Mail, r.TaskID, r.CreatedBy, r.Note, r.Ended.Time, r.EndedBy, r.EndedNote,
	}
}

// put inserts rows, of which no two have the same address and scope.
func (s *Store) put(ctx context.Context, tx *sqlx.Tx, rows ...row) error {
	const part = 1000 // of one statement
	for some := range slices.Chunk(rows, part) {
		cells := make([][]any, len(some))
		for i := range some {
			cells[i] = some[i].cells()
		}
		if err := s.db.Insert(ctx, tx, table, cells); err != nil {
			return err
		}
	}
	return nil
}

// fault adds what was being done to an error, and makes errors of rights and of missing
// tables plain.
func fault(doing string, err error) error { return fmt.Errorf("%s: %w", doing, ledger.Explain(err)) }

// errReason is the error of a change without a reason.
var errReason = errors.New("give the reason")

// Most bytes of texts that people write.
const maxNote = 500
