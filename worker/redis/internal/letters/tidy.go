package letters

import (
	"context"
	"fmt"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/deadletter"
	"github.com/evently/workers/worker/protocol"
)

// Times of [Keeper.Run].
const (
	tidyCalm = 30 * time.Second // between two looks
	tidySoon = time.Second      // at least, also after letters were set aside
	tidyAll  = time.Hour        // between two looks at all entries
)

// Keeper keeps dead letters tidy: it encrypts what scripts and earlier versions have set aside,
// wipes what has expired, and removes what is too much. Make one with NewKeeper.
type Keeper struct {
	*Letters
	wanted chan struct{} // capacity 1: letters were set aside by scripts
	score  string        // of the newest open letter whose entry was looked at
	whole  time.Time     // when all entries were looked at
	next   time.Time     // at which a letter expires; zero: none does
}

// NewKeeper returns the keeper of dead letters.
func NewKeeper(d *Letters) *Keeper { return &Keeper{Letters: d, wanted: make(chan struct{}, 1)} }

// Tidy asks Run to look at once. Scripts have set letters aside that this process has not seen.
func (k *Keeper) Tidy() {
	select {
	case k.wanted <- struct{}{}:
	default:
	}
}

// Seen returns the numbers of dead letters as they were counted last, and when. known is false
// before the first count, and from a fault until the next count: they may have changed. It does no
// I/O.
func (k *Keeper) Seen() (counts broker.LetterCounts, at time.Time, known bool) {
	if s := k.seen.Load(); s != nil {
		return s.counts, s.at, !s.doubt
	}
	return counts, at, false
}

// Doubt notes that Redis did not answer: it may have other letters when it answers again. Run counts
// them then.
func (k *Keeper) Doubt() {
	if s := k.seen.Load(); s != nil && !s.doubt {
		k.seen.CompareAndSwap(s, &seen{counts: s.counts, at: s.at, doubt: true})
		k.Tidy()
	}
}

// Run keeps the letters tidy until ctx ends. It calls step, which calls Look.
func (k *Keeper) Run(ctx context.Context, step func(context.Context) error) {
	for {
		began := time.Now()
		wait := tidyCalm
		if step(ctx) != nil && ctx.Err() == nil { // it reports its errors
			k.Doubt()
			wait = tidySoon
		}
		if !k.next.IsZero() {
			wait = min(wait, time.Until(k.next))
		}
		calm := time.NewTimer(wait)
		select {
		case <-calm.C:
		case <-k.wanted:
		case <-ctx.Done():
		}
		calm.Stop()
		soon := time.NewTimer(tidySoon - time.Since(began))
		select {
		case <-soon.C:
		case <-ctx.Done():
			soon.Stop()
			return
		}
	}
}

// Look looks at all letters that need it.
func (k *Keeper) Look(ctx context.Context) error {
	if time.Since(k.whole) > tidyAll {
		k.score = "-inf"
		if err := k.completeClosed(ctx); err != nil {
			return err
		}
		k.whole = time.Now()
	}
	if err := k.completeNew(ctx); err != nil {
		return err
	}
	if err := k.wipeExpired(ctx); err != nil {
		return err
	}
	_, next, err := k.count(ctx)
	k.next = next
	return err
}

// completeNew completes the open letters that came since the last look.
func (k *Keeper) completeNew(ctx context.Context) error {
	score, offset := k.score, 0
	for {
		var rows []string
		err := k.cfg.Do(ctx, func(c redigo.Conn) (err error) {
			rows, err = redigo.Strings(c.Do("ZRANGEBYSCORE", k.open.index, score, "+inf", "WITHSCORES", "LIMIT", offset, pageSize))
			return err
		})
		if err != nil {
			return fmt.Errorf("look for new dead letters: %w", err)
		}
		var ids []string
		for i := 0; i+1 < len(rows); i += 2 {
			ids = append(ids, rows[i])
			k.score = rows[i+1]
		}
		if err := k.complete(ctx, k.open, ids); err != nil {
			return err
		}
		if len(ids) < pageSize {
			return nil
		}
		offset += len(ids)
	}
}

// completeClosed encrypts closed letters anew after a change of the key.
func (k *Keeper) completeClosed(ctx context.Context) error {
	score, last := "+inf", ""
	for {
		page, err := redigo.Strings(k.ask(ctx, k.cfg.Scripts.LetterPage, []any{k.closed.index}, []any{score, last, pageSize}))
		if err != nil || len(page) == 0 {
			return err
		}
		var ids []string
		for i := 0; i+1 < len(page); i += 2 {
			last, score = page[i], page[i+1]
			ids = append(ids, last)
		}
		if err := k.complete(ctx, k.closed, ids); err != nil {
			return err
		}
	}
}

// complete writes letters anew that lack something: their entry is not complete, they are not
// encrypted with the key in use, or they have expired. It reads the entries of all, and the bytes
// of those only.
func (k *Keeper) complete(ctx context.Context, where set, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	var entries [][]byte
	err := k.cfg.Do(ctx, func(c redigo.Conn) (err error) {
		entries, err = redigo.ByteSlices(c.Do("HMGET", redigo.Args{where.metas}.AddFlat(ids)...))
		return err
	})
	if err != nil || len(entries) != len(ids) {
		return fmt.Errorf("read the entries of dead letters: %w", err)
	}
	var lacking []string
	for i, text := range entries {
		if e := deadletter.Parse(text); text != nil && k.lacks(&e) {
			lacking = append(lacking, ids[i])
		}
	}
	_, err = k.renew(ctx, lacking)
	return err
}

// lacks reports whether a letter has to be written anew.
func (k *Keeper) lacks(e *deadletter.Entry) bool {
	switch {
	case e.Wiped, e.Version < deadletter.Complete && k.large(e):
		return false
	case e.Version < deadletter.Complete, e.Expires != 0 && !time.Now().Before(e.Expires.Time()):
		return true
	}
	return e.Key != k.key() && k.key() != ""
}

// large reports whether a letter stays as a script has written it, because a worker must not take so
// much memory for it. Earlier versions did not write the size.
func (k *Keeper) large(e *deadletter.Entry) bool {
	most := 1 << 20
	if k.key() != "" {
		most = 4 * k.cfg.MaxMessageSize
	}
	return e.Size > most || e.Size == 0 && e.Reason == string(protocol.ReasonTooLarge)
}

// key returns the name of the key in use, "" without encryption.
func (k *Keeper) key() string {
	if k.cfg.Sealer == nil {
		return ""
	}
	return k.cfg.Sealer.Key()
}

// renew writes letters anew that need it, and returns the ids of the others.
func (k *Keeper) renew(ctx context.Context, ids []string) (others []string, err error) {
	for len(ids) > 0 {
		chunk := ids[:min(pageSize, len(ids))]
		ids = ids[len(chunk):]
		all, err := k.read(ctx, chunk)
		if err != nil {
			return nil, err
		}
		var ss []stored
		var ws []rewriting
		for i := range all {
			if w, ok := k.renewed(&all[i]); ok {
				all[i].raw = nil
				ss, ws = append(ss, all[i]), append(ws, w)
			}
		}
		if len(ss) > 0 {
			if _, err := k.rewrite(ctx, ss, ws); err != nil {
				return nil, fmt.Errorf("write dead letters anew: %w", err)
			}
		}
		for _, id := range chunk {
			if !slices.ContainsFunc(ss, func(s stored) bool { return s.id == id }) {
				others = append(others, id)
			}
		}
	}
	return others, nil
}

// renewed returns the new form of a letter. A letter that cannot be decrypted stays as it is,
// unless it has expired: then nothing is left of its bytes.
func (k *Keeper) renewed(s *stored) (w rewriting, ok bool) {
	w.entry = s.entry
	clear, locked := k.clear(s)
	switch expires := s.entry.Expires; {
	case s.entry.Wiped:
		return w, false
	case expires != 0 && !time.Now().Before(expires.Time()):
		w.entry.Wiped, w.entry.Key = true, ""
		w.anew, w.raw = true, deadletter.Mark(deadletter.Wipe(clear))
		return w, true
	case locked != nil:
		return w, false
	}
	sealed, err := k.seal(s.id, &w.entry, clear)
	if err != nil {
		return w, false
	}
	w.anew, w.raw = true, sealed
	return w, true
}

// seal encrypts the bytes of a letter and notes the key in its entry.
func (k *Keeper) seal(id string, e *deadletter.Entry, clear []byte) ([]byte, error) {
	key := k.key()
	if key == "" {
		e.Key = ""
		return clear, nil
	}
	sealed, err := k.cfg.Sealer.Seal(id, clear)
	if err != nil {
		return nil, fmt.Errorf("encrypt dead letter %s: %w", id, err)
	}
	e.Key = key
	return sealed, nil
}

// wipeExpired wipes the letters whose time has come.
func (k *Keeper) wipeExpired(ctx context.Context) error {
	for {
		now := deadletter.SecondsOf(time.Now()).String()
		var ids []string
		err := k.cfg.Do(ctx, func(c redigo.Conn) (err error) {
			ids, err = redigo.Strings(c.Do("ZRANGEBYSCORE", k.expiries, "-inf", now, "LIMIT", 0, pageSize))
			return err
		})
		if err != nil {
			return fmt.Errorf("look for expired dead letters: %w", err)
		}
		if len(ids) == 0 {
			return nil
		}
		others, err := k.renew(ctx, ids)
		if err != nil || len(others) == 0 {
			return err
		}
		// Letters that an earlier version has removed leave their times behind.
		err = k.cfg.Do(ctx, func(c redigo.Conn) error {
			_, err := c.Do("ZREM", redigo.Args{k.expiries}.AddFlat(others)...)
			return err
		})
		if err != nil {
			return fmt.Errorf("note wiped dead letters: %w", err)
		}
	}
}

// SetAside returns what is stored of a message that becomes a dead letter now: its bytes, encrypted
// where that is wanted, and its entry.
func (k *Keeper) SetAside(id, queue, reason string, raw []byte) (stored, entry []byte) {
	e := deadletter.Entry{Queue: queue, Reason: reason, At: deadletter.SecondsOf(time.Now())}
	e.Fill(raw, k.cfg.Lives)
	stored, err := k.seal(id, &e, raw)
	if err != nil {
		k.cfg.Logger.Error("dead letter is not encrypted", "error", err)
		stored = raw
	}
	return stored, e.Encode()
}

// Keys returns the keys of the closed letters and of what is known about all of them: hashes, and
// sorted sets.
func (k *Keeper) Keys() (hashes, sorted []string) {
	return []string{k.closed.raws, k.closed.metas, k.dropped}, []string{k.closed.index, k.expiries}
}

// timeOf returns the time that a script has written, zero for "".
func timeOf(text string) time.Time {
	var s deadletter.Seconds
	if text == "" || s.UnmarshalJSON([]byte(text)) != nil {
		return time.Time{}
	}
	return s.Time()
}
