package summary

import (
	"github.com/evently/workers/monitor/watch"
)

// Watched returns the source of [Config.Queues] that a watch of the queues is.
func Watched(w interface{ State() *watch.State }) func() Queues {
	return func() Queues { return queuesOf(w.State()) }
}

func queuesOf(state *watch.State) Queues {
	all := Queues{Known: !state.At.IsZero(), Fault: state.Fault, Refusal: state.Refusal, Remedy: state.Remedy, Unacked: state.Unacked, All: []Queue{}}
	for _, q := range state.Queues {
		one := Queue{
			Name: q.Name, Messages: q.Messages, In: q.In, Out: q.Out, Empty: q.Empty.Seconds(), Consumers: len(q.Consumers), Broken: q.Broken,
			Oldest: Age{Known: q.Oldest.Known, Seconds: q.Oldest.Seconds, AtLeast: q.Oldest.AtLeast},
		}
		if state.Answered == 0 { // it is not known who consumes
			one.Consumers = -1
		}
		if q.Paused != nil {
			one.Paused, one.PausedBy, one.Since = true, q.Paused.By, q.Paused.At
		}
		all.All = append(all.All, one)
		all.Messages += q.Messages
		if one.Oldest.Known && (!all.Oldest.Known || one.Oldest.Seconds > all.Oldest.Seconds) {
			all.Oldest = one.Oldest
		}
	}
	return all
}
