package broker

import (
	"context"
	"time"
)

// Leaser grants named leases: at most one owner holds a name at a time, in all workers of
// the broker. Without it each worker must act as if it were alone. Every method returns
// within a deadline of its own.
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
