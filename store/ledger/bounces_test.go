package ledger_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger"
)

func init() {
	suite["Bounce"] = testBounce
	suite["BounceFirst"] = testBounceFirst
	suite["BounceWaited"] = testBounceWaited
	suite["BounceKinds"] = testBounceKinds
	suite["BounceForged"] = testBounceForged
	suite["BounceErased"] = testBounceErased
	suite["BounceRefused"] = testBounceRefused
	suite["BounceList"] = testBounceList
	suite["BounceForwarded"] = testBounceForwarded
	suite["BounceRetention"] = testBounceRetention
}

// reference is as package mail makes it.
func reference(mail string) string {
	sum := sha256.Sum256([]byte("mail " + mail))
	return hex.EncodeToString(sum[:16])
}

// suppressor records its evidence.
type suppressor struct {
	got []ledger.Evidence
	err error
}

func (s *suppressor) Bounced(ctx context.Context, tx *sqlx.Tx, e ledger.Evidence) error {
	var one int
	if err := tx.GetContext(ctx, &one, "SELECT 1"); err != nil {
		return err
	}
	s.got = append(s.got, e)
	return s.err
}

func (f *fixture) bounces(s ledger.Suppressor) *ledger.Bounces {
	return ledger.NewBounces(ledger.BouncesConfig{DB: f.db, Sealer: f.sealer, Reference: reference, Suppressor: s})
}

// bounceOf returns a bounce of a mail, which names it by its tag.
func bounceOf(mail string, n int) ledger.Bounce {
	return ledger.Bounce{
		ID: ledger.BounceID(fmt.Appendf(nil, "bounce %d of %s", n, mail)), ReceivedAt: noon.Add(time.Hour), Source: "lmtp",
		Kind: ledger.BounceFailed, Proven: true, References: []ledger.BounceReference{{By: ledger.MatchTag, ID: reference(mail)}},
		Address: "Ada@Example.com", Action: "failed", Code: 550, Enhanced: "5.1.1", Class: "bad_address", Text: "user unknown",
		RemoteMTA: "mx.example.com", Size: 1234,
	}
}

func (f *fixture) store(b *ledger.Bounces, bounce ledger.Bounce) (ledger.Bounce, bool) {
	f.t.Helper()
	stored, fresh, err := b.Store(f.t.Context(), bounce)
	if err != nil {
		f.t.Fatal(err)
	}
	return stored, fresh
}

// counted returns how often a state is in the counts of an hour.
func (f *fixture) counted(s ledger.State) (n int64) {
	f.t.Helper()
	counts, err := f.reader().Stats(f.t.Context(), noon.Add(-time.Hour), noon.Add(48*time.Hour))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range counts {
		if c.State == s {
			n += c.N
		}
	}
	return n
}

func (f *fixture) acceptedMail(mail string) {
	f.t.Helper()
	e := fullEvent()
	e.Mail, e.TaskID, e.State, e.FirstSeen, e.At, e.Address = mail, "task of "+mail, ledger.Accepted, noon, noon.Add(time.Second), "ada@example.com"
	e.Code, e.Enhanced, e.Class, e.Reason, e.NextAt = 0, "", "", "", time.Time{}
	f.writeWith(func(c *ledger.WriterConfig) { c.Reference = reference }, e)
}

func (f *fixture) writeWith(change func(*ledger.WriterConfig), events ...ledger.Event) {
	f.t.Helper()
	for _, e := range events {
		f.stream.add(ledger.Encode(e, f.sealer))
	}
	f.run(f.writer(change), func() bool { return f.stream.length() == 0 })
}

// A bounce turns its mail into a bounced one, once for any number of copies.
func testBounce(t *testing.T, f *fixture) {
	f.acceptedMail("m1")
	s := &suppressor{}
	b := f.bounces(s)
	for i := range 3 {
		stored, fresh := f.store(b, bounceOf("m1", 0))
		if fresh != (i == 0) || stored.MatchedBy != ledger.MatchTag || stored.Mail != "m1" || stored.TaskID != "task of m1" || stored.To != mask("ada@example.com") || stored.Forwarded {
			t.Errorf("copy %d: new %v, %+v", i, fresh, stored)
		}
	}
	m := f.only(ledger.Filter{})
	if m.State != ledger.Bounced || m.Code != 550 || m.Enhanced != "5.1.1" || m.Class != "bad_address" || m.AcceptedAt == nil || !m.AcceptedAt.Equal(noon.Add(time.Second)) || m.TaskID != "task of m1" {
		t.Errorf("mail: %+v", m)
	}
	shown, err := f.reader().Show(t.Context(), "task of m1")
	if err != nil || len(shown) != 1 || len(shown[0].Events) != 2 {
		t.Fatalf("history: %+v, %v", shown, err)
	}
	if e := shown[0].Events[1]; e.State != ledger.Bounced || e.Text != "user unknown" || e.Endpoint != "mx.example.com" || !strings.Contains(e.Reason, bounceOf("m1", 0).ID) {
		t.Errorf("event: %+v", e)
	}
	if n := f.counted(ledger.Bounced); n != 1 {
		t.Errorf("counted %d times", n)
	}
	if len(s.got) != 1 || s.got[0].Recipient.Domain != "example.com" || len(s.got[0].Recipient.Hash) == 0 || s.got[0].Class != "bad_address" || s.got[0].TaskID != "task of m1" {
		t.Errorf("evidence: %+v", s.got)
	}
	// Another notification about the same mail is shown, and the mail counts once.
	if _, fresh := f.store(b, bounceOf("m1", 1)); !fresh {
		t.Error("another bounce is taken for a copy")
	}
	if n := f.counted(ledger.Bounced); n != 1 || f.count("bounces") != 2 || f.count("events") != 3 {
		t.Errorf("counted %d times, %d bounces, %d events", n, f.count("bounces"), f.count("events"))
	}
}

// A bounce may be read before the writer has stored its mail. It waits.
func testBounceFirst(t *testing.T, f *fixture) {
	f.writeWith(func(c *ledger.WriterConfig) { c.Reference = reference }) // makes the tables
	f.run(f.writer(nil), func() bool { return f.tables() })
	s := &suppressor{}
	stored, fresh := f.store(f.bounces(s), bounceOf("m1", 0))
	if !fresh || stored.Mail != "" || stored.Domain != "example.com" || stored.To != "" || len(s.got) != 0 {
		t.Errorf("stored %+v, evidence %v", stored, s.got)
	}
	e := fullEvent()
	e.Mail, e.State, e.FirstSeen, e.At, e.Address = "m1", ledger.Accepted, noon, noon.Add(time.Second), "ada@example.com"
	f.writeWith(func(c *ledger.WriterConfig) { c.Reference, c.Suppressor = reference, s }, e)
	m := f.only(ledger.Filter{})
	if m.State != ledger.Bounced || m.AcceptedAt == nil || f.counted(ledger.Bounced) != 1 || f.counted(ledger.Accepted) != 1 {
		t.Errorf("mail %+v", m)
	}
	if len(s.got) != 1 || s.got[0].TaskID != e.TaskID {
		t.Errorf("evidence: %+v", s.got)
	}
	shown, err := f.bounces(nil).Show(t.Context(), stored.ID[:8])
	if err != nil || len(shown) != 1 || shown[0].Mail != "m1" || shown[0].To == "" {
		t.Errorf("bounce: %+v, %v", shown, err)
	}
	if _, fresh := f.store(f.bounces(s), bounceOf("m1", 0)); fresh || len(s.got) != 1 {
		t.Error("a copy counts")
	}
}

// A bounce that waited for its mail proves as much as one that came later.
func testBounceWaited(t *testing.T, f *fixture) {
	f.writeWith(func(c *ledger.WriterConfig) { c.Reference = reference })
	f.run(f.writer(nil), func() bool { return f.tables() })
	for _, c := range []struct {
		mail, address, original string
		by                      ledger.BounceMatch
		forwarded, proven       bool
	}{
		{"m1", "ada@elsewhere.example", "", ledger.MatchTag, true, true},
		{"m2", "ada@elsewhere.example", "ADA@example.com", ledger.MatchTag, false, true},
		{"m3", "Ada@Example.COM", "", ledger.MatchTag, false, true},
		{"m4", "", "", ledger.MatchTag, false, true},
		{"m5", "stranger@elsewhere.example", "", ledger.MatchMessageID, true, false},
		{"m6", "Ada@Example.COM", "", ledger.MatchMessageID, false, true},
		{"m7", "", "", ledger.MatchEnvelopeID, false, false},
	} {
		s := &suppressor{}
		b := bounceOf(c.mail, 0)
		b.Address, b.Original, b.Proven = c.address, c.original, c.by == ledger.MatchTag
		b.References = []ledger.BounceReference{{By: c.by, ID: reference(c.mail)}}
		if stored, _ := f.store(f.bounces(s), b); stored.To != "" || stored.Mail != "" {
			t.Errorf("%s: before its mail: %+v", c.mail, stored)
		}
		e := fullEvent()
		e.Mail, e.TaskID, e.State, e.FirstSeen, e.At, e.Address = c.mail, c.mail, ledger.Accepted, noon, noon.Add(time.Second), "ada@example.com"
		f.writeWith(func(w *ledger.WriterConfig) { w.Reference, w.Suppressor = reference, s }, e)
		if told := len(s.got) == 1; told != c.proven || told && s.got[0].Forwarded != c.forwarded {
			t.Errorf("%s: evidence %+v", c.mail, s.got)
		}
		shown, err := f.bounces(nil).Show(t.Context(), b.ID)
		if err != nil || len(shown) != 1 || shown[0].Proven != c.proven || shown[0].Forwarded != c.forwarded || shown[0].To != mask("ada@example.com") {
			t.Errorf("%s: bounce %+v, %v", c.mail, shown, err)
		}
	}
}

func (f *fixture) tables() bool {
	var n int
	return f.db.Get(&n, "SELECT count(*) FROM "+f.name("bounces")) == nil
}

// A delay or a receipt proves that the relay has the mail; other kinds prove nothing.
func testBounceKinds(t *testing.T, f *fixture) {
	s := &suppressor{}
	for i, c := range []struct {
		kind   ledger.BounceKind
		before ledger.State
		after  ledger.State
	}{
		{ledger.BounceDelayed, ledger.Accepted, ledger.Accepted},
		{ledger.BounceDelayed, ledger.Unknown, ledger.Accepted},
		{ledger.BounceDelivered, ledger.Unknown, ledger.Accepted},
		{ledger.BounceAutoReply, ledger.Unknown, ledger.Unknown},
		{ledger.BounceUnrelated, ledger.Accepted, ledger.Accepted},
		{ledger.BounceFailed, ledger.Unknown, ledger.Bounced},
		{ledger.BounceComplaint, ledger.Bounced, ledger.Complained},
		{ledger.BounceDelayed, ledger.Bounced, ledger.Bounced},
	} {
		mail := fmt.Sprint("m", i)
		e := fullEvent()
		e.Mail, e.TaskID, e.State, e.FirstSeen, e.At, e.Address = mail, mail, c.before, noon, noon.Add(time.Second), "ada@example.com"
		f.writeWith(func(c *ledger.WriterConfig) { c.Reference = reference }, e)
		b := bounceOf(mail, 0)
		b.Kind = c.kind
		had := len(s.got)
		f.store(f.bounces(s), b)
		if m := f.only(ledger.Filter{TaskID: mail}); m.State != c.after {
			t.Errorf("%s after %s: %s, want %s", c.kind, c.before, m.State, c.after)
		}
		if told := len(s.got) > had; told != (c.kind == ledger.BounceFailed || c.kind == ledger.BounceComplaint) {
			t.Errorf("%s: suppressor told %v", c.kind, told)
		}
	}
}

// Nothing follows from a tag that is not signed, from an address alone, and from an id of no
// mail. An id without a tag suppresses the recipient of its mail and no other address.
func testBounceForged(t *testing.T, f *fixture) {
	f.acceptedMail("m1")
	s := &suppressor{}
	b := f.bounces(s)
	forged, address, unknown := bounceOf("m1", 1), bounceOf("m1", 2), bounceOf("other", 3)
	forged.Proven, forged.References = false, []ledger.BounceReference{{By: ledger.MatchForged}, {By: ledger.MatchMessageID, ID: reference("m1")}}
	address.Proven, address.References = false, nil
	stranger := address
	stranger.ID, stranger.Address = ledger.BounceID([]byte("stranger")), "stranger@elsewhere.example"
	for _, c := range []struct {
		bounce ledger.Bounce
		by     ledger.BounceMatch
		to     string
	}{{forged, ledger.MatchForged, ""}, {address, ledger.MatchAddress, mask("ada@example.com")}, {stranger, "", ""}, {unknown, ledger.MatchTag, ""}} {
		stored, fresh := f.store(b, c.bounce)
		if !fresh || stored.MatchedBy != c.by || stored.Mail != "" || stored.To != c.to {
			t.Errorf("%s: new %v, %+v", c.by, fresh, stored)
		}
	}
	if m := f.only(ledger.Filter{}); m.State != ledger.Accepted || f.count("events") != 1 || len(s.got) != 0 {
		t.Errorf("mail %+v, evidence %v", m, s.got)
	}
	page, err := b.List(t.Context(), ledger.BounceFilter{Unmatched: true})
	if err != nil || len(page.Bounces) != 4 {
		t.Errorf("unmatched: %+v, %v", page, err)
	}
	weak := bounceOf("m1", 4)
	weak.Proven, weak.References = false, []ledger.BounceReference{{By: ledger.MatchEnvelopeID, ID: "unknown"}, {By: ledger.MatchMessageID, ID: strings.ToUpper(reference("m1"))}}
	if stored, _ := f.store(b, weak); stored.MatchedBy != ledger.MatchMessageID || stored.Mail != "m1" {
		t.Errorf("by Message-ID: %+v", stored)
	}
	if m := f.only(ledger.Filter{}); m.State != ledger.Bounced || len(s.got) != 1 {
		t.Errorf("mail %+v, evidence %v", m, s.got)
	}
	other := weak
	other.ID, other.Address, other.Original = ledger.BounceID([]byte("other")), "stranger@elsewhere.example", ""
	if stored, _ := f.store(b, other); stored.Mail != "m1" || !stored.Forwarded || stored.Proven || len(s.got) != 1 {
		t.Errorf("by Message-ID, about a stranger: %+v, evidence %v", stored, s.got)
	}
}

// The bounce of a mail whose recipient was erased brings no data back.
func testBounceErased(t *testing.T, f *fixture) {
	f.acceptedMail("m1")
	f.acceptedMail("m2")
	s := &suppressor{}
	b := f.bounces(s)
	f.store(b, bounceOf("m2", 0))
	alone := bounceOf("", 3)
	alone.References, alone.Proven = nil, false
	f.store(b, alone)
	if n, err := f.reader().Erase(t.Context(), ledger.Erasure{Address: "ada@example.com"}); err != nil || n != 2 {
		t.Fatalf("%d erased, %v", n, err)
	}
	stored, fresh := f.store(b, bounceOf("m1", 0))
	if !fresh || stored.Mail != "m1" || stored.To != "" || stored.Domain != "" || stored.Text != "" {
		t.Errorf("stored %+v", stored)
	}
	if len(s.got) != 1 {
		t.Errorf("evidence of an erased mail: %+v", s.got)
	}
	for _, m := range f.list(ledger.Filter{}) {
		if m.State != ledger.Bounced || m.To != "" {
			t.Errorf("mail %+v", m)
		}
	}
	page, err := b.List(t.Context(), ledger.BounceFilter{})
	if err != nil || len(page.Bounces) != 3 {
		t.Fatalf("%+v, %v", page, err)
	}
	for _, b := range page.Bounces {
		if b.To != "" || b.Domain != "" || b.Text != "" {
			t.Errorf("not erased: %+v", b)
		}
	}
}

// Without its suppression a bounce is not stored at all: it is sent again.
func testBounceRefused(t *testing.T, f *fixture) {
	if _, _, err := f.bounces(nil).Store(t.Context(), bounceOf("m1", 0)); !errors.Is(err, ledger.ErrNoHistory) {
		t.Errorf("without tables: %v", err)
	}
	f.acceptedMail("m1")
	s := &suppressor{err: errors.New("no room")}
	if _, _, err := f.bounces(s).Store(t.Context(), bounceOf("m1", 0)); !errors.Is(err, s.err) {
		t.Errorf("error %v", err)
	}
	if m := f.only(ledger.Filter{}); m.State != ledger.Accepted || f.count("bounces") != 0 || f.count("events") != 1 {
		t.Errorf("half a bounce: %+v", m)
	}
	s.err = nil
	if _, fresh := f.store(f.bounces(s), bounceOf("m1", 0)); !fresh {
		t.Error("the second attempt counts as a copy")
	}
}

func testBounceList(t *testing.T, f *fixture) {
	f.acceptedMail("m1")
	b := f.bounces(nil)
	for i := range 25 {
		bounce := bounceOf("m1", i)
		bounce.ReceivedAt = noon.Add(time.Duration(i%7) * time.Minute)
		if i%5 == 0 {
			bounce.Kind, bounce.Class = ledger.BounceComplaint, "complaint"
		}
		f.store(b, bounce)
	}
	seen := map[string]bool{}
	var last time.Time
	for filter := (ledger.BounceFilter{Limit: 10}); ; {
		page, err := b.List(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range page.Bounces {
			if seen[one.ID] || !last.IsZero() && one.ReceivedAt.After(last) {
				t.Errorf("%s twice or out of order", one.ID)
			}
			seen[one.ID], last = true, one.ReceivedAt
		}
		if filter.After = page.Next; page.Next == "" {
			break
		}
	}
	if len(seen) != 25 {
		t.Errorf("%d bounces on the pages", len(seen))
	}
	for n, filter := range map[int]ledger.BounceFilter{
		5:  {Kinds: []ledger.BounceKind{ledger.BounceComplaint}},
		20: {Classes: []string{"bad_address"}},
		0:  {Address: "other@example.com"},
		25: {Address: "ADA@example.com", Mail: "m1"},
		4:  {Since: noon.Add(time.Minute), Until: noon.Add(2 * time.Minute)},
	} {
		page, err := b.List(t.Context(), filter)
		if err != nil || len(page.Bounces) != n {
			t.Errorf("%+v: %d bounces, %v", filter, len(page.Bounces), err)
		}
	}
	if _, err := b.List(t.Context(), ledger.BounceFilter{After: "x"}); err == nil {
		t.Error("a place that no page gave")
	}
	for _, prefix := range []string{"", "x", "%", strings.Repeat("a", 40)} {
		if found, err := b.Show(t.Context(), prefix); err != nil || len(found) != 0 {
			t.Errorf("%q: %v, %v", prefix, found, err)
		}
	}
}

// A bounce may be about an address to which the recipient forwards.
func testBounceForwarded(t *testing.T, f *fixture) {
	f.acceptedMail("m1")
	s := &suppressor{}
	for i, c := range []struct {
		address, original string
		forwarded         bool
	}{
		{"ada@elsewhere.example", "", true},
		{"ada@elsewhere.example", "ADA@example.com", false},
		{"Ada@Example.COM", "", false},
		{"", "", false},
	} {
		b := bounceOf("m1", i)
		b.Address, b.Original = c.address, c.original
		stored, _ := f.store(f.bounces(s), b)
		if stored.Forwarded != c.forwarded || s.got[i].Forwarded != c.forwarded || stored.Domain != "example.com" {
			t.Errorf("%+v: %+v", c, stored)
		}
	}
}

func testBounceRetention(t *testing.T, f *fixture) {
	f.acceptedMail("m1")
	b := f.bounces(nil)
	old, recent := bounceOf("m1", 0), bounceOf("m1", 1)
	recent.ReceivedAt = noon.AddDate(0, 0, 60)
	f.store(b, old)
	f.store(b, recent)
	w := f.writer(func(c *ledger.WriterConfig) {
		c.Now = func() time.Time { return noon.AddDate(0, 0, 100) }
	})
	f.run(w, func() bool { return f.count("bounces") == 1 })
	page, err := b.List(t.Context(), ledger.BounceFilter{})
	if err != nil || len(page.Bounces) != 1 || page.Bounces[0].ID != recent.ID {
		t.Errorf("%+v, %v", page, err)
	}
}
