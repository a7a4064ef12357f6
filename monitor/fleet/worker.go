package fleet

import (
	"slices"
	"strings"
	"time"
)

const (
	defaultFreq   = 60 // of Celery's Worker before it has told
	mostFreq      = 3600
	heartbeatKept = 4
	// Celery takes a worker for offline that was silent for two intervals.
	expireFactor = 2
	pythonIdent  = "py-celery"
)

func newWorker(node string) Worker {
	host := node
	if _, after, ok := strings.Cut(node, "@"); ok {
		host = after
	}
	return Worker{Node: node, Host: host, Freq: defaultFreq}
}

// describe takes over what an event of the worker tells.
func (w *worker) describe(e *event) {
	w.Clock = e.clock
	if e.told.PID {
		w.PID, w.Told.PID = int(e.pid), true
	}
	if e.freq > 0 {
		w.Freq = min(e.freq, mostFreq)
	}
	if e.told.Active {
		w.Active, w.Told.Active = int(e.active), true
	}
	if e.told.Processed {
		w.Processed, w.Told.Processed = e.processed, true
	}
	if e.told.Load {
		w.Load, w.Told.Load = slices.Clone(e.load), true
	}
	update(&w.Ident, &w.Told.Ident, e.ident, e.told.Ident)
	update(&w.Version, &w.Told.Version, e.version, e.told.Version)
	update(&w.System, &w.Told.System, e.system, e.told.System)
	w.Python = w.Ident == pythonIdent
}

func update(dst *string, told *bool, text []byte, tells bool) {
	if !tells {
		return
	}
	*told = true
	if *dst != string(text) {
		*dst = string(text)
	}
}

// beat notes a heartbeat. They are kept in order.
func (w *worker) beat(at Seconds) {
	if len(w.Heartbeats) >= heartbeatKept {
		w.Heartbeats = append(w.Heartbeats[:0], w.Heartbeats[1:]...)
	}
	i, _ := slices.BinarySearch(w.Heartbeats, at)
	for i < len(w.Heartbeats) && w.Heartbeats[i] == at {
		i++
	}
	w.Heartbeats = slices.Insert(w.Heartbeats, i, at)
}

// online reports whether a heartbeat is fresh.
func (w *Worker) online(now time.Time) bool {
	n := len(w.Heartbeats)
	return n > 0 && secondsOf(now) < w.Heartbeats[n-1]+Seconds(w.Freq*expireFactor)
}

// view returns a copy for readers.
func (w *worker) view(now time.Time) Worker {
	v := w.Worker
	v.Online = w.online(now)
	v.Load = slices.Clone(w.Load)
	v.Heartbeats = slices.Clone(w.Heartbeats)
	v.Events = make(map[string]int64, len(w.kinds))
	for k, n := range w.kinds {
		v.Events[k.kind] = n
	}
	return v
}
