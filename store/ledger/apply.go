package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/internal/sorting"
)

// entry is an event with its place in the stream.
type entry struct {
	ms, seq int64     // id in the stream
	at      time.Time // when it was appended, by the clock of the broker
	event   Event
}

// placeOf returns the two numbers of an id of a stream of Redis. For an id of another broker
// they are made of its time and a hash.
func placeOf(id string, at time.Time) (ms, seq int64) {
	first, second, _ := strings.Cut(id, "-")
	ms, err1 := strconv.ParseInt(first, 10, 64)
	seq, err2 := strconv.ParseInt(second, 10, 64)
	if err1 == nil && err2 == nil {
		return ms, seq
	}
	sum := sha256.Sum256([]byte(id))
	return at.UnixMilli(), int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
}

// sameMail is the greatest difference between the first claims in two events of one mail. A
// crash loses the time of the first claim, a retry does not. Beyond it a mail of the same
// fingerprint is another mail: its message was sent again by the producer.
const sameMail = 8 * 24 * time.Hour

// apply stores entries, each once however often it comes, and returns how many were new. The
// lock makes a second writer wait, so that rows may be changed by reading and writing them.
func (d *database) apply(ctx context.Context, entries []entry) (written int, err error) {
	entries = slices.Clone(entries)
	sorting.Stable(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.seq, b.seq)) })
	entries = slices.CompactFunc(entries, func(a, b entry) bool {
		return a.ms == b.ms && a.seq == b.seq && a.event.Mail == b.event.Mail
	})
	err = d.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := d.lock(ctx, tx, lockWrite); err != nil {
			return err
		}
		rows := make([][]any, len(entries))
		for i, e := range entries {
			rows[i] = e.cells()
		}
		places, err := d.insert(ctx, tx, eventsTable, rows)
		if err != nil {
			return err
		}
		fresh := make([]entry, len(places))
		for i, place := range places {
			fresh[i] = entries[place]
		}
		written = len(fresh)
		if written == 0 {
			return nil
		}
		changed, err := d.applyMails(ctx, tx, fresh)
		if err != nil {
			return err
		}
		if err := d.applyCounts(ctx, tx, fresh); err != nil {
			return err
		}
		if err := d.follow(ctx, tx, fresh); err != nil {
			return err
		}
		return d.adopt(ctx, tx, changed)
	})
	return written, err
}

// Stored is an event that was stored, with the id of its entry.
type Stored struct {
	ID string
	Event
}

// follow tells the follower of new entries.
func (d *database) follow(ctx context.Context, tx *sqlx.Tx, fresh []entry) error {
	if d.follower == nil {
		return nil
	}
	stored := make([]Stored, len(fresh))
	for i, e := range fresh {
		stored[i] = Stored{ID: strconv.FormatInt(e.ms, 10) + "-" + strconv.FormatInt(e.seq, 10), Event: e.event}
	}
	return d.follower.Follow(ctx, tx, stored)
}

// Follower is told of events in the transaction that stores them, of each once.
type Follower interface {
	// Follow gets new events. After an error nothing of the batch is stored.
	Follow(ctx context.Context, tx *sqlx.Tx, stored []Stored) error

	// Maintain is called once an hour. Data of the time before is to be removed.
	Maintain(ctx context.Context, before time.Time) error
}

// applyMails merges entries into the rows of their mails. It returns the rows that bounces
// could not find before.
func (d *database) applyMails(ctx context.Context, tx *sqlx.Tx, entries []entry) (findable []*row, err error) {
	earliest, latest := entries[0].event.FirstSeen, entries[0].event.FirstSeen
	names := map[string]bool{}
	for _, e := range entries {
		names[e.event.Mail] = true
		if e.event.FirstSeen.Before(earliest) {
			earliest = e.event.FirstSeen
		}
		if e.event.FirstSeen.After(latest) {
			latest = e.event.FirstSeen
		}
	}
	// The order of the rows is that in which another transaction would lock them.
	var known []*row
	err = d.query(ctx, tx, &known, "SELECT "+writeColumns+" FROM evently_mail.mails WHERE mail IN (?) AND first_seen BETWEEN ? AND ? ORDER BY mail, first_seen FOR UPDATE",
		sorting.Keys(names), d.time(earliest.Add(-sameMail)), d.time(latest.Add(sameMail)))
	if err != nil {
		return nil, fmt.Errorf("read the mails of the events: %w", err)
	}
	erased, err := d.erasures(ctx, tx)
	if err != nil {
		return nil, err
	}
	mails := make(map[string][]*row, len(names))
	for _, r := range known {
		mails[r.Mail] = append(mails[r.Mail], r)
	}
	changed := map[*row]bool{}
	var rows [][]any
	var order []*row
	for _, e := range entries {
		i := slices.IndexFunc(mails[e.event.Mail], func(r *row) bool {
			return e.event.FirstSeen.Sub(r.FirstSeen.Time).Abs() <= sameMail
		})
		if i < 0 {
			i = len(mails[e.event.Mail])
			mails[e.event.Mail] = append(mails[e.event.Mail], &row{Mail: e.event.Mail, FirstSeen: stamp{e.event.FirstSeen}})
		}
		r := mails[e.event.Mail][i]
		r.Erased = r.Erased || erased.cover(e)
		r.merge(e)
		if !changed[r] {
			changed[r] = true
			order = append(order, r)
		}
	}
	for _, r := range order {
		if r.Ref == 0 && d.reference != nil {
			r.Ref = refNumber(d.reference(r.Mail))
			findable = append(findable, r)
		}
		rows = append(rows, r.cells())
	}
	_, err = d.insert(ctx, tx, mailsTable, rows)
	return findable, err
}

// Keys of the rows of the roll-ups.
type (
	countKey struct {
		span   time.Duration
		start  time.Time
		kind   string
		state  State
		bucket int
	}
	classKey struct {
		hour  time.Time
		kind  string
		state State
		class string
	}
	domainKey struct {
		day    time.Time
		domain string
		state  State
		class  string
	}
)

// applyCounts adds entries to the roll-ups. The rows are sorted, so that two transactions
// lock them in one order.
func (d *database) applyCounts(ctx context.Context, tx *sqlx.Tx, entries []entry) error {
	counts, classes, domains := map[countKey]int64{}, map[classKey]int64{}, map[domainKey]int64{}
	for _, e := range entries {
		ev := e.event
		at := ev.At.UTC()
		bucket := bucketOf(ev.At.Sub(ev.FirstSeen))
		for _, span := range spans {
			counts[countKey{span, at.Truncate(span), ev.Kind, ev.State, bucket}]++
		}
		if ev.Class != "" {
			classes[classKey{at.Truncate(time.Hour), ev.Kind, ev.State, ev.Class}]++
		}
		if ev.State != Queued && ev.State != Sending {
			domains[domainKey{at.Truncate(day), ev.Recipient.Domain, ev.State, ev.Class}]++
		}
	}
	var rows [][]any
	for k, n := range counts {
		rows = append(rows, []any{int64(k.span / time.Second), k.start, k.kind, int64(k.state), int64(k.bucket), n})
	}
	if _, err := d.insert(ctx, tx, countsTable, sorted(rows)); err != nil {
		return err
	}
	rows = rows[:0]
	for k, n := range classes {
		rows = append(rows, []any{k.hour, k.kind, int64(k.state), k.class, n})
	}
	if _, err := d.insert(ctx, tx, classesTable, sorted(rows)); err != nil {
		return err
	}
	rows = rows[:0]
	for k, n := range domains {
		rows = append(rows, []any{k.day, k.domain, int64(k.state), k.class, n})
	}
	_, err := d.insert(ctx, tx, domainsTable, sorted(rows))
	return err
}

// sorted returns rows in an order that depends on their values only.
func sorted(rows [][]any) [][]any {
	sorting.By(rows, func(a, b []any) int { return cmp.Compare(fmt.Sprint(a[:len(a)-1]...), fmt.Sprint(b[:len(b)-1]...)) })
	return rows
}
