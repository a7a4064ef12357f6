package monitor

// The readers are what pages and commands see of the service: Letters, Queues, Workers, and
// Deliveries once there is a ledger of mails, which store implements. Each holds the methods
// that this package uses, and the wiring in app checks that the implementations fit.

import (
	"context"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
)

// Letters reads and disposes of dead letters. Commands and pages use it, so that they do
// not depend on a concrete broker.
type Letters interface {
	// List returns dead letters, the newest first, and their total number.
	List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error)

	// Get returns one dead letter.
	Get(ctx context.Context, id string) (broker.DeadLetter, error)

	// Find completes the prefix of an id.
	Find(ctx context.Context, prefix string) (id string, err error)

	// Retry puts a dead letter back into its queue, as a new message.
	Retry(ctx context.Context, id string) error

	// Delete removes a dead letter for good.
	Delete(ctx context.Context, id string) error
}

// Workers reads which workers are alive: those of this program and Python's. Package
// worker/inspect implements it.
type Workers interface {
	// Workers returns the workers that answer before ctx ends, in the order of their node
	// names.
	Workers(ctx context.Context) ([]inspect.Worker, error)
}

// Queues reads the consumed queues. Messages carry no time of their publication, so there
// is no age of a queue.
type Queues interface {
	// Depths returns the number of waiting messages in each queue.
	Depths(ctx context.Context) (map[string]int, error)
}
