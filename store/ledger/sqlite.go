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

// fileFault is [Unavailability] for the file of SQLite.
func fileFault(err error) string {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return ""
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return "the disk of its file is full: free some space"
	case sqlite3.SQLITE_READONLY:
		return "its file is read-only: correct its rights, or those of its folder"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "another process keeps its file locked: end that process, or its transaction"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "its file is damaged, or no database: put it aside, or back from a copy"
	case sqlite3.SQLITE_IOERR:
		return "its file cannot be read or written: look at its disk"
	}
	return ""
}
