package ledger

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite" // driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// OpenSQLite returns the database in a file. It does not open the file, which is made when it
// is first used. The caller closes the database. Another process may read the file meanwhile.
func OpenSQLite(path string) (*sqlx.DB, error) { return openSQLite(path, "rwc") }

// OpenSQLiteOfWorker returns the database in a file that a worker makes. Until it has, there is
// no history.
func OpenSQLiteOfWorker(path string) (*sqlx.DB, error) { return openSQLite(path, "rw") }

func openSQLite(path, mode string) (*sqlx.DB, error) {
	options := url.Values{"mode": {mode}, "_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)"}}
	db, err := sqlx.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("open the history: %w", err)
	}
	db.SetMaxOpenConns(1) // SQLite has one writer
	return db, nil
}

// isAbsent reports whether the file of SQLite is not there.
func isAbsent(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_CANTOPEN
}
