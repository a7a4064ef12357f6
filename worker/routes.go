package worker

import (
	"fmt"
	"regexp"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/fnmatch"
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
	if err := checkQueue(r.Queue); r.Queue != "" && err != nil {
		return fmt.Errorf("route of %q has the queue %q: %w", r.Task, r.Queue, err)
	}
	if r.Regexp != nil {
		return nil
	}
	if _, err := fnmatch.Compile(r.Task); err != nil || r.Task == "" {
		return fmt.Errorf("a route has the pattern %q: want a task name, or one with * and ?", r.Task)
	}
	return nil
}

// route is a Route that is ready for use.
type route struct {
	Route
	pattern *regexp.Regexp // of the whole name; nil: only Task itself
}

func prepare(routes []Route) []route {
	prepared := make([]route, len(routes))
	for i, r := range routes {
		prepared[i].Route = r
		if re, err := fnmatch.Compile(r.Task); err == nil && r.Regexp == nil {
			prepared[i].pattern = re
		}
	}
	return prepared
}

func (r route) matches(task string) bool {
	if r.Regexp != nil {
		at := r.Regexp.FindStringIndex(task)
		return at != nil && at[0] == 0
	}
	return r.Task == task || r.pattern != nil && r.pattern.MatchString(task)
}

// RouteError reports a message that no queue would receive.
type RouteError = broker.RouteError
