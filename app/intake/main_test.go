package intake_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"go.uber.org/goleak"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/verp"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain           = "bounces.example.com"
	key, oldKey      = "0123456789abcdef", "fedcba9876543210"
	ledgerKey        = "a key of the operator"
	wrongKey         = "another key that is not set"
	task             = "8f14e45fceea467fa1ded1f1e1d3b6c0"
	taskAddress      = "ada@example.com"
	unknownReference = "00000000000000000000000000000000"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func tagger(t testing.TB, keys ...string) *verp.Tagger {
	t.Helper()
	v, err := verp.New(domain, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// addressOf returns the address for bounces of a mail, signed with a key.
func addressOf(t testing.TB, key, reference string) string {
	t.Helper()
	address, err := tagger(t, key).Address(reference)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// stream holds events for the writer of the ledger.
type stream struct {
	mu      sync.Mutex
	entries []broker.Recorded
}

func (s *stream) Oldest(_ context.Context, _ string, most int) ([]broker.Recorded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries[:min(most, len(s.entries))]), nil
}

func (s *stream) Remove(_ context.Context, _ string, ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e broker.Recorded) bool { return slices.Contains(ids, e.ID) })
	return nil
}

func (s *stream) Backlog(context.Context, string) (broker.Backlog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return broker.Backlog{Length: len(s.entries)}, nil
}

// suppressor keeps its evidence where that of a transaction that was rolled back does not count.
type suppressor struct{ db *sqlx.DB }

func (s suppressor) Bounced(ctx context.Context, tx *sqlx.Tx, e ledger.Evidence) error {
	_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO test_evidence (mail) VALUES (?)`), e.Mail)
	return err
}

// byMail counts the evidence of each mail.
func (s suppressor) byMail(t *testing.T) map[string]int {
	t.Helper()
	var all []string
	if err := s.db.SelectContext(t.Context(), &all, `SELECT mail FROM test_evidence`); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, mail := range all {
		n[mail]++
	}
	return n
}

// fixture is an intake with a database.
type fixture struct {
	*testing.T
	db       *sqlx.DB
	sealer   *ledger.Sealer
	bounces  *ledger.Bounces
	suppress suppressor
	intake   *intake.Intake
}

func newFixture(t *testing.T, db *sqlx.DB) *fixture {
	t.Helper()
	f := &fixture{T: t, db: db, suppress: suppressor{db}}
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE test_evidence (mail text NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.sealer, err = ledger.NewSealer(ledger.SealerConfig{Key: ledgerKey, Mask: mail.MaskAddress}); err != nil {
		t.Fatal(err)
	}
	f.bounces = ledger.NewBounces(ledger.BouncesConfig{DB: db, Sealer: f.sealer, Reference: mail.Reference, Suppressor: f.suppress})
	f.intake = f.newIntake(f.bounces)
	f.write() // makes the tables
	return f
}

func (f *fixture) newIntake(s intake.Store) *intake.Intake {
	f.Helper()
	i, err := intake.New(intake.Config{Store: s, Tagger: tagger(f, key, oldKey), Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return noon.Add(time.Hour) }})
	if err != nil {
		f.Fatal(err)
	}
	return i
}

// write runs the writer of the ledger until it has stored the events.
func (f *fixture) write(events ...ledger.Event) {
	f.Helper()
	s := &stream{}
	for i, e := range events {
		at := noon.Add(time.Duration(i) * time.Millisecond)
		s.entries = append(s.entries, broker.Recorded{ID: fmt.Sprintf("%d-%d", at.UnixMilli(), i), At: at, Fields: ledger.Encode(e, f.sealer)})
	}
	w, err := ledger.NewWriter(ledger.WriterConfig{DB: f.db, Outbox: s, Sealer: f.sealer, Reference: mail.Reference, Suppressor: f.suppress,
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	f.await("the writer", func() bool {
		b, _ := s.Backlog(ctx, "")
		return b.Length == 0 && w.Status().On
	})
	cancel()
	<-ended
}

// suppressed counts the evidence of all mails.
func (f *fixture) suppressed() (n int) {
	f.Helper()
	for _, k := range f.suppress.byMail(f.T) {
		n += k
	}
	return n
}

func (f *fixture) await(what string, done func() bool) {
	f.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("%s: not in time", what)
		}
	}
}

func accepted(task string) ledger.Event {
	return ledger.Event{
		Mail: task, TaskID: "task " + task, Kind: "otp", State: ledger.Accepted, At: noon, FirstSeen: noon.Add(-time.Second), Attempt: 1,
		Address: taskAddress, MessageID: "<" + mail.Reference(task) + "@example.com>", Endpoint: "smtp.example.com:587",
	}
}

func (f *fixture) state(task string) ledger.State {
	f.Helper()
	page, err := ledger.NewReader(ledger.ReaderConfig{DB: f.db, Sealer: f.sealer}).List(f.Context(), ledger.Filter{Mail: task})
	if err != nil || len(page.Mails) != 1 {
		f.Fatalf("mails of %s: %+v, %v", task, page.Mails, err)
	}
	return page.Mails[0].State
}

func (f *fixture) stored() []ledger.Bounce {
	f.Helper()
	page, err := f.bounces.List(f.Context(), ledger.BounceFilter{Limit: 1000})
	if err != nil {
		f.Fatal(err)
	}
	return page.Bounces
}

// eachDatabase runs a test with both kinds of databases.
func eachDatabase(t *testing.T, test func(f *fixture)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(newFixture(t, sqlite(t)))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(newFixture(t, postgres(t)))
	})
}

func sqlite(t *testing.T) *sqlx.DB {
	t.Helper()
	db, err := ledger.OpenSQLite(filepath.Join(t.TempDir(), "history.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func postgres(t *testing.T) *sqlx.DB {
	t.Helper()
	s := storetest.Postgres(t)
	db, err := sqlx.Open("postgres", s.URL()+"&binary_parameters=yes")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(4)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// report is a bounce as Postfix writes it.
type report struct {
	to, envelopeID, messageID, entityRef string // of the mail; "": not in it
	recipient, original                  string
	action, status, text                 string
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Received: by relay.example.com (Postfix) id 4FzQ2x1Yz3; Sun, 29 Nov 2026 13:00:00 +0000\nFrom: MAILER-DAEMON@relay.example.com (Mail Delivery System)\n")
	if r.to != "" {
		fmt.Fprintf(&b, "To: %s\n", r.to)
	}
	fmt.Fprintf(&b, "Subject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"+
		"Content-Type: multipart/report; report-type=delivery-status; boundary=\"b1\"\n\n--b1\nContent-Type: text/plain\n\nI'm sorry.\n\n"+
		"--b1\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; relay.example.com\n")
	if r.envelopeID != "" {
		fmt.Fprintf(&b, "Original-Envelope-Id: %s\n", r.envelopeID)
	}
	fmt.Fprintf(&b, "\nFinal-Recipient: rfc822; %s\n", r.recipient)
	if r.original != "" {
		fmt.Fprintf(&b, "Original-Recipient: rfc822; %s\n", r.original)
	}
	fmt.Fprintf(&b, "Action: %s\nStatus: %s\nRemote-MTA: dns; mx.example.com\nDiagnostic-Code: smtp; %s\n\n--b1\nContent-Type: text/rfc822-headers\n\nSubject: Your code\n", r.action, r.status, r.text)
	if r.messageID != "" {
		fmt.Fprintf(&b, "Message-ID: <%s@example.com>\n", r.messageID)
	}
	if r.entityRef != "" {
		fmt.Fprintf(&b, "X-Entity-Ref-ID: %s\n", r.entityRef)
	}
	b.WriteString("\n--b1--\n")
	return b.String()
}

// unknownUser is the bounce of a mail to an address that does not exist.
func unknownUser() report {
	return report{recipient: taskAddress, action: "failed", status: "5.1.1", text: "550 5.1.1 <ada@example.com>: Recipient address rejected: User unknown"}
}

// writePair writes a certificate and its key as PEM.
func writePair(t *testing.T, pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
