package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/evently/workers/internal/sorting"
)

const readAtOnce = 1000

// Verify checks the whole trail: the database, and what waits in the broker. heads are ends of
// the trail that were noted elsewhere, as [Head.String] writes them. The error is about reading;
// what is wrong with the trail is in the report.
func (t *Trail) Verify(ctx context.Context, heads ...string) (*Report, error) {
	return t.VerifySlices(ctx, func(int64) error { return nil }, heads...)
}

// VerifySlices is Verify that calls next with the number of checked rows, before it reads the
// next thousand. It ends with the error of next.
func (t *Trail) VerifySlices(ctx context.Context, next func(rows int64) error, heads ...string) (*Report, error) {
	report := &Report{Faults: []Fault{}, Remarks: []string{}}
	waiting, err := t.readJournal(ctx, report)
	if err != nil {
		return nil, err
	}
	c := newChecker(t.cfg.Keys, Database, report)
	c.next = next
	if t.cfg.Store == nil {
		c = newChecker(t.cfg.Keys, Stream, report)
	}
	for _, text := range heads {
		h, err := ParseHead(text)
		if err != nil {
			return nil, err
		}
		c.noted[h.Number] = append(c.noted[h.Number], h.Hash)
	}
	if t.cfg.Store == nil {
		t.verifyStream(c, waiting)
	} else {
		if err := t.verifyDatabase(ctx, c, waiting); err != nil {
			return nil, err
		}
	}
	c.end()
	sorting.Stable(report.Faults, func(a, b Fault) int { return int(a.Number - b.Number) })
	return report, nil
}

// verifyDatabase checks the rows of the database and the entries that wait for it.
func (t *Trail) verifyDatabase(ctx context.Context, c *checker, waiting *waitingEntries) error {
	for _, text := range waiting.notes {
		h, genuine := t.cfg.Keys.unseal(text)
		if !genuine {
			c.report.remark("the broker has a note of a head that was not made with AUDIT_KEY: %s", clean(text, 100))
			continue
		}
		if !slices.Contains(c.noted[h.Number], h.Hash) {
			c.noted[h.Number] = append(c.noted[h.Number], h.Hash)
		}
	}
	record, err := t.readRows(ctx, c)
	if err != nil {
		return err
	}
	last := Head{c.last.Number, c.last.Hash}
	c.report.Head = last.String()
	head, genuine := t.cfg.Keys.unseal(record)
	switch {
	case record == "" && last.Number == 0:
	case head == (Head{}), !genuine:
		c.report.fault(Changed, last.Number, "the record of the end of the trail was removed or changed")
	case head.Number > last.Number:
		c.report.fault(Missing, last.Number+1, "%s missing at the end", span(last.Number+1, head.Number))
		delete(c.noted, head.Number) // said
		for n := range c.noted {
			if n > last.Number && n <= head.Number {
				delete(c.noted, n)
			}
		}
	case head.Number < last.Number:
		c.report.fault(Replaced, head.Number+1, "the record of the end of the trail names row %d: later rows were added in another way", head.Number)
	case head.Hash != last.Hash:
		c.report.fault(Replaced, last.Number, "row %d is not the one that the record of the end of the trail names", last.Number)
	}
	t.verifyWaiting(c, waiting)
	return nil
}

// readRows checks all rows and returns the record of the head, read after them.
func (t *Trail) readRows(ctx context.Context, c *checker) (record string, err error) {
	for {
		if err := c.next(c.report.Rows); err != nil {
			return "", err
		}
		rows, err := t.cfg.Store.Rows(ctx, c.last.Number, readAtOnce)
		if t.awaitsTables(err) {
			c.report.remark("the database has no table for the trail")
			record, err := t.cfg.Store.Record(ctx)
			if t.awaitsTables(err) {
				return "", nil
			}
			return record, err
		}
		if err != nil {
			return "", fmt.Errorf("read the audit trail: %w", err)
		}
		for _, r := range rows {
			c.count(r)
			c.row(r)
			c.fromBroker(r)
		}
		if len(rows) > 0 {
			continue
		}
		if record, err = t.cfg.Store.Record(ctx); err != nil {
			return "", fmt.Errorf("read the end of the audit trail: %w", err)
		}
		// Rows may have been added since.
		more, err := t.cfg.Store.Rows(ctx, c.last.Number, 1)
		if err != nil {
			return "", fmt.Errorf("read the audit trail: %w", err)
		}
		if len(more) == 0 {
			return record, nil
		}
	}
}

func (c *checker) count(r Row) {
	c.report.Rows++
	if c.report.First.IsZero() {
		c.report.First = r.At
	}
	c.report.Last = r.At
}

// waitingEntries is what the broker has.
type waitingEntries struct {
	head    Head
	rows    []Row
	dropped int64
	notes   []string
}

// readJournal reads what the broker has. It is read before the database, so that an entry that
// is moved meanwhile is seen at least once.
func (t *Trail) readJournal(ctx context.Context, report *Report) (*waitingEntries, error) {
	w := new(waitingEntries)
	if t.cfg.Journal == nil {
		report.remark("the broker was not asked")
		return w, nil
	}
	head, err := t.cfg.Journal.Head(ctx)
	if err == nil {
		w.notes, err = t.cfg.Journal.Notes(ctx)
	}
	if err == nil {
		w.rows, err = t.waitingRows(ctx, report)
	}
	if err == nil {
		b, backlogErr := t.cfg.Journal.Backlog(ctx)
		w.dropped, err = b.Dropped, backlogErr
	}
	if err != nil && t.cfg.Store != nil && ctx.Err() == nil {
		report.remark("the broker cannot be asked, so that entries missing at the end may stay unnoticed: %v", err)
		return new(waitingEntries), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the audit trail in the broker: %w", err)
	}
	if w.head, err = ParseHead(head); err != nil {
		report.fault(Changed, 0, "the end of the journal in the broker was changed: %v", err)
	}
	report.Waiting = len(w.rows)
	return w, nil
}

// waitingRows returns all entries of the broker.
func (t *Trail) waitingRows(ctx context.Context, report *Report) (rows []Row, err error) {
	for after := ""; ; {
		recorded, err := t.cfg.Journal.After(ctx, after, readAtOnce)
		if err != nil || len(recorded) == 0 {
			return rows, err
		}
		for _, r := range recorded {
			row, err := parseFields(r.Fields)
			if err != nil {
				report.fault(Changed, row.Number, "entry %s of the broker cannot be read: %v", r.ID, err)
				continue
			}
			rows = append(rows, row)
		}
		after = recorded[len(recorded)-1].ID
	}
}

// verifyWaiting checks the entries that wait for the database.
func (t *Trail) verifyWaiting(c *checker, w *waitingEntries) {
	for _, r := range w.rows {
		if r.Number <= c.origin.Number {
			continue // moved meanwhile
		}
		if sum, known := t.cfg.Keys.sum(r); known && sum != r.Hash {
			c.report.fault(Changed, c.last.Number+1, "entry %d, which waits in the broker, was changed after it was written", r.Number)
		}
		c.follow(c.last.Number+1, r)
	}
	switch {
	case w.head.Number > c.origin.Number:
		c.report.fault(Missing, c.last.Number+1, "entries %d to %d of the broker are missing", c.origin.Number+1, w.head.Number)
	case w.head.Number == c.origin.Number && w.head.Hash != c.origin.Hash:
		c.report.fault(Replaced, c.last.Number, "entry %d of the broker is not the one that its end names", w.head.Number)
	}
}

// verifyStream checks a trail that is in the broker alone.
func (t *Trail) verifyStream(c *checker, w *waitingEntries) {
	if len(w.rows) > 0 {
		if first := w.rows[0]; first.Number > 1 && first.Number <= w.dropped+1 {
			c.report.fault(Missing, 1, "%s missing: they were dropped because the journal in the broker was full", span(1, first.Number-1))
			c.last = Row{Number: first.Number - 1, Hash: first.Prev}
		}
	}
	for _, r := range w.rows {
		c.count(r)
		c.row(r)
	}
	last := Head{c.last.Number, c.last.Hash}
	c.report.Head = last.String()
	switch {
	case w.head.Number > last.Number:
		c.report.fault(Missing, last.Number+1, "%s missing at the end", span(last.Number+1, w.head.Number))
	case w.head.Number == last.Number && w.head.Hash != last.Hash:
		c.report.fault(Replaced, last.Number, "row %d is not the last one that was written", last.Number)
	}
}
