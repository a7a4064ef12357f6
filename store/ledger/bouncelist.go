package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

func newBounceRow(b Bounce) *bounceRow {
	r := &bounceRow{
		ID: b.ID, ReceivedAt: stamp{b.ReceivedAt}, Source: b.Source, Kind: b.Kind, MatchedBy: b.MatchedBy, Proven: b.Proven, Ref: b.Reference,
		Action: b.Action, Code: b.Code, Enhanced: b.Enhanced, Class: b.Class, Words: b.Text, RemoteMTA: b.RemoteMTA, Reporting: b.Reporting,
		Size: b.Size,
	}
	// Of an address that no mail went to the domain is stored, and a hash if it may get a mail.
	if at := strings.LastIndexByte(b.Address, '@'); at >= 0 {
		r.Domain = sql.NullString{String: line(Normalise(b.Address[at:])[1:], maxID), Valid: true}
	}
	return r
}

// describe names the mail of a bounce. The recipient of an erased mail stays unknown.
func (r *bounceRow) describe(mail *row, other bool) {
	r.Mail, r.FirstSeen = sql.NullString{String: mail.Mail, Valid: true}, mail.FirstSeen
	r.Hash, r.Masked, r.Domain, r.Forwarded = mail.Hash, mail.Masked, mail.Domain, other
	if mail.Erased {
		r.Words = ""
	}
}

// await notes the hash of the address that a bounce is about, for the time when its mail comes. A
// bounce that names no mail, or forges a tag, has none.
func (r *bounceRow) await(address, original [][]byte) {
	switch {
	case r.Ref == "":
	case len(original) > 0:
		r.Hash = original[0]
	case len(address) > 0:
		r.Hash = address[0]
	}
}

// meet names the mail that a bounce has waited for.
func (r *bounceRow) meet(mail *row) {
	var about [][]byte
	if len(r.Hash) > 0 {
		about = [][]byte{r.Hash}
	}
	r.Proven = r.Proven || r.MatchedBy.namesMail() && isRecipient(mail, about, nil)
	r.describe(mail, isOther(mail, about, nil))
}

// cells returns the values of the row in the order of bounceColumns.
func (r *bounceRow) cells(d *database) []any {
	return []any{
		r.ID, d.time(r.ReceivedAt.Time), r.Source, string(r.Kind), string(r.MatchedBy), r.Proven, r.Ref, r.Mail, d.time(r.FirstSeen.Time),
		nullBytes(r.Hash), r.Masked, r.Domain, r.Action, r.Code, r.Enhanced, r.Class, r.Words, r.RemoteMTA, r.Reporting, r.Forwarded, r.Size,
	}
}

// nullBytes returns b as a parameter, NULL for none.
func nullBytes(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// bounce returns the row for people and programs. mail may be nil.
func (r *bounceRow) bounce(mail *row) Bounce {
	b := Bounce{
		ID: r.ID, ReceivedAt: r.ReceivedAt.Time, Source: r.Source, Kind: r.Kind, MatchedBy: r.MatchedBy, Reference: r.Ref, Proven: r.Proven,
		Mail: r.Mail.String, FirstSeen: optional(r.FirstSeen.Time), To: r.Masked.String, Domain: r.Domain.String,
		Action: r.Action, Code: r.Code, Enhanced: r.Enhanced, Class: r.Class, Text: r.Words, RemoteMTA: r.RemoteMTA, Reporting: r.Reporting,
		Forwarded: r.Forwarded, Size: r.Size,
	}
	if mail != nil {
		b.TaskID, b.MailKind = mail.TaskID, mail.Kind
	}
	return b
}

// entry returns the event of a bounce in the life of its mail. A delay and a receipt prove
// that the relay has accepted the mail. Nothing follows from other kinds.
func (r *bounceRow) entry(mail *row) (entry, bool) {
	state, reason := Bounced, "returned"
	switch r.Kind {
	case BounceFailed:
	case BounceComplaint:
		state, reason = Complained, "reported as unwanted"
	case BounceDelayed:
		state, reason = Accepted, "delivery is delayed, the server still tries"
	case BounceDelivered:
		state, reason = Accepted, "delivered, by the report of the server"
	default:
		return entry{}, false
	}
	sum := sha256.Sum256([]byte(r.ID))
	return entry{
		ms: r.ReceivedAt.UnixMilli(), seq: int64(binary.BigEndian.Uint64(sum[:8]) >> 1), at: r.ReceivedAt.Time,
		event: Event{
			Mail: mail.Mail, TaskID: mail.TaskID, Kind: mail.Kind, State: state, At: r.ReceivedAt.Time, FirstSeen: mail.FirstSeen.Time,
			Reason:    reason + ", see bounce " + r.ID,
			Recipient: Recipient{Hash: mail.Hash, Masked: mail.Masked.String, Domain: mail.Domain.String, Sealed: mail.Sealed},
			Stage:     StageBounce, Code: r.Code, Enhanced: r.Enhanced, Class: r.Class, Text: r.Words, Endpoint: r.RemoteMTA,
		},
	}, true
}

// tidy returns b with every text bounded, valid and on one line.
func (b Bounce) tidy() Bounce {
	if b.ReceivedAt.IsZero() {
		b.ReceivedAt = time.Now()
	}
	b.ReceivedAt = b.ReceivedAt.UTC().Truncate(time.Microsecond)
	b.Code = min(max(b.Code, 0), maxCode)
	for _, f := range []struct {
		text *string
		most int
	}{
		{&b.ID, maxName}, {&b.Source, maxName}, {&b.Action, maxName}, {&b.Enhanced, maxName}, {&b.Class, maxName},
		{&b.Text, maxText}, {&b.RemoteMTA, maxID}, {&b.Reporting, maxID},
	} {
		*f.text = line(*f.text, f.most)
	}
	var references []BounceReference
	for _, r := range b.References {
		if r.ID = line(strings.ToLower(r.ID), maxName); r.ID != "" || r.By == MatchForged {
			references = append(references, r)
		}
	}
	b.References = references
	for _, address := range []*string{&b.Address, &b.Original} {
		if len(*address) > longestAddress || !strings.Contains(*address, "@") {
			*address = ""
		}
	}
	return b
}

// matches tells by what a bounce names its mail.
var matches = map[BounceMatch]string{
	MatchTag: "by the tag in the address for bounces", MatchEnvelopeID: "by the envelope id, which a reader of the mail may know",
	MatchMessageID: "by the Message-ID in the returned header, which a reader of the mail may know",
	MatchAddress:   "not matched: a mail went to that address, which proves nothing", "": "not matched: nothing in it names a mail",
	MatchForged: "not matched: its tag is not signed with BOUNCE_KEY",
}

// Recipient returns the recipient as it may be shown: the masked address, else the domain
// alone, else "".
func (b Bounce) Recipient() string {
	if b.To == "" && b.Domain != "" {
		return "?@" + b.Domain
	}
	return b.To
}

// Matched tells by what the bounce names its mail.
func (b Bounce) Matched() string {
	text := matches[b.MatchedBy]
	if b.Mail == "" && b.MatchedBy == MatchTag {
		text += ", but no such mail is stored yet"
	}
	return text
}

// Reply returns the reply of the server with its words, "" without any.
func (b Bounce) Reply() string {
	text := b.Enhanced
	if b.Code != 0 {
		text = strings.TrimSpace(fmt.Sprintf("%d %s", b.Code, b.Enhanced))
	}
	if b.Text != "" {
		text = strings.TrimSpace(text + " “" + b.Text + "”")
	}
	return text
}

// BounceFilter chooses bounces. Its zero value chooses all; each field that is set narrows
// the choice.
type BounceFilter struct {
	Kinds     []BounceKind
	Classes   []string
	Unmatched bool   // only those without a mail
	Address   string // recipient of the mail
	Mail      string // fingerprint of the task

	Since, Until time.Time // of the receipt; Until is excluded

	Limit int    // bounces at most; default 50, at most 1000
	After string // BouncePage.Next of the page before
}

// BouncePage is a part of a list, the latest bounces first.
type BouncePage struct {
	Bounces []Bounce
	Next    string // for BounceFilter.After; "" on the last page
}

// List returns the bounces that f chooses, the latest first.
func (s *Bounces) List(ctx context.Context, f BounceFilter) (BouncePage, error) {
	limit := min(f.Limit, mostMails)
	if limit <= 0 {
		limit = defaultLimit
	}
	ctx, cancel := s.db.deadline(ctx)
	defer cancel()
	where, args, err := s.conditions(ctx, f)
	if errors.Is(err, ErrNoKey) {
		return BouncePage{}, nil // no address was ever stored
	}
	if err != nil {
		return BouncePage{}, fmt.Errorf("list bounces: %w", Explain(err))
	}
	found, err := s.rows(ctx, where, append(args, limit+1)...)
	if err != nil {
		return BouncePage{}, err
	}
	page := BouncePage{Bounces: found}
	if len(found) > limit {
		page.Bounces = found[:limit]
		last := found[limit-1]
		page.Next = cursor(last.ReceivedAt, last.ID)
	}
	return page, nil
}

func (s *Bounces) conditions(ctx context.Context, f BounceFilter) (where string, args []any, err error) {
	var all []string
	add := func(condition string, values ...any) {
		all = append(all, condition)
		args = append(args, values...)
	}
	if len(f.Kinds) > 0 {
		add("kind IN (?)", f.Kinds)
	}
	if len(f.Classes) > 0 {
		add("class IN (?)", f.Classes)
	}
	if f.Unmatched {
		add("mail IS NULL")
	}
	if f.Address != "" {
		hashes, err := s.db.hashes(ctx, s.sealer, f.Address)
		if err != nil {
			return "", nil, err
		}
		add("rcpt_hash IN (?)", hashes)
	}
	if f.Mail != "" {
		add("mail = ?", f.Mail)
	}
	if !f.Since.IsZero() {
		add("received_at >= ?", s.db.time(f.Since))
	}
	if !f.Until.IsZero() {
		add("received_at < ?", s.db.time(f.Until))
	}
	if f.After != "" {
		at, id, err := readCursor(f.After)
		if err != nil {
			return "", nil, err
		}
		add("(received_at, id) < (?, ?)", s.db.time(at), id)
	}
	if len(all) > 0 {
		where = " WHERE " + strings.Join(all, " AND ")
	}
	return where + " ORDER BY received_at DESC, id DESC LIMIT ?", args, nil
}

// rows returns bounces with what is known of their mails.
func (s *Bounces) rows(ctx context.Context, where string, args ...any) ([]Bounce, error) {
	var rows []*bounceRow
	if err := s.db.query(ctx, s.db.db, &rows, "SELECT "+bounceColumns+" FROM evently_mail.bounces"+where, args...); err != nil {
		return nil, fmt.Errorf("read bounces: %w", Explain(err))
	}
	var names []string
	var earliest, latest time.Time
	for _, r := range rows {
		at := r.FirstSeen.Time
		if !r.Mail.Valid {
			continue
		}
		names = append(names, r.Mail.String)
		if earliest.IsZero() || at.Before(earliest) {
			earliest = at
		}
		if at.After(latest) {
			latest = at
		}
	}
	mails := map[string]*row{}
	if len(names) > 0 {
		var known []*row
		err := s.db.query(ctx, s.db.db, &known, "SELECT "+mailColumns+" FROM evently_mail.mails WHERE mail IN (?) AND first_seen BETWEEN ? AND ?",
			names, s.db.time(earliest), s.db.time(latest))
		if err != nil {
			return nil, fmt.Errorf("read the mails of bounces: %w", Explain(err))
		}
		for _, m := range known {
			mails[m.Mail+" "+m.FirstSeen.String()] = m
		}
	}
	bounces := make([]Bounce, len(rows))
	for i, r := range rows {
		bounces[i] = r.bounce(mails[r.Mail.String+" "+r.FirstSeen.String()])
	}
	return bounces, nil
}

// Show returns the bounces whose ids begin with prefix, at most ten.
func (s *Bounces) Show(ctx context.Context, prefix string) ([]Bounce, error) {
	prefix = strings.ToLower(strings.TrimSpace(prefix))
	if _, err := hex.DecodeString(prefix + strings.Repeat("0", len(prefix)%2)); err != nil || prefix == "" {
		return nil, nil
	}
	ctx, cancel := s.db.deadline(ctx)
	defer cancel()
	return s.rows(ctx, " WHERE id >= ? AND id < ? ORDER BY id LIMIT 10", prefix, prefix+"g")
}
