package ledger_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/evently/workers/store/ledger"
)

// Each fault of a database has its words, none says what another one is.
func TestUnavailability(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return fmt.Errorf("list: %w", &net.OpError{Op: "dial", Net: "tcp", Err: err}) }
	for want, err := range map[string]error{
		"it did not answer in time":         fmt.Errorf("list: %w", context.DeadlineExceeded),
		"it refuses connections":            dial(syscall.ECONNREFUSED),
		"there is no route":                 dial(syscall.EHOSTUNREACH),
		"its socket does not exist":         dial(syscall.ENOENT),
		"the name of its host":              dial(&net.DNSError{Err: "no such host", Name: "db", IsNotFound: true}),
		"it closed the connection":          fmt.Errorf("list: %w", driver.ErrBadConn),
		"it cannot be reached":              dial(fmt.Errorf("odd")),
		"it refuses the login (28P01)":      fmt.Errorf("list: %w", &pq.Error{Code: "28P01", Message: "password authentication failed for user \"evently\""}),
		"there is no database of that name": &pq.Error{Code: pqerror.InvalidCatalogName, Message: "database \"x\" does not exist"},
		"it starts or stops just now":       &pq.Error{Code: pqerror.CannotConnectNow},
		"it has no free connection":         &pq.Error{Code: pqerror.TooManyConnections},
		"it has no space left (53100)":      &pq.Error{Code: pqerror.DiskFull, Message: "could not extend file \"base/16384/16645\": No space left on device"},
		"it is read-only (25006)":           &pq.Error{Code: pqerror.ReadOnlySQLTransaction},
		"a table is locked (55P03)":         &pq.Error{Code: pqerror.LockNotAvailable},
	} {
		if got := ledger.Unavailability(err); !strings.HasPrefix(got, want) || strings.Contains(got, "evently") || strings.Contains(got, "\"x\"") {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	for _, err := range []error{nil, fmt.Errorf("odd"), &pq.Error{Code: "42601"}} {
		if got := ledger.Unavailability(err); got != "" {
			t.Errorf("%v: %q", err, got)
		}
	}
}

// A file of SQLite has its own words: for a full disk, a lock of another process and a file that
// is no database.
func TestUnavailableFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "h.db")
	open := func(path, pragmas string) *sql.DB {
		db, err := sql.Open("sqlite", "file:"+path+"?"+pragmas)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	small := open(path, "_pragma=max_page_count(3)")
	exec := func(db *sql.DB, statement string) error {
		_, err := db.ExecContext(t.Context(), statement)
		return err
	}
	if err := exec(small, "CREATE TABLE a (b)"); err != nil {
		t.Fatal(err)
	}
	full := exec(small, "INSERT INTO a VALUES (zeroblob(100000))")
	if err := exec(small, "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	locked := exec(open(path, "_pragma=busy_timeout(1)"), "INSERT INTO a VALUES (1)")
	other := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(other, []byte(strings.Repeat("no database ", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"the disk of its file is full":   full,
		"another process keeps its file": locked,
		"its file is damaged":            exec(open(other, ""), "CREATE TABLE a (b)"),
		"its file is read-only":          exec(open(path, "mode=ro&immutable=1"), "INSERT INTO a VALUES (1)"),
	} {
		if got := ledger.Unavailability(fmt.Errorf("commit: %w", err)); err == nil || !strings.HasPrefix(got, want) {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
