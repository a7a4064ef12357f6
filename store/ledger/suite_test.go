package ledger_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // driver "sqlite"

	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/broker"
)

// outbox is a stream in memory, with the faults that a test asks for.
type outbox struct {
	mu      sync.Mutex
	entries []broker.Recorded
	next    int
	removed int
	refuse  bool          // Remove fails
	shift   time.Duration // of the times of entries
}

func (o *outbox) Oldest(_ context.Context, _ string, max int) ([]broker.Recorded, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.entries[:min(max, len(o.entries))]), nil
}

func (o *outbox) Remove(_ context.Context, _ string, ids []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse {
		return fmt.Errorf("no broker")
	}
	gone := make(map[string]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	keep := 0 // the entries before it, which the writer removes first
	for keep < len(o.entries) && gone[o.entries[keep].ID] {
		keep++
	}
	o.entries = o.entries[keep:]
	o.removed += len(ids)
	return nil
}

func (o *outbox) Backlog(context.Context, string) (broker.Backlog, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := broker.Backlog{Length: len(o.entries), Dropped: 3}
	if len(o.entries) > 0 {
		b.Oldest = o.entries[0].At
	}
	return b, nil
}

// add appends entries. Each is appended a millisecond after the one before.
func (o *outbox) add(entries ...[]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, fields := range entries {
		o.next++
		at := noon.Add(time.Duration(o.next)*time.Millisecond + o.shift)
		o.entries = append(o.entries, broker.Recorded{ID: fmt.Sprintf("%d-0", at.UnixMilli()), At: at, Fields: fields})
	}
}

func (o *outbox) length() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.entries)
}

func (o *outbox) setRefuse(refuse bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse = refuse
}

// fixture is a database of either kind with a stream.
type fixture struct {
	t      *testing.T
	db     *sqlx.DB
	stream *outbox
	sealer *ledger.Sealer
}

func (f *fixture) writer(change func(*ledger.WriterConfig)) *ledger.Writer {
	f.t.Helper()
	cfg := ledger.WriterConfig{DB: f.db, Outbox: f.stream, Sealer: f.sealer, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return noon }}
	if change != nil {
		change(&cfg)
	}
	w, err := ledger.NewWriter(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return w
}

func (f *fixture) reader() *ledger.Reader {
	return ledger.NewReader(ledger.ReaderConfig{DB: f.db, Sealer: f.sealer})
}

// run runs w until done reports true.
func (f *fixture) run(w *ledger.Writer, done func() bool) {
	f.t.Helper()
	stop := f.start(w)
	defer stop()
	await(f.t, "the writer", done)
}

// start runs w until stop is called, which waits for its end.
func (f *fixture) start(w *ledger.Writer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				f.t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			f.t.Error("the writer did not end")
		}
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// write writes all events.
func (f *fixture) write(events ...ledger.Event) {
	f.t.Helper()
	for _, e := range events {
		f.stream.add(ledger.Encode(e, f.sealer))
	}
	f.run(f.writer(nil), func() bool { return f.stream.length() == 0 })
}

// writeAt writes all events, which were appended to the stream at that time.
func (f *fixture) writeAt(at time.Time, events ...ledger.Event) {
	f.t.Helper()
	f.stream.shift = at.Sub(noon)
	defer func() { f.stream.shift = 0 }()
	f.write(events...)
}

func (f *fixture) list(filter ledger.Filter) []ledger.Mail {
	f.t.Helper()
	page, err := f.reader().List(f.t.Context(), filter)
	if err != nil {
		f.t.Fatalf("List: %v", err)
	}
	return page.Mails
}

func (f *fixture) only(filter ledger.Filter) ledger.Mail {
	f.t.Helper()
	mails := f.list(filter)
	if len(mails) != 1 {
		f.t.Fatalf("%d mails, want 1: %+v", len(mails), mails)
	}
	return mails[0]
}

// dump returns all rows of all tables as text.
func (f *fixture) dump() string {
	f.t.Helper()
	var b strings.Builder
	for _, table := range []string{"mails", "events", "counts", "classes", "domains", "meta"} {
		rows, err := f.db.Queryx("SELECT * FROM " + f.name(table))
		if err != nil {
			f.t.Fatal(err)
		}
		for rows.Next() {
			values, err := rows.SliceScan()
			if err != nil {
				f.t.Fatal(err)
			}
			for _, v := range values {
				if text, ok := v.([]byte); ok {
					v = string(text)
				}
				fmt.Fprintf(&b, "%v|", v)
			}
			b.WriteByte('\n')
		}
		if err := rows.Err(); err != nil {
			f.t.Fatal(err)
		}
	}
	return b.String()
}

func (f *fixture) name(table string) string {
	if f.db.DriverName() == "sqlite" {
		return "evently_mail_" + table
	}
	return "evently_mail." + table
}

func (f *fixture) count(table string) (n int) {
	f.t.Helper()
	if err := f.db.Get(&n, "SELECT count(*) FROM "+f.name(table)); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// suite is what both kinds of databases must do.
var suite = map[string]func(t *testing.T, f *fixture){}

// databaseOf makes an empty database of a server.
func databaseOf(t *testing.T, s *storetest.Server, name string) *sqlx.DB {
	t.Helper()
	s.Exec("postgres", "CREATE DATABASE "+name)
	return connect(t, s, name, "", "")
}

// connect connects to a database of a server, as superuser without a user.
func connect(t *testing.T, s *storetest.Server, name, user, password string) *sqlx.DB {
	t.Helper()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if user != "" {
		u.User = url.UserPassword(user, password)
	}
	u.RawQuery = "sslmode=disable&binary_parameters=yes"
	db, err := sqlx.Open("postgres", u.String())
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(4)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func sqliteDB(t *testing.T) *sqlx.DB {
	t.Helper()
	db, err := ledger.OpenSQLite(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newFixture(t *testing.T, db *sqlx.DB) *fixture {
	return &fixture{t: t, db: db, stream: &outbox{}, sealer: sealer(t, ledger.SealerConfig{Key: operatorKey, Mask: mask})}
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	for name, test := range suite {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, sqliteDB(t)))
		})
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	i := 0
	for name, test := range suite {
		i++
		db := databaseOf(t, s, fmt.Sprintf("ledger%d", i))
		t.Run(name, func(t *testing.T) { test(t, newFixture(t, db)) })
	}
}
