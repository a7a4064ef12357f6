package shard

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger/audit"
	"github.com/evently/workers/worker"
)

// Auditor writes what a worker is told by remote control to the audit trail, and moves
// entries that wait in Redis to the database.
type Auditor struct {
	trail    *audit.Trail
	movable  bool // there is a database
	node     func() string
	from     string // where commands come from
	log      *slog.Logger
	changes  chan audit.Entry
	lost     atomic.Int64 // changes that found the channel full
	lastHead string
	kept     []audit.Entry // that the end of Run has cut off; of Run alone
}

// Bounds of the work of an auditor.
const (
	auditBacklog = 1000             // commands of remote control that wait
	auditPeriod  = 10 * time.Second // between looks for entries that wait in Redis
	auditFinish  = 3 * time.Second  // for the last entries
)

// Audit gives the shard an auditor that writes to t. movable tells that t has a database.
func (s *Shard) Audit(t *audit.Trail, movable bool, log *slog.Logger) {
	s.Auditor = &Auditor{trail: t, movable: movable, node: s.node, from: "remote control", log: log, changes: make(chan audit.Entry, auditBacklog)}
	if s.Name != "" {
		s.Auditor.from += ", broker " + s.Name
	}
}

// Changed takes a command of remote control. It returns at once.
func (a *Auditor) Changed(c worker.ControlChange) {
	e := audit.Entry{
		At: time.Now(), Actor: "node:" + a.node(), Via: "control", From: a.from,
		Action: "control." + c.Command, IDs: c.TaskIDs, Outcome: audit.Done,
	}
	if c.Refused {
		e.Outcome = audit.Refused
	}
	if c.Answer != "" {
		e.Outcome += ": " + mail.MaskAddresses(c.Answer)
	}
	if len(c.Arguments) > 0 {
		e.Details = jsonOf(c.Arguments)
	}
	select {
	case a.changes <- e:
	default:
		a.lost.Add(1)
	}
}

// Note takes an entry about this worker. It returns at once.
func (a *Auditor) Note(e audit.Entry) {
	if a == nil {
		return
	}
	e.At, e.Actor, e.Via = time.Now(), "node:"+a.node(), "worker"
	select {
	case a.changes <- e:
	default:
		a.lost.Add(1)
	}
}

// Run writes until ctx ends, unless a is nil, and then what is left, if that takes at most three seconds.
func (a *Auditor) Run(ctx context.Context) error {
	if a == nil {
		return nil
	}
	defer a.finish(ctx)
	tick := time.NewTicker(auditPeriod)
	defer tick.Stop()
	a.move(ctx)
	for ctx.Err() == nil { // what is left is for finish, in its order
		select {
		case <-ctx.Done():
		case e := <-a.changes:
			a.write(ctx, a.gather(e))
		case <-tick.C:
			a.move(ctx)
			a.write(ctx, a.gather())
		}
	}
	return nil
}

// gather adds the changes that wait, and an entry about lost ones.
func (a *Auditor) gather(entries ...audit.Entry) []audit.Entry {
	const most = 100
	for len(entries) < most {
		select {
		case e := <-a.changes:
			entries = append(entries, e)
			continue
		default:
		}
		break
	}
	if n := a.lost.Swap(0); n > 0 {
		a.log.Error("remote control commands are not in the audit trail: they came faster than they are written", "commands", n)
		entries = append(entries, audit.Entry{
			Actor: "node:" + a.node(), Via: "worker", Action: "audit.lost", Outcome: audit.Done, Details: jsonOf(map[string]int64{"commands": n}),
		})
	}
	return entries
}

// write writes entries, and tries for a minute. Then it counts them as lost.
func (a *Auditor) write(ctx context.Context, entries []audit.Entry) {
	if len(entries) == 0 {
		return
	}
	const attempts, pause = 10, 5 * time.Second
	for i := range attempts {
		err := a.trail.Append(ctx, entries...)
		if err == nil {
			return
		}
		if i == 0 {
			a.log.Error("audit trail not written: neither the database nor Redis takes it", "entries", len(entries), "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			a.kept = entries
			return
		case <-timer.C:
		}
	}
	a.lost.Add(int64(len(entries)))
}

// finish writes the last entries, such as the one of shutdown.
func (a *Auditor) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditFinish)
	defer cancel()
	for entries := a.gather(a.kept...); len(entries) > 0; entries = a.gather() {
		if err := a.trail.Append(ctx, entries...); err != nil {
			a.log.Error("last entries of the audit trail lost", "entries", len(entries), "error", err)
			return
		}
	}
}

// move moves entries that wait in Redis, and logs a new end of the trail, so that the log
// proves it, too.
func (a *Auditor) move(ctx context.Context) {
	if !a.movable {
		return
	}
	moved, err := a.trail.Move(ctx)
	if err != nil && ctx.Err() == nil {
		a.log.Debug("audit entries wait in Redis", "error", err)
	}
	if moved > 0 {
		a.log.Info("audit entries moved from Redis to the database", "entries", moved)
	}
	if head, err := a.trail.Head(ctx); err == nil && head != a.lastHead {
		a.lastHead = head
		a.log.Info("end of the audit trail", "head", head)
	}
}

func jsonOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return `{"omitted":"details that are not JSON"}`
	}
	return string(raw)
}
