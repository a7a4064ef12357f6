package letters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/internal/deadletter"
	"github.com/evently/workers/worker/protocol"
)

// Codes of the replies of scripts that change letters.
const (
	elsewhere = 0 // it is closed, or open again, or gone
	changed   = 1 // by this call
	stale     = 2 // its entry is not the one that was read
	refused   = 3 // by its queue
)

// answer is such a reply.
type answer struct {
	code int
	text []byte
}

// readAnswer reads a reply of one letter.
func readAnswer(row any) (a answer, err error) {
	cols, err := redigo.Values(row, nil)
	if err == nil {
		_, err = redigo.Scan(cols, &a.code)
	}
	if err == nil && len(cols) > 1 {
		a.text, err = redigo.Bytes(cols[1], nil)
	}
	return a, err
}

// absent returns the error for a letter that is not where it should be. text is its entry where it
// is, if it is anywhere.
func absent(id string, text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("%w: %s", broker.ErrNoDeadLetter, id)
	}
	e := deadletter.Parse(text)
	return &broker.LetterStateError{ID: id, State: broker.LetterState(e.State), At: e.StateAt.Time(), By: e.By}
}

// attempts bounds how often a change is tried again: because its reply got lost, or because the
// letter was rewritten meanwhile.
const attempts = 4

// repeat calls fn until it reports that it is done, or fails. An attempt whose reply got lost is
// repeated: under the same token, a change is made once.
func repeat(ctx context.Context, fn func() (done bool, err error)) error {
	var lost *lostError
	for n := range attempts {
		if lost != nil && backoff.Sleep(ctx, time.Duration(n)*100*time.Millisecond) != nil {
			return lost.err
		}
		done, err := fn()
		if l, ok := errors.AsType[*lostError](err); ok && ctx.Err() == nil {
			lost = l
			continue
		}
		if done || err != nil {
			return err
		}
		lost = nil
	}
	if lost != nil {
		return lost.err
	}
	return errors.New("others change it all the time, try again")
}

// Retry puts a dead letter back into its queue, as [Letters.RetryMany] does.
func (d *Letters) Retry(ctx context.Context, id string) error {
	return d.RetryMany(ctx, []string{id}, "", "")[0]
}

// RetryMany puts dead letters back into their queues, as new messages with unspent retries and
// [broker.SetAsideHeader]. by is the person who does it, and note says why; both may be empty. The
// step that puts a letter back closes it, and deletes the result of the failed run, so that the
// task is pending again. Concurrent calls put a letter back once: the others get a
// *[broker.LetterStateError].
//
// RetryMany refuses bytes that are no message: they would become a dead letter again, or crash a
// Python worker. It returns one error, or nil, for each letter, a *[broker.ExpiredError] or
// *[broker.LockedError] among them. After an error of the connection a letter may have been put
// back; to call again does not send it twice.
func (d *Letters) RetryMany(ctx context.Context, ids []string, by, note string) []error {
	errs := make([]error, 0, len(ids))
	for chunk := range slices.Chunk(ids, pageSize) {
		errs = append(errs, d.retryPage(ctx, chunk, by, note)...)
	}
	return errs
}

// revived is a letter that goes back into its queue.
type revived struct {
	s      stored
	what   *deadletter.Revival
	entry  deadletter.Entry // of the closed letter
	remain []byte           // and its bytes
}

// retryPage puts some letters back.
func (d *Letters) retryPage(ctx context.Context, ids []string, by, note string) []error {
	errs, token := make([]error, len(ids)), uuid.NewString()
	pending := make(map[string]int, len(ids))
	for i, id := range ids {
		if _, twice := pending[id]; twice {
			errs[i] = fmt.Errorf("dead letter %s was named twice", id)
			continue
		}
		pending[id] = i
	}
	err := repeat(ctx, func() (bool, error) {
		rs, err := d.prepareRetries(ctx, ids, pending, errs, retrying{by: by, note: note, token: token})
		if err != nil {
			return false, err
		}
		answers, err := d.revive(ctx, token, rs)
		if err != nil {
			return false, err
		}
		for i, a := range answers {
			if id := rs[i].s.id; a.code != stale {
				errs[pending[id]] = reviveError(id, a)
				delete(pending, id)
			}
		}
		return len(pending) == 0, nil
	})
	for id, i := range pending {
		errs[i] = fmt.Errorf("put dead letter %s back into its queue: %w", id, err)
	}
	return errs
}

// retrying is one call of RetryMany.
type retrying struct{ by, note, token string }

// prepareRetries reads the pending letters and returns the messages that go back. It settles the
// others: with an error, or without one when an attempt whose reply got lost has put them back.
func (d *Letters) prepareRetries(ctx context.Context, ids []string, pending map[string]int, errs []error, by retrying) (rs []revived, err error) {
	var left []string
	for i, id := range ids {
		if at, ok := pending[id]; ok && at == i {
			left = append(left, id)
		}
	}
	found, err := d.read(ctx, left)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(found))
	for _, s := range found {
		known[s.id] = true
		if s.closed && s.entry.Token == by.token {
			delete(pending, s.id)
			continue
		}
		r, err := d.prepareRetry(s, by)
		if err != nil {
			errs[pending[s.id]] = err
			delete(pending, s.id)
			continue
		}
		rs = append(rs, r)
	}
	for _, id := range left {
		if !known[id] {
			errs[pending[id]] = fmt.Errorf("%w: %s", broker.ErrNoDeadLetter, id)
			delete(pending, id)
		}
	}
	return rs, nil
}

// prepareRetry returns the message of a letter.
func (d *Letters) prepareRetry(s stored, by retrying) (revived, error) {
	l := d.letter(&s)
	what, err := deadletter.Retry(&l, time.Now())
	if err != nil {
		return revived{}, err
	}
	return d.revived(s, &l, what, s.entry.Close(broker.LetterRetried, by.by, by.note, by.token, time.Now()))
}

// revived joins a message and what remains of its letter: the arguments are in the queue, and need
// not rest here.
func (d *Letters) revived(s stored, l *broker.DeadLetter, what *deadletter.Revival, closed deadletter.Entry) (revived, error) {
	if fault := d.cfg.QueueFault(what.Queue); fault != "" {
		return revived{}, fmt.Errorf("dead letter %s cannot go back: %w", s.id, &broker.RouteError{Queue: what.Queue, Fault: fault})
	}
	closed.Key, closed.Wiped, closed.Expires = "", true, 0
	return revived{s: s, what: what, entry: closed, remain: deadletter.Mark(deadletter.Wipe(l.Raw))}, nil
}

// revive runs revive.lua.
func (d *Letters) revive(ctx context.Context, token string, rs []revived) ([]answer, error) {
	if len(rs) == 0 {
		return nil, nil
	}
	keys, args := d.keys(), []any{token, d.cfg.Max, d.ages()}
	for _, r := range rs {
		m := r.what.Message
		keys = append(keys, d.cfg.List(r.what.Queue, m.Priority), d.cfg.Crashes(protocol.Envelope{ID: m.ID, DeliveryTag: m.DeliveryTag}), d.cfg.Result(m.ID))
		args = append(args, r.s.id, r.s.text, r.what.Raw, r.entry.Encode(), r.remain)
	}
	rows, err := d.script(ctx, d.cfg.Scripts.Revive, keys, args)
	if err != nil {
		return nil, err
	}
	if len(rows) != len(rs) {
		return nil, fmt.Errorf("%d replies for %d dead letters", len(rows), len(rs))
	}
	answers := make([]answer, len(rows))
	for i, row := range rows {
		if answers[i], err = readAnswer(row); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// reviveError returns the error of an answer of revive.lua.
func reviveError(id string, a answer) error {
	switch a.code {
	case changed:
		return nil
	case elsewhere:
		return absent(id, a.text)
	}
	return fmt.Errorf("put dead letter %s back into its queue: %s", id, a.text)
}

// Replace publishes an edited copy of an open dead letter into the queue of the letter, under a new
// task id, which it returns. The same step closes the letter as replaced. Concurrent calls do it
// once: the others get a *[broker.LetterStateError]. raw is a message as a producer writes it; its
// task id is not used.
func (d *Letters) Replace(ctx context.Context, id string, raw []byte, by, note string) (taskID string, err error) {
	taskID, token := uuid.NewString(), uuid.NewString()
	err = repeat(ctx, func() (bool, error) {
		s, err := d.get(ctx, id)
		if err != nil {
			return false, err
		}
		if s.closed && s.entry.Token == token {
			return true, nil
		}
		l := d.letter(&s)
		what, err := deadletter.Replace(&l, raw, taskID, time.Now())
		if err != nil {
			return false, err
		}
		closed := s.entry.Close(broker.LetterReplaced, by, note, token, time.Now())
		closed.ReplacedBy = taskID
		r, err := d.revived(s, &l, what, closed)
		if err != nil {
			return false, err
		}
		answers, err := d.revive(ctx, token, []revived{r})
		if err != nil || answers[0].code == stale {
			return false, err
		}
		return true, reviveError(id, answers[0])
	})
	if err != nil {
		return "", fmt.Errorf("replace dead letter %s: %w", id, err)
	}
	return taskID, nil
}

// Resolve marks an open dead letter as dealt with. Reopen takes that back. The error is a
// *[broker.LetterStateError] when it is not open.
func (d *Letters) Resolve(ctx context.Context, id, by, note string) error {
	return d.move(ctx, id, broker.LetterDealtWith, by, note)
}

// Reopen takes back that a dead letter is dealt with. The error is a *[broker.LetterStateError] for
// a letter in another state: a letter that was retried or replaced is a message again.
func (d *Letters) Reopen(ctx context.Context, id, by, note string) error {
	return d.move(ctx, id, broker.LetterOpen, by, note)
}

// move moves a letter between the open ones and the ones that are dealt with.
func (d *Letters) move(ctx context.Context, id string, state broker.LetterState, by, note string) error {
	token := uuid.NewString()
	err := repeat(ctx, func() (bool, error) {
		s, err := d.get(ctx, id)
		if err != nil {
			return false, err
		}
		if s.entry.Token == token {
			return true, nil
		}
		toOpen := state == broker.LetterOpen
		if s.closed != toOpen || toOpen && s.entry.State != string(broker.LetterDealtWith) {
			return false, absent(id, s.text)
		}
		answers, err := d.rewrite(ctx, []stored{s}, []rewriting{{
			entry: s.entry.Close(state, by, note, token, time.Now()), toOpen: toOpen, toClosed: !toOpen, reopened: toOpen,
		}})
		if err != nil || answers[0].code == stale {
			return false, err
		}
		if answers[0].code == elsewhere {
			return false, absent(id, answers[0].text)
		}
		return true, nil
	})
	if _, ok := errors.AsType[*broker.LetterStateError](err); ok {
		return err // it names the letter
	}
	if err != nil {
		return fmt.Errorf("mark dead letter %s as %s: %w", id, state, err)
	}
	return nil
}

// rewriting is a new form of a letter.
type rewriting struct {
	entry                      deadletter.Entry
	toOpen, toClosed, reopened bool   // where it goes; neither: it stays
	anew                       bool   // with other bytes
	raw                        []byte // the other bytes
}

// rewrite writes letters anew, in one round trip.
func (d *Letters) rewrite(ctx context.Context, ss []stored, ws []rewriting) (answers []answer, err error) {
	script := d.cfg.Scripts.LetterMove()
	var replies []any
	err = d.cfg.Do(ctx, func(c redigo.Conn) (err error) {
		for i := range ss {
			if err := script.Send(c, d.rewriteCall(&ss[i], &ws[i])...); err != nil {
				return err
			}
		}
		replies, err = redigo.Values(c.Do(""))
		return err
	})
	if err == nil && len(replies) != len(ss) {
		err = fmt.Errorf("%d replies for %d dead letters", len(replies), len(ss))
	}
	if err != nil {
		return nil, asLost(err)
	}
	for _, reply := range replies {
		a, err := readAnswer(reply)
		if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// rewriteCall returns the keys and arguments of lettermove.lua, behind the number of keys.
func (d *Letters) rewriteCall(s *stored, w *rewriting) []any {
	from, to := d.open, d.open
	if s.closed {
		from, to = d.closed, d.closed
	}
	switch {
	case w.toOpen:
		to = d.open
	case w.toClosed:
		to = d.closed
	}
	expires := ""
	if w.entry.Expires != 0 && !w.entry.Wiped {
		expires = w.entry.Expires.String()
	}
	return slices.Concat([]any{7}, from.keys(), to.keys(), []any{d.expiries,
		w.entry.Token, d.cfg.Max, d.ages(), s.id, s.text, w.entry.Encode(), flag(w.anew), w.raw, expires, flag(w.reopened)})
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}
