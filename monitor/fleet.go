package monitor

import (
	"time"

	"github.com/evently/workers/monitor/fleet"
)

// Fleet reads what the events tell of the workers and tasks of all programs on the broker.
// [fleet.State] is one. It reads memory only, so that any page may ask at any time. The caller
// owns the answers.
type Fleet interface {
	// Status says whether events arrive at all, since when, and what was lost.
	Status() fleet.Status

	// Workers returns the workers in the order of their node names. Workers that left or fell
	// silent are kept for a day.
	Workers() []fleet.Worker

	// Tasks returns a page of the tasks that f chooses. The error is for an After that is
	// none.
	Tasks(f fleet.Filter) (fleet.Page, error)

	// Task returns a task with its relatives.
	Task(id string) (fleet.Family, bool)

	// Types returns the kinds of tasks in the order of their names.
	Types() []fleet.Type

	// Series returns the events of the last minutes, at most d and fleet.Window
	// long.
	Series(d time.Duration) fleet.Series

	// Latency returns the durations of the last minutes, at most those of d and of
	// fleet.Window.
	Latency(d time.Duration) fleet.Latency
}
