// Package rows has the rows of the torture, one file for each hazard.
package rows

import (
	"slices"

	"github.com/evently/workers/torture/harness"
	"github.com/evently/workers/torture/mails"
)

// All returns the rows in the order of the table.
func All() []harness.Row {
	return slices.Concat([]harness.Row{
		killed, crashes, recovery, mixed, cuts, frozen, failover, refusals, stopping, etas, longTasks, fencing, clocks,
		malformed, poison, misbehaving, replayed, results, priorities, backlog, operator, upgrade, full, soak,
		sizes, secrets, harmless, forged,
	}, mails.All())
}
