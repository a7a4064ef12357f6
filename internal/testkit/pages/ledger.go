package pages

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
)

// Key is the LEDGER_KEY of [Ledger].
const Key = "an operator's key, one"

// Ledger returns a database of the history with its tables, in a file of SQLite, and the sealer
// of its addresses.
func Ledger(t testing.TB) (*sqlx.DB, *ledger.Sealer) {
	t.Helper()
	db, err := ledger.OpenSQLite(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	sealer, err := ledger.NewSealer(ledger.SealerConfig{Key: Key, Mask: mail.MaskAddress})
	if err != nil {
		t.Fatal(err)
	}
	w, err := ledger.NewWriter(ledger.WriterConfig{DB: db, Outbox: nothing{}, Sealer: sealer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); !w.Status().On; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the tables are not made: %+v", w.Status())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return db, sealer
}

// nothing is an outbox without entries.
type nothing struct{}

func (nothing) Oldest(context.Context, string, int) ([]broker.Recorded, error) { return nil, nil }
func (nothing) Remove(context.Context, string, []string) error                 { return nil }
func (nothing) Backlog(context.Context, string) (broker.Backlog, error)        { return broker.Backlog{}, nil }
