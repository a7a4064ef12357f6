package ledger

import (
	"context"
	"fmt"
	"time"
)

// lease reports whether this worker may write.
func (w *Writer) lease(ctx context.Context) (held bool, err error) {
	if w.cfg.Leaser == nil {
		w.leased = w.cfg.Now()
		return true, nil
	}
	now := w.cfg.Now()
	if !w.leased.IsZero() && now.Sub(w.leased) < leaseRenewal {
		return true, nil
	}
	held, err = w.cfg.Leaser.Lease(ctx, w.leaseName(), w.cfg.Owner, leaseFor)
	if err != nil {
		return false, &brokerError{fmt.Errorf("take the lease of the ledger: %w", err)}
	}
	w.leased = time.Time{}
	if held {
		w.leased = now
	}
	return held, nil
}

func (w *Writer) leaseName() string { return "ledger." + w.cfg.Stream }

// release gives the lease back, also when ctx has ended.
func (w *Writer) release(ctx context.Context) {
	if w.leased.IsZero() || w.cfg.Leaser == nil {
		return
	}
	w.leased = time.Time{}
	const longest = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	if err := w.cfg.Leaser.Release(ctx, w.leaseName(), w.cfg.Owner); err != nil {
		w.cfg.Logger.WarnContext(ctx, "lease of the ledger not released", "error", err)
	}
}
