package shard

import (
	"log/slog"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/redis"
)

// newWatch returns the watch of the consumed queues, for the health and the metrics of the
// worker.
func newWatch(queues []string, b *redis.Broker, log *slog.Logger) *watch.Watch {
	operator := inspect.NewOperator(b)
	return watch.New(watch.Config{
		Source: b.Queues(), Queues: queues, Logger: log,
		Pauses: operator.Paused,
	})
}

// queuesState returns the state of the queues for the health server. server is where they
// are, see [redis.Broker.Server].
func queuesState(s *watch.State, server string) monitor.QueuesState {
	all := monitor.QueuesState{At: s.At, Fault: s.Fault != "", Unacked: s.Unacked, Server: server, Refusal: s.Refusal, Remedy: s.Remedy}
	for _, q := range s.Queues {
		one := monitor.QueueState{Name: q.Name, Paused: q.Paused != nil}
		if q.Oldest.Known {
			one.Oldest = time.Duration(q.Oldest.Seconds * float64(time.Second))
		}
		for _, l := range q.Lists {
			one.Depths = append(one.Depths, monitor.PriorityDepth{Priority: l.Priority, Messages: l.Messages})
		}
		all.Queues = append(all.Queues, one)
	}
	return all
}
