package intake_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
)

// A bounce names its mail in several ways; the most trusted one that is there counts.
// Without a tag only the recipient of that mail is suppressed.
func TestMatching(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(f *fixture) {
		number := 0
		for name, c := range map[string]struct {
			change    func(reference string, r *report) (recipient string)
			by        ledger.BounceMatch
			bounced   bool
			suppress  bool
			isIgnored bool
		}{
			"tag": {by: ledger.MatchTag, bounced: true, suppress: true, change: func(ref string, r *report) string { return addressOf(f, key, ref) }},
			"tag of the old key, in upper case": {by: ledger.MatchTag, bounced: true, suppress: true, change: func(ref string, r *report) string {
				return "<" + strings.ToUpper(addressOf(f, oldKey, ref)) + ">"
			}},
			"tag in the header": {by: ledger.MatchTag, bounced: true, suppress: true, change: func(ref string, r *report) string {
				r.to, r.messageID = addressOf(f, key, ref), unknownReference
				return "bounces@example.com"
			}},
			"envelope id": {by: ledger.MatchEnvelopeID, bounced: true, suppress: true, change: func(ref string, r *report) string {
				r.envelopeID = ref
				return ""
			}},
			"Message-ID": {by: ledger.MatchMessageID, bounced: true, suppress: true, change: func(ref string, r *report) string {
				r.envelopeID, r.messageID = "another", ref
				return ""
			}},
			"X-Entity-Ref-ID, beside a Message-ID of a service": {by: ledger.MatchMessageID, bounced: true, suppress: true, change: func(ref string, r *report) string {
				r.messageID, r.entityRef = "0100018c-of-a-service", ref
				return ""
			}},
			"Message-ID, about a stranger": {by: ledger.MatchMessageID, bounced: true, change: func(ref string, r *report) string {
				r.messageID, r.recipient, r.original = ref, "stranger@elsewhere.example", ""
				return ""
			}},
			"address alone": {by: ledger.MatchAddress, change: func(string, *report) string { return "" }},
			"forged tag, with a true Message-ID": {by: ledger.MatchForged, change: func(ref string, r *report) string {
				r.messageID, r.envelopeID = ref, ref
				return addressOf(f, wrongKey, ref)
			}},
			"forged tag, with a true one in the header": {by: ledger.MatchForged, change: func(ref string, r *report) string {
				r.to = addressOf(f, key, ref)
				return addressOf(f, wrongKey, ref)
			}},
			"forged tag in the header": {by: ledger.MatchForged, change: func(ref string, r *report) string {
				r.to, r.messageID = addressOf(f, wrongKey, ref), ref
				return ""
			}},
			"unknown tag": {by: ledger.MatchTag, change: func(ref string, r *report) string { return addressOf(f, key, unknownReference) }},
			"tag of another domain": {by: ledger.MatchAddress, change: func(ref string, r *report) string {
				return strings.Replace(addressOf(f, key, ref), domain, "elsewhere.example", 1)
			}},
			"spam to a forged tag": {isIgnored: true, change: func(ref string, r *report) string {
				*r = report{}
				return addressOf(f, wrongKey, ref)
			}},
		} {
			number++
			id := fmt.Sprintf("%s%d", task, number)
			f.write(accepted(id))
			r, before := unknownUser(), f.suppressed()
			recipient := c.change(mail.Reference(id), &r)
			text := r.String()
			if c.isIgnored {
				text = "From: win@spam.example\nSubject: You won\n\nClick here.\n"
			}
			outcome, err := f.intake.Take(f.Context(), []byte(text), recipient, intake.SourceStdin)
			if err != nil || outcome.Stored == c.isIgnored {
				f.T.Errorf("%s: stored %v, %v", name, outcome.Stored, err)
				continue
			}
			if outcome.MatchedBy != c.by && !c.isIgnored || (outcome.Mail == id) != c.bounced {
				f.T.Errorf("%s: matched by %q: %+v", name, outcome.MatchedBy, outcome)
			}
			if bounced := f.state(id) == ledger.Bounced; bounced != c.bounced {
				f.T.Errorf("%s: bounced %v", name, bounced)
			}
			if suppressed := f.suppressed() > before; suppressed != c.suppress {
				f.T.Errorf("%s: suppressed %v", name, suppressed)
			}
		}
	})
}

// Two copies of a message differ in what servers added on the way, and count once. A copy for
// a forged address does not make the true one a copy.
func TestCopies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	f.write(accepted(task))
	text := unknownUser().String()
	if outcome, err := f.intake.Take(t.Context(), []byte(text), addressOf(t, wrongKey, mail.Reference(task)), "stdin"); err != nil || outcome.Copy {
		t.Errorf("forged: %+v, %v", outcome, err)
	}
	for i, copied := range []string{
		text,
		strings.ReplaceAll(text, "\n", "\r\n"),
		"Return-Path: <>\r\nDelivered-To: x@example.com\r\nReceived: from a\r\n\tby b;\r\n Sun\r\n" + strings.ReplaceAll(text, "\n", "\r\n"),
		"From MAILER-DAEMON Sun Nov 29 13:00:00 2026\n" + text + "\n\n",
	} {
		outcome, err := f.intake.Take(t.Context(), []byte(copied), addressOf(t, key, mail.Reference(task)), "stdin")
		if err != nil || !outcome.Stored || outcome.Copy != (i > 0) {
			t.Errorf("copy %d: %+v, %v", i, outcome, err)
		}
	}
	if f.suppressed() != 1 || len(f.stored()) != 2 {
		t.Errorf("suppressed %d times, %d rows", f.suppressed(), len(f.stored()))
	}
}

// Delays and replies of machines bounce no mail.
func TestHarmless(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	f.write(accepted(task))
	delayed := unknownUser()
	delayed.action, delayed.status, delayed.text = "delayed", "4.4.1", "connect to mx.example.com: timed out"
	to := addressOf(t, key, mail.Reference(task))
	for kind, text := range map[ledger.BounceKind]string{
		ledger.BounceDelayed:   delayed.String(),
		ledger.BounceUnrelated: "From: ada@example.com\nSubject: Re: your mail\n\nThanks!\n",
	} {
		outcome, err := f.intake.Take(t.Context(), []byte(text), to, "stdin")
		if err != nil || outcome.Kind != kind || !outcome.Stored || outcome.Mail != task {
			t.Errorf("%s: %+v, %v", kind, outcome, err)
		}
		if s := f.state(task); s != ledger.Accepted || f.suppressed() > 0 {
			t.Errorf("%s: the mail is %s", kind, s)
		}
	}
}

// A message that is too large is refused for good, and a hostile one breaks nothing.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	f.write(accepted(task))
	to := addressOf(t, key, mail.Reference(task))
	if err := f.intake.Ingest(t.Context(), make([]byte, intake.MaxSize+1), to, "stdin"); !errors.Is(err, intake.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	hostile := unknownUser()
	hostile.recipient, hostile.text = "a\x00b@exa\xffmple.com\u202e", "550 5.1.1 \x00\xff\u202e"+strings.Repeat("x", 5000)
	for name, text := range map[string]string{
		"empty": "", "binary": "\x00\xff\xfe", "many tags": strings.Repeat("To: "+to+"\n", 2000), "header alone": "Subject: x",
		"bytes": hostile.String(), "many recipients": strings.Repeat("Final-Recipient: rfc822; a@example.com\n", 5000),
	} {
		for _, recipient := range []string{"", to, "@", "<>", "b+@" + domain, strings.Repeat("a", 5000) + "@" + domain} {
			if err := f.intake.Ingest(t.Context(), []byte(text), recipient, "stdin"); err != nil {
				t.Errorf("%s for %.40q: %v", name, recipient, err)
			}
		}
	}
	for _, b := range f.stored() {
		if strings.ContainsAny(b.Text+b.Domain+b.To, "\x00\n\u202e") {
			t.Errorf("stored %q %q %q", b.Text, b.Domain, b.To)
		}
	}
}
