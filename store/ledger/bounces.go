package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// StageBounce is the stage of the event of a bounce.
const StageBounce = "bounce"

// BounceKind tells what a notification about a mail says.
type BounceKind string

// The kinds of notifications.
const (
	BounceFailed    BounceKind = "failed"    // the mail was not delivered
	BounceDelayed   BounceKind = "delayed"   // a server still tries
	BounceDelivered BounceKind = "delivered" // delivered, relayed or expanded
	BounceComplaint BounceKind = "complaint" // the recipient reports it as unwanted
	BounceAutoReply BounceKind = "autoreply" // the answer of a machine, such as a vacation reply
	BounceUnrelated BounceKind = "unrelated" // anything else
)

// BounceMatch tells by what a notification names its mail, from the most trusted one down.
type BounceMatch string

// The ways to name a mail.
const (
	MatchTag        BounceMatch = "tag"         // signed address for bounces
	MatchEnvelopeID BounceMatch = "envelope_id" // envelope id in the notification
	MatchMessageID  BounceMatch = "message_id"  // Message-ID in the returned header
	MatchAddress    BounceMatch = "address"     // a mail went to that address; nothing follows from it
	MatchForged     BounceMatch = "forged"      // a tag that is not signed; nothing follows from it
)

// BounceReference is an id by which a notification names a mail.
type BounceReference struct {
	By BounceMatch
	ID string
}

// Bounce is one notification about one mail.
type Bounce struct {
	ID         string      `json:"id"` // see [BounceID]
	ReceivedAt time.Time   `json:"received_at"`
	Source     string      `json:"source"` // such as lmtp or stdin
	Kind       BounceKind  `json:"kind"`
	MatchedBy  BounceMatch `json:"matched_by"` // "": nothing in it names a mail
	Reference  string      `json:"reference"`  // id by which it names the mail
	Proven     bool        `json:"proven"`     // by a tag, its source, or the recipient of a known mail: it may suppress the address

	// Mail, FirstSeen, TaskID and MailKind are those of the mail; empty: it is not known.
	Mail      string     `json:"mail,omitempty"`
	FirstSeen *time.Time `json:"first_seen,omitempty"`
	TaskID    string     `json:"task_id,omitempty"`
	MailKind  string     `json:"mail_kind,omitempty"`

	To     string `json:"to,omitempty"` // masked
	Domain string `json:"domain,omitempty"`

	Action    string `json:"action,omitempty"`
	Code      int    `json:"code,omitempty"`
	Enhanced  string `json:"enhanced,omitempty"`
	Class     string `json:"class,omitempty"`
	Text      string `json:"text,omitempty"` // words of the server, cleaned
	RemoteMTA string `json:"remote_mta,omitempty"`
	Reporting string `json:"reporting_mta,omitempty"` // server that reports
	Forwarded bool   `json:"forwarded,omitempty"`     // it is about another address than that of the mail
	Size      int    `json:"size"`                    // bytes of the raw message

	// References are the ids by which the notification names a mail, the most trusted first.
	// Address is the recipient that it is about, and Original the one that the sender wrote.
	// They are input of [Bounces.Store] and are not stored.
	References []BounceReference `json:"-"`
	Address    string            `json:"-"`
	Original   string            `json:"-"`
}

// BounceID returns the id of a notification: a hash of what does not change on the way of a
// copy.
func BounceID(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}

// Evidence is what a bounce proves about an address.
type Evidence struct {
	Bounce string     // id of the bounce
	Kind   BounceKind // BounceFailed, BounceComplaint, or BounceDelivered of a mail that reached its mailbox
	At     time.Time

	Mail     string // fingerprint of the task of the mail
	TaskID   string
	MailKind string // such as "otp"

	Recipient Recipient // of the mail
	Forwarded bool      // another address failed, to which the recipient forwards

	Class    string
	Code     int
	Enhanced string
	Text     string
}

// Suppressor decides whether an address takes mail after a bounce. It is called in the
// transaction that stores the bounce, once for each bounce, and only with evidence that is
// proven.
type Suppressor interface {
	Bounced(ctx context.Context, tx *sqlx.Tx, e Evidence) error
}

// BouncesConfig is the configuration of [Bounces]. DB and Reference are required.
type BouncesConfig struct {
	DB         *sqlx.DB
	Sealer     *Sealer                  // for the hashes of addresses
	Reference  func(mail string) string // id by which bounces name a mail
	Suppressor Suppressor               // nil: none
	Timeout    time.Duration            // of one call; default: DefaultTimeout
}

// Bounces stores notifications about mails and lists them. It is safe for concurrent use.
type Bounces struct {
	db     *database
	sealer *Sealer
}

// NewBounces returns a Bounces. It does no I/O.
func NewBounces(cfg BouncesConfig) *Bounces {
	b := &Bounces{db: newDatabase(cfg.DB, cfg.Timeout), sealer: cfg.Sealer}
	b.db.reference, b.db.suppressor = cfg.Reference, cfg.Suppressor
	return b
}

// Store stores a notification with what follows from it in one transaction: its row, the
// event and the state of the mail, and the suppression of the address. It returns the
// notification as it is stored, and whether it is new: a copy changes nothing.
//
// A notification about a mail that is not known waits: when the writer stores the mail, it
// applies the notification.
func (s *Bounces) Store(ctx context.Context, b Bounce) (stored Bounce, fresh bool, err error) {
	b = b.tidy()
	hashes, err := s.hashes(ctx, b.Address)
	if err != nil {
		return b, false, fmt.Errorf("store a bounce: %w", Explain(err))
	}
	originals, err := s.hashes(ctx, b.Original)
	if err != nil {
		return b, false, fmt.Errorf("store a bounce: %w", Explain(err))
	}
	err = s.db.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := s.db.lock(ctx, tx, lockWrite); err != nil {
			return err
		}
		mail, err := s.find(ctx, tx, &b, hashes)
		if err != nil {
			return err
		}
		row := newBounceRow(b)
		if mail != nil {
			row.describe(mail, isOther(mail, hashes, originals))
			row.Proven = row.Proven || b.MatchedBy.namesMail() && isRecipient(mail, hashes, originals)
		} else if b.MatchedBy == MatchAddress {
			row.Hash, row.Masked = hashes[0], sql.NullString{String: s.sealer.Seal(b.Address).Masked, Valid: true}
		} else {
			row.await(hashes, originals)
		}
		n, err := s.db.exec(ctx, tx, "INSERT INTO evently_mail.bounces ("+bounceColumns+") VALUES (?"+strings.Repeat(", ?", len(row.cells(s.db))-1)+") ON CONFLICT (id) DO NOTHING", row.cells(s.db)...)
		if err != nil {
			return fmt.Errorf("insert a bounce: %w", err)
		}
		b = row.bounce(mail)
		if fresh = n > 0; !fresh || mail == nil {
			return nil
		}
		return s.db.applyBounce(ctx, tx, mail, row)
	})
	if err != nil {
		return b, false, fmt.Errorf("store a bounce: %w", Explain(err))
	}
	return b, fresh, nil
}

// hashes returns the hashes that an address may have, none without an address or a key.
func (s *Bounces) hashes(ctx context.Context, address string) ([][]byte, error) {
	if address == "" {
		return nil, nil
	}
	ctx, cancel := s.db.deadline(ctx)
	defer cancel()
	hashes, err := s.db.hashes(ctx, s.sealer, address)
	if errors.Is(err, ErrNoKey) {
		return nil, nil
	}
	return hashes, err
}

// namesMail reports whether an id of the mail, which its readers know, named it.
func (by BounceMatch) namesMail() bool { return by == MatchEnvelopeID || by == MatchMessageID }

// isRecipient reports whether a bounce is about the recipient of its mail. A reader who
// invents such a bounce harms no address but the one that got the mail.
func isRecipient(mail *row, address, original [][]byte) bool {
	return len(mail.Hash) > 0 && len(address)+len(original) > 0 && !isOther(mail, address, original)
}

// isOther reports whether a bounce is about another address than that of its mail, as when
// the recipient forwards mail.
func isOther(mail *row, address, original [][]byte) bool {
	same := func(hash []byte) bool { return bytes.Equal(hash, mail.Hash) }
	return len(mail.Hash) > 0 && len(address) > 0 && !slices.ContainsFunc(address, same) && !slices.ContainsFunc(original, same)
}

// find returns the mail that a bounce is about, nil if it is not known, and notes in b by
// what it names it.
func (s *Bounces) find(ctx context.Context, tx *sqlx.Tx, b *Bounce, hashes [][]byte) (*row, error) {
	for _, r := range b.References {
		if r.By == MatchForged {
			break
		}
		mail, err := s.db.mailOf(ctx, tx, r.ID)
		if err != nil {
			return nil, err
		}
		if mail != nil {
			b.MatchedBy, b.Reference = r.By, r.ID
			return mail, nil
		}
	}
	if len(b.References) > 0 {
		b.MatchedBy, b.Reference = b.References[0].By, b.References[0].ID
		if b.MatchedBy == MatchForged {
			b.Reference = ""
		}
		return nil, nil
	}
	if len(hashes) == 0 {
		return nil, nil
	}
	var known []string
	err := s.db.query(ctx, tx, &known, "SELECT mail FROM evently_mail.mails WHERE rcpt_hash IN (?) LIMIT 1", hashes)
	if err != nil {
		return nil, fmt.Errorf("look for mails to the address: %w", err)
	}
	if len(known) > 0 {
		b.MatchedBy = MatchAddress
	}
	return nil, nil
}

// refNumber returns the number in the index that mails are found by, never 0.
func refNumber(reference string) int64 {
	sum := sha256.Sum256([]byte(reference))
	return int64(binary.BigEndian.Uint64(sum[:8])>>1) | 1
}

// mailOf returns the latest mail with a reference, nil if there is none.
func (d *database) mailOf(ctx context.Context, tx *sqlx.Tx, reference string) (*row, error) {
	if reference == "" || d.reference == nil {
		return nil, nil
	}
	const few = 10 // two mails share a number with a chance of 10^-12
	var rows []*row
	err := d.query(ctx, tx, &rows, "SELECT "+writeColumns+" FROM evently_mail.mails WHERE ref = ? AND ref <> 0 ORDER BY first_seen DESC LIMIT ? FOR UPDATE", refNumber(reference), few)
	if err != nil {
		return nil, fmt.Errorf("look for the mail of a bounce: %w", err)
	}
	for _, r := range rows {
		if d.reference(r.Mail) == reference {
			return r, nil
		}
	}
	return nil, nil
}

// adopt applies the bounces that came before their mails.
func (d *database) adopt(ctx context.Context, tx *sqlx.Tx, mails []*row) error {
	if len(mails) == 0 {
		return nil
	}
	of := make(map[string]*row, len(mails))
	references := make([]string, 0, len(mails))
	for _, m := range mails {
		reference := d.reference(m.Mail)
		if of[reference] == nil {
			references = append(references, reference)
		}
		of[reference] = m
	}
	var waiting []*bounceRow
	err := d.query(ctx, tx, &waiting, "SELECT "+bounceColumns+" FROM evently_mail.bounces WHERE mail IS NULL AND ref <> '' AND ref IN (?) ORDER BY received_at, id", references)
	if err != nil {
		return fmt.Errorf("look for bounces of the mails: %w", err)
	}
	for _, b := range waiting {
		mail := of[b.Ref]
		b.meet(mail)
		_, err := d.exec(ctx, tx, "UPDATE evently_mail.bounces SET mail = ?, first_seen = ?, rcpt_hash = ?, rcpt_masked = ?, rcpt_domain = ?, words = ?, proven = ?, forwarded = ? WHERE id = ?",
			b.Mail, d.time(b.FirstSeen.Time), nullBytes(b.Hash), b.Masked, b.Domain, b.Words, b.Proven, b.Forwarded, b.ID)
		if err != nil {
			return fmt.Errorf("join a bounce with its mail: %w", err)
		}
		if err := d.applyBounce(ctx, tx, mail, b); err != nil {
			return err
		}
	}
	return nil
}

// applyBounce adds the event of a bounce to its mail, and tells the suppressor. A mail that
// bounces twice counts once.
func (d *database) applyBounce(ctx context.Context, tx *sqlx.Tx, mail *row, b *bounceRow) error {
	e, ok := b.entry(mail)
	if !ok {
		return nil
	}
	if _, err := d.insert(ctx, tx, eventsTable, [][]any{e.cells()}); err != nil {
		return err
	}
	before := mail.State
	mail.merge(e)
	if _, err := d.insert(ctx, tx, mailsTable, [][]any{mail.cells()}); err != nil {
		return err
	}
	if mail.State != before && e.event.State > Accepted {
		if err := d.applyCounts(ctx, tx, []entry{e}); err != nil {
			return err
		}
	}
	arrived := b.Kind == BounceDelivered && b.Action == "delivered" // not relayed, which proves little
	if d.suppressor == nil || !b.Proven || e.event.State <= Accepted && !arrived || mail.Erased || len(mail.Hash) == 0 {
		return nil
	}
	err := d.suppressor.Bounced(ctx, tx, Evidence{
		Bounce: b.ID, Kind: b.Kind, At: b.ReceivedAt.Time, Mail: mail.Mail, TaskID: mail.TaskID, MailKind: mail.Kind,
		Recipient: e.event.Recipient, Forwarded: b.Forwarded, Class: b.Class, Code: b.Code, Enhanced: b.Enhanced, Text: b.Words,
	})
	if err != nil {
		return fmt.Errorf("suppress the address of a bounce: %w", err)
	}
	return nil
}

// bounceRow is a row of the table bounces.
type bounceRow struct {
	ID         string         `db:"id"`
	ReceivedAt stamp          `db:"received_at"`
	Source     string         `db:"source"`
	Kind       BounceKind     `db:"kind"`
	MatchedBy  BounceMatch    `db:"matched_by"`
	Proven     bool           `db:"proven"`
	Ref        string         `db:"ref"`
	Mail       sql.NullString `db:"mail"`
	FirstSeen  stamp          `db:"first_seen"`
	Hash       []byte         `db:"rcpt_hash"`
	Masked     sql.NullString `db:"rcpt_masked"`
	Domain     sql.NullString `db:"rcpt_domain"`
	Action     string         `db:"action"`
	Code       int            `db:"code"`
	Enhanced   string         `db:"enhanced"`
	Class      string         `db:"class"`
	Words      string         `db:"words"`
	RemoteMTA  string         `db:"remote_mta"`
	Reporting  string         `db:"reporting"`
	Forwarded  bool           `db:"forwarded"`
	Size       int            `db:"size"`
}

const bounceColumns = "id, received_at, source, kind, matched_by, proven, ref, mail, first_seen, rcpt_hash, rcpt_masked, rcpt_domain, " +
	"action, code, enhanced, class, words, remote_mta, reporting, forwarded, size"
