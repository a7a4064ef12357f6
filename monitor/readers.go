package monitor

// The readers are what pages and commands see of the service: Letters, Queues, Workers and
// Deliveries. Each holds the methods that pages and commands use, and the wiring in app checks
// that the implementations fit.

import (
	"context"
	"time"

	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
)

// LetterReader reads dead letters. Commands and pages use it, so that they do not depend on a
// concrete broker.
type LetterReader interface {
	// List returns open dead letters, the newest first, and their total number.
	List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error)

	// Each calls fn for the dead letters of the given states, without any for all, the newest
	// first. It ends at the first error of fn and returns that. Letters that others add or
	// remove meanwhile do not move the others.
	Each(ctx context.Context, fn func(broker.DeadLetter) error, states ...broker.LetterState) error

	// Get returns one dead letter of any state. When it is encrypted with a key that is
	// missing, Locked says so and Raw is nil.
	Get(ctx context.Context, id string) (broker.DeadLetter, error)

	// Find completes the prefix of an id.
	Find(ctx context.Context, prefix string) (id string, err error)

	// Counts returns the numbers of dead letters. Dropped and Aged count the ones that were
	// lost because there were too many, or because they were too old.
	Counts(ctx context.Context) (broker.LetterCounts, error)
}

// Letters reads and disposes of dead letters. by is the person who does it, and note says why;
// both may be empty. A change of a letter that another person has changed returns a
// *[broker.LetterStateError].
type Letters interface {
	LetterReader

	// Retry puts a dead letter back into its queue, as a new message. Concurrent calls do it
	// once.
	Retry(ctx context.Context, id string) error

	// RetryMany does the same for many, in few round trips. It returns one error, or nil, for
	// each.
	RetryMany(ctx context.Context, ids []string, by, note string) []error

	// Replace publishes raw, an edited copy of the message of a dead letter, under a new task
	// id, which it returns. The letter becomes replaced in the same step.
	Replace(ctx context.Context, id string, raw []byte, by, note string) (taskID string, err error)

	// Resolve marks an open dead letter as dealt with, and Reopen takes that back.
	Resolve(ctx context.Context, id, by, note string) error
	Reopen(ctx context.Context, id, by, note string) error

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

// Queues reads the consumed queues. Messages carry no time of their publication; package
// monitor/watch knows their age all the same.
type Queues interface {
	// Depths returns the number of waiting messages in each queue.
	Depths(ctx context.Context) (map[string]int, error)
}

// Deliveries reads the history of mails. [ledger.Reader] is one.
type Deliveries interface {
	// List returns the mails that f chooses, the latest first claim first.
	List(ctx context.Context, f ledger.Filter) (ledger.Page, error)

	// Find returns the latest mails that an address, or the id of a user, a booking or a
	// task belongs to.
	Find(ctx context.Context, identifier string, limit int) ([]ledger.Mail, error)

	// Show returns the mails of a task with their events.
	Show(ctx context.Context, id string) ([]ledger.History, error)

	// Histories returns mails with their events.
	Histories(ctx context.Context, mails []ledger.Mail) ([]ledger.History, error)

	// Stats returns the counts of events between two times, by kind and state.
	Stats(ctx context.Context, since, until time.Time) ([]ledger.Count, error)

	// Classes and Domains return the counts of failures by class, and those of events by
	// domain, the largest first.
	Classes(ctx context.Context, since, until time.Time) ([]ledger.ClassCount, error)
	Domains(ctx context.Context, since, until time.Time, limit int) ([]ledger.DomainCount, error)

	// Oldest returns the first claim of the oldest mail; zero: there are no mails.
	Oldest(ctx context.Context) (time.Time, error)

	// Erase removes the data about a person and returns the number of changed mails.
	Erase(ctx context.Context, e ledger.Erasure) (erased int64, err error)
}
