package suppressions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/store/ledger"
)

// Evidence is what a reply or a bounce says about one address. ID, Recipient.Hash, At, Class
// and Source are required. The zero value of any other field means that it is not known.
type Evidence struct {
	ID        string           // evidence with the same id about an address counts once
	Recipient ledger.Recipient // as the history has it
	At        time.Time
	Class     Class // one that does not concern the address is passed over
	Source    Source

	Mail   string // identifies the mail, as ledger.Event.Mail
	TaskID string
	Kind   string // of the mail

	Code       int    // reply code
	Enhanced   string // such as "5.1.1"
	Diagnostic string // words of the server, cleaned
}

// Change is a suppression that evidence has begun, made longer or lifted.
type Change struct {
	Suppression
	Began  bool // it was not in force before
	Lifted bool // a mail was delivered
}

// keepFacts is how long evidence is considered: two periods of the longest rule.
const keepFacts = 2 * Memory

// Record stores evidence in a transaction of the caller, and changes the suppressions of its
// addresses as [Decide] says. It is for a transaction that holds [ledger.DB.LockMails], so
// that two pieces of evidence see each other.
func (s *Store) Record(ctx context.Context, tx *sqlx.Tx, evidence ...Evidence) (changes []Change, err error) {
	byHash := map[string][]Evidence{}
	for _, e := range evidence {
		if len(e.Recipient.Hash) > 0 && isOfInterest(e.Class) {
			byHash[string(e.Recipient.Hash)] = append(byHash[string(e.Recipient.Hash)], e)
		}
	}
	if len(byHash) == 0 {
		return nil, nil
	}
	known, err := s.read(ctx, tx, sorting.Keys(byHash))
	if err != nil {
		return nil, fault("read what is known about addresses", err)
	}
	var b batch
	for _, hash := range sorting.Keys(byHash) {
		s.recordOf(&b, known[hash], byHash[hash])
	}
	if err := s.db.Insert(ctx, tx, evidenceTable, b.evidence); err != nil {
		return nil, fault("store evidence about addresses", err)
	}
	if err := s.put(ctx, tx, b.rows...); err != nil {
		return nil, fault("store suppressions", err)
	}
	return b.changes, nil
}

// batch has the rows that follow from new evidence.
type batch struct {
	evidence [][]any
	rows     []row
	changes  []Change
}

// isOfInterest reports whether evidence of a class can begin or end a suppression.
func isOfInterest(c Class) bool {
	return c == Delivered || slices.ContainsFunc(rules, func(r rule) bool { return r.class == c })
}

// known is what is known about one address.
type known struct {
	facts []fact
	rows  map[Scope]row
}

// fact is a row of evidence.
type fact struct {
	Hash     []byte      `db:"rcpt_hash"`
	ID       string      `db:"id"`
	At       ledger.Time `db:"at"`
	Class    Class       `db:"class"`
	Source   Source      `db:"source"`
	Mail     string      `db:"mail"`
	Enhanced string      `db:"enhanced"`
}

// read returns what is known about addresses.
func (s *Store) read(ctx context.Context, tx *sqlx.Tx, hashes []string) (map[string]*known, error) {
	all := make(map[string]*known, len(hashes))
	keys := make([][]byte, len(hashes))
	for i, h := range hashes {
		keys[i] = []byte(h)
		all[h] = &known{rows: map[Scope]row{}}
	}
	var facts []fact
	err := s.db.Select(ctx, tx, &facts, "SELECT rcpt_hash, id, at, class, source, mail, enhanced FROM evently_mail.suppression_evidence WHERE rcpt_hash IN (?) AND at > ? ORDER BY at, id",
		keys, s.db.Param(s.now().Add(-keepFacts)))
	if err != nil {
		return nil, err
	}
	for _, f := range facts {
		k := all[string(f.Hash)]
		k.facts = append(k.facts, f)
	}
	var rows []row
	if err := s.db.Select(ctx, tx, &rows, "SELECT "+columns+" FROM evently_mail.suppressions WHERE rcpt_hash IN (?) ORDER BY rcpt_hash, scope FOR UPDATE", keys); err != nil {
		return nil, err
	}
	for _, r := range rows {
		all[string(r.Hash)].rows[r.Scope] = r
	}
	return all, nil
}

// recordOf adds the evidence about one address, and what follows, to a batch.
func (s *Store) recordOf(b *batch, k *known, evidence []Evidence) {
	fresh := map[string]Evidence{}
	for _, e := range evidence {
		if k.has(e.ID) || e.Class == Delivered && !k.awaitsDelivery(e) {
			continue
		}
		b.evidence = append(b.evidence, e.cells())
		fresh[e.ID] = e
		k.facts = append(k.facts, fact{ID: e.ID, At: ledger.Time{Time: e.At}, Class: e.Class, Source: e.Source, Mail: e.Mail, Enhanced: e.Enhanced})
	}
	if len(fresh) == 0 {
		return
	}
	now := s.now()
	facts := k.counting()
	history := make([]Fact, len(facts))
	for i, f := range facts {
		history[i] = Fact{At: f.At.Time, Class: f.Class, Source: f.Source, Mail: f.Mail, Enhanced: f.Enhanced}
	}
	actions := Decide(history, now)
	for _, a := range actions {
		e, isNew := fresh[facts[a.Deciding].ID]
		if !isNew {
			continue
		}
		old := k.rows[a.Scope]
		r := merged(old, a, e, now)
		b.rows = append(b.rows, r)
		b.changes = append(b.changes, Change{Suppression: s.suppression(r), Began: old.Hash == nil || !old.isActive(now)})
	}
	if r, ok := lifted(k.rows[AllMails], actions, fresh, now); ok {
		b.rows = append(b.rows, r)
		b.changes = append(b.changes, Change{Suppression: s.suppression(r), Lifted: true})
	}
}

// lifted returns a soft suppression of evidence with its end, if a delivery ends it.
func lifted(r row, actions []Action, fresh map[string]Evidence, now time.Time) (row, bool) {
	if r.Hash == nil || !r.isActive(now) || !r.Class.IsSoft() || r.Source.isManual() || slices.ContainsFunc(actions, func(a Action) bool { return a.Scope == r.Scope }) {
		return row{}, false
	}
	for _, id := range sorting.Keys(fresh) {
		e := fresh[id]
		if e.Class != Delivered || e.At.Before(r.Last.Time) || e.Source == FromReply && r.Source != FromReply {
			continue
		}
		r.Ended, r.EndedBy, r.EndedNote = ledger.Time{Time: now}, "delivery", "a mail was delivered"
		if e.Source == FromReply {
			r.EndedNote = "a mail was accepted"
		}
		if e.TaskID != "" {
			r.EndedNote += ": task " + e.TaskID
		}
		r.EndedNote = line(r.EndedNote, maxNote)
		return r, true
	}
	return row{}, false
}

// has reports whether evidence is stored already.
func (k *known) has(id string) bool {
	return slices.ContainsFunc(k.facts, func(f fact) bool { return f.ID == id })
}

// awaitsDelivery reports whether a delivery changes anything: the latest evidence before it
// is no delivery of the same worth.
func (k *known) awaitsDelivery(e Evidence) bool {
	for _, f := range slices.Backward(k.facts) {
		if f.Class == Delivered && (f.Source == e.Source || e.Source == FromReply) {
			return false
		}
		if f.Class.IsSoft() {
			return true
		}
	}
	r, found := k.rows[AllMails]
	return found && r.Class.IsSoft() && r.Ended.IsZero()
}

// counting returns the evidence that a release has not made void.
func (k *known) counting() []fact {
	return slices.DeleteFunc(slices.Clone(k.facts), func(f fact) bool {
		scope := AllMails
		if f.Class == Complaint {
			scope = OptionalMails
		}
		ended := k.rows[scope].Ended
		return !ended.IsZero() && f.Class != Delivered && !f.At.After(ended.Time)
	})
}

// merged returns the row of an action, with the evidence that decided. A stronger
// suppression, and one of a person, remains and counts the evidence.
func merged(old row, a Action, e Evidence, now time.Time) row {
	if old.Hash != nil && old.isActive(now) && remains(old, a) {
		old.Hits, old.Last = old.Hits+1, ledger.Time{Time: later(old.Last.Time, a.Last)}
		return old
	}
	r := row{
		Hash: e.Recipient.Hash, Scope: a.Scope, Class: a.Class, Source: e.Source,
		Masked: e.Recipient.Masked, Domain: e.Recipient.Domain, Sealed: e.Recipient.Sealed,
		Hits: a.Hits, First: ledger.Time{Time: a.First}, Last: ledger.Time{Time: a.Last}, Expires: ledger.Time{Time: a.Expires},
		Code: e.Code, Enhanced: line(e.Enhanced, maxWord), Diagnostic: line(e.Diagnostic, maxDiagnostic), Mail: line(e.Mail, maxID), TaskID: line(e.TaskID, maxID),
	}
	if old.Hash != nil && old.isActive(now) && old.First.Before(r.First.Time) {
		r.First = old.First
	}
	return r
}

// remains reports whether a suppression in force is not replaced by an action.
func remains(old row, a Action) bool {
	if old.Source.isManual() {
		return old.Expires.IsZero() || !a.Expires.IsZero() && !a.Expires.After(old.Expires.Time)
	}
	return slices.Index(Classes(), old.Class) < slices.Index(Classes(), a.Class)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Most characters of texts that others choose.
const (
	maxWord       = 64
	maxID         = 255
	maxDiagnostic = 300
)

// evidenceTable has the evidence. Evidence that is known already is left alone.
var evidenceTable = ledger.Table{
	Name: "evently_mail.suppression_evidence",
	Columns: [][2]string{
		{"rcpt_hash", "bytea"}, {"id", "text"}, {"at", "timestamptz"}, {"class", "text"}, {"source", "text"}, {"mail", "text"},
		{"task_id", "text"}, {"kind", "text"}, {"code", "smallint"}, {"enhanced", "text"}, {"diagnostic", "text"},
	},
	Conflict: "ON CONFLICT DO NOTHING",
}

// cells returns the values of evidence in the order of evidenceTable.
func (e Evidence) cells() []any {
	return []any{
		e.Recipient.Hash, line(e.ID, maxID), e.At, string(e.Class), string(e.Source), line(e.Mail, maxID), line(e.TaskID, maxID), line(e.Kind, maxWord),
		int64(e.Code), line(e.Enhanced, maxWord), line(e.Diagnostic, maxDiagnostic),
	}
}

// line returns text on one line, valid, and of at most most characters.
func line(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}

// Follow implements [ledger.Follower]: replies of mail servers are evidence.
func (s *Store) Follow(ctx context.Context, tx *sqlx.Tx, stored []ledger.Stored) error {
	evidence := make([]Evidence, 0, len(stored))
	for _, e := range stored {
		class := Class(e.Fault)
		if e.State == ledger.Accepted {
			class = Delivered
		}
		if class == "" {
			continue
		}
		evidence = append(evidence, Evidence{
			ID: fmt.Sprintf("event %s", e.ID), Recipient: e.Recipient, At: e.At, Class: class, Source: FromReply,
			Mail: e.Event.Mail, TaskID: e.TaskID, Kind: e.Kind, Code: e.Code, Enhanced: e.Enhanced, Diagnostic: e.Text,
		})
	}
	_, err := s.Record(ctx, tx, evidence...)
	return err
}

// Bounced implements [ledger.Suppressor].
func (s *Store) Bounced(ctx context.Context, tx *sqlx.Tx, b ledger.Evidence) error {
	e := Evidence{
		ID: "bounce " + b.Bounce, Recipient: b.Recipient, At: b.At, Class: Class(b.Class), Source: FromBounce,
		Mail: b.Mail, TaskID: b.TaskID, Kind: b.MailKind, Code: b.Code, Enhanced: b.Enhanced, Diagnostic: b.Text,
	}
	switch {
	case b.Kind == ledger.BounceComplaint:
		e.Class, e.Source = Complaint, FromComplaint
	case b.Kind == ledger.BounceDelivered:
		e.Class = Delivered
	case b.Kind != ledger.BounceFailed:
		return nil
	case e.Class == Unknown:
		return nil // a notice that does not say why proves nothing
	case b.Forwarded && e.Class == BadAddress:
		e.Class = Unknown // the address exists, and leads nowhere at present
	}
	_, err := s.Record(ctx, tx, e)
	return err
}
