package verdict

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/worker/protocol"
)

// Mails is the part of the history of mails that an answer needs.
type Mails interface {
	// Find returns the latest mails that an identifier belongs to.
	Find(ctx context.Context, identifier string, limit int) ([]ledger.Mail, error)

	// Histories returns mails with their events.
	Histories(ctx context.Context, mails []ledger.Mail) ([]ledger.History, error)

	// Oldest returns the first claim of the oldest mail; zero: there are no mails.
	Oldest(ctx context.Context) (time.Time, error)
}

// suppressor tells which suppressions are in force. The history of mails may be one.
type suppressor interface {
	Suppressed(ctx context.Context, m ledger.Mail) ([]suppressions.Suppression, error)
	SuppressedAddress(ctx context.Context, address string) ([]suppressions.Suppression, error)
}

// keyChecker tells why addresses may not be found. The history of mails may be one.
type keyChecker interface {
	CheckKey(ctx context.Context) error
}

// Question asks whether a mail was sent.
type Question struct {
	Of            string // address, Message-ID, or id of a user, booking, event, task, or of the relay's queue
	Limit         int    // mails at most
	ShowAddresses bool   // else the answer has masked addresses only

	// Redis looks for the traces of a task. nil: it is not asked. Without an id it tells only whether
	// the history is behind.
	Redis func(ctx context.Context, taskID string) Traces
}

// Answer tells whether a mail was sent, with the evidence.
type Answer struct {
	Sent    Sent          `json:"sent"`
	Verdict string        `json:"verdict"`
	Missing string        `json:"missing,omitempty"` // why the history could not be asked; "": it was
	Fault   error         `json:"-"`                 // of the history, with Missing
	Traces  *Traces       `json:"redis,omitempty"`
	Mails   []ledger.Mail `json:"mails"` // the newest first

	Events []ledger.Record `json:"events"` // of the newest mail

	Suppressions []suppressions.Suppression `json:"suppressions,omitempty"` // in force, of the recipient
}

// Newest returns the history of the newest mail, nil without one.
func (a *Answer) Newest() *ledger.History {
	if len(a.Mails) == 0 {
		return nil
	}
	return &ledger.History{Mail: a.Mails[0], Events: a.Events}
}

// Ask looks for mails and decides by the newest one.
func Ask(ctx context.Context, m Mails, q Question) (a Answer, err error) {
	a.Mails, a.Events = []ledger.Mail{}, []ledger.Record{}
	of := strings.TrimSpace(q.Of)
	found, err := m.Find(ctx, of, q.Limit)
	if err != nil {
		return a.withoutHistory(ctx, q, err)
	}
	if !q.ShowAddresses {
		for i := range found {
			found[i].Address = ""
		}
	}
	if a.Suppressions, err = suppressed(ctx, m, of, found, q.ShowAddresses); err != nil {
		return a, err
	}
	if len(found) == 0 {
		return a, a.nothing(ctx, m, q)
	}
	a.Mails = found
	histories, err := m.Histories(ctx, found[:1])
	if err != nil {
		return a, err
	}
	newest := histories[0]
	a.Events = append(a.Events, newest.Events...)
	now := time.Now()
	a.Sent, a.Verdict = Judge(newest, now)
	switch {
	case q.Redis == nil:
	case !isOpen(newest.State):
		tr := q.Redis(ctx, "")
		a.Verdict += tr.newer(now)
	default:
		tr := q.Redis(ctx, newest.TaskID)
		a.Verdict += tr.newer(now)
		tr.withheld = slices.ContainsFunc(a.Suppressions, func(s suppressions.Suppression) bool {
			return s.Withholds(suppressions.Question{Code: true}, now) // then it withholds all mails
		})
		a.Traces = &tr
	}
	return a, nil
}

// withoutHistory decides by what Redis knows of a task, because the history cannot be asked. It
// returns the error of the history for what Redis does not know by.
func (a Answer) withoutHistory(ctx context.Context, q Question, fault error) (Answer, error) {
	of := strings.TrimSpace(q.Of)
	if q.Redis == nil || of == "" || strings.Contains(of, "@") || ctx.Err() != nil || errors.Is(fault, ledger.ErrCursor) {
		return a, fault
	}
	tr := q.Redis(ctx, of)
	if tr.Error != "" {
		return a, fault
	}
	a.Traces, a.Fault, a.Missing = &tr, fault, missing(fault)
	const unasked = "The history of mails could not be asked."
	a.Sent, a.Verdict = Unknown, "Not known: Redis has neither a result nor a dead letter of a task with this id. "+unasked
	if sent, more := tr.judge(unasked); sent != "" {
		a.Sent, a.Verdict = sent, more
	}
	return a, nil
}

// missing tells in a clause why the history could not be asked, and what to do where that is known.
func missing(fault error) string {
	if access, ok := errors.AsType[*ledger.AccessError](fault); ok {
		return access.Words
	}
	if errors.Is(fault, ledger.ErrNoHistory) {
		return ledger.ErrNoHistory.Error()
	}
	text := "the history of mails cannot be read"
	if why := ledger.Unavailability(fault); why != "" {
		return text + ": " + why
	}
	return text + ": check LEDGER_DATABASE_URL, or DATABASE_URL and DB_* if it is not set"
}

// isOpen reports whether Redis may have more about a mail of that state.
func isOpen(s ledger.State) bool {
	switch s {
	case ledger.Queued, ledger.Sending, ledger.Deferred, ledger.Unknown, ledger.Rejected, ledger.Dead:
		return true
	}
	return false
}

// nothing decides about an identifier that the history does not know.
func (a *Answer) nothing(ctx context.Context, m Mails, q Question) error {
	oldest, err := m.Oldest(ctx)
	if err != nil {
		return err
	}
	of := strings.TrimSpace(q.Of)
	text := fmt.Sprintf("Not known: the history has no mail of %q", of)
	if oldest.IsZero() {
		text += ", and none at all: no worker has written one yet."
	} else {
		text += ". It begins at " + words.Clock(oldest) + "."
	}
	a.Sent = Unknown
	if strings.Contains(of, "@") {
		if k, ok := m.(keyChecker); ok {
			if err := k.CheckKey(ctx); err != nil {
				text += " " + err.Error() + "."
			}
		}
		text += " The task may still wait in the queue: ask by its id as well."
	} else {
		text += " The task may still wait in the queue."
	}
	a.Verdict = text
	if q.Redis == nil {
		return nil
	}
	tr := q.Redis(ctx, of) // also with an @: the id of a task may have one
	a.Traces = &tr
	a.Verdict += tr.behind()
	const history = "The history has nothing of it."
	if sent, more := tr.judge(history); sent != "" {
		a.Sent, a.Verdict = sent, more
	} else if tr.Status == protocol.StateRevoked {
		a.Sent, a.Verdict = tr.revoked(history)
	}
	return nil
}

// suppressed returns the suppressions in force of an address, or of the recipient of the
// newest mail that was found. Tables of an older program have none.
func suppressed(ctx context.Context, m Mails, of string, found []ledger.Mail, showAddresses bool) (all []suppressions.Suppression, err error) {
	s, ok := m.(suppressor)
	switch {
	case !ok:
		return nil, nil
	case strings.Contains(of, "@"):
		all, err = s.SuppressedAddress(ctx, of)
	case len(found) > 0:
		all, err = s.Suppressed(ctx, found[0])
	}
	if errors.Is(err, ledger.ErrNoHistory) {
		return nil, nil
	}
	if !showAddresses {
		for i := range all {
			all[i].Address = ""
		}
	}
	return all, err
}

// SuppressionText tells of a suppression in a sentence.
func SuppressionText(s suppressions.Suppression) string {
	mails := "no mail is"
	switch {
	case s.Scope == suppressions.OptionalMails:
		mails = "no optional mail is"
	case s.Class.IsSoft():
		mails = "no mail but a code is"
	}
	text := fmt.Sprintf("The address is suppressed since %s (%s): %s sent to it", words.Clock(s.First), s.Class, mails)
	if s.Expires != nil {
		text += " until " + words.Clock(*s.Expires)
	}
	return text + "."
}
