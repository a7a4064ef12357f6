package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// schema is the schema of the tables in PostgreSQL. SQLite has no schemas: the names of its
// tables begin with the name of the schema and a low line.
const schema = "evently_mail"

// DefaultTimeout bounds one statement, or one batch of the writer.
const DefaultTimeout = 10 * time.Second

// database is a database of either kind.
type database struct {
	db       *sqlx.DB
	postgres bool
	timeout  time.Duration
	follower Follower // of the writer; nil: there is none

	reference  func(mail string) string // nil: bounces are not matched
	suppressor Suppressor               // nil: bounces suppress no address

	// explain is for tests: it gets each query of a Reader.
	explain func(query string, args []any)
}

func newDatabase(db *sqlx.DB, timeout time.Duration) *database {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &database{db: db, postgres: db.DriverName() == "postgres", timeout: timeout}
}

// sql returns a query in the dialect of the database.
func (d *database) sql(query string) string {
	if d.postgres {
		return query
	}
	query = strings.ReplaceAll(query, schema+".", schema+"_")
	return strings.ReplaceAll(query, " FOR UPDATE", "")
}

// time returns t as a parameter, nil for the zero time.
func (d *database) time(t time.Time) any {
	switch {
	case t.IsZero():
		return nil
	case d.postgres:
		return t.UTC()
	}
	return t.UnixMicro()
}

// query reads all rows of a query into dst, a pointer to a slice. A parameter that is a
// slice stands for a list.
func (d *database) query(ctx context.Context, on sqlx.QueryerContext, dst any, query string, args ...any) error {
	query, args, err := d.expand(query, args)
	if err != nil {
		return err
	}
	if d.explain != nil {
		d.explain(query, args)
	}
	if err := sqlx.SelectContext(ctx, on, dst, query, args...); err != nil {
		return cause(ctx, err)
	}
	return nil
}

// exec runs a statement and returns how many rows it changed.
func (d *database) exec(ctx context.Context, on sqlx.ExecerContext, query string, args ...any) (int64, error) {
	query, args, err := d.expand(query, args)
	if err != nil {
		return 0, err
	}
	if d.explain != nil {
		d.explain(query, args)
	}
	result, err := on.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, cause(ctx, err)
	}
	return result.RowsAffected()
}

// expand replaces question marks and lists by the parameters of the driver.
func (d *database) expand(query string, args []any) (string, []any, error) {
	query, args, err := sqlx.In(d.sql(query), args...)
	if err != nil {
		return "", nil, fmt.Errorf("make a query: %w", err)
	}
	return sqlx.Rebind(sqlx.DOLLAR, query), args, nil
}

// transact runs f in a transaction within the time limit.
func (d *database) transact(ctx context.Context, f func(ctx context.Context, tx *sqlx.Tx) error) error {
	ctx, cancel := d.deadline(ctx)
	defer cancel()
	tx, err := d.db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", cause(ctx, err))
	}
	defer func() { _ = tx.Rollback() }() // an error after Commit, and of no use before it
	if err := f(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", cause(ctx, err))
	}
	return nil
}

func (d *database) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.timeout, fmt.Errorf("no answer of the database within %g s: %w", d.timeout.Seconds(), context.DeadlineExceeded))
}

// ofClass returns the condition for the classes of a filter. With all that follows from a class
// PostgreSQL would expect a thousandth of its mails, and read and sort all of them to list fifty.
// The index of domains and SQLite's of classes need those conditions.
func (d *database) ofClass(f Filter) string {
	if d.postgres && f.Domain == "" && !slices.Contains(f.Classes, "") {
		return "class IN (?)"
	}
	return "class IN (?) AND class <> '' AND state <> 100" // of accepted mails none has a class
}

// Numbers of the advisory locks. They begin with "mail" in ASCII.
const (
	lockMigrate = 0x6d61696c01 // migrations and partitions
	lockWrite   = 0x6d61696c02 // batches
	lockAudit   = 0x6d61696c04 // entries of the audit trail
)

// lock takes an advisory lock until the end of the transaction. SQLite has one writer.
func (d *database) lock(ctx context.Context, tx *sqlx.Tx, number int64) error {
	if !d.postgres {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", number); err != nil {
		return fmt.Errorf("take the lock: %w", cause(ctx, err))
	}
	return nil
}

// cause returns why ctx ended, if it did: a driver only tells that the query was cancelled.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(err, c) {
		return c
	}
	return err
}

// AccessError is a fault of rights or of the schema, which only a person can mend. Its text
// names no user, database or host.
type AccessError struct {
	Words string // what is wrong and what to do
	Err   error
}

func (e *AccessError) Error() string { return e.Words }
func (e *AccessError) Unwrap() error { return e.Err }

// ErrNoHistory is the error of a [Reader] when the tables do not exist.
var ErrNoHistory = errors.New("there is no history of mails in this database: a worker makes the tables at its start, or run the SQL of ledger migrations --sql")

// refine returns an [AccessError] for faults of rights or of the schema, and err otherwise.
func refine(err error) error {
	e, ok := errors.AsType[*pq.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case pqerror.InsufficientPrivilege:
		return &AccessError{Err: err, Words: "history is off: the user of the database lacks rights (42501); " +
			"run GRANT CREATE ON DATABASE for the user of LEDGER_DATABASE_URL, or run the SQL of ledger migrations --sql as an administrator"}
	case pqerror.UndefinedTable, pqerror.InvalidSchemaName, pqerror.UndefinedColumn:
		return &AccessError{Err: err, Words: "history is off: the schema " + schema + " lacks tables or columns (" + string(e.Code) + "); run the SQL of ledger migrations --sql"}
	case pqerror.CheckViolation:
		return &AccessError{Err: err, Words: "history is off: a table of the schema " + schema + " lacks its default partition (23514); run the SQL of ledger migrations --sql"}
	case pqerror.ReadOnlySQLTransaction:
		return &AccessError{Err: err, Words: "history is off: the database is read-only (25006); set LEDGER_DATABASE_URL to the primary server, or switch default_transaction_read_only off"}
	}
	if e.Code.Class() == pqerror.ClassSyntaxErrorOrAccessRuleViolation {
		return &AccessError{Err: err, Words: "history is off: the database refuses the statements (" + string(e.Code) + "); it must be PostgreSQL 12 or newer, with the tables of ledger migrations --sql"}
	}
	return err
}

// Unavailability tells in a clause what is wrong with a database that does not answer, and what to
// do: "it refuses connections: …". It names no user, host or database. The text is empty if err
// says nothing about that.
func Unavailability(err error) string {
	if refused, ok := errors.AsType[*pq.Error](err); ok {
		return refusal(refused)
	}
	if why := fileFault(err); why != "" {
		return why
	}
	timeout, isNet := errors.AsType[net.Error](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && dns.IsNotFound:
		return "the name of its host is not known: correct the host"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refuses connections: start it, or correct host and port"
	case errors.Is(err, fs.ErrNotExist):
		return "its socket does not exist: start it, or correct the path"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to its host: look at the network"
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return "it did not answer in time: look whether it is overloaded, a table is locked, or a firewall drops packets"
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "it closed the connection: look at its log"
	case isNet:
		return "it cannot be reached"
	}
	return ""
}

// refusal is [Unavailability] for an answer of the server.
func refusal(e *pq.Error) string {
	code := " (" + string(e.Code) + ")"
	switch e.Code {
	case pqerror.InvalidCatalogName:
		return "there is no database of that name" + code + ": correct the name"
	case pqerror.CannotConnectNow:
		return "it starts or stops just now" + code
	case pqerror.AdminShutdown, pqerror.CrashShutdown:
		return "it was stopped" + code
	case pqerror.TooManyConnections:
		return "it has no free connection" + code + ": raise max_connections, or run fewer workers"
	case pqerror.QueryCanceled:
		return "it did not answer in time" + code
	case pqerror.LockNotAvailable:
		return "a table is locked" + code + ": end the statement that locks it"
	case pqerror.DiskFull:
		return "it has no space left" + code + ": free some on its disk"
	case pqerror.ReadOnlySQLTransaction:
		return "it is read-only" + code + ": name the primary server, or switch default_transaction_read_only off"
	}
	switch e.Code.Class() {
	case pqerror.ClassInvalidAuthorizationSpecification:
		return "it refuses the login" + code + ": correct user and password"
	case pqerror.ClassConnectionException, pqerror.ClassOperatorIntervention, pqerror.ClassInsufficientResources:
		return "it cannot serve just now" + code + ": look at its log"
	}
	return ""
}

// isMissing reports whether the tables do not exist.
func isMissing(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return e.Code == pqerror.UndefinedTable || e.Code == pqerror.InvalidSchemaName
	}
	return isAbsent(err) || err != nil && strings.Contains(err.Error(), "no such table: "+schema) // SQLite
}

// isData reports whether the database refuses the values of a row, so that the same row
// would fail again.
func isData(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	if !ok {
		return false
	}
	switch e.Code.Class() {
	case pqerror.ClassDataException, pqerror.ClassProgramLimitExceeded:
		return true
	}
	return e.Code == pqerror.NotNullViolation
}

// stamp is a time in a row.
type stamp struct{ time.Time }

// Scan implements [sql.Scanner] for both kinds of databases.
func (s *stamp) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		s.Time = time.Time{}
	case time.Time:
		s.Time = v.UTC()
	case int64:
		s.Time = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a time is a %T in the database", value)
	}
	return nil
}

var _ sql.Scanner = (*stamp)(nil)
