package suppressions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"github.com/evently/workers/store/ledger"
	. "github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	keyOne = "an operator's key, one"
	keyTwo = "an operator's key, two"
)

// fixture is a database of either kind with its tables.
type fixture struct {
	t     *testing.T
	db    *sqlx.DB
	clock time.Time
}

func (f *fixture) now() time.Time { return f.clock }

// store returns a store with keys, the present one first; "" is a store without.
func (f *fixture) store(keys ...string) *Store {
	f.t.Helper()
	return New(Config{DB: f.db, Sealer: f.sealer(keys...), Now: f.now})
}

func (f *fixture) sealer(keys ...string) *ledger.Sealer {
	f.t.Helper()
	cfg := ledger.SealerConfig{Mask: mask}
	if len(keys) > 0 {
		cfg.Key, cfg.Former = keys[0], keys[1:]
	}
	s, err := ledger.NewSealer(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func mask(address string) string {
	name, domain, _ := strings.Cut(address, "@")
	return name[:1] + "***@" + domain
}

// record records evidence as the writer or the intake would.
func (f *fixture) record(s *Store, evidence ...Evidence) (changes []Change) {
	f.t.Helper()
	db := ledger.NewDB(f.db, 0)
	err := db.Transact(f.t.Context(), func(ctx context.Context, tx *sqlx.Tx) (err error) {
		if err := db.LockMails(ctx, tx); err != nil {
			return err
		}
		changes, err = s.Record(ctx, tx, evidence...)
		return err
	})
	if err != nil {
		f.t.Fatalf("Record: %v", err)
	}
	return changes
}

// evidence returns evidence about an address, at the present time.
func (f *fixture) evidence(address string, class Class, mail string) Evidence {
	return Evidence{
		ID: mail + " " + string(class) + f.clock.String(), Recipient: f.sealer(keyOne).Seal(address), At: f.clock, Class: class, Source: FromReply,
		Mail: mail, TaskID: "task " + mail, Kind: "welcome", Code: 550, Enhanced: "5.1.1", Diagnostic: "no such user",
	}
}

func (f *fixture) list(s *Store, filter Filter) []Suppression {
	f.t.Helper()
	page, err := s.List(f.t.Context(), filter)
	if err != nil {
		f.t.Fatalf("List: %v", err)
	}
	return page.Suppressions
}

// one returns the only suppression of an address.
func (f *fixture) one(s *Store, address string) Suppression {
	f.t.Helper()
	all := f.list(s, Filter{Of: address})
	if len(all) != 1 {
		f.t.Fatalf("%d suppressions of %s: %+v", len(all), address, all)
	}
	return all[0]
}

func (f *fixture) withheld(s *Store, q Question) *Suppression {
	f.t.Helper()
	c := NewChecker(s, slog.New(slog.DiscardHandler))
	defer c.Close()
	found, err := c.Check(f.t.Context(), q)
	if err != nil {
		f.t.Fatalf("Check: %v", err)
	}
	return found
}

// outbox is a stream without entries: the writer only makes the tables.
type outbox struct {
	mu      sync.Mutex
	entries []broker.Recorded
}

func (o *outbox) Oldest(_ context.Context, _ string, most int) ([]broker.Recorded, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.entries[:min(most, len(o.entries))]), nil
}

func (o *outbox) Remove(_ context.Context, _ string, ids []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.entries = o.entries[len(ids):]
	return nil
}

func (o *outbox) Backlog(context.Context, string) (broker.Backlog, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return broker.Backlog{Length: len(o.entries)}, nil
}

func (o *outbox) length() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.entries)
}

// write runs a writer with a store as follower until it has stored events.
func (f *fixture) write(s *Store, events ...ledger.Event) {
	f.t.Helper()
	o := &outbox{}
	for i, e := range events {
		o.entries = append(o.entries, broker.Recorded{ID: fmt.Sprintf("%d-%d", e.At.UnixMilli(), i), At: e.At, Fields: ledger.Encode(e, f.sealer(keyOne))})
	}
	w, err := ledger.NewWriter(ledger.WriterConfig{
		DB: f.db, Outbox: o, Sealer: f.sealer(keyOne), Follower: s, Logger: slog.New(slog.DiscardHandler), Now: f.now,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); !w.Status().On || o.length() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("the writer: %+v", w.Status())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		f.t.Errorf("Run: %v", err)
	}
}

// suite is what both kinds of databases must do.
var suite = map[string]func(t *testing.T, f *fixture){
	"bounces": testBounces, "evidence": testEvidence, "decay": testDecay, "release": testRelease, "writer": testWriter, "people": testPeople,
	"list": testList, "transfer": testTransfer, "bad files": testBadFiles, "erase": testErase, "keys": testKeys, "keys of stronger": testKeysOfStronger, "maintain": testMaintain,
}

func newFixture(t *testing.T, db *sqlx.DB) *fixture {
	f := &fixture{t: t, db: db, clock: noon}
	f.write(f.store(keyOne))
	return f
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	for name, test := range suite {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := ledger.OpenSQLite(filepath.Join(t.TempDir(), "ledger.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			test(t, newFixture(t, db))
		})
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	for name, test := range suite {
		t.Run(name, func(t *testing.T) {
			test(t, newFixture(t, database(t, server, "db_"+strings.ReplaceAll(name, " ", "_"))))
		})
	}
}

// The removal of old suppressions reads no table as a whole.
func TestRemovalPlan(t *testing.T) {
	t.Parallel()
	f := newFixture(t, database(t, storetest.Postgres(t), "removal"))
	for _, statement := range []string{
		`INSERT INTO evently_mail.suppressions SELECT decode(md5(i::text), 'hex'), 'all', 'bad_address', 'reply', '', 'example.com', NULL, 1, now(), now(),
			CASE WHEN i % 3 = 0 THEN now() + i * interval '1 minute' END, 550, '5.1.1', 'user unknown', '', '', '', '', CASE WHEN i % 50 = 0 THEN now() END, '', ''
			FROM generate_series(1, 50000) i`,
		"ANALYZE",
	} {
		if _, err := f.db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	var plan []string
	old := time.Now().AddDate(0, 0, -90)
	if err := f.db.Select(&plan, "EXPLAIN "+strings.NewReplacer("ended_at < ?", "ended_at < $1", "expires_at < ?", "expires_at < $2").Replace(RemoveEnded), old, old); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") {
		t.Errorf("%s", text)
	}
}

// database makes an empty database of a server.
func database(t *testing.T, server *storetest.Server, name string) *sqlx.DB {
	t.Helper()
	server.Exec("postgres", "CREATE DATABASE "+name)
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path, u.RawQuery = "/"+name, "sslmode=disable&binary_parameters=yes"
	db, err := sqlx.Open("postgres", u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func testEvidence(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	if changes := f.record(s, f.evidence("ada@example.com", "policy", "m1"), f.evidence("ada@example.com", Unknown, "m1")); len(changes) != 0 {
		t.Errorf("one unclassified refusal: %+v", changes)
	}
	e := f.evidence("Ada@Example.com", BadAddress, "m2")
	if changes := f.record(s, e, e); len(changes) != 1 || !changes[0].Began || changes[0].Class != BadAddress {
		t.Errorf("bad address: %+v", changes)
	}
	if changes := f.record(s, e); len(changes) != 0 {
		t.Errorf("the same evidence again: %+v", changes)
	}
	got := f.one(s, "ada@example.com")
	want := Suppression{
		ID: got.ID, Address: "ada@example.com", To: "a***@example.com", Domain: "example.com", Scope: AllMails, Class: BadAddress, Source: FromReply, State: Active,
		Hits: 1, First: noon, Last: noon, Code: 550, Enhanced: "5.1.1", Diagnostic: "no such user", Mail: "m2", TaskID: "task m2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("suppression (-want +got):\n%s", diff)
	}
	f.clock = noon.Add(time.Hour)
	if changes := f.record(s, f.evidence("ada@example.com", BadAddress, "m3")); len(changes) != 1 || changes[0].Began || changes[0].Hits != 2 {
		t.Errorf("more evidence: %+v", changes)
	}
	// Weaker evidence does not weaken.
	for _, mail := range []string{"m4", "m5", "m6"} {
		f.record(s, f.evidence("ada@example.com", MailboxFull, mail))
	}
	if got := f.one(s, "ada@example.com"); got.Class != BadAddress || got.Expires != nil {
		t.Errorf("after weaker evidence: %+v", got)
	}
	details, err := s.Show(t.Context(), got.ID[:6])
	if err != nil || len(details) != 1 || len(details[0].Evidence) != 6 || details[0].Evidence[5].Class != Unknown || details[0].Evidence[0].Kind != "welcome" {
		t.Errorf("Show: %+v, %v", details, err)
	}
	// A complaint is kept beside it.
	c := f.evidence("ada@example.com", Complaint, "m7")
	c.Source = FromComplaint
	if changes := f.record(s, c); len(changes) != 1 || changes[0].Scope != OptionalMails {
		t.Errorf("complaint: %+v", changes)
	}
	if all := f.list(s, Filter{Of: "ada@example.com", State: Active}); len(all) != 2 {
		t.Errorf("with a complaint: %+v", all)
	}
	if s := f.withheld(s, Question{Address: "ADA@example.com ", Code: true}); s == nil || s.Class != BadAddress {
		t.Errorf("a code is withheld by %+v", s)
	}
	if s := f.withheld(s, Question{Address: "bob@example.com"}); s != nil {
		t.Errorf("another address is withheld by %+v", s)
	}
	// Evidence without a hash is passed over.
	e.ID, e.Recipient.Hash = "x", nil
	if changes := f.record(s, e); len(changes) != 0 {
		t.Errorf("without a hash: %+v", changes)
	}
}

func testDecay(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	full := func(mail string) []Change {
		return f.record(s, f.evidence("full@example.com", MailboxFull, mail))
	}
	for i := range 2 {
		if changes := full(fmt.Sprint("m", i)); len(changes) != 0 {
			t.Fatalf("mail %d: %+v", i, changes)
		}
	}
	if changes := full("m2"); len(changes) != 1 || !changes[0].Began || !changes[0].Expires.Equal(noon.Add(7*day)) {
		t.Fatalf("third mail: %+v", changes)
	}
	q := Question{Address: "full@example.com"}
	if f.withheld(s, q) == nil {
		t.Error("an ordinary mail is sent")
	}
	q.Code = true
	if f.withheld(s, q) == nil {
		t.Error("a code is sent at once")
	}
	f.clock = noon.Add(CodeAfter)
	if got := f.withheld(s, q); got != nil {
		t.Errorf("a code is withheld after a while: %+v", got)
	}
	// The code is accepted: the suppression is lifted. Once more it takes three mails.
	delivered := f.evidence("full@example.com", Delivered, "m3")
	if changes := f.record(s, delivered); len(changes) != 1 || !changes[0].Lifted || changes[0].EndedBy != "delivery" || !strings.Contains(changes[0].EndedNote, "task m3") {
		t.Errorf("after a mail was accepted: %+v", changes)
	}
	q.Code = false
	if got := f.withheld(s, q); got != nil {
		t.Errorf("after it was lifted: %+v", got)
	}
	f.clock = noon.Add(time.Hour)
	if changes := full("m4"); len(changes) != 0 {
		t.Errorf("one mail after it was lifted: %+v", changes)
	}
	full("m5")
	if changes := full("m6"); len(changes) != 1 || !changes[0].Began {
		t.Errorf("three mails after it was lifted: %+v", changes)
	}
	f.clock = f.clock.Add(7 * day)
	if got := f.withheld(s, q); got != nil {
		t.Errorf("after its end: %+v", got)
	}
	if got := f.one(s, "full@example.com"); got.State != Expired {
		t.Errorf("after its end: %+v", got)
	}
	// A relay that accepts a mail does not end a suppression of bounces.
	for i := range 3 {
		e := f.evidence("late@example.com", MailboxFull, fmt.Sprint("l", i))
		e.Source = FromBounce
		f.record(s, e)
	}
	accepted := f.evidence("late@example.com", Delivered, "l3")
	if changes := f.record(s, accepted); len(changes) != 0 {
		t.Errorf("a mail that a relay accepted: %+v", changes)
	}
	accepted.ID, accepted.Source = "receipt", FromBounce
	if changes := f.record(s, accepted); len(changes) != 1 || !changes[0].Lifted {
		t.Errorf("a receipt: %+v", changes)
	}
	// An accepted mail to an address without evidence leaves no trace.
	f.record(s, f.evidence("fine@example.com", Delivered, "f"))
	var n int
	if err := f.db.Get(&n, "SELECT count(*) FROM "+f.name("suppression_evidence")+" WHERE mail = 'f'"); err != nil || n != 0 {
		t.Errorf("evidence of an accepted mail: %d, %v", n, err)
	}
}

func (f *fixture) name(table string) string {
	if f.db.DriverName() == "sqlite" {
		return "evently_mail_" + table
	}
	return "evently_mail." + table
}

func testRelease(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	f.record(s, f.evidence("a@one.example", Unknown, "m1"), f.evidence("a@one.example", Unknown, "m2"), f.evidence("b@one.example", BadAddress, "m3"), f.evidence("c@two.example", BadAddress, "m4"))
	if _, err := s.Release(t.Context(), Filter{Of: "a@one.example"}, "ann", " "); err == nil {
		t.Error("released without a reason")
	}
	if _, err := s.Release(t.Context(), Filter{}, "ann", "all"); err == nil {
		t.Error("released all by an empty filter")
	}
	f.clock = noon.Add(time.Minute)
	if n, err := s.Release(t.Context(), Filter{Of: "a@one.example"}, "ann", "asked by phone"); n != 1 || err != nil {
		t.Errorf("Release: %d, %v", n, err)
	}
	if got := f.one(s, "a@one.example"); got.State != Released || got.EndedBy != "ann" || got.EndedNote != "asked by phone" || !got.Ended.Equal(f.clock) {
		t.Errorf("released: %+v", got)
	}
	if n, err := s.Release(t.Context(), Filter{Of: "a@one.example"}, "ann", "again"); n != 0 || err != nil {
		t.Errorf("Release again: %d, %v", n, err)
	}
	// Evidence before the release does not count any more.
	f.clock = noon.Add(2 * time.Minute)
	if changes := f.record(s, f.evidence("a@one.example", Unknown, "m5")); len(changes) != 0 {
		t.Errorf("one mail after the release: %+v", changes)
	}
	if changes := f.record(s, f.evidence("a@one.example", Unknown, "m6")); len(changes) != 1 || !changes[0].Began || changes[0].Hits != 2 {
		t.Errorf("two mails after the release: %+v", changes)
	}
	if got := f.one(s, "a@one.example"); got.State != Active || got.EndedBy != "" {
		t.Errorf("suppressed again: %+v", got)
	}
	n, byClass, err := s.Count(t.Context(), Filter{Domain: "One.example", State: Active})
	if n != 2 || byClass[BadAddress] != 1 || byClass[Unknown] != 1 || err != nil {
		t.Errorf("Count: %d, %v, %v", n, byClass, err)
	}
	if n, err := s.Release(t.Context(), Filter{Domain: "one.example", Classes: []Class{BadAddress, Unknown}}, "ann", "server is mended"); n != 2 || err != nil {
		t.Errorf("Release of a domain: %d, %v", n, err)
	}
	if all := f.list(s, Filter{State: Active}); len(all) != 1 || all[0].Domain != "two.example" {
		t.Errorf("the rest: %+v", all)
	}
}

// The writer of the history passes replies on, each once.
func testWriter(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	event := func(address, mail, fault string, state ledger.State, at time.Duration) ledger.Event {
		return ledger.Event{Mail: mail, TaskID: mail, Kind: "welcome", State: state, At: noon.Add(at), Address: address, Fault: fault, Code: 550, Enhanced: "5.1.1", Text: "no such user", Class: "address", Stage: "RCPT"}
	}
	f.clock = noon.Add(time.Minute)
	f.write(s, event("ada@example.com", "m1", "bad_address", ledger.Rejected, 0), event("bob@example.com", "m2", "", ledger.Rejected, 0), event("cy@example.com", "m3", "mailbox_full", ledger.Deferred, 0),
		event("eve@example.com", "m4", "nonsense", ledger.Rejected, 0), event("bob@example.com", "m5", "", ledger.Accepted, 0))
	if all := f.list(s, Filter{}); len(all) != 1 || all[0].Address != "ada@example.com" || all[0].Diagnostic != "no such user" || all[0].TaskID != "m1" {
		t.Errorf("suppressions: %+v", all)
	}
	f.write(s, event("cy@example.com", "m6", "mailbox_full", ledger.Deferred, 1), event("cy@example.com", "m7", "mailbox_full", ledger.Deferred, 2))
	if got := f.one(s, "cy@example.com"); got.Class != MailboxFull || got.State != Active {
		t.Errorf("three mails: %+v", got)
	}
	f.write(s, event("cy@example.com", "m8", "", ledger.Accepted, time.Second))
	if got := f.one(s, "cy@example.com"); got.State != Released || got.EndedBy != "delivery" {
		t.Errorf("after one was accepted: %+v", got)
	}
	page, err := ledger.NewReader(ledger.ReaderConfig{DB: f.db, Sealer: f.sealer(keyOne)}).List(t.Context(), ledger.Filter{TaskID: "m1"})
	if err != nil || len(page.Mails) != 1 {
		t.Fatalf("the mail: %+v, %v", page, err)
	}
	if all, err := s.OfMail(t.Context(), page.Mails[0]); err != nil || len(all) != 1 || all[0].Class != BadAddress {
		t.Errorf("OfMail: %+v, %v", all, err)
	}
}

func testPeople(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	add := Addition{Address: " Ada@Example.com", By: "ann", Note: "asked\nby phone"}
	got, replaced, err := s.Add(t.Context(), add)
	if err != nil || replaced || got.Class != Operator || got.Note != "asked by phone" || got.Address != "ada@example.com" || got.Scope != AllMails {
		t.Errorf("Add: %+v, %t, %v", got, replaced, err)
	}
	add.Expires = noon.Add(day)
	if got, replaced, err := s.Add(t.Context(), add); err != nil || !replaced || !got.Expires.Equal(add.Expires) {
		t.Errorf("Add again: %+v, %t, %v", got, replaced, err)
	}
	// Evidence makes it longer, and otherwise leaves it alone.
	f.record(s, f.evidence("ada@example.com", Unknown, "m1"))
	f.record(s, f.evidence("ada@example.com", Unknown, "m2"))
	if got := f.one(s, "ada@example.com"); got.Expires != nil && !got.Expires.Equal(noon.Add(30*day)) {
		t.Errorf("with evidence: %+v", got)
	}
	for _, bad := range []Addition{
		{Address: "ada@example.com", Note: " "}, {Address: "ada", Note: "x"}, {Address: "@example.com", Note: "x"}, {Address: "a b@example.com", Note: "x"},
		{Address: "ada@example.com, eve@example.com", Note: "x"}, {Address: strings.Repeat("a", 250) + "@example.com", Note: "x"}, {Address: "ada@", Note: "x"},
		{Address: "ada@example.com", Note: "x", Expires: noon},
	} {
		if _, _, err := s.Add(t.Context(), bad); err == nil {
			t.Errorf("Add(%+v): no error", bad)
		}
	}
	// Without a key nothing can be found or added.
	if _, _, err := f.store().Add(t.Context(), add); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("Add without a key: %v", err)
	}
	if all := f.list(f.store(), Filter{Of: "ada@example.com"}); len(all) != 0 {
		t.Errorf("List by address without a key: %+v", all)
	}
	if all := f.list(f.store(), Filter{}); len(all) != 1 || all[0].Address != "" || all[0].To != "a***@example.com" {
		t.Errorf("List without a key: %+v", all)
	}
}

func testList(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	if page, err := s.List(t.Context(), Filter{}); err != nil || len(page.Suppressions) != 0 || page.Next != "" {
		t.Errorf("an empty list: %+v, %v", page, err)
	}
	const n = 25
	for i := range n {
		f.clock = noon.Add(time.Duration(i/2) * time.Second) // two of each time
		f.record(s, f.evidence(fmt.Sprintf("u%d@example%d.com", i, i%2), BadAddress, fmt.Sprint("m", i)))
	}
	seen := map[string]bool{}
	after, pages := "", 0
	for {
		page, err := s.List(t.Context(), Filter{Limit: 4, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range page.Suppressions {
			if seen[p.ID] || i > 0 && p.Last.After(page.Suppressions[i-1].Last) {
				t.Errorf("page %d: %+v", pages, p)
			}
			seen[p.ID] = true
		}
		pages++
		if after = page.Next; after == "" {
			break
		}
	}
	if len(seen) != n || pages != 7 {
		t.Errorf("%d suppressions on %d pages", len(seen), pages)
	}
	if all := f.list(s, Filter{Domain: "example1.com", Classes: []Class{BadAddress, Unknown}, Scope: AllMails, Source: FromReply, Since: noon.Add(10 * time.Second)}); len(all) != 2 {
		t.Errorf("filtered: %+v", all)
	}
	for _, bad := range []Filter{{After: "x"}, {After: "MSAyIDM"}, {Of: "xyz"}, {Of: "abc"}, {Of: strings.Repeat("a", 33)}} {
		if _, err := s.List(t.Context(), bad); err == nil {
			t.Errorf("List(%+v): no error", bad)
		}
	}
	if _, err := s.Show(t.Context(), "nonsense"); !errors.Is(err, ErrID) {
		t.Errorf("Show: %v", err)
	}
}

func (f *fixture) export(s *Store, filter Filter) string {
	f.t.Helper()
	var b bytes.Buffer
	if _, err := s.Export(f.t.Context(), &b, filter); err != nil {
		f.t.Fatalf("Export: %v", err)
	}
	return b.String()
}

func testTransfer(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	for i := range 1200 { // more than a page
		if i%400 == 0 {
			f.clock = f.clock.Add(time.Second)
		}
		f.record(s, f.evidence(fmt.Sprintf("u%d@example.com", i), BadAddress, fmt.Sprint("m", i)))
	}
	if _, _, err := s.Add(t.Context(), Addition{Address: "=ada+x@example.com", Scope: OptionalMails, Expires: noon.Add(day), By: "ann", Note: `=cmd|' /C calc'!A0, "quoted"`}); err != nil {
		t.Fatal(err)
	}
	for _, keys := range []string{keyOne, ""} {
		from, clear := f.store(), keys != ""
		if clear {
			from = f.store(keys)
		}
		text := f.export(from, Filter{})
		if strings.Count(text, "\n") != 1202 || strings.Contains(text, "u7@example.com") != clear || strings.Contains(text, `"=`) || strings.Contains(text, ",=") {
			t.Errorf("key %q: %.300s", keys, text)
		}
		if _, err := f.db.Exec("DELETE FROM " + f.name("suppressions")); err != nil {
			t.Fatal(err)
		}
		to := f.store(keyOne)
		dry, err := to.Import(t.Context(), Import{From: strings.NewReader(text), By: "bob", Note: "moved", DryRun: true})
		if err != nil || dry.Added != 1201 || len(f.list(to, Filter{})) != 0 {
			t.Errorf("key %q: dry run: %+v, %v", keys, dry, err)
		}
		n, err := to.Import(t.Context(), Import{From: strings.NewReader(text), By: "bob", Note: "moved"})
		if want := (Imported{Rows: 1201, Added: 1201}); n != want || err != nil {
			t.Errorf("key %q: Import: %+v, %v", keys, n, err)
		}
		if again, err := to.Import(t.Context(), Import{From: strings.NewReader(text), By: "bob", Note: "moved"}); err != nil || again.Unchanged != 1201 {
			t.Errorf("key %q: Import again: %+v, %v", keys, again, err)
		}
		if f.withheld(to, Question{Address: "u7@example.com"}) == nil {
			t.Errorf("key %q: an imported address is not withheld", keys)
		}
		back := f.export(from, Filter{})
		if text != back {
			t.Errorf("key %q: another file after the way there and back: %s", keys, cmp.Diff(text, back))
		}
	}
}

func testBadFiles(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	for _, test := range []struct {
		name, file string
		want       Imported
		faults     []string // "": none
	}{
		{"addresses alone", "ada@example.com\nbob@example.com\n\n ADA@example.com \n", Imported{Rows: 3, Added: 2, Repeated: 1}, nil},
		{"mark and semicolons", "\xef\xbb\xbfE-Mail;Reason\r\nada@example.com;asked, twice\r\n", Imported{Rows: 1, Added: 1}, nil},
		{"names of others", "recipient,expires\nada@example.com,2026-12-01\nold@example.com,2026-01-01\n", Imported{Rows: 2, Added: 1, Ended: 1}, nil},
		{"hashes", "id,class\n" + strings.Repeat("ab", 16) + ",complaint\n", Imported{Rows: 1, Added: 1}, nil},
		{"empty", "", Imported{}, []string{"the file is empty"}},
		{"only names", "address\n", Imported{}, nil},
		{"unknown column", "address,expiry\nada@example.com,2026-12-01\n", Imported{}, []string{`line 1: no column is called "expiry"`}},
		{"no address", "class,scope\nunknown,all\n", Imported{}, []string{"line 1: there is neither a column address nor a column id"}},
		{"twice the same", "address,email\na@b.c,a@b.c\n", Imported{}, []string{"line 1: two columns are called address"}},
		{"rows", "address,scope,class,hits,last_at\nada@example.com,all,bad_address,1,2026-11-01\nada,all,,,\nb@c.de,some,,,\nb@c.de,,spam,,\nb@c.de,,,-1,\nb@c.de,,,,yesterday\nb@c.de,,,,1876-01-01\nb@c.de,,,,,more\n",
			Imported{Rows: 8}, []string{"line 3: address:", "line 4: scope:", "line 5: class:", "line 6: hits:", "line 7: last_at:", "line 8: last_at: the year", "line 9: it has 6 cells"}},
		{"bad id", "id\nabc\n", Imported{Rows: 1}, []string{"line 2: id:"}},
		{"quotes", "address,note\nada@example.com,\"open\nbob@example.com,x\n", Imported{}, []string{"it is not CSV"}},
		{"many faults", "address\n" + strings.Repeat("x\n", 50), Imported{Rows: 50}, []string{"line 2:", "and 30 more"}},
	} {
		if _, err := f.db.Exec("DELETE FROM " + f.name("suppressions")); err != nil {
			t.Fatal(err)
		}
		n, err := s.Import(t.Context(), Import{From: strings.NewReader(test.file), By: "ann", Note: "a list"})
		if len(test.faults) == 0 {
			if err != nil || n != test.want {
				t.Errorf("%s: %+v, %v; want %+v", test.name, n, err, test.want)
			}
			continue
		}
		if _, ok := errors.AsType[*FileError](err); !ok {
			t.Errorf("%s: %v, want a FileError", test.name, err)
			continue
		}
		for _, fault := range test.faults {
			if !strings.Contains(err.Error(), fault) {
				t.Errorf("%s: %v; want %q", test.name, err, fault)
			}
		}
		if strings.Contains(err.Error(), "b@c") || len(f.list(s, Filter{})) != 0 {
			t.Errorf("%s: an address is in the error, or some rows are stored: %v", test.name, err)
		}
	}
	if _, err := s.Import(t.Context(), Import{From: strings.NewReader("ada@example.com\n")}); err == nil {
		t.Error("imported without a reason")
	}
}

func testErase(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	complaint := f.evidence("ada@example.com", Complaint, "m2")
	complaint.Source = FromComplaint
	f.record(s, f.evidence("ada@example.com", BadAddress, "m1"), complaint, f.evidence("bob@example.com", BadAddress, "m3"))
	if _, _, err := s.Add(t.Context(), Addition{Address: "eve@example.com", Note: "asked", By: "ann"}); err != nil {
		t.Fatal(err)
	}
	hashes := [][]byte{f.sealer(keyOne).Seal("ada@example.com").Hash, f.sealer(keyOne).Seal("eve@example.com").Hash}
	if n, err := s.Erase(t.Context(), hashes); n != 3 || err != nil {
		t.Errorf("Erase: %d, %v", n, err)
	}
	if n, err := s.Erase(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("Erase without a hash: %d, %v", n, err)
	}
	ada := f.one(s, "ada@example.com")
	if ada.Class != Complaint || ada.To != "" || ada.Address != "" || ada.Domain != "" || ada.TaskID != "" || ada.Diagnostic != "" {
		t.Errorf("the complaint: %+v", ada)
	}
	if f.withheld(s, Question{Address: "ada@example.com", Optional: true}) == nil || f.withheld(s, Question{Address: "eve@example.com"}) == nil {
		t.Error("an objection is not heeded any more")
	}
	details, err := s.Show(t.Context(), ada.ID)
	if err != nil || len(details) != 1 || len(details[0].Evidence) != 0 {
		t.Errorf("the evidence: %+v, %v", details, err)
	}
	if f.one(s, "bob@example.com").Address == "" {
		t.Error("another person is erased")
	}
}

func testKeys(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	f.record(s, f.evidence("ada@example.com", BadAddress, "m1"))
	both := f.store(keyTwo, keyOne)
	if f.withheld(both, Question{Address: "ada@example.com"}) == nil {
		t.Error("not found by the former key")
	}
	if f.withheld(f.store(keyTwo), Question{Address: "ada@example.com"}) != nil {
		t.Error("found by another key")
	}
	if err := both.Maintain(t.Context(), noon.Add(-90*day)); err != nil {
		t.Fatal(err)
	}
	two := f.store(keyTwo)
	got := f.one(two, "ada@example.com")
	if got.Address != "ada@example.com" || got.Class != BadAddress || len(f.list(two, Filter{})) != 1 {
		t.Errorf("after the move: %+v", got)
	}
	if details, err := two.Show(t.Context(), "ada@example.com"); err != nil || len(details) != 1 || len(details[0].Evidence) != 1 {
		t.Errorf("evidence after the move: %+v, %v", details, err)
	}
	if err := both.Maintain(t.Context(), noon.Add(-90*day)); err != nil {
		t.Fatal(err)
	}
}

// A move to another key loses no suppression to a weaker one that has the new key already.
func testKeysOfStronger(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	if _, _, err := s.Add(t.Context(), Addition{Address: "ada@example.com", By: "ann", Note: "has asked for it"}); err != nil {
		t.Fatal(err)
	}
	f.record(s, f.evidence("bob@example.com", BadAddress, "m1"))
	both := f.store(keyTwo, keyOne)
	for _, address := range []string{"ada@example.com", "bob@example.com"} {
		var found []Evidence
		for n := range 3 {
			e := f.evidence(address, MailboxFull, fmt.Sprint("full", n))
			e.Recipient = f.sealer(keyTwo, keyOne).Seal(address)
			found = append(found, e)
		}
		f.record(both, found...)
	}
	if err := both.Maintain(t.Context(), noon.Add(-90*day)); err != nil {
		t.Fatal(err)
	}
	two := f.store(keyTwo)
	if got := f.one(two, "ada@example.com"); got.Class != Operator || got.Expires != nil || got.Note != "has asked for it" {
		t.Errorf("a suppression of a person: %+v", got)
	}
	if got := f.one(two, "bob@example.com"); got.Class != BadAddress {
		t.Errorf("a suppression for good: %+v", got)
	}
}

func testMaintain(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	f.record(s, f.evidence("ada@example.com", BadAddress, "m1"), f.evidence("bob@example.com", BadAddress, "m2"), f.evidence("cy@example.com", Unknown, "m3"))
	if _, err := s.Release(t.Context(), Filter{Of: "bob@example.com"}, "ann", "x"); err != nil {
		t.Fatal(err)
	}
	f.clock = noon.Add(100 * day)
	if err := s.Maintain(t.Context(), noon.Add(10*day)); err != nil {
		t.Fatal(err)
	}
	if all := f.list(s, Filter{}); len(all) != 1 || all[0].Address != "ada@example.com" {
		t.Errorf("suppressions: %+v", all)
	}
	var mails []string
	if err := f.db.Select(&mails, "SELECT mail FROM "+f.name("suppression_evidence")); err != nil || !slices.Equal(mails, []string{"m1"}) {
		t.Errorf("evidence of %v, %v", mails, err)
	}
}

// Bounces are evidence, if they say that the address is at fault.
func testBounces(t *testing.T, f *fixture) {
	s := f.store(keyOne)
	n := 0
	bounced := func(address string, kind ledger.BounceKind, class string, forwarded bool) {
		t.Helper()
		n++
		db := ledger.NewDB(f.db, 0)
		err := db.Transact(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error {
			return s.Bounced(ctx, tx, ledger.Evidence{
				Bounce: fmt.Sprint(n), Kind: kind, At: f.clock, Mail: fmt.Sprint("m", n), TaskID: fmt.Sprint("t", n), MailKind: "welcome",
				Recipient: f.sealer(keyOne).Seal(address), Forwarded: forwarded, Class: class, Code: 550, Text: "words",
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []ledger.BounceKind{ledger.BounceDelayed, ledger.BounceAutoReply, ledger.BounceUnrelated} {
		bounced("a@example.com", kind, "bad_address", false)
	}
	for range 5 {
		for _, class := range []string{"unknown", "policy", "reputation", "auth", "sender", "protocol", "transient", "content", "too_big", ""} {
			bounced("a@example.com", ledger.BounceFailed, class, false)
		}
	}
	if all := f.list(s, Filter{}); len(all) != 0 {
		t.Errorf("by bounces that prove nothing: %+v", all)
	}
	bounced("a@example.com", ledger.BounceFailed, "bad_address", false)
	bounced("c@example.com", ledger.BounceComplaint, "", false)
	if got := f.one(s, "a@example.com"); got.Class != BadAddress || got.Source != FromBounce || got.Hits != 1 {
		t.Errorf("a bounce: %+v", got)
	}
	if got := f.one(s, "c@example.com"); got.Class != Complaint || got.Source != FromComplaint || got.Scope != OptionalMails {
		t.Errorf("a complaint: %+v", got)
	}
	// The address leads to another one that failed: this may be mended.
	bounced("f@example.com", ledger.BounceFailed, "bad_address", true)
	if all := f.list(s, Filter{Of: "f@example.com"}); len(all) != 0 {
		t.Errorf("one bounce of another address: %+v", all)
	}
	bounced("f@example.com", ledger.BounceFailed, "bad_address", true)
	if got := f.one(s, "f@example.com"); got.Class != Unknown || got.Expires == nil {
		t.Errorf("two bounces of another address: %+v", got)
	}
	bounced("f@example.com", ledger.BounceDelivered, "", false)
	if got := f.one(s, "f@example.com"); got.State != Released || got.EndedBy != "delivery" {
		t.Errorf("a receipt: %+v", got)
	}
}
