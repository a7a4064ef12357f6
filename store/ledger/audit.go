package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger/audit"
)

// metaAudit is the name in the table meta of the record of the end of the audit trail.
const metaAudit = "audit_head"

// auditTables keeps the audit trail in the database of the ledger.
type auditTables struct{ db *database }

// NewAudit returns the tables of the audit trail in a database of the ledger. A writer of the
// ledger makes them. timeout bounds one statement or transaction; 0 is the default.
func NewAudit(db *sqlx.DB, timeout time.Duration) audit.Store {
	return auditTables{newDatabase(db, timeout)}
}

// auditRow is a row of the table audit.
type auditRow struct {
	Number  int64  `db:"number"`
	ID      string `db:"id"`
	At      stamp  `db:"at"`
	Actor   string `db:"actor"`
	Via     string `db:"via"`
	Place   string `db:"place"`
	Action  string `db:"action"`
	IDs     string `db:"ids"`
	Details string `db:"details"`
	Outcome string `db:"outcome"`
	Origin  string `db:"origin"`
	Key     string `db:"key"`
	Prev    string `db:"prev"`
	Hash    string `db:"hash"`
}

const auditColumns = "number, id, at, actor, via, place, action, ids, details, outcome, origin, key, prev, hash"

// row returns the row of the chain. Ids that cannot be read become one id, so that the hash
// is wrong.
func (a auditRow) row() audit.Row {
	r := audit.Row{
		Entry: audit.Entry{
			ID: a.ID, At: a.At.Time, Actor: a.Actor, Via: a.Via, From: a.Place, Action: a.Action, Details: a.Details, Outcome: a.Outcome,
		},
		Chain: audit.Database, Number: a.Number, Origin: a.Origin, Key: a.Key, Prev: a.Prev, Hash: a.Hash,
	}
	if json.Unmarshal([]byte(a.IDs), &r.IDs) != nil || r.IDsJSON() != a.IDs {
		r.IDs = []string{a.IDs, "not as it was written"}
	}
	return r
}

func auditRows(stored []auditRow) []audit.Row {
	rows := make([]audit.Row, len(stored))
	for i, a := range stored {
		rows[i] = a.row()
	}
	return rows
}

// Extend implements [audit.Store].
func (a auditTables) Extend(ctx context.Context, grow func(string, func([]string) (map[string]string, error)) ([]audit.Row, string, error)) error {
	err := a.db.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := a.lock(ctx, tx); err != nil {
			return err
		}
		record, err := a.record(ctx, tx)
		if err != nil {
			return err
		}
		rows, record, err := grow(record, func(ids []string) (map[string]string, error) { return a.stored(ctx, tx, ids) })
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			if err := a.insert(ctx, tx, r); err != nil {
				return fmt.Errorf("row %d: %w", r.Number, err)
			}
		}
		_, err = a.db.exec(ctx, tx, "INSERT INTO evently_mail.meta AS t (name, value, changed_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
			metaAudit, record, a.db.time(rows[len(rows)-1].At))
		return err
	})
	return refineAudit(err)
}

// lock waits until no other process extends the trail.
func (a auditTables) lock(ctx context.Context, tx *sqlx.Tx) error {
	if !a.db.postgres {
		// A transaction of SQLite that begins to write waits for others.
		_, err := a.db.exec(ctx, tx, "DELETE FROM evently_mail.meta WHERE name = ''")
		return err
	}
	return a.db.lock(ctx, tx, lockAudit)
}

// insert stores a row, and its ids for searches.
func (a auditTables) insert(ctx context.Context, tx *sqlx.Tx, r audit.Row) error {
	op := r.Op()
	_, err := a.db.exec(ctx, tx, "INSERT INTO evently_mail.audit (op, "+auditColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		op, r.Number, r.ID, a.db.time(r.At), r.Actor, r.Via, r.From, r.Action, r.IDsJSON(), r.Details, r.Outcome, r.Origin, r.Key, r.Prev, r.Hash)
	if err != nil || len(r.IDs) == 0 {
		return err
	}
	values, args := make([]string, len(r.IDs)), make([]any, 0, 2*len(r.IDs))
	for i, id := range r.IDs {
		values[i], args = "(?, ?)", append(args, id, op)
	}
	_, err = a.db.exec(ctx, tx, "INSERT INTO evently_mail.audit_ids (subject, op) VALUES "+strings.Join(values, ", ")+" ON CONFLICT DO NOTHING", args...)
	return err
}

// stored returns the origins of the entries that are stored, by their ids.
func (a auditTables) stored(ctx context.Context, tx *sqlx.Tx, ids []string) (map[string]string, error) {
	var found []struct{ ID, Origin string }
	if err := a.db.query(ctx, tx, &found, "SELECT id, origin FROM evently_mail.audit WHERE id IN (?)", ids); err != nil {
		return nil, err
	}
	known := make(map[string]string, len(found))
	for _, row := range found {
		known[row.ID] = row.Origin
	}
	return known, nil
}

func (a auditTables) record(ctx context.Context, on sqlx.QueryerContext) (string, error) {
	var records []string
	err := a.db.query(ctx, on, &records, "SELECT value FROM evently_mail.meta WHERE name = ?", metaAudit)
	return strings.Join(records, ""), err
}

// Record implements [audit.Store].
func (a auditTables) Record(ctx context.Context) (string, error) {
	ctx, cancel := a.db.deadline(ctx)
	defer cancel()
	record, err := a.record(ctx, a.db.db)
	return record, refineAudit(err)
}

// Rows implements [audit.Store].
func (a auditTables) Rows(ctx context.Context, after int64, limit int) ([]audit.Row, error) {
	ctx, cancel := a.db.deadline(ctx)
	defer cancel()
	var stored []auditRow
	err := a.db.query(ctx, a.db.db, &stored, "SELECT "+auditColumns+" FROM evently_mail.audit WHERE number > ? ORDER BY number LIMIT ?", after, limit)
	return auditRows(stored), refineAudit(err)
}

// List implements [audit.Store].
func (a auditTables) List(ctx context.Context, f audit.Filter) ([]audit.Row, error) {
	where, args := []string{"1 = 1"}, []any{}
	add := func(condition string, values ...any) { where, args = append(where, condition), append(args, values...) }
	if !f.Since.IsZero() {
		add("at >= ?", a.db.time(f.Since))
	}
	if !f.Until.IsZero() {
		add("at < ?", a.db.time(f.Until))
	}
	if f.Actor != "" {
		add("(actor = ? OR substr(actor, 1, ?) = ?)", f.Actor, len([]rune(f.Actor))+1, f.Actor+"@")
	}
	if f.Action != "" {
		add("(action = ? OR substr(action, 1, ?) = ?)", f.Action, len([]rune(f.Action))+1, f.Action+".")
	}
	if f.ID != "" {
		add("op IN (SELECT op FROM evently_mail.audit_ids WHERE subject = ?)", f.ID)
	}
	if f.Before > 0 {
		add("number < ?", f.Before)
	}
	ctx, cancel := a.db.deadline(ctx)
	defer cancel()
	var stored []auditRow
	err := a.db.query(ctx, a.db.db, &stored, "SELECT "+auditColumns+" FROM evently_mail.audit WHERE "+strings.Join(where, " AND ")+" ORDER BY number DESC LIMIT ?",
		append(args, f.Most())...)
	return auditRows(stored), refineAudit(err)
}

// refineAudit makes errors of rights and of missing tables plain.
func refineAudit(err error) error {
	switch {
	case err == nil:
		return nil
	case isMissing(err):
		return audit.ErrNoTables
	}
	return refine(err)
}
