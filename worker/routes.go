package worker

import (
	"fmt"
	"path"
	"regexp"

	"github.com/evently/workers/worker/protocol"
)

// Route says where the messages of some tasks go (task_routes). What is set in
// the options of a signature takes precedence.
type Route struct {
	// Task is a task name, or a pattern of names with * and ? and [...], as in
	// "feeds.tasks.*".
	Task string
	// Regexp, when not nil, matches names instead of Task, at their beginning.
	Regexp *regexp.Regexp

	// Queue, or an exchange and a routing key.
	Queue, Exchange, RoutingKey string
	Priority                    *int
	Encoding                    protocol.EncodeOptions
}

func (r Route) check() error {
	if err := r.Encoding.Validate(); err != nil {
		return fmt.Errorf("route of %q: %w", r.Task, err)
	}
	if r.Regexp != nil {
		return nil
	}
	if _, err := path.Match(r.Task, ""); err != nil || r.Task == "" {
		return fmt.Errorf("a route has the pattern %q: want a task name, or one with * and ?", r.Task)
	}
	return nil
}

func (r Route) matches(task string) bool {
	if r.Regexp != nil {
		at := r.Regexp.FindStringIndex(task)
		return at != nil && at[0] == 0
	}
	if r.Task == task {
		return true
	}
	// A slash is like any other letter in Python's fnmatch, and not in path's;
	// no task name has one.
	ok, _ := path.Match(r.Task, task)
	return ok
}

// RouteError tells that a message has nowhere to go: no queue is bound to its
// exchange under its routing key. Celery drops such messages.
type RouteError struct{ Exchange, RoutingKey string }

func (e *RouteError) Error() string {
	return fmt.Sprintf("no queue is bound to the exchange %q under the routing key %q", e.Exchange, e.RoutingKey)
}
