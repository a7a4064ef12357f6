// Package rows has the rows of the torture, one file for each hazard.
package rows

import "github.com/evently/workers/torture/harness"

// All returns the rows in the order of the table.
func All() []harness.Row {
	return []harness.Row{
		killed, recovery, mixed, cuts, frozen, stopping, etas, longTasks, fencing, poison, misbehaving, priorities, malformed, refusals, full, failover, crashes, clocks, upgrade,
	}
}
