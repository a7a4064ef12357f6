package tasks

import (
	"fmt"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// cancelledChip is the state of a task that was revoked before its time. Its event comes at that
// time only.
var cancelledChip = web.Chip{Text: "cancelled", Tone: web.Calm}

// mayBeHeld reports whether a worker may hold the message of the task until its time. Of a task
// that nothing else knows it is not known.
func (k *known) mayBeHeld(now time.Time) bool {
	if k.task == nil {
		return len(k.histories) == 0
	}
	due, ok := k.task.Due()
	return ok && !k.task.Ready() && due.After(now)
}

// cancelled reports whether the task was revoked, and a worker still holds its message.
func (k *known) cancelled() bool { return k.held != nil && k.held.Revoked }

// addHeld adds a task whose message a worker holds until its time.
func (v *showView) addHeld(w *inspect.Waiting) {
	v.Notes = append(v.Notes, "The events of this task were not heard. A worker holds its message until its time.")
	v.Head.Title, v.Head.Chips = shortName(w.Task), []web.Chip{{Text: "scheduled", Tone: web.Info}}
	if w.Retries > 0 {
		v.Head.Chips[0] = web.Chip{Text: fmt.Sprintf("retry %d", w.Retries), Tone: web.Wait}
	}
	if w.Revoked {
		v.Head.Chips[0] = cancelledChip
	}
	v.Head.Facts = append(v.Head.Facts, web.Fact{Name: "Due", Time: w.ETA}, web.Fact{Name: "Queue", Value: words.Line(w.Queue), Href: "/queues/" + segment.Of(w.Queue)})
	if w.Node != "" {
		v.Head.Facts = append(v.Head.Facts, web.Fact{Name: "Worker", Value: words.Line(w.Node), Href: "/workers/" + segment.Of(w.Node)})
	}
	v.Args, v.Kwargs = w.Args, w.Kwargs
}
