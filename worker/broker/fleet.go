package broker

import (
	"context"
	"fmt"
	"time"
)

// Leaser grants named leases: at most one owner holds a name at a time, in all workers of
// the broker. Without it each worker must act as if it were alone. Every method has its
// own deadline.
type Leaser interface {
	// Lease takes the lease of a name for d from now on, or renews that of the same owner.
	// It reports false while another owner holds it. The clock of the broker decides when a
	// lease ends, so the owner must stop what only one may do before d has passed since it
	// called Lease. After an error the lease may be held; the next call tells. A d below a
	// millisecond counts as one.
	Lease(ctx context.Context, name, owner string, d time.Duration) (held bool, err error)

	// Release ends the lease of a name if owner holds it.
	Release(ctx context.Context, name, owner string) error
}

// MaxNotice is the greatest size of a notice, in bytes.
const MaxNotice = 64 << 10

// Board keeps small notices that all workers of the broker can read. Without it each worker
// knows only what it has found out itself. Every method returns within a deadline of its
// own.
type Board interface {
	// Post puts up a notice for d, and replaces an earlier one of that name. The last Post
	// counts, whichever worker it is of. The clock of the broker decides when the notice is
	// gone. A value of more than MaxNotice bytes is an error. A d below a millisecond counts
	// as one.
	Post(ctx context.Context, name string, value []byte, d time.Duration) error

	// Posted returns the notices of names, nil where there is none. An empty notice is not
	// nil.
	Posted(ctx context.Context, names ...string) ([][]byte, error)

	// Unpost removes the notices of names.
	Unpost(ctx context.Context, names ...string) error
}

// Limit is a rate that all workers of the broker share.
type Limit struct {
	// Name of the limit. Callers that use one name must agree in Every and Burst.
	Name string
	// Every is the time between two tokens: a second divided by the rate. 0: the limit has no
	// rate until Admitter.Slow gives it one, and admits everything until then.
	Every time.Duration
	// Burst is how many tokens may be taken at once after a silence. Default: 1.
	Burst int
	// Reserve is the longest reservation: tokens that are free within it are taken now. 0:
	// only tokens that are free now.
	Reserve time.Duration
}

// Admission is the answer of Admitter.Admit.
type Admission struct {
	// Wait is the time until the tokens are free, 0 when they are free now.
	Wait time.Duration
	// Limit is the name of the limit that decides Wait, "" when Wait is 0.
	Limit string
	// Admitted reports that the tokens were taken. The caller goes ahead after Wait, and
	// need not ask again. Otherwise nothing was taken.
	Admitted bool
}

// Admitter holds rate limits that all workers of the broker share. Without it each worker
// can only limit itself. Every method has its own deadline.
//
// Work that is admitted with a Wait has a reservation. Callers that put it off until then
// come through in the order of their calls.
//
// A lane for urgent work follows from two limits. Urgent work asks for one limit, of the
// whole rate, with a reservation. Bulk work asks for the same limit without a reservation,
// so that it takes no token of it ahead of time, and for a second one with its share of the
// rate.
type Admitter interface {
	// Admit takes one token of each limit, or none at all. It looks at all limits first. The
	// tokens of a reservation are taken now, also those of limits that have some free. At
	// most MaxLimits may be asked for together, each once.
	Admit(ctx context.Context, limits []Limit) (Admission, error)

	// Slow halves the rate of a limit, because a peer has asked for less. The callers of
	// Admit go on to name the full rate. The rate recovers by itself, by a tenth of the full
	// rate in a minute. A call within 30 seconds after an effective one changes nothing,
	// because many workers hear of the same trouble. share is the part of the full rate that
	// is left, at least 1/64. slowed reports whether the call had an effect.
	//
	// A limit without a rate gets half of the sum of what its callers have had. Callers count
	// that call within 30 seconds after the first one. The limit ends when it has recovered to
	// twice the sum.
	Slow(ctx context.Context, s Slowing) (share float64, slowed bool, err error)
}

// Slowing names a limit whose rate is halved.
type Slowing struct {
	Limit string
	// Every is for a limit without a rate: the time between two tokens that the caller has
	// lately taken. 0: the limit has a rate.
	Every time.Duration
	// Caller tells the callers of a limit without a rate apart. It must have no space in it.
	Caller string
}

// MaxLimits is the greatest number of limits in one Admit.
const MaxLimits = 16

// maxLimitTime bounds what a limit may span, so that a script can count in integers.
const maxLimitTime = 366 * 24 * time.Hour

// CheckLimits returns an error for limits that no Admitter takes. Implementations call it.
func CheckLimits(limits []Limit) error {
	if len(limits) > MaxLimits {
		return fmt.Errorf("%d limits at once, want at most %d", len(limits), MaxLimits)
	}
	names := map[string]bool{}
	for _, l := range limits {
		switch {
		case names[l.Name]:
			return fmt.Errorf("limit %q is named twice", l.Name)
		case l.Every != 0 && l.Every < time.Microsecond:
			return fmt.Errorf("limit %q: Every is %v, want at least a microsecond, or 0", l.Name, l.Every)
		case l.Burst < 0 || l.Every > maxLimitTime/time.Duration(max(l.Burst, 1)):
			return fmt.Errorf("limit %q: Burst is %d, want 1 or more, and at most a year for all of it", l.Name, l.Burst)
		case l.Reserve < 0 || l.Reserve > maxLimitTime:
			return fmt.Errorf("limit %q: Reserve is %v, want 0 to a year", l.Name, l.Reserve)
		}
		names[l.Name] = true
	}
	return nil
}
