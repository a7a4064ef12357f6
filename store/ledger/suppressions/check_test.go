package suppressions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store"
	"github.com/evently/workers/store/ledger"
	. "github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/store/storetest"
)

// open opens a database as a worker does: with bounds for a server that hangs.
func open(t testing.TB, server *storetest.Server) *sqlx.DB {
	t.Helper()
	return openWith(t, server, 30*time.Second)
}

func openWith(t testing.TB, server *storetest.Server, timeout time.Duration) *sqlx.DB {
	t.Helper()
	db, err := store.OpenDB(store.Config{URL: server.URL(), MaxOpen: 1, QueryTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// logs is a log that tests read while it is written.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// A server that is frozen delays a code by a quarter of a second, and the mails after it not
// at all. The log tells of the beginning and of the end.
func TestCheckWithoutDatabase(t *testing.T) {
	server := storetest.Postgres(t)
	f := &fixture{t: t, db: open(t, server), clock: noon}
	f.write(f.store(keyOne))
	f.record(f.store(keyOne), f.evidence("ada@example.com", BadAddress, "m1"))
	log := new(logs)
	db := open(t, server)
	if err := db.PingContext(t.Context()); err != nil { // so that the first question does not wait for a connection
		t.Fatal(err)
	}
	c := NewChecker(New(Config{DB: db, Sealer: f.sealer(keyOne), Timeout: 30 * time.Second}), slog.New(slog.NewTextHandler(log, nil)))
	defer c.Close()
	code, other := Question{Address: "ada@example.com", Code: true}, Question{Address: "bob@example.com"}
	if found, err := c.Check(t.Context(), code); found == nil || err != nil {
		t.Fatalf("before: %v, %v", found, err)
	}
	var pids []int
	if err := f.db.Select(&pids, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"); err != nil || len(pids) == 0 {
		t.Fatalf("backends: %v, %v", pids, err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if found, err := c.Check(t.Context(), code); found != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v, %v", found, err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a code waited for %v", took)
	}
	begin = time.Now()
	for range 100 {
		if found, err := c.Check(t.Context(), other); found != nil || err == nil {
			t.Errorf("frozen, another mail: %v, %v", found, err)
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("100 mails waited for %v", took)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if found, err := c.Check(t.Context(), code); err == nil && found != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not checked again in time")
		}
	}
	if n, m := log.count("suppressions not checked"), log.count("checked again"); n != 1 || m != 1 || log.count("ada@") > 0 {
		t.Errorf("the log has %d beginnings and %d ends", n, m)
	}
	// A task that ends says nothing about the database.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Check(ended, other); !errors.Is(err, context.Canceled) {
		t.Errorf("a task that has ended: %v", err)
	}
	if _, err := c.Check(t.Context(), other); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// Without tables there are no suppressions, and mails are sent without a fault.
func TestCheckWithoutTables(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	log := new(logs)
	f := &fixture{t: t, db: open(t, server), clock: noon}
	c := NewChecker(f.store(keyOne), slog.New(slog.NewTextHandler(log, nil)))
	defer c.Close()
	for range 3 {
		if found, err := c.Check(t.Context(), Question{Address: "ada@example.com"}); found != nil || err != nil {
			t.Errorf("%v, %v", found, err)
		}
	}
	if log.count("level=") != 0 {
		t.Errorf("log: %s", log.b.String())
	}
}

// Questions of many goroutines have each its own answer.
func TestChecksShareAQuery(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	f := &fixture{t: t, db: open(t, server), clock: noon}
	f.write(f.store(keyOne))
	for i := range 50 {
		f.record(f.store(keyOne), f.evidence(fmt.Sprintf("bad%d@example.com", i), BadAddress, fmt.Sprint("m", i)))
	}
	c := NewChecker(New(Config{DB: open(t, server), Sealer: f.sealer(keyTwo, keyOne)}), slog.New(slog.DiscardHandler))
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			found, err := c.Check(t.Context(), Question{Address: fmt.Sprintf("BAD%d@example.com", i)})
			if err != nil || found == nil || found.Mail != fmt.Sprint("m", i) || found.Address != "" {
				t.Errorf("bad%d: %+v, %v", i, found, err)
			}
		})
		wg.Go(func() {
			if found, err := c.Check(t.Context(), Question{Address: fmt.Sprintf("good%d@example.com", i)}); err != nil || found != nil {
				t.Errorf("good%d: %+v, %v", i, found, err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkCheck measures questions of mails that are sent at the same time, with 100,000
// suppressions.
func BenchmarkCheck(b *testing.B) {
	server := storetest.Postgres(b)
	db := openWith(b, server, time.Minute)
	prepare(b, db)
	for _, mails := range []int{1, 8, 64} {
		b.Run(strconv.Itoa(mails), func(b *testing.B) {
			sealer, err := ledger.NewSealer(ledger.SealerConfig{Key: keyOne})
			if err != nil {
				b.Fatal(err)
			}
			c := NewChecker(New(Config{DB: db, Sealer: sealer}), slog.New(slog.DiscardHandler))
			defer c.Close()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range mails {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if _, err := c.Check(b.Context(), Question{Address: fmt.Sprintf("user%d@example.com", n*7919%1e6)}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
		})
	}
}

// prepare makes the tables with 100,000 suppressions.
func prepare(b *testing.B, db *sqlx.DB) {
	b.Helper()
	w, err := ledger.NewWriter(ledger.WriterConfig{DB: db, Outbox: &outbox{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for !w.Status().On {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	_, err = db.Exec(`INSERT INTO evently_mail.suppressions SELECT decode(md5(n::text), 'hex'), 'all', 'bad_address', 'reply', 'u***@example.com', 'example.com', NULL, 1,
		now(), now(), NULL, 550, '5.1.1', 'no such user', 'm', 't', '', '', NULL, '', '' FROM generate_series(1, 100000) n`)
	if err == nil {
		_, err = db.Exec("ANALYZE evently_mail.suppressions")
	}
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFollow measures what the suppressions add to the writer of the history: batches
// of 500 events, all accepted, or with one or all refused.
func BenchmarkFollow(b *testing.B) {
	server := storetest.Postgres(b)
	db := openWith(b, server, time.Minute)
	prepare(b, db)
	sealer, err := ledger.NewSealer(ledger.SealerConfig{Key: keyOne, Mask: mask})
	if err != nil {
		b.Fatal(err)
	}
	s := New(Config{DB: db, Sealer: sealer})
	for name, refused := range map[string]int{"accepted": 0, "5 refused": 5, "all refused": 500} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				stored := make([]ledger.Stored, 500)
				for i := range stored {
					n++
					e := ledger.Event{State: ledger.Accepted, Mail: fmt.Sprint(n), TaskID: "t", Kind: "welcome", At: time.Now(), Recipient: sealer.Seal(fmt.Sprintf("u%d@example.com", n))}
					if i < refused {
						e.State, e.Fault = ledger.Rejected, "bad_address"
					}
					stored[i] = ledger.Stored{ID: fmt.Sprint(name, n), Event: e}
				}
				begin := time.Now()
				err := ledger.NewDB(db, 0).Transact(b.Context(), func(ctx context.Context, tx *sqlx.Tx) error { return s.Follow(ctx, tx, stored) })
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(time.Since(begin).Microseconds()), "last_us/batch")
			}
		})
	}
}
