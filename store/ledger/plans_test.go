package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger/ledgertest"
	"github.com/evently/workers/store/storetest"
)

// With many rows, as "make ledger-figures" has them, the test prints times and sizes.
var (
	planRows = flag.Int("ledger.rows", 50_000, "mails in the tables of TestQueryPlans")
	figures  = flag.Bool("ledger.figures", false, "print times of queries and sizes of tables")
)

// TestQueryPlans runs each query of a Reader and the writer on generated rows. No plan reads a
// large table as a whole.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	var settings []string
	if *figures { // a small server of a customer
		settings = []string{"fsync=on", "shared_buffers=256MB"}
	}
	server := storetest.Postgres(t, settings...)
	server.Exec("postgres", "CREATE DATABASE plans")
	at, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	at.Path, at.RawQuery = "/plans", "sslmode=disable&binary_parameters=yes"
	db, err := sqlx.Open("postgres", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	sealer, err := NewSealer(SealerConfig{Secrets: secretOf("plans")})
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(ReaderConfig{DB: db, Sealer: sealer, Timeout: time.Hour})
	generate(t, r.db, sealer, now)

	p := &plans{t: t, db: db, r: r, now: now}
	p.lists()
	p.pagesOnly()
	p.facets()
	p.others()
	p.writes()
	if *figures {
		p.sizes()
	}
}

type secretOf string

func (s secretOf) Secret(context.Context) ([]byte, error) { return []byte(s), nil }

func generate(t *testing.T, d *database, sealer *Sealer, now time.Time) {
	t.Helper()
	ctx := t.Context()
	if err := d.migrate(ctx, now); err != nil {
		t.Fatal(err)
	}
	for months := 4; months >= 0; months -= 2 {
		if err := d.makePartitions(ctx, now.AddDate(0, -months, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.keepKey(ctx, sealer, now); err != nil {
		t.Fatal(err)
	}
	rebuild := dropIndexes(t, d.db)
	for _, statement := range slices.Concat(ledgertest.Statements(*planRows), rebuild, []string{"ANALYZE"}) {
		start := time.Now()
		if _, err := d.db.ExecContext(ctx, statement); err != nil {
			t.Fatalf("generate: %v\n%s", err, statement)
		}
		if *figures {
			t.Logf("generated in %.0f s: %.40s", time.Since(start).Seconds(), statement)
		}
	}
	d.db.SetMaxIdleConns(4)
	// One address has the hash of a known key.
	address, err := sealer.hash.get()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.db.ExecContext(ctx, "UPDATE evently_mail.mails SET rcpt_hash = $1 WHERE user_id = 77", hashOf(address, "ada@example.com"))
	if err != nil {
		t.Fatal(err)
	}
}

// dropIndexes drops the indexes of mails except its key, and returns the statements that make
// them again: rows are loaded faster without them.
func dropIndexes(t *testing.T, db *sqlx.DB) []string {
	t.Helper()
	if _, err := db.Exec("ALTER DATABASE plans SET maintenance_work_mem = '512MB'"); err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // new connections have the setting
	var indexes []struct {
		Name       string `db:"name"`
		Definition string `db:"definition"`
	}
	err := db.Select(&indexes, `SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE i.indrelid = 'evently_mail.mails'::regclass AND NOT i.indisprimary`)
	if err != nil {
		t.Fatal(err)
	}
	var rebuild []string
	for _, i := range indexes {
		if _, err := db.Exec("DROP INDEX evently_mail." + i.Name); err != nil {
			t.Fatal(err)
		}
		rebuild = append(rebuild, strings.Replace(i.Definition, " ON ONLY ", " ON ", 1))
	}
	return rebuild
}

// plans looks at the plans of queries.
type plans struct {
	t   *testing.T
	db  *sqlx.DB
	r   *Reader
	now time.Time
}

// check runs ask and looks at the plan of each of its statements.
func (p *plans) check(name string, ask func(ctx context.Context) (int, error)) {
	p.t.Helper()
	type statement struct {
		query string
		args  []any
	}
	var statements []statement
	db := p.r.db
	var mu sync.Mutex
	db.explain = func(query string, args []any) {
		mu.Lock()
		defer mu.Unlock()
		statements = append(statements, statement{query, slices.Clone(args)})
	}
	n, err := ask(p.t.Context())
	db.explain = nil
	if err != nil {
		p.t.Errorf("%s: %v", name, err)
		return
	}
	if len(statements) == 0 {
		p.t.Errorf("%s: no statement", name)
	}
	for _, s := range statements {
		if strings.HasPrefix(s.query, "EXPLAIN") {
			continue
		}
		var text string
		if err := p.db.Get(&text, "EXPLAIN (FORMAT JSON) "+s.query, s.args...); err != nil {
			p.t.Errorf("%s: EXPLAIN: %v\n%s", name, err, s.query)
			continue
		}
		var explained []struct{ Plan planNode }
		if err := json.Unmarshal([]byte(text), &explained); err != nil {
			p.t.Fatal(err)
		}
		if scans := explained[0].Plan.scans(p.large()); len(scans) > 0 {
			p.t.Errorf("%s reads %v as a whole:\n%s\n%s", name, scans, s.query, text)
		}
	}
	if !*figures {
		return
	}
	times := make([]time.Duration, 5)
	for i := range times {
		start := time.Now()
		if _, err := ask(p.t.Context()); err != nil {
			p.t.Errorf("%s: %v", name, err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	p.t.Logf("| %s | %d | %.1f | %.1f |", name, n, times[len(times)/2].Seconds()*1000, times[len(times)-1].Seconds()*1000)
}

// planNode is a node of the plan of a query.
type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Plans    []planNode `json:"Plans"`

	// With ANALYZE.
	Rows    float64 `json:"Actual Rows"`
	Removed float64 `json:"Rows Removed by Filter"`
	Loops   float64 `json:"Actual Loops"`
}

func (n planNode) scans(large map[string]bool) (found []string) {
	if n.Type == "Seq Scan" && large[n.Relation] {
		found = append(found, n.Relation)
	}
	for _, child := range n.Plans {
		found = append(found, child.scans(large)...)
	}
	return found
}

// large returns the tables with more than a thousand rows, except the roll-ups of classes and
// domains: an answer for 90 days reads all their rows, and they have few.
func (p *plans) large() map[string]bool {
	var names []string
	if err := p.db.Select(&names, "SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > 1000 AND relname NOT IN ('classes', 'domains')"); err != nil {
		p.t.Fatal(err)
	}
	large := make(map[string]bool, len(names))
	for _, n := range names {
		large[n] = true
	}
	return large
}

func (p *plans) lists() {
	user, none := int64(4242), int64(-5)
	list := func(name string, f Filter) (next string) {
		p.check("list "+name, func(ctx context.Context) (int, error) {
			page, err := p.r.List(ctx, f)
			next = page.Next
			return len(page.Mails), err
		})
		return next
	}
	next := list("", Filter{})
	list("next page", Filter{After: next})
	list("page after 1000", Filter{After: list("1000", Filter{Limit: 1000})})
	list("--kind next page", Filter{Kinds: []string{"welcome"}, After: next})
	list("since", Filter{Since: p.now.AddDate(0, 0, -50), Until: p.now.AddDate(0, 0, -40)})
	for _, s := range []State{Accepted, Deferred, Dead, Complained, Sending} {
		list("--state "+s.String(), Filter{States: []State{s}})
	}
	list("--state of all failures", Filter{States: []State{Deferred, Unknown, Suppressed, Expired, Rejected, Dead, Bounced, Complained}})
	list("--kind", Filter{Kinds: []string{"welcome"}})
	list("--kind that does not exist", Filter{Kinds: []string{"none"}})
	list("--kind --state", Filter{Kinds: []string{"otp", "welcome"}, States: []State{Dead, Bounced}})
	list("--kind --since", Filter{Kinds: []string{"otp"}, Since: p.now.AddDate(0, 0, -2)})
	list("--user", Filter{UserID: &user})
	list("--user that does not exist", Filter{UserID: &none})
	list("--user --kind --state", Filter{UserID: &user, Kinds: []string{"otp"}, States: []State{Accepted}})
	list("--address", Filter{Address: "ada@example.com"})
	list("--address that does not exist", Filter{Address: "bob@example.com"})
	list("--booking", Filter{Booking: "77"})
	list("--domain", Filter{Domain: "domain77.example"})
	list("--domain of many", Filter{Domain: "gmail.com"})
	list("--domain that does not exist", Filter{Domain: "none.example"})
	list("--domain --state", Filter{Domain: "gmail.com", States: []State{Bounced}})
	list("--class", Filter{Classes: []string{"bad_address"}})
	list("--class that does not exist", Filter{Classes: []string{"none"}})
	list("--class --state --domain", Filter{Classes: []string{"bad_address"}, States: []State{Dead}, Domain: "gmx.de"})
}

// pagesOnly looks at lists that an index has in their order: they read little more than a page.
func (p *plans) pagesOnly() {
	for name, f := range map[string]Filter{
		"": {}, "--class": {Classes: []string{"bad_address"}}, "--class --kind": {Classes: []string{"bad_address"}, Kinds: []string{"otp"}},
		"--class --since": {Classes: []string{"bad_address"}, Since: p.now.AddDate(0, 0, -50)},
	} {
		p.r.db.explain = func(query string, args []any) {
			var text string
			if err := p.db.Get(&text, "EXPLAIN (ANALYZE, FORMAT JSON) "+query, args...); err != nil {
				p.t.Fatal(err)
			}
			var explained []struct{ Plan planNode }
			if err := json.Unmarshal([]byte(text), &explained); err != nil {
				p.t.Fatal(err)
			}
			if n := explained[0].Plan.rows(); n > 500 {
				p.t.Errorf("list %s reads %g rows for a page:\n%s", name, n, text)
			}
		}
		if _, err := p.r.List(p.t.Context(), f); err != nil {
			p.t.Error(err)
		}
		p.r.db.explain = nil
	}
}

// rows returns the number of rows that a plan read from tables and indexes.
func (n planNode) rows() (read float64) {
	if len(n.Plans) == 0 {
		return (n.Rows + n.Removed) * n.Loops
	}
	for _, child := range n.Plans {
		read += child.rows()
	}
	return read
}

// facets looks at the counts beside a list.
func (p *plans) facets() {
	user := int64(4242)
	for name, f := range map[string]Filter{
		"": {}, "of a kind": {Kinds: []string{"welcome"}}, "of a frequent domain": {Domain: "gmail.com"}, "of a domain": {Domain: "domain77.example"},
		"of a kind and a domain": {Kinds: []string{"otp"}, Domain: "gmail.com"}, "of a user": {UserID: &user}, "of an address": {Address: "ada@example.com"},
		"of a booking": {Booking: "77"}, "of a class": {Classes: []string{"bad_address"}}, "of a day": {Since: p.now.AddDate(0, 0, -1)}, "of nothing": {Domain: "none.example"},
	} {
		p.check("facets "+name, func(ctx context.Context) (int, error) {
			facets, err := p.r.Facets(ctx, f)
			return len(facets), err
		})
	}
}

func (p *plans) others() {
	for name, id := range map[string]string{"address": "ada@example.com", "id of a task": "task-4242", "id of a user or booking": "4242", "unknown id": "no such id", "id of the relay": "4FzQ4242"} {
		p.check("was-it-sent "+name, func(ctx context.Context) (int, error) {
			found, err := p.r.Find(ctx, id, 20)
			if err != nil {
				return 0, err
			}
			_, err = p.r.Histories(ctx, found)
			return len(found), err
		})
	}
	p.check("show", func(ctx context.Context) (int, error) {
		shown, err := p.r.Show(ctx, "task-4242")
		return len(shown), err
	})
	for name, since := range map[string]time.Duration{"an hour": time.Hour, "a day": 24 * time.Hour, "a week": 7 * 24 * time.Hour, "90 days": 90 * 24 * time.Hour} {
		p.check("stats of "+name, func(ctx context.Context) (int, error) {
			counts, err := p.r.Stats(ctx, p.now.Add(-since-5*time.Minute), p.now.Add(-5*time.Minute))
			return len(counts), err
		})
	}
	p.check("oldest mail", func(ctx context.Context) (int, error) {
		oldest, err := p.r.Oldest(ctx)
		if err == nil && oldest.IsZero() {
			return 0, errors.New("there is none")
		}
		return 1, err
	})
	p.check("chart of a day", func(ctx context.Context) (int, error) {
		points, err := p.r.Chart(ctx, p.now.AddDate(0, 0, -1), p.now, time.Hour)
		return len(points), err
	})
	for name, days := range map[string]int{"a day": 1, "a week": 7} {
		p.check("domains of "+name, func(ctx context.Context) (int, error) {
			counts, err := p.r.Domains(ctx, p.now.AddDate(0, 0, -days), p.now, 50)
			return len(counts), err
		})
		p.check("classes of "+name, func(ctx context.Context) (int, error) {
			counts, err := p.r.Classes(ctx, p.now.AddDate(0, 0, -days), p.now)
			return len(counts), err
		})
	}
}

// writes looks at the statements of a batch and of Erase.
func (p *plans) writes() {
	batch := make([]entry, 500)
	for i := range batch {
		at := p.now.Add(-time.Duration(i) * time.Second)
		name := fmt.Sprintf("%032x", i)
		if i%2 == 0 {
			if err := p.db.Get(&name, "SELECT mail FROM evently_mail.mails WHERE task_id = $1", fmt.Sprint("task-", i+1)); err != nil {
				p.t.Fatal(err)
			}
		}
		batch[i] = entry{ms: at.UnixMilli(), at: at, event: Event{Mail: name, TaskID: "t", Kind: "otp", State: Accepted, At: at, FirstSeen: at}}
	}
	n := int64(0)
	p.check("batch of the writer", func(ctx context.Context) (int, error) {
		n++ // the same batch again would insert nothing
		for i := range batch {
			batch[i].seq = n
		}
		return p.r.db.apply(ctx, batch)
	})
	p.bounces()
	user := int64(4243)
	p.check("erase", func(ctx context.Context) (int, error) {
		erased, err := p.r.Erase(ctx, Erasure{UserID: &user})
		return int(erased), err
	})
}

// bounces looks at the statements about bounces. Few bounces wait for their mail.
func (p *plans) bounces() {
	db := p.r.db
	db.reference = func(mail string) string { return "reference of " + mail }
	defer func() { db.reference = nil }()
	b := &Bounces{db: db, sealer: p.r.sealer}
	n := 0
	for name, references := range map[string][]BounceReference{"tag": {{MatchTag, "reference of " + strings.Repeat("0", 32)}}, "unknown id": {{MatchMessageID, "none"}}, "address": nil} {
		p.check("bounce by "+name, func(ctx context.Context) (int, error) {
			n++
			_, _, err := b.Store(ctx, Bounce{ID: fmt.Sprintf("%032x", n), ReceivedAt: p.now, Kind: BounceFailed, Address: "ada@example.com", References: references})
			return 1, err
		})
	}
	for name, f := range map[string]BounceFilter{"": {}, "--address": {Address: "ada@example.com"}, "of a mail": {Mail: "0123"}, "--since": {Since: p.now.AddDate(0, 0, -1)}} {
		p.check("list of bounces "+name, func(ctx context.Context) (int, error) {
			page, err := b.List(ctx, f)
			return len(page.Bounces), err
		})
	}
	p.check("batch of the writer for mails with bounces", func(ctx context.Context) (int, error) {
		n++
		at := p.now.Add(time.Duration(n) * time.Second)
		return db.apply(ctx, []entry{{ms: at.UnixMilli(), seq: int64(n), at: at, event: Event{Mail: fmt.Sprintf("%032x", n), TaskID: "t", Kind: "otp", State: Accepted, At: at, FirstSeen: at}}})
	})
	p.check("list of bounces --unmatched", func(ctx context.Context) (int, error) {
		page, err := b.List(ctx, BounceFilter{Unmatched: true})
		return len(page.Bounces), err
	})
	p.check("removal of bounces without a mail", func(ctx context.Context) (int, error) {
		return 0, db.dropUnmatched(ctx)
	})
}

func (p *plans) sizes() {
	var sizes []struct {
		Name    string `db:"name"`
		Table   string `db:"own"`
		Indexes string `db:"indexes"`
	}
	err := p.db.Select(&sizes, `SELECT coalesce(p.relname, c.relname) AS name, pg_size_pretty(sum(pg_table_size(c.oid))) AS own, pg_size_pretty(sum(pg_indexes_size(c.oid))) AS indexes
		FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
		WHERE c.relnamespace = 'evently_mail'::regnamespace AND c.relkind = 'r' GROUP BY 1 ORDER BY 1`)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range sizes {
		p.t.Logf("| %s | %s | %s |", s.Name, s.Table, s.Indexes)
	}
}
