// Package mails has the rows of the torture that are about mails: the built program
// evently-workers, a real Redis, a real PostgreSQL with the users, and a mail server outside of
// the workers that keeps what it has accepted.
package mails

import "github.com/evently/workers/torture/harness"

// All returns the rows in the order of the table.
func All() []harness.Row {
	return []harness.Row{storm, frozen, unanswered, database, throttling, login, codes, pairs, upgrade, cold}
}
