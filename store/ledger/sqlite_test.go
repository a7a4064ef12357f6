package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/evently/workers/store/ledger"
)

// A monitor may start before the worker that makes the file: it has no history until then, makes
// no file itself, and reads the file as soon as it is there.
func TestFileOfWorker(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	early, err := ledger.OpenSQLiteOfWorker(path)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	reader := ledger.NewReader(ledger.ReaderConfig{DB: early})
	if _, err := reader.List(t.Context(), ledger.Filter{}); !errors.Is(err, ledger.ErrNoHistory) {
		t.Errorf("before the worker: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the reader has made a file: %v", err)
	}
	db, err := ledger.OpenSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f := newFixture(t, db)
	f.run(f.writer(nil), func() bool {
		_, err := reader.List(t.Context(), ledger.Filter{})
		return err == nil
	})
}
