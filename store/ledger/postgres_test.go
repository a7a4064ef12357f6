package ledger_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/storetest"
)

// Several workers start at once on an empty database, and again later.
func TestMigrationsAtOnce(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	db := databaseOf(t, s, "ledger")
	for range 2 {
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				f := newFixture(t, db)
				w := f.writer(nil)
				f.run(w, func() bool { return w.Status().On })
			})
		}
		group.Wait()
	}
	f := newFixture(t, db)
	if n := f.count("migrations"); n != strings.Count(ledger.Migrations(), "INSERT INTO evently_mail.migrations") {
		t.Errorf("%d migrations recorded", n)
	}
	var partitions int
	if err := db.Get(&partitions, "SELECT count(*) FROM pg_inherits i WHERE i.inhparent IN ('evently_mail.mails'::regclass, 'evently_mail.events'::regclass)"); err != nil {
		t.Fatal(err)
	}
	if partitions != 2*6 {
		t.Errorf("%d partitions, want a default and five months for each table", partitions)
	}
}

// An administrator runs the printed SQL. A user without CREATE writes then, and without the
// right to make partitions the rows go to the default one, which is retired row by row.
func TestRights(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	admin := databaseOf(t, s, "ledger")
	s.Exec("ledger", "CREATE ROLE mailer LOGIN PASSWORD 'pw'; CREATE TABLE users (id integer); GRANT SELECT ON users TO mailer")
	f := newFixture(t, connect(t, s, "ledger", "mailer", "pw"))
	f.stream.add(ledger.Encode(life()[0], f.sealer))
	w := f.writer(nil)
	f.run(w, func() bool { return strings.Contains(w.Status().Reason, "GRANT CREATE ON DATABASE") })
	if s := w.Status(); s.On || strings.Contains(s.Reason, "mailer") {
		t.Errorf("without rights: %+v", s)
	}
	if _, err := f.reader().List(t.Context(), ledger.Filter{}); err == nil || !strings.Contains(err.Error(), "no history") {
		t.Errorf("List without tables: %v", err)
	}
	for range 2 {
		if _, err := admin.Exec(ledger.Migrations()); err != nil {
			t.Fatalf("the printed SQL: %v", err)
		}
	}
	f.run(w, func() bool { return strings.Contains(w.Status().Reason, "lacks rights") })
	if _, err := f.reader().List(t.Context(), ledger.Filter{}); err == nil || !strings.Contains(err.Error(), "rights") {
		t.Errorf("List without rights: %v", err)
	}
	grants := documented(t)
	for _, statement := range grants[1:3] {
		s.Exec("ledger", statement)
	}
	w = f.writer(nil)
	f.run(w, func() bool { return f.stream.length() == 0 && w.Status().Stray == 0 })
	if m := f.only(ledger.Filter{}); m.State != ledger.Sending {
		t.Errorf("%+v", m)
	}
	w = f.writer(func(c *ledger.WriterConfig) { c.Now = func() time.Time { return noon.Add(time.Hour) } })
	f.run(w, func() bool { return w.Status().Stray == 2 })
	w = f.writer(func(c *ledger.WriterConfig) { c.Now = func() time.Time { return noon.AddDate(0, 6, 0) } })
	f.run(w, func() bool { return w.Status().On })
	if n := f.count("mails") + f.count("events") + f.count("counts") + f.count("domains"); n != 0 {
		t.Errorf("%d rows after six months", n)
	}
	// As the owner it makes partitions.
	for _, statement := range grants[3:] {
		s.Exec("ledger", statement)
	}
	f.write(life()...)
	var n int
	if err := admin.Get(&n, "SELECT count(*) FROM evently_mail.events_2026_11"); err != nil || n != 5 {
		t.Errorf("%d events in the partition: %v", n, err)
	}
}

// documented returns the statements about rights in docs/ledger.md.
func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/ledger.md")
	if err != nil {
		t.Fatal(err)
	}
	statements := regexp.MustCompile("(?m)^    ((GRANT|ALTER) .*;)$").FindAllString(string(text), -1)
	if len(statements) != 8 || !strings.Contains(statements[0], "CREATE ON DATABASE evently") {
		t.Fatalf("docs/ledger.md has other statements about rights: %q", statements)
	}
	return statements
}

// With the right to make the schema the worker does all by itself.
func TestRightToCreate(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	s.Exec("postgres", "CREATE ROLE mailer LOGIN PASSWORD 'pw'")
	s.Exec("postgres", documented(t)[0])
	f := newFixture(t, connect(t, s, storetest.Database, "mailer", "pw"))
	f.write(life()...)
	if m := f.only(ledger.Filter{}); m.State != ledger.Bounced {
		t.Errorf("%+v", m)
	}
}

// A migration that ran with other statements stops the history, not the worker; one of a
// newer program does not.
func TestChangedMigration(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	f := newFixture(t, databaseOf(t, s, "ledger"))
	f.write(life()[0])
	s.Exec("ledger", "INSERT INTO evently_mail.migrations VALUES (9999, 'of the future', 'x', now())")
	f.write(life()[1])
	s.Exec("ledger", "UPDATE evently_mail.migrations SET checksum = 'x' WHERE number = 1")
	w := f.writer(nil)
	f.run(w, func() bool { return strings.Contains(w.Status().Reason, "other statements") })
}

// Partitions of old months are dropped with their rows, and rows that came before their
// partition move to it.
func TestRetention(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	f := newFixture(t, databaseOf(t, s, "ledger"))
	at := func(months int) func(*ledger.WriterConfig) {
		return func(c *ledger.WriterConfig) { c.Now = func() time.Time { return noon.AddDate(0, months, 0) } }
	}
	old, recent, early := life()[3], life()[3], life()[3]
	recent.Mail, recent.At, recent.FirstSeen = "recent", noon.AddDate(0, 0, 85), noon.AddDate(0, 0, 85)
	early.Mail, early.At, early.FirstSeen = "early", noon.AddDate(0, 5, 0), noon.AddDate(0, 5, 0)
	f.write(old, recent, early)
	var stray int
	strayRows := "SELECT count(*) FROM evently_mail.mails_default"
	if err := f.db.Get(&stray, strayRows); err != nil || stray != 1 {
		t.Errorf("%d stray mails: %v", stray, err)
	}
	w := f.writer(at(5))
	f.run(w, func() bool { return w.Status().On })
	if err := f.db.Get(&stray, strayRows); err != nil || stray != 0 {
		t.Errorf("%d stray mails: %v", stray, err)
	}
	mails := f.list(ledger.Filter{})
	if len(mails) != 2 || mails[0].Mail != "early" || mails[1].Mail != "recent" {
		t.Errorf("mails: %+v", mails)
	}
	if n := f.count("events"); n != 2 {
		t.Errorf("%d events", n)
	}
	var there bool
	if err := f.db.Get(&there, "SELECT to_regclass('evently_mail.mails_2026_11') IS NOT NULL"); err != nil || there {
		t.Errorf("the old partition is there: %v", err)
	}
}

// While the database is unavailable the stream keeps everything, and the worker says since when.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	f := newFixture(t, databaseOf(t, s, "ledger"))
	w := f.writer(func(c *ledger.WriterConfig) { c.Now, c.Timeout = time.Now, 2*time.Second })
	stop := f.start(w)
	defer stop()
	await(t, "the start", func() bool { return w.Status().On })
	s.Stop()
	for range 600 {
		f.stream.add(ledger.Encode(life()[0], f.sealer))
	}
	await(t, "the failure", func() bool { st := w.Status(); return !st.On && st.Waiting == 600 && st.Lag > 0 })
	if st := w.Status(); st.Reason != "history waits for its database: it refuses connections: start it, or correct host and port" || st.Since.IsZero() {
		t.Errorf("%+v", st)
	}
	s.Start()
	await(t, "the recovery", func() bool { return w.Status().On && f.stream.length() == 0 })
	if n := f.count("events"); n != 600 {
		t.Errorf("%d events", n)
	}
}

// Of a batch with a value that the database refuses, the other events are stored.
func TestRefusedValues(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	f := newFixture(t, databaseOf(t, s, "ledger"))
	f.write(life()[0])
	s.Exec("ledger", "ALTER TABLE evently_mail.events ALTER COLUMN words TYPE varchar(30)")
	for i := range 40 {
		e := life()[1]
		e.Mail = fmt.Sprint("m", i)
		if i%10 == 3 {
			e.Text = strings.Repeat("long ", 10)
		}
		f.stream.add(ledger.Encode(e, f.sealer))
	}
	w := f.writer(nil)
	f.run(w, func() bool { return f.stream.length() == 0 && w.Status().On })
	if st := w.Status(); st.Skipped != 4 || st.Written != 36 || f.count("events") != 37 {
		t.Errorf("%+v, %d events", st, f.count("events"))
	}
}

// A table that another session has locked costs no event, and the writer goes on by itself.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	f := newFixture(t, databaseOf(t, s, "ledger"))
	w := f.writer(func(c *ledger.WriterConfig) { c.Timeout = time.Second })
	defer f.start(w)()
	await(t, "the start", func() bool { return w.Status().On })
	tx, err := f.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("LOCK TABLE evently_mail.mails"); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		f.stream.add(ledger.Encode(life()[0], f.sealer))
	}
	await(t, "the failure", func() bool {
		return strings.HasPrefix(w.Status().Reason, "history waits for its database: it did not answer in time")
	})
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	await(t, "the recovery", func() bool { return w.Status().On && f.stream.length() == 0 })
	if n := f.count("events"); n != 600 {
		t.Errorf("%d events", n)
	}
}

// Events that are in the stream when the worker stops are stored. On a machine that needs more
// than two seconds for that, the log says that the last ones wait.
func TestStop(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqliteDB(t))
	var log bytes.Buffer
	w := f.writer(func(c *ledger.WriterConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	stop := f.start(w)
	await(t, "the start", func() bool { return w.Status().Writing })
	for range 1200 {
		f.stream.add(ledger.Encode(life()[0], f.sealer))
	}
	began := time.Now()
	stop()
	took, stored, left := time.Since(began), f.count("events"), f.stream.length()
	isLate := took >= 2*time.Second && strings.Contains(log.String(), "last events of mails not stored")
	if stored+left != 1200 || left > 0 && !isLate {
		t.Errorf("%d events stored, %d left after %v; log:\n%s", stored, left, took, &log)
	}
}

// leases is a leaser in memory.
type leases struct {
	mu    sync.Mutex
	owner string
	until time.Time
}

func (l *leases) Lease(_ context.Context, _, owner string, d time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != owner && time.Now().Before(l.until) {
		return false, nil
	}
	l.owner, l.until = owner, time.Now().Add(d)
	return true, nil
}

func (l *leases) Release(_ context.Context, _, owner string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == owner {
		l.until = time.Time{}
	}
	return nil
}

// One writer of the fleet writes. When it stops, another one goes on.
func TestOneWriter(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqliteDB(t))
	lease := &leases{}
	writers := make([]*ledger.Writer, 3)
	stops := make([]func(), len(writers))
	for i := range writers {
		writers[i] = f.writer(func(c *ledger.WriterConfig) { c.Leaser, c.Owner, c.Now = lease, fmt.Sprint(i), time.Now })
		stops[i] = f.start(writers[i])
	}
	writing := func() (is []int) {
		for i, w := range writers {
			if w.Status().Writing && stops[i] != nil {
				is = append(is, i)
			}
		}
		return is
	}
	on := func() bool {
		for i, w := range writers {
			if stops[i] != nil && !w.Status().On {
				return false
			}
		}
		return len(writing()) == 1
	}
	await(t, "the first writer", on)
	first := writing()[0]
	stops[first]()
	stops[first] = nil
	f.stream.add(ledger.Encode(life()[0], f.sealer))
	await(t, "the next writer", func() bool { return on() && f.stream.length() == 0 })
	for _, stop := range stops {
		if stop != nil {
			stop()
		}
	}
}

// Two writers at once, because the lease was lost in a pause, store each event once.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	f := newFixture(t, databaseOf(t, s, "ledger"))
	const mails = 300
	for i := range mails {
		for _, e := range life() {
			e.Mail, e.TaskID = fmt.Sprintf("m%d", i), fmt.Sprintf("t%d", i)
			f.stream.add(ledger.Encode(e, f.sealer))
		}
	}
	writers := []*ledger.Writer{f.writer(nil), f.writer(nil), f.writer(nil)}
	for _, w := range writers {
		defer f.start(w)()
	}
	await(t, "the writers", func() bool { return f.stream.length() == 0 })
	if n := f.count("events"); n != 5*mails {
		t.Errorf("%d events, want %d", n, 5*mails)
	}
	var n int
	if err := f.db.Get(&n, "SELECT sum(n) FROM evently_mail.counts WHERE span = 3600"); err != nil || n != 5*mails {
		t.Errorf("%d counted, want %d: %v", n, 5*mails, err)
	}
	if bounced := f.list(ledger.Filter{States: []ledger.State{ledger.Bounced}, Limit: 1000}); len(bounced) != mails {
		t.Errorf("%d bounced", len(bounced))
	}
}
