package ledger

import (
	"context"
	"errors"
	"time"
)

// maintain makes and drops partitions once an hour. It is the task of the worker that
// writes.
func (w *Writer) maintain(ctx context.Context) error {
	now := w.cfg.Now()
	if now.Sub(w.maintained) < upkeep {
		return nil
	}
	if err := w.db.makePartitions(ctx, now); err != nil && !isLockTimeout(err) {
		return err
	}
	cleaned, err := w.clean(ctx, now)
	if err != nil {
		return err
	}
	if err := w.keepKey(ctx); err != nil {
		return err
	}
	stray, err := w.db.stray(ctx)
	if err != nil {
		return err
	}
	w.status.stray(stray)
	if w.maintained = now; !cleaned {
		w.maintained = now.Add(cleanAgain - upkeep)
	}
	return nil
}

// clean removes what is older than the retention, and reports whether it has. A removal that fails
// keeps no event from being stored, because the rows can go later. The error is a fault of rights
// or of the schema, or the end of ctx.
func (w *Writer) clean(ctx context.Context, now time.Time) (cleaned bool, err error) {
	err = w.db.retire(ctx, now, w.cfg.Retention)
	if f := w.cfg.Follower; f != nil && err == nil {
		err = f.Maintain(ctx, now.Add(-w.cfg.Retention))
	}
	if err == nil {
		return true, nil
	}
	if _, lasting := errors.AsType[*AccessError](refine(err)); lasting || ctx.Err() != nil {
		return false, err
	}
	w.cfg.Logger.WarnContext(ctx, "old history not removed, tried again later", "pause", cleanAgain.Seconds(), "error", err)
	return false, nil
}
