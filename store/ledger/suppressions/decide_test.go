package suppressions_test

import (
	"testing"
	"time"

	. "github.com/evently/workers/store/ledger/suppressions"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// ago returns evidence of a reply.
func ago(d time.Duration, class Class, mail string) Fact {
	return Fact{At: noon.Add(-d), Class: class, Source: FromReply, Mail: mail}
}

func bounced(d time.Duration, class Class, mail string) Fact {
	f := ago(d, class, mail)
	f.Source = FromBounce
	return f
}

func coded(f Fact, enhanced string) Fact {
	f.Enhanced = enhanced
	return f
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const never = time.Duration(-1)
	for _, test := range []struct {
		name    string
		history []Fact
		class   Class // of the suppression of all mails; "": none
		ends    time.Duration
		hits    int
	}{
		{name: "nothing"},
		{"bad address", []Fact{ago(0, BadAddress, "a")}, BadAddress, never, 1},
		{"bad address, months ago", []Fact{ago(100*day, BadAddress, "a")}, BadAddress, never, 1},
		{"bad address, by a bounce", []Fact{bounced(0, BadAddress, "a")}, BadAddress, never, 1},
		{"bad address, and a mail accepted later", []Fact{ago(day, BadAddress, "a"), ago(0, Delivered, "b")}, BadAddress, never, 1},
		{"policy in the code", []Fact{coded(ago(0, BadAddress, "a"), "5.7.1")}, "", 0, 0},
		{"policy in the code of a full mailbox", []Fact{coded(ago(0, MailboxFull, "a"), "5.7.1"), coded(ago(0, MailboxFull, "b"), "5.7.1"), coded(ago(0, MailboxFull, "c"), "4.7.0")}, "", 0, 0},
		{"code of the address", []Fact{coded(ago(0, BadAddress, "a"), "5.1.1")}, BadAddress, never, 1},

		{"bad domain once", []Fact{ago(0, BadDomain, "a")}, "", 0, 0},
		{"bad domain twice within a day", []Fact{ago(23*time.Hour, BadDomain, "a"), ago(0, BadDomain, "b")}, "", 0, 0},
		{"bad domain twice over a day", []Fact{ago(day, BadDomain, "a"), ago(0, BadDomain, "b")}, BadDomain, 14 * day, 2},
		{"bad domain, one mail", []Fact{ago(day, BadDomain, "a"), ago(0, BadDomain, "a")}, "", 0, 0},
		{"bad domain, long ago", []Fact{ago(20*day, BadDomain, "a"), ago(0, BadDomain, "b")}, "", 0, 0},
		{"bad domain has ended", []Fact{ago(16*day, BadDomain, "a"), ago(14*day, BadDomain, "b")}, "", 0, 0},
		{"bad domain, shortly before its end", []Fact{ago(15*day, BadDomain, "a"), ago(14*day-1, BadDomain, "b")}, BadDomain, 1, 2},

		{"mailbox full twice", []Fact{ago(2*day, MailboxFull, "a"), ago(0, MailboxFull, "b")}, "", 0, 0},
		{"mailbox full three times", []Fact{ago(7*day, MailboxFull, "a"), ago(day, MailboxFull, "b"), ago(0, MailboxFull, "c")}, MailboxFull, 7 * day, 3},
		{"mailbox full, three tries of one mail", []Fact{ago(2, MailboxFull, "a"), ago(1, MailboxFull, "a"), ago(0, MailboxFull, "a")}, "", 0, 0},
		{"mailbox full over eight days", []Fact{ago(8*day, MailboxFull, "a"), ago(day, MailboxFull, "b"), ago(0, MailboxFull, "c")}, "", 0, 0},
		{"mailbox full, a mail accepted in between", []Fact{ago(3*day, MailboxFull, "a"), ago(2*day, MailboxFull, "b"), ago(day, Delivered, "c"), ago(0, MailboxFull, "d")}, "", 0, 0},
		{"mailbox full, and then accepted", []Fact{ago(4*day, MailboxFull, "a"), ago(3*day, MailboxFull, "b"), ago(2*day, MailboxFull, "c"), ago(day, Delivered, "d")}, "", 0, 0},
		{"mailbox full by bounces, and then accepted by a relay", []Fact{bounced(4*day, MailboxFull, "a"), bounced(3*day, MailboxFull, "b"), bounced(2*day, MailboxFull, "c"), ago(day, Delivered, "d")}, MailboxFull, 5 * day, 3},
		{"mailbox full by bounces, and then a receipt", []Fact{bounced(4*day, MailboxFull, "a"), bounced(3*day, MailboxFull, "b"), bounced(2*day, MailboxFull, "c"), bounced(day, Delivered, "d")}, "", 0, 0},
		{"mailbox full once more makes it longer", []Fact{ago(4*day, MailboxFull, "a"), ago(3*day, MailboxFull, "b"), ago(3*day, MailboxFull, "c"), ago(day, MailboxFull, "d")}, MailboxFull, 6 * day, 4},

		{"unclassified once", []Fact{ago(0, Unknown, "a")}, "", 0, 0},
		{"unclassified twice", []Fact{ago(time.Minute, Unknown, "a"), ago(0, Unknown, "b")}, Unknown, 30 * day, 2},
		{"unclassified, one mail", []Fact{ago(time.Minute, Unknown, "a"), ago(0, Unknown, "a")}, "", 0, 0},
		{"unclassified, mails without a name", []Fact{ago(time.Minute, Unknown, ""), ago(0, Unknown, "")}, Unknown, 30 * day, 2},

		{"soft ones do not add up", []Fact{ago(2*day, MailboxFull, "a"), ago(day, Unknown, "b"), ago(0, BadDomain, "c")}, "", 0, 0},
		{"the stronger one decides", []Fact{ago(3*day, MailboxFull, "a"), ago(2*day, MailboxFull, "b"), ago(day, MailboxFull, "c"), ago(0, BadAddress, "d")}, BadAddress, never, 1},
		{"in any order", []Fact{ago(0, BadDomain, "b"), ago(day, BadDomain, "a")}, BadDomain, 14 * day, 2},
	} {
		actions := Decide(test.history, noon)
		if test.class == "" {
			if len(actions) != 0 {
				t.Errorf("%s: %+v; want nothing", test.name, actions)
			}
			continue
		}
		if len(actions) != 1 || actions[0].Class != test.class || actions[0].Scope != AllMails || actions[0].Hits != test.hits {
			t.Errorf("%s: %+v; want %s with %d hits", test.name, actions, test.class, test.hits)
			continue
		}
		want := noon.Add(test.ends)
		if test.ends == never {
			want = time.Time{}
		}
		if !actions[0].Expires.Equal(want) {
			t.Errorf("%s: ends at %v, want %v", test.name, actions[0].Expires, want)
		}
	}
}

// Evidence of every other class leads to nothing, however often it comes.
func TestDecidePassesOver(t *testing.T) {
	t.Parallel()
	for _, class := range []Class{"policy", "reputation", "auth", "sender", "protocol", "transient", "content", "too_big", Delivered, Operator, ""} {
		var history []Fact
		for i := range 20 {
			history = append(history, ago(time.Duration(i)*day, class, string(rune('a'+i))), bounced(time.Duration(i)*day, class, string(rune('A'+i))))
		}
		if actions := Decide(history, noon); len(actions) != 0 {
			t.Errorf("%q: %+v", class, actions)
		}
	}
}

// A complaint is about mails that one can do without, beside all other evidence.
func TestDecideComplaint(t *testing.T) {
	t.Parallel()
	complaint := Fact{At: noon, Class: Complaint, Source: FromComplaint, Mail: "a", Enhanced: "5.7.1"}
	for _, history := range [][]Fact{{complaint}, {complaint, bounced(-time.Hour, Delivered, "b")}} {
		actions := Decide(history, noon)
		if len(actions) != 1 || actions[0].Scope != OptionalMails || !actions[0].Expires.IsZero() {
			t.Errorf("%+v", actions)
		}
	}
	actions := Decide([]Fact{complaint, ago(0, BadAddress, "b")}, noon)
	if len(actions) != 2 || actions[0].Scope != AllMails || actions[1].Scope != OptionalMails {
		t.Errorf("with a bad address: %+v", actions)
	}
}

func TestWithholds(t *testing.T) {
	t.Parallel()
	at := func(class Class, scope Scope, source Source, age time.Duration) Suppression {
		return Suppression{Class: class, Scope: scope, Source: source, Last: noon.Add(-age)}
	}
	past := noon.Add(-time.Second)
	ended, expired := at(BadAddress, AllMails, FromReply, 0), at(MailboxFull, AllMails, FromReply, 0)
	ended.Ended, expired.Expires = &past, &past
	for _, test := range []struct {
		name string
		s    Suppression
		q    Question
		want bool
	}{
		{"bad address, ordinary mail", at(BadAddress, AllMails, FromReply, day), Question{}, true},
		{"bad address, code", at(BadAddress, AllMails, FromBounce, 100*day), Question{Code: true}, true},
		{"soft, ordinary mail", at(MailboxFull, AllMails, FromReply, day), Question{}, true},
		{"soft and new, code", at(MailboxFull, AllMails, FromReply, time.Minute), Question{Code: true}, true},
		{"soft and old, code", at(MailboxFull, AllMails, FromReply, CodeAfter), Question{Code: true}, false},
		{"bad domain, old, code", at(BadDomain, AllMails, FromBounce, day), Question{Code: true}, false},
		{"unclassified, old, code", at(Unknown, AllMails, FromReply, day), Question{Code: true}, false},
		{"soft, of a person, code", at(Unknown, AllMails, FromImport, day), Question{Code: true}, true},
		{"person, code", at(Operator, AllMails, FromOperator, 100*day), Question{Code: true}, true},
		{"complaint, optional mail", at(Complaint, OptionalMails, FromComplaint, day), Question{Optional: true}, true},
		{"complaint, necessary mail", at(Complaint, OptionalMails, FromComplaint, 0), Question{}, false},
		{"complaint, code", at(Complaint, OptionalMails, FromComplaint, 0), Question{Code: true}, false},
		{"released", ended, Question{}, false},
		{"ended by itself", expired, Question{}, false},
	} {
		if got := test.s.Withholds(test.q, noon); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
