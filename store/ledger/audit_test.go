package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/audit"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

const auditKey = "0123456789abcdef-audit"

// journal returns the journal of a real Redis.
func journal(t *testing.T, server *redistest.Server) *redis.Journal {
	t.Helper()
	b, err := redis.New(redis.Config{URL: server.URL(0), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b.Journal("audit")
}

func trail(t *testing.T, cfg audit.TrailConfig) *audit.Trail {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	trail, err := audit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return trail
}

// act appends an entry for each name.
func act(t *testing.T, trail *audit.Trail, names ...string) {
	t.Helper()
	for _, name := range names {
		e := audit.Entry{Actor: "ada@host", Via: "command", From: "/dev/pts/1", Action: "dead-letters." + name, IDs: []string{name + "-1", "user:42"}, Details: `{"n":2}`, Outcome: audit.Done}
		if err := trail.Append(t.Context(), e); err != nil {
			t.Fatalf("Append: %v", err)
		}
	}
}

func check(t *testing.T, trail *audit.Trail, heads ...string) *audit.Report {
	t.Helper()
	report, err := trail.Verify(t.Context(), heads...)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return report
}

// clean fails unless the trail is in order.
func clean(t *testing.T, trail *audit.Trail, rows int64) *audit.Report {
	t.Helper()
	r := check(t, trail)
	if len(r.Faults) > 0 || r.Rows != rows {
		t.Fatalf("%d rows, want %d, with faults: %+v, %q", r.Rows, rows, r.Faults, r.Remarks)
	}
	return r
}

// first fails unless the first fault has a kind and a number.
func first(t *testing.T, r *audit.Report, kind string, number int64) {
	t.Helper()
	if len(r.Faults) == 0 || r.Faults[0].Kind != kind || r.Faults[0].Number != number {
		t.Errorf("faults: %+v, want %s at %d first", r.Faults, kind, number)
	}
}

func init() {
	suite["audit: what is written is found"] = testAuditList
	suite["audit: what is tampered with is named"] = testAuditTampered
	suite["audit: writers at once make one chain"] = testAuditAtOnce
	suite["audit: hostile texts"] = testAuditHostile
}

// auditTables makes the tables.
func (f *fixture) auditTables() audit.Store {
	f.t.Helper()
	w := f.writer(nil)
	f.run(w, func() bool { return w.Status().On })
	return ledger.NewAudit(f.db, time.Minute) // the default is short for a machine that does much else
}

func testAuditList(t *testing.T, f *fixture) {
	tr := trail(t, audit.TrailConfig{Store: f.auditTables(), Keys: audit.Keys{auditKey}})
	clean(t, tr, 0)
	start := audit.Entry{Actor: "bob@host", Via: "command", Action: "suppressions.release", IDs: []string{"x-1"}, Outcome: audit.Started}
	start.ID = audit.NewID()
	if err := tr.Append(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	if err := tr.Append(t.Context(), start.Ended(audit.Failed+": no such id", `{"released":0}`)); err != nil {
		t.Fatal(err)
	}
	act(t, tr, "retry", "delete")
	for _, want := range []struct {
		filter  audit.Filter
		numbers []int64
	}{
		{audit.Filter{}, []int64{4, 3, 2, 1}},
		{audit.Filter{Limit: 2}, []int64{4, 3}},
		{audit.Filter{Before: 3}, []int64{2, 1}},
		{audit.Filter{Actor: "bob"}, []int64{2, 1}},
		{audit.Filter{Actor: "bob@host"}, []int64{2, 1}},
		{audit.Filter{Actor: "bo"}, nil},
		{audit.Filter{Action: "dead-letters"}, []int64{4, 3}},
		{audit.Filter{Action: "dead-letters.retry"}, []int64{3}},
		{audit.Filter{ID: "x-1"}, []int64{2, 1}},
		{audit.Filter{ID: "user:42"}, []int64{4, 3}},
		{audit.Filter{ID: "user:4"}, nil},
		{audit.Filter{Since: time.Now().Add(time.Hour)}, nil},
		{audit.Filter{Until: time.Now().Add(time.Hour)}, []int64{4, 3, 2, 1}},
		{audit.Filter{Until: time.Now().Add(-time.Hour)}, nil},
	} {
		found, err := tr.List(t.Context(), want.filter)
		var numbers []int64
		for _, r := range found.Rows {
			numbers = append(numbers, r.Number)
		}
		if err != nil || !slices.Equal(numbers, want.numbers) {
			t.Errorf("List %+v: %v, %v, want %v", want.filter, numbers, err, want.numbers)
		}
	}
	r := clean(t, tr, 4)
	if r.Keyed != 4 || r.Waiting != 0 || !strings.HasPrefix(r.Head, "4:") {
		t.Errorf("%+v", r)
	}
	if r := check(t, tr, r.Head); len(r.Faults) > 0 {
		t.Errorf("with its own head: %+v", r.Faults)
	}
	act(t, tr, "more")
	if r := check(t, tr, r.Head); len(r.Faults) > 0 {
		t.Errorf("with an earlier head: %+v", r.Faults)
	}
	first(t, check(t, tr, "3:"+strings.Repeat("ab", 32)), audit.Replaced, 3)
	first(t, check(t, tr, "9:"+strings.Repeat("ab", 32)), audit.Missing, 6)
	first(t, check(t, trail(t, audit.TrailConfig{Store: ledger.NewAudit(f.db, 0), Keys: audit.Keys{"another key, 0123"}})), audit.Unchecked, 1)
	rotated := trail(t, audit.TrailConfig{Store: ledger.NewAudit(f.db, 0), Keys: audit.Keys{"another key, 0123", auditKey}})
	act(t, rotated, "rotated")
	clean(t, rotated, 6)
}

// exec changes the tables as an intruder would.
func (f *fixture) exec(statements ...string) {
	f.t.Helper()
	for _, s := range statements {
		for _, table := range []string{"audit", "meta"} {
			s = strings.ReplaceAll(s, "{"+table+"}", f.name(table))
		}
		if _, err := f.db.Exec(s); err != nil {
			f.t.Fatalf("%s: %v", s, err)
		}
	}
}

// columns are those of the table audit but its number.
const columns = "id, op, at, actor, via, place, action, ids, details, outcome, origin, key, prev, hash"

// swap exchanges all columns but the numbers of two rows.
func swap(a, b int) []string {
	return []string{
		fmt.Sprintf("UPDATE {audit} SET number = -1 WHERE number = %d", a),
		fmt.Sprintf("UPDATE {audit} SET number = %d WHERE number = %d", a, b),
		fmt.Sprintf("UPDATE {audit} SET number = %d WHERE number = -1", b),
	}
}

func testAuditTampered(t *testing.T, f *fixture) {
	store := f.auditTables()
	for _, keys := range []audit.Keys{nil, {auditKey}} {
		for name, c := range map[string]struct {
			statements []string
			kind       string
			number     int64
		}{
			"details changed":           {[]string{"UPDATE {audit} SET details = '{\"n\":3}' WHERE number = 4"}, audit.Changed, 4},
			"actor changed":             {[]string{"UPDATE {audit} SET actor = 'eve@host' WHERE number = 1"}, audit.Changed, 1},
			"ids changed":               {[]string{"UPDATE {audit} SET ids = '[\"x\"]' WHERE number = 10"}, audit.Changed, 10},
			"ids with a space":          {[]string{"UPDATE {audit} SET ids = ids || ' ' WHERE number = 10"}, audit.Changed, 10},
			"hash changed":              {[]string{"UPDATE {audit} SET hash = 'ff' WHERE number = 3"}, audit.Changed, 3},
			"predecessor changed":       {[]string{"UPDATE {audit} SET prev = hash WHERE number = 3"}, audit.Changed, 3},
			"one removed":               {[]string{"DELETE FROM {audit} WHERE number = 5"}, audit.Missing, 5},
			"several removed":           {[]string{"DELETE FROM {audit} WHERE number IN (5, 6, 7)"}, audit.Missing, 5},
			"the first removed":         {[]string{"DELETE FROM {audit} WHERE number = 1"}, audit.Missing, 1},
			"the end removed":           {[]string{"DELETE FROM {audit} WHERE number > 8"}, audit.Missing, 9},
			"all removed":               {[]string{"DELETE FROM {audit}"}, audit.Missing, 1},
			"removed and renumbered":    {[]string{"DELETE FROM {audit} WHERE number = 5", "UPDATE {audit} SET number = number - 100 WHERE number > 5", "UPDATE {audit} SET number = number + 99 WHERE number < 0"}, audit.Reordered, 5},
			"neighbours exchanged":      {swap(4, 5), audit.Reordered, 4},
			"distant ones exchanged":    {swap(2, 9), audit.Reordered, 2},
			"a copy added at the end":   {[]string{"INSERT INTO {audit} (number, " + columns + ") SELECT 11, 'x', " + strings.TrimPrefix(columns, "id, ") + " FROM {audit} WHERE number = 10"}, audit.Changed, 11},
			"record of the end removed": {[]string{"DELETE FROM {meta} WHERE name = 'audit_head'"}, audit.Changed, 10},
			"record of the end changed": {[]string{"UPDATE {meta} SET value = '3:' || substr(value, 4) WHERE name = 'audit_head'"}, audit.Changed, 10},
		} {
			f.exec("DELETE FROM {audit}", "DELETE FROM {meta}")
			tr := trail(t, audit.TrailConfig{Store: store, Keys: keys})
			act(t, tr, strings.Split("abcdefghij", "")...)
			clean(t, tr, 10)
			f.exec(c.statements...)
			t.Run(fmt.Sprintf("%s, %d keys", name, len(keys)), func(t *testing.T) { first(t, check(t, tr), c.kind, c.number) })
		}
	}
	testAuditForged(t, f, store)
}

// testAuditForged lets an intruder without the key make a new, consistent end of the trail.
func testAuditForged(t *testing.T, f *fixture, store audit.Store) {
	server := redistest.Start(t)
	for name, keys := range map[string]audit.Keys{"no key": nil, "key": {auditKey}} {
		f.exec("DELETE FROM {audit}", "DELETE FROM {meta}")
		server.Conn(0).Do("FLUSHALL")
		tr := trail(t, audit.TrailConfig{Store: store, Keys: keys, Journal: journal(t, server)})
		alone := trail(t, audit.TrailConfig{Store: store, Keys: keys})
		act(t, tr, "a", "b", "c")
		var old string
		if err := f.db.Get(&old, "SELECT value FROM "+f.name("meta")+" WHERE name = 'audit_head'"); err != nil {
			t.Fatal(err)
		}
		act(t, tr, "d", "e")
		// The end is removed together with its record: an old one is put back.
		f.exec("DELETE FROM {audit} WHERE number > 3", "UPDATE {meta} SET value = '"+old+"' WHERE name = 'audit_head'")
		clean(t, alone, 3)
		first(t, check(t, tr), audit.Missing, 4)
		// It grows again, with other rows of the same numbers.
		act(t, tr, "f", "g", "h")
		clean(t, alone, 6)
		t.Run(name+", grown again", func(t *testing.T) { first(t, check(t, tr), audit.Replaced, 4) })
		// Everything is written anew without a key.
		f.exec("DELETE FROM {audit}", "DELETE FROM {meta}")
		act(t, trail(t, audit.TrailConfig{Store: store}), "a", "b", "c", "d", "e", "f")
		t.Run(name+", written anew", func(t *testing.T) {
			if r := check(t, tr); len(r.Faults) == 0 {
				t.Errorf("%+v", r)
			}
			if r := check(t, alone); len(keys) > 0 && len(r.Remarks) < 2 {
				t.Errorf("a trail without a key, checked with one: %+v", r)
			}
		})
	}
}

func testAuditAtOnce(t *testing.T, f *fixture) {
	store := f.auditTables()
	const writers, each = 4, 12
	server := redistest.Start(t)
	var group sync.WaitGroup
	for w := range writers {
		tr := trail(t, audit.TrailConfig{Store: store, Journal: journal(t, server)})
		group.Go(func() {
			for i := range each {
				e := audit.Entry{Actor: fmt.Sprint(w), Action: "x", IDs: []string{fmt.Sprint(i)}, Outcome: audit.Done}
				if err := tr.Append(t.Context(), e, e); err != nil {
					t.Errorf("Append: %v", err)
				}
			}
		})
	}
	group.Wait()
	tr := trail(t, audit.TrailConfig{Store: store, Journal: journal(t, server)})
	clean(t, tr, 2*writers*each)
}

func testAuditHostile(t *testing.T, f *fixture) {
	tr := trail(t, audit.TrailConfig{Store: f.auditTables(), Keys: audit.Keys{auditKey}})
	bad := "a\x00b\r\n\x1b[31m\u202e\u200b\xff'\"\\" + strings.Repeat("ß", 400)
	many := make([]string, 1203)
	for i := range many {
		many[i] = fmt.Sprintf("%d %s", i, bad)
	}
	raw, err := json.Marshal(map[string]string{"x": "\x00<&>\u2028"})
	if err != nil {
		t.Fatal(err)
	}
	for _, details := range []string{string(raw), "", "{", "\xff", strings.Repeat("x", 1<<20)} {
		e := audit.Entry{Actor: bad, Via: bad, From: bad, Action: bad, IDs: many, Details: details, Outcome: bad}
		if err := tr.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	clean(t, tr, 15)
	found, err := tr.List(t.Context(), audit.Filter{ID: "1200 a?b???[31m??" + "?'\"\\" + strings.Repeat("ß", 400)})
	if err != nil || len(found.Rows) != 0 {
		t.Errorf("a longer id: %d rows, %v", len(found.Rows), err)
	}
	rows, err := tr.List(t.Context(), audit.Filter{Limit: 1})
	if err != nil || strings.ContainsAny(rows.Rows[0].Actor, "\x00\r\n\x1b\u202e\u200b") {
		t.Errorf("%+v, %v", rows, err)
	}
}

// While PostgreSQL is down entries go to Redis. They are moved in their order later, also by
// several processes at once.
func TestAuditWithoutDatabase(t *testing.T) {
	t.Parallel()
	s, server := storetest.Postgres(t), redistest.Start(t)
	f := newFixture(t, databaseOf(t, s, "ledger"))
	j := journal(t, server)
	cfg := audit.TrailConfig{Store: f.auditTables(), Journal: j, Keys: audit.Keys{auditKey}, Patience: 20 * time.Second}
	tr := trail(t, cfg)
	act(t, tr, "a", "b")
	s.Stop()
	act(t, tr, "c", "d")
	if found, err := tr.List(t.Context(), audit.Filter{}); err == nil {
		t.Errorf("List without the database: %+v", found)
	}
	s.Start()
	if r := check(t, tr); r.Rows != 2 || r.Waiting != 2 || len(r.Faults) > 0 {
		t.Errorf("while two wait: %+v", r)
	}
	if found, err := tr.List(t.Context(), audit.Filter{}); err != nil || found.Waiting != 2 || len(found.Rows) != 4 || found.Rows[0].Action != "dead-letters.d" {
		t.Errorf("List while two wait: %+v, %v", found, err)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if _, err := trail(t, cfg).Move(t.Context()); err != nil {
				t.Errorf("Move: %v", err)
			}
		})
	}
	group.Wait()
	act(t, tr, "e")
	clean(t, tr, 5)
	found, err := tr.List(t.Context(), audit.Filter{})
	var actions []string
	for _, r := range found.Rows {
		actions = append(actions, strings.TrimPrefix(r.Action, "dead-letters."))
	}
	if err != nil || strings.Join(actions, "") != "edcba" {
		t.Errorf("actions: %v, %v", actions, err)
	}
	testAuditWaiting(t, f, s, server, tr)
}

// testAuditWaiting changes entries while they wait.
func testAuditWaiting(t *testing.T, f *fixture, s *storetest.Server, server *redistest.Server, tr *audit.Trail) {
	c := server.Conn(0)
	stream := "_goworker.1.stream.audit"
	down := func(names ...string) {
		s.Stop()
		act(t, tr, names...)
		s.Start()
	}
	down("f", "g", "h")
	rows, err := journal(t, server).After(t.Context(), "", 10)
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d entries wait, %v", len(rows), err)
	}
	if _, err := c.Do("XDEL", stream, rows[1].ID); err != nil {
		t.Fatal(err)
	}
	first(t, check(t, tr), audit.Missing, 6)
	if _, err := tr.Move(t.Context()); err != nil {
		t.Fatal(err)
	}
	first(t, check(t, tr), audit.Missing, 7) // the row of h, before which g is missing

	down("i")
	rows, err = journal(t, server).After(t.Context(), "", 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d entries wait, %v", len(rows), err)
	}
	fields := slices.Clone(rows[0].Fields)
	fields[slices.Index(fields, "ada@host")] = "e\x00ve@host"
	if _, err := c.Do("XDEL", stream, rows[0].ID); err != nil {
		t.Fatal(err)
	}
	args := []any{stream, "*"}
	for _, field := range fields {
		args = append(args, field)
	}
	if _, err := c.Do("XADD", args...); err != nil {
		t.Fatal(err)
	}
	if r := check(t, tr); len(r.Faults) != 2 || r.Faults[1].Kind != audit.Changed {
		t.Errorf("while it waits: %+v", r.Faults)
	}
	act(t, tr, "j") // moves the changed one before
	if r := check(t, tr); len(r.Faults) != 2 || r.Faults[1] != (audit.Fault{Kind: audit.Changed, Number: 8, Text: "row 8 was changed while it waited in the broker, as entry 6"}) {
		t.Errorf("moved: %+v", r.Faults)
	}
	if _, err := f.db.Exec("TRUNCATE evently_mail.audit; DELETE FROM evently_mail.meta"); err != nil {
		t.Fatal(err)
	}
	first(t, check(t, tr), audit.Missing, 1)
}

// Before a worker has made the tables, entries wait in the broker, and are shown.
func TestAuditBeforeTables(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	f := newFixture(t, sqliteDB(t))
	tr := trail(t, audit.TrailConfig{Store: ledger.NewAudit(f.db, 0), Journal: journal(t, server)})
	clean(t, tr, 0)
	act(t, tr, "a", "b")
	if r := clean(t, tr, 0); r.Waiting != 2 || len(r.Remarks) != 1 {
		t.Errorf("%+v", r)
	}
	n := 0
	if err := tr.Each(t.Context(), audit.Filter{ID: "a-1"}, func(audit.Row) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("Each: %d rows, %v", n, err)
	}
	if found, err := tr.List(t.Context(), audit.Filter{}); err != nil || len(found.Rows) != 2 || found.Waiting != 2 {
		t.Errorf("List: %+v, %v", found, err)
	}
	f.auditTables()
	act(t, tr, "c")
	clean(t, tr, 3)
	f.exec("DROP TABLE {audit}")
	first(t, check(t, tr), audit.Missing, 1)
}

// A commit whose answer is lost leaves two rows of one action, the later one with a sign.
func TestAuditLostAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	f := newFixture(t, sqliteDB(t))
	store := &deafStore{Store: f.auditTables()}
	tr := trail(t, audit.TrailConfig{Store: store, Journal: journal(t, server)})
	act(t, tr, "a")
	store.deaf = true
	act(t, tr, "b", "c")
	store.deaf = false
	act(t, tr, "d")
	if r := clean(t, tr, 5); r.Waiting != 0 {
		t.Errorf("%+v", r)
	}
}

// deafStore loses the answers of its database.
type deafStore struct {
	audit.Store
	deaf bool
}

func (d *deafStore) Extend(ctx context.Context, grow func(string, func([]string) (map[string]string, error)) ([]audit.Row, string, error)) error {
	err := d.Store.Extend(ctx, grow)
	if d.deaf && err == nil {
		err = context.DeadlineExceeded
	}
	return err
}

// Without a database the trail is in Redis.
func TestAuditInRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := server.Conn(0)
	for name, keys := range map[string]audit.Keys{"no key": nil, "key": {auditKey}} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.Do("FLUSHALL"); err != nil {
				t.Fatal(err)
			}
			j := journal(t, server)
			var group sync.WaitGroup
			for range 4 {
				tr := trail(t, audit.TrailConfig{Journal: journal(t, server), Keys: keys})
				group.Go(func() { act(t, tr, "a", "b", "c", "d", "e") })
			}
			group.Wait()
			tr := trail(t, audit.TrailConfig{Journal: j, Keys: keys})
			r := clean(t, tr, 20)
			found, err := tr.List(t.Context(), audit.Filter{ID: "c-1", Limit: 3})
			if err != nil || len(found.Rows) != 3 || found.Waiting != 0 {
				t.Errorf("List: %+v, %v", found, err)
			}
			rows, err := j.After(t.Context(), "", 30)
			if err != nil || len(rows) != 20 {
				t.Fatal(len(rows), err)
			}
			remove := func(id string) {
				if err := j.Remove(t.Context(), []string{id}); err != nil {
					t.Fatal(err)
				}
			}
			remove(rows[19].ID)
			first(t, check(t, tr), audit.Missing, 20)
			remove(rows[4].ID)
			first(t, check(t, tr), audit.Missing, 5)
			remove(rows[0].ID)
			first(t, check(t, tr, r.Head), audit.Missing, 1)
		})
	}
}

func TestAuditNowhere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	db, err := sqlx.Open("postgres", "postgres://127.0.0.1:1/x?sslmode=disable&connect_timeout=2")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tr := trail(t, audit.TrailConfig{Store: ledger.NewAudit(db, 0), Journal: journal(t, server), Patience: time.Second})
	act(t, tr, "a")
	server.Kill()
	if err := tr.Append(t.Context(), audit.Entry{Action: "x"}); err == nil {
		t.Error("appended without a database and without a broker")
	}
}
