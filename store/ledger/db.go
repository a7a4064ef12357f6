package ledger

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// DB is the database of the ledger, for the packages below this one, which have tables of
// their own in it. Its queries are written for PostgreSQL with the schema evently_mail, with
// question marks as parameters; a parameter that is a slice stands for a list. They are
// translated for SQLite. It is safe for concurrent use.
type DB struct{ d *database }

// NewDB returns a DB. It does no I/O. timeout bounds each transaction and each call of
// [DB.Deadline]; 0: [DefaultTimeout].
func NewDB(db *sqlx.DB, timeout time.Duration) *DB { return &DB{newDatabase(db, timeout)} }

// Pool returns the connections, for queries outside of a transaction.
func (b *DB) Pool() *sqlx.DB { return b.d.db }

// IsPostgres reports whether the database is PostgreSQL and not SQLite.
func (b *DB) IsPostgres() bool { return b.d.postgres }

// Deadline returns a context that ends at the time limit of the database.
func (b *DB) Deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return b.d.deadline(ctx)
}

// Transact runs f in a transaction within the time limit.
func (b *DB) Transact(ctx context.Context, f func(ctx context.Context, tx *sqlx.Tx) error) error {
	return b.d.transact(ctx, f)
}

// LockMails makes the transaction the only one that changes mails and what follows from
// their events. A transaction that changes mails must call it first. SQLite has one writer.
func (b *DB) LockMails(ctx context.Context, tx *sqlx.Tx) error { return b.d.lock(ctx, tx, lockWrite) }

// Select reads all rows into dst, a pointer to a slice.
func (b *DB) Select(ctx context.Context, on sqlx.QueryerContext, dst any, query string, args ...any) error {
	return b.d.query(ctx, on, dst, query, args...)
}

// Exec runs a statement and returns how many rows it changed.
func (b *DB) Exec(ctx context.Context, on sqlx.ExecerContext, query string, args ...any) (int64, error) {
	return b.d.exec(ctx, on, query, args...)
}

// Table describes the insertion of many rows.
type Table struct {
	Name     string      // with the schema
	Columns  [][2]string // names, and types in PostgreSQL
	Conflict string      // ON CONFLICT clause; the table is called t in it
}

// Insert inserts rows of string, int64, bool, []byte and [time.Time] values. The zero time,
// nil bytes and nil are NULL.
func (b *DB) Insert(ctx context.Context, tx *sqlx.Tx, t Table, rows [][]any) error {
	inner := table{name: t.Name, conflict: t.Conflict}
	for _, c := range t.Columns {
		inner.columns = append(inner.columns, column{c[0], c[1]})
	}
	_, err := b.d.insert(ctx, tx, inner, rows)
	return err
}

// Param returns a time as a parameter, NULL for the zero time.
func (b *DB) Param(t time.Time) any { return b.d.time(t) }

// Hashes returns the hashes that an address may have in the tables: by the keys of the
// sealer, and by each key that is stored. It fails with [ErrNoKey] if there is no key.
func (b *DB) Hashes(ctx context.Context, s *Sealer, address string) ([][]byte, error) {
	return b.d.hashes(ctx, s, address)
}

// Hasher returns the keys of [DB.Hashes], for many addresses.
func (b *DB) Hasher(ctx context.Context, s *Sealer) (Hasher, error) { return b.d.hasher(ctx, s) }

// Time is a time in a row. It is read from the columns of both kinds of databases.
type Time = stamp

// Explain makes errors of rights and of missing tables plain: it returns an [AccessError],
// [ErrNoHistory], or err.
func Explain(err error) error {
	if isMissing(err) {
		return ErrNoHistory
	}
	return refine(err)
}
