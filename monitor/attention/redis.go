package attention

import (
	"cmp"
	"fmt"
)

// queuesAway finds a Redis that answers nothing.
func queuesAway(f *Facts) []Finding {
	if f.QueueFault == "" {
		return nil
	}
	return one(Finding{
		Text:   fmt.Sprintf("Redis cannot be asked: %s.", clause(f.QueueFault)),
		Advice: cmp.Or(advice(f.Remedy), "Look whether Redis runs, and whether REDIS_URL of this monitor is right."),
	})
}

// writesRefused finds a Redis that answers reads only.
func writesRefused(f *Facts) []Finding {
	if f.QueueFault != "" || f.Refusal == "" {
		return nil
	}
	return one(Finding{
		Text:   fmt.Sprintf("Redis refuses writes, so that no task can be sent, taken or settled: %s.", clause(f.Refusal)),
		Advice: advice(f.Remedy),
	})
}
