package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// restPause is the time during which a faulty relay without a [Breaker] is tried last.
const restPause = 10 * time.Second

// Relays sends mails over several relays. The first one is preferred; a mail goes to the next
// one when a relay can take no mails. Its methods may be called by several goroutines.
//
// With one relay and no [Breaker] it does exactly what the [Sender] does.
type Relays struct {
	all  []*Relay
	rest time.Duration
}

// Relay is one relay of [Relays].
type Relay struct {
	Sender *Sender // required

	// Breaker stops attempts at a relay that can take no mails. Without one, mails prefer
	// the other relays for ten seconds after a fault. Then one mail tries the relay again.
	Breaker Breaker

	alone  bool // there is no other one
	memory restKeeper
}

// Breaker is a circuit breaker of one relay.
type Breaker interface {
	// Enter returns an error while the relay must not be tried. Otherwise the caller must
	// call done with the outcome of one mail: nil if the relay accepted it.
	// [SendError.CountsForBreaker] tells whether a failure concerns the relay.
	Enter() (done func(failed *SendError), err error)
}

// NewRelays returns Relays over the given ones, in the order of preference. All must have the
// same sender, because a mail keeps its Message-ID from relay to relay.
func NewRelays(relays ...Relay) (*Relays, error) {
	if len(relays) == 0 {
		return nil, errors.New("mail: no relay is given")
	}
	r := &Relays{rest: restPause}
	for i := range relays {
		one := &Relay{Sender: relays[i].Sender, Breaker: relays[i].Breaker, alone: len(relays) == 1}
		if one.Sender == nil {
			return nil, fmt.Errorf("mail: relay %d has no Sender", i+1)
		}
		if !one.Sender.from.sameAs(relays[0].Sender.from) {
			return nil, fmt.Errorf("mail: relay %d has another sender than the first one", i+1)
		}
		r.all = append(r.all, one)
	}
	return r, nil
}

// Hide calls [Sender.Hide] of each relay.
func (r *Relays) Hide(secrets []string) {
	for _, one := range r.all {
		one.Sender.Hide(secrets)
	}
}

// Send sends m over the first relay that can take it. It returns as [Sender.Send] does, and
// every attempt has the same Message-ID and Date.
//
// The next relay is tried after a fault of the relay: a failure before MAIL, a connection that
// broke before the end of data, the reply 421, and a refusal that concerns the rate, the quota
// or the account. It is tried, too, if a relay lacks an extension that m needs. It is not
// tried after the refusal of m or of its recipient, after the end of ctx, or once
// m.BeforeFinal was called. So that function is called at most once.
//
// When no relay took m, the error is that of the first relay that was tried. When the breakers
// of all relays refuse, nothing is dialled. The error then has the command "WAIT" and wraps
// the errors of the breakers. If the other relays lack an extension that m needs, the error
// names one of them.
func (r *Relays) Send(ctx context.Context, m Message) (Receipt, error) {
	start := time.Now()
	if m.Date.IsZero() {
		m.Date = start
	}
	final := false
	if ask := m.BeforeFinal; ask != nil {
		m.BeforeFinal = func(ctx context.Context) error {
			final = true
			return ask(ctx)
		}
	}
	var failures sendFailures
	var tried []*SendError
	for _, one := range r.order(start) {
		receipt, failed, skipped := one.send(ctx, m, r.rest)
		switch {
		case skipped != nil:
			failures.skipped = append(failures.skipped, skipped)
			continue
		case failed == nil:
			receipt.Duration, receipt.Others = time.Since(start), tried
			return receipt, nil
		case final || ctx.Err() != nil || !failed.failsOver() && !failed.lacksExtension():
			failed.Others = tried
			return Receipt{}, failed
		}
		failures.add(failed)
		tried = append(tried, failed)
	}
	failed := failures.error()
	failed.Others = slices.DeleteFunc(tried, func(e *SendError) bool { return e == failed })
	return Receipt{}, failed
}

// order returns the relays in the order in which a mail tries them.
func (r *Relays) order(now time.Time) []*Relay {
	if len(r.all) == 1 {
		return r.all
	}
	order := make([]*Relay, 0, len(r.all))
	var resting []*Relay
	for _, one := range r.all {
		if one.Breaker == nil && !one.memory.ready(now, r.rest) {
			resting = append(resting, one)
			continue
		}
		order = append(order, one)
	}
	return append(order, resting...)
}

// send tries the relay, unless its breaker refuses; skipped is then the error of the breaker.
func (o *Relay) send(ctx context.Context, m Message, rest time.Duration) (receipt Receipt, failed *SendError, skipped error) {
	if o.Breaker != nil {
		done, err := o.Breaker.Enter()
		if err != nil {
			return Receipt{}, nil, err
		}
		failed = &SendError{Command: "WAIT", Err: context.Canceled} // of a panic, which proves nothing
		defer func() { done(failed) }()
	}
	receipt, err := o.Sender.Send(ctx, m)
	failed, _ = errors.AsType[*SendError](err)
	switch began, ended := o.memory.note(failed, time.Now(), rest); {
	case o.alone:
	case began:
		o.Sender.log.Warn("mail relay faulty", "relay", o.Sender.addr, "error", failed)
	case ended:
		o.Sender.log.Info("mail relay works again", "relay", o.Sender.addr)
	}
	return receipt, failed, nil
}

// failsOver reports whether another relay may take the mail although this one did not. The
// outcome after the end of data is left to the caller.
func (e *SendError) failsOver() bool { return e.Command != "." && e.CountsForBreaker() }

// lacksExtension reports whether the mail was refused here, because the relay does not offer
// an extension that the mail needs, or only within limits.
func (e *SendError) lacksExtension() bool { return e.Command == "MAIL" && e.refused() && e.Err != nil }

// sendFailures collects why no relay took a mail.
type sendFailures struct {
	first   *SendError // the first one that does not only lack an extension
	lacking *SendError // the first one that does
	skipped []error    // of breakers
}

func (f *sendFailures) add(failed *SendError) {
	at := &f.first
	if failed.lacksExtension() {
		at = &f.lacking
	}
	if *at == nil {
		*at = failed
	}
}

// error returns the failure to report. A relay that is faulty or skipped may have the
// extension that the others lack, so the mail must be tried again.
func (f *sendFailures) error() *SendError {
	switch {
	case f.first != nil:
		return f.first
	case len(f.skipped) > 0 && f.lacking != nil:
		return &SendError{Command: "WAIT", Relay: f.lacking.Relay, Err: errors.Join(append(f.skipped, f.lacking)...)}
	case len(f.skipped) > 0:
		return &SendError{Command: "WAIT", Err: errors.Join(f.skipped...)}
	}
	return f.lacking
}

// Run runs [Sender.Run] of all relays until ctx ends.
func (r *Relays) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, one := range r.all {
		g.Go(func() error { return one.Sender.Run(ctx) })
	}
	return g.Wait()
}

// RelayStatus is the status of one relay.
type RelayStatus struct {
	Name string // host and port
	Status
}

// Status returns the status of each relay in the order of preference, without asking it.
func (r *Relays) Status() []RelayStatus {
	all := make([]RelayStatus, len(r.all))
	for i, one := range r.all {
		all[i] = RelayStatus{one.Sender.addr, one.Sender.Status()}
	}
	return all
}

// restKeeper records that a relay is faulty. Its methods may be called by several goroutines.
type restKeeper struct {
	mu     sync.Mutex
	faulty bool
	until  time.Time // end of the pause
}

// ready reports whether a mail may try the relay in its turn. After the pause it is true for
// one mail, and the pause begins again.
func (k *restKeeper) ready(now time.Time, pause time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.faulty:
		return true
	case now.Before(k.until):
		return false
	}
	k.until = now.Add(pause)
	return true
}

// note records the outcome of a mail; nil means that the relay accepted it. It reports whether
// a row of faults began or ended.
func (k *restKeeper) note(failed *SendError, now time.Time, pause time.Duration) (began, ended bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.faulty
	switch {
	case failed == nil || !failed.CountsForBreaker() && failed.refused() && !failed.lacksExtension():
		k.faulty = false
	case failed.CountsForBreaker():
		k.faulty, k.until = true, now.Add(pause)
	}
	return k.faulty && !before, before && !k.faulty
}
