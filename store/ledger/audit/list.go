package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Filter selects rows. Zero fields select all.
type Filter struct {
	Since, Until time.Time // Until is excluded
	Actor        string    // the actor, or the part before its @
	Action       string    // the action, or its group before the dot
	ID           string    // one of the ids
	Before       int64     // rows with a lower number; 0: from the newest
	Limit        int       // default: 50
}

// Most returns the limit or its default.
func (f Filter) Most() int {
	const usual = 50
	return cmp.Or(f.Limit, usual)
}

// selected returns the rows that f selects, without its limit, the newest first. rows are in
// their order.
func (f Filter) selected(rows []Row) (found []Row) {
	ops := map[string]bool{} // that have the id of f
	for _, r := range rows {
		if slices.Contains(r.IDs, f.ID) {
			ops[r.Op()] = true
		}
	}
	for _, r := range slices.Backward(rows) {
		if f.selects(r) && (f.ID == "" || ops[r.Op()]) {
			found = append(found, r)
		}
	}
	return found
}

// selects reports whether f selects a row, but for its ID and its Limit.
func (f Filter) selects(r Row) bool {
	return (f.Since.IsZero() || !r.At.Before(f.Since)) && (f.Until.IsZero() || r.At.Before(f.Until)) &&
		(f.Actor == "" || r.Actor == f.Actor || strings.HasPrefix(r.Actor, f.Actor+"@")) &&
		(f.Action == "" || r.Action == f.Action || strings.HasPrefix(r.Action, f.Action+".")) &&
		(f.Before == 0 || r.Number < f.Before)
}

// Listed is an answer of [Trail.List].
type Listed struct {
	Rows    []Row // the newest first
	Waiting int   // rows that wait in the broker for the database
}

// List returns rows that a filter selects, the newest first. Entries that wait in the broker
// come before those of the database; they have no number there yet.
func (t *Trail) List(ctx context.Context, f Filter) (l Listed, err error) {
	if t.cfg.Journal != nil && (f.Before == 0 || t.cfg.Store == nil) {
		rows, err := t.waitingRows(ctx, new(Report))
		if err != nil && t.cfg.Store == nil {
			return l, fmt.Errorf("read the audit trail in the broker: %w", err)
		}
		l.Rows = f.selected(rows)
		if t.cfg.Store != nil {
			l.Waiting = len(l.Rows)
		}
	}
	if t.cfg.Store != nil {
		rows, err := t.cfg.Store.List(ctx, f)
		if err != nil && !t.awaitsTables(err) {
			return l, fmt.Errorf("read the audit trail: %w", err)
		}
		l.Rows = append(l.Rows, rows...)
	}
	l.Rows = l.Rows[:min(len(l.Rows), f.Most())]
	l.Waiting = min(l.Waiting, len(l.Rows))
	return l, nil
}

// Action is the row that begins an action, with the outcome that came later.
type Action struct {
	Row
	Waiting bool // for the database: it has no number yet
}

// Actions joins the rows of one action. The newest is the first.
func (l Listed) Actions() []Action {
	outcomes := map[string]string{}
	all := make([]Action, 0, len(l.Rows))
	for i, r := range l.Rows { // the outcome comes before
		op := r.Op()
		switch outcome, known := outcomes[op]; {
		case r.Outcome != Started && len(r.IDs) == 0 && strings.HasSuffix(r.ID, "+") && hasStart(l.Rows[i:], op):
			outcomes[op] = r.Outcome
			continue
		case known:
			r.Outcome = outcome
		}
		all = append(all, Action{Row: r, Waiting: i < l.Waiting})
	}
	return all
}

// hasStart reports whether the row before an action is among rows.
func hasStart(rows []Row, op string) bool {
	return slices.ContainsFunc(rows, func(r Row) bool { return r.ID == op })
}

// Each calls do with the rows that a filter selects in their order, without its limit. Rows that wait in the broker come last.
func (t *Trail) Each(ctx context.Context, f Filter, do func(Row) error) error {
	ops := map[string]bool{} // that have the id of f
	visit := func(rows []Row) error {
		for _, r := range rows {
			if slices.Contains(r.IDs, f.ID) {
				ops[r.Op()] = true
			}
			if !f.selects(r) || f.ID != "" && !ops[r.Op()] {
				continue
			}
			if err := do(r); err != nil {
				return err
			}
		}
		return nil
	}
	var waiting []Row
	if t.cfg.Journal != nil {
		var err error
		if waiting, err = t.waitingRows(ctx, new(Report)); err != nil {
			return fmt.Errorf("read the audit trail in the broker: %w", err)
		}
	}
	if t.cfg.Store != nil {
		for after := int64(0); ; {
			rows, err := t.cfg.Store.Rows(ctx, after, readAtOnce)
			if err != nil && !t.awaitsTables(err) {
				return fmt.Errorf("read the audit trail: %w", err)
			}
			if len(rows) == 0 {
				break
			}
			if err := visit(rows); err != nil {
				return err
			}
			after = rows[len(rows)-1].Number
		}
	}
	return visit(waiting)
}

// awaitsTables reports whether err says that the tables are not made yet, while entries may
// wait for them in the broker.
func (t *Trail) awaitsTables(err error) bool {
	return t.cfg.Journal != nil && errors.Is(err, ErrNoTables)
}
