package ledger

import (
	"fmt"
	"net/url"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // driver "sqlite"
)

// OpenSQLite returns the database in a file. It does not open the file, which is made when it
// is first used. The caller closes the database. Another process may read the file meanwhile.
func OpenSQLite(path string) (*sqlx.DB, error) {
	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)"}}
	db, err := sqlx.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, fmt.Errorf("open the history: %w", err)
	}
	db.SetMaxOpenConns(1) // SQLite has one writer
	return db, nil
}
