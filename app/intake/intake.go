// Package intake takes bounces in: from an SMTP or LMTP listener, from standard input and from
// webhooks of mail services. All of them end in one function, which finds the mail that a
// bounce is about and stores both.
package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/mail/bounce"
	"github.com/evently/workers/mail/verp"
	"github.com/evently/workers/store/ledger"
)

// MaxSize is the size of the largest message that is taken, in bytes. A report stands before
// the mail that it returns.
const MaxSize = 256 << 10

// Sources of messages.
const (
	SourceSMTP  = "smtp"
	SourceLMTP  = "lmtp"
	SourceStdin = "stdin"
)

// Store stores bounces. [ledger.Bounces] is one.
type Store interface {
	Store(ctx context.Context, b ledger.Bounce) (stored ledger.Bounce, fresh bool, err error)
}

// Config is the configuration of an [Intake]. Store is required.
type Config struct {
	Store  Store
	Tagger *verp.Tagger // nil: addresses for bounces are not used
	Logger *slog.Logger // default: slog.Default()
	Now    func() time.Time

	// Count is called for each bounce that was stored; nil: none are counted.
	Count func(source string, kind ledger.BounceKind, matched bool)
}

// Intake takes bounces in. It is safe for concurrent use.
type Intake struct {
	cfg    Config
	tags   tags
	status statusKeeper
}

// New returns an Intake.
func New(cfg Config) (*Intake, error) {
	if cfg.Store == nil {
		return nil, errors.New("an intake of bounces needs a store")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Intake{cfg: cfg, tags: tags{cfg.Tagger}}, nil
}

// ErrTooLarge is the error of a message of more than [MaxSize] bytes. Another attempt is of no
// use.
var ErrTooLarge = fmt.Errorf("message has more than %d bytes", MaxSize)

// Outcome tells what became of a message.
type Outcome struct {
	ledger.Bounce
	Stored bool // it is in the database, now or since an earlier copy
	Copy   bool // an earlier copy was stored
}

// Ingest takes in one message that came for envelopeRecipient; "" if that is not known. It
// returns nil once the message is stored, or if it is none to store. Errors other than
// [ErrTooLarge] are temporary: the message must be offered again.
func (i *Intake) Ingest(ctx context.Context, raw []byte, envelopeRecipient, source string) error {
	_, err := i.Take(ctx, raw, envelopeRecipient, source)
	return err
}

// Take is Ingest with its outcome.
func (i *Intake) Take(ctx context.Context, raw []byte, envelopeRecipient, source string) (Outcome, error) {
	if len(raw) > MaxSize {
		return Outcome{}, ErrTooLarge
	}
	msg, err := bounce.Parse(bytes.NewReader(raw))
	if err != nil {
		return Outcome{}, fmt.Errorf("read the message: %w", err) // the reader cannot fail
	}
	b := fromMessage(msg)
	b.References = i.references(raw, envelopeRecipient, msg)
	b.Proven = len(b.References) > 0 && b.References[0].By == ledger.MatchTag
	b.Source, b.Size = source, len(raw)
	b.ID = ledger.BounceID(append(digestPrefix(b.References), canonical(raw)...))
	return i.keep(ctx, b)
}

// keep stores a bounce, unless it is none of ours.
func (i *Intake) keep(ctx context.Context, b ledger.Bounce) (Outcome, error) {
	b.ReceivedAt = i.cfg.Now()
	if !isOurs(b) {
		i.cfg.Logger.DebugContext(ctx, "message for bounces ignored, it is no bounce", "source", b.Source, "kind", b.Kind)
		return Outcome{Bounce: b}, nil
	}
	stored, fresh, err := i.cfg.Store.Store(ctx, b)
	i.status.note(err, fresh, b.ReceivedAt)
	if err != nil {
		return Outcome{Bounce: b}, err
	}
	if !fresh {
		i.cfg.Logger.DebugContext(ctx, "bounce ignored, it is a copy", "source", b.Source, "bounce", b.ID)
		return Outcome{Bounce: stored, Stored: true, Copy: true}, nil
	}
	i.cfg.Logger.InfoContext(ctx, "bounce stored", "source", stored.Source, "bounce", stored.ID, "kind", stored.Kind, "class", stored.Class,
		"matched_by", stored.MatchedBy, "task_id", stored.TaskID)
	if i.cfg.Count != nil {
		i.cfg.Count(stored.Source, stored.Kind, stored.Mail != "")
	}
	return Outcome{Bounce: stored, Stored: true}, nil
}

// isOurs reports whether a message is worth a row: a report, or any message to the signed
// address of a mail. Spam to an address for bounces is not.
func isOurs(b ledger.Bounce) bool {
	switch b.Kind {
	case ledger.BounceAutoReply, ledger.BounceUnrelated:
		return len(b.References) > 0 && b.References[0].By != ledger.MatchForged
	}
	return true
}

// kinds are the kinds of package bounce as the ledger names them.
var kinds = map[bounce.Kind]ledger.BounceKind{
	bounce.Failed: ledger.BounceFailed, bounce.Delayed: ledger.BounceDelayed, bounce.Delivered: ledger.BounceDelivered,
	bounce.Complaint: ledger.BounceComplaint, bounce.AutoReply: ledger.BounceAutoReply, bounce.Unrelated: ledger.BounceUnrelated,
}

// fromMessage returns what a message says, without the mail that it is about.
func fromMessage(msg bounce.Message) ledger.Bounce {
	b := ledger.Bounce{Kind: ledger.BounceUnrelated, Reporting: msg.ReportingMTA}
	if kind, ok := kinds[msg.Kind]; ok {
		b.Kind = kind
	}
	r, ok := recipientOf(msg)
	if b.Kind == ledger.BounceComplaint {
		b.Class = "complaint"
	}
	if !ok {
		return b
	}
	b.Address, b.Original, b.Action, b.Enhanced, b.Code = r.Address, r.Original, string(r.Action), r.Status, r.Code
	b.Text, b.RemoteMTA = withoutCodes(r.Diagnostic, r.Code, r.Status), r.RemoteMTA
	if b.Class == "" {
		b.Class = string(r.Class)
	}
	return b
}

// withoutCodes returns the words of a reply, whose codes are stored beside them.
func withoutCodes(text string, code int, status string) string {
	if code > 0 {
		text = strings.TrimLeft(strings.TrimPrefix(text, strconv.Itoa(code)), " -")
	}
	return strings.TrimSpace(strings.TrimPrefix(text, status))
}

// recipientOf returns the recipient that decided the kind of a message: our mails have one
// recipient, and others come from aliases and lists.
func recipientOf(msg bounce.Message) (bounce.Recipient, bool) {
	for _, r := range msg.Recipients {
		if msg.Kind == bounce.Failed && r.Action == bounce.ActionFailed || msg.Kind == bounce.Delayed && r.Action == bounce.ActionDelayed {
			return r, true
		}
	}
	if len(msg.Recipients) == 0 {
		return bounce.Recipient{}, false
	}
	return msg.Recipients[0], true
}
