package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// accept takes claimed messages in: it decodes them, and sorts out messages that cannot or
// need not run.
func (c *consumer) accept(ds []broker.Delivery) {
	var ready []*request
	for _, d := range ds {
		c.counts.received.Add(1)
		if d.Message == nil && c.held.heavy() {
			c.keep(d, c.now().Add(heavyPause))
			continue
		}
		m, err := c.reader.decode(d)
		if err != nil {
			c.setAside(d, err)
			continue
		}
		if _, known := c.reader.tasks.lookup(m.Task); !known {
			c.unknown(c.reader.request(d, m))
			continue
		}
		revoked := withdrawn(m, c.revoked, c.now) != ""
		if c.holds.Has(m.Task) && !revoked { // it was claimed before
			c.settler.returns.Add(m.Task, d)
			continue
		}
		if !revoked { // Celery sends no task-received for these
			c.events.Received(m)
		}
		if m.ETA.After(c.now()) && !revoked {
			d.Message = nil
			c.keep(d, m.ETA)
			continue
		}
		r := c.reader.request(d, m)
		c.held.add(r)
		ready = append(ready, r)
	}
	c.admit(slices.DeleteFunc(ready, c.limited))
}

// heavyPause is the time after which a message is looked at again that waits for memory.
const heavyPause = 50 * time.Millisecond

// keep lets a message wait. Until it is due only its bytes are kept, because there may be
// many such messages.
func (c *consumer) keep(d broker.Delivery, until time.Time) {
	r := &request{delivery: d}
	c.held.add(r)
	c.schedule.Add(r, until)
}

// limited reports whether a request has to wait for its rate limit.
func (c *consumer) limited(r *request) bool { return c.limits.Hold(r.msg.Task, r) }

// admit gives requests to the pool, unless they need not run any more.
func (c *consumer) admit(rs []*request) {
	var ready []*request
	for _, r := range rs {
		if !c.held.has(r) {
			continue // lost while it waited
		}
		if reason := withdrawn(r.msg, c.revoked, c.now); reason != "" {
			c.settler.revoke(c.stages.accept, r, reason)
			continue
		}
		if c.holds.Has(r.msg.Task) {
			c.settler.giveBackLater(r)
			continue
		}
		ready = append(ready, r)
	}
	if len(ready) > 0 && !c.pool.Add(ready...) {
		c.settler.giveBack(c.stages.accept, ready)
	}
}

// releaseDue passes on requests whose ETA has come, until ctx ends. It reads the clock at
// least once a second, because the clock may be set meanwhile.
func (c *consumer) releaseDue(ctx context.Context) {
	for {
		rs, next := c.schedule.Due(c.now())
		c.admit(c.open(rs))
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(min(next, time.Second))
		}
		select {
		case <-ctx.Done():
			return
		case <-c.schedule.Wake():
		case <-timer:
		}
	}
}

// open decodes messages that waited for their ETA or for memory, and returns the requests
// that no rate limit holds back.
func (c *consumer) open(rs []*request) []*request {
	return slices.DeleteFunc(rs, func(r *request) bool {
		if c.held.heavy() {
			c.schedule.Add(r, c.now().Add(heavyPause))
			return true
		}
		m, err := c.reader.decode(r.delivery)
		if err != nil {
			if c.held.remove(r) {
				c.setAside(r.delivery, err)
			}
			return true
		}
		// One that waited for memory is read for the first time.
		switch _, known := c.reader.tasks.lookup(m.Task); {
		case !known:
			if c.held.remove(r) {
				c.unknown(c.reader.request(r.delivery, m))
			}
			return true
		case withdrawn(m, c.revoked, c.now) != "":
		case m.ETA.After(c.now()):
			c.schedule.Add(r, m.ETA)
			return true
		case c.holds.Has(m.Task):
			if c.held.remove(r) {
				c.settler.returns.Add(m.Task, r.delivery)
			}
			return true
		}
		c.reader.open(r, m)
		return c.limited(r)
	})
}

// unknown applies the policy for task names that are not registered.
func (c *consumer) unknown(r *request) {
	exc := &protocol.Exception{Type: "NotRegistered", Module: "celery.exceptions", Args: []any{r.msg.Task}}
	switch c.cfg.UnknownTasks {
	case RequeueUnknown:
		r.log.Debug("task is not registered, requeued for other workers")
		c.rotation.Requeued(r.msg.ID, c.now())
		_ = c.settler.settle(c.stages.accept, "requeue an unknown task", r.task, broker.Settlement{Delivery: r.delivery, Requeue: broker.RequeueUntouched})
	case RejectUnknown:
		r.log.Error("task is not registered, message dropped")
		c.settler.failUnrun(c.stages.accept, r, exc, "")
	default:
		c.counts.deadLettered.Add(1)
		r.log.Error("task is not registered, message set aside in the dead letters")
		c.settler.failUnrun(c.stages.accept, r, exc, "unknown task")
	}
}

// setAside moves an undecodable message to the dead letters.
func (c *consumer) setAside(d broker.Delivery, err error) {
	reason := "undecodable"
	if de, ok := errors.AsType[*protocol.DecodeError](err); ok {
		reason = string(de.Reason)
	}
	c.deadLettered(d.Queue, reason)
	if !c.refuse(c.stages.accept, d, reason) {
		_ = c.settler.settle(c.stages.accept, "set a message aside", nil, broker.Settlement{Delivery: d, DeadLetter: reason})
	}
}

// refuse settles a message that this worker refuses to run as a failure of its task, as
// far as the message can be read: a result, a chord or an error callback may wait for it,
// and a Python worker might have run it. It reports whether there was an id to answer to.
func (c *consumer) refuse(ctx context.Context, d broker.Delivery, reason string) bool {
	m := c.reader.decoder.Salvage(d.Raw)
	if m == nil {
		return false
	}
	r := c.reader.request(d, m)
	exc := &protocol.Exception{Type: "DecodeError", Module: "kombu.exceptions", Args: []any{refusal(c.cfg.Limits, reason)}}
	letter := reason
	if d.Refused != nil { // it is a dead letter already
		letter = ""
	}
	r.log.Warn("message cannot be run, its task has failed", "reason", reason)
	c.settler.failUnrun(ctx, r, exc, letter)
	return true
}

// refusal returns the text that tells the producer why a message was refused.
func refusal(lim protocol.Limits, reason string) string {
	text := "the message was refused by the worker and is kept in the dead letters: " + reason
	switch protocol.Reason(reason) {
	case protocol.ReasonTooLarge:
		text += fmt.Sprintf(", it reads %d bytes at most", lim.Size)
	case protocol.ReasonTooDeep:
		text += fmt.Sprintf(", it reads arrays and objects %d levels deep at most", lim.Depth)
	case protocol.ReasonTooManyElements:
		text += fmt.Sprintf(", it reads %d values at most", lim.Elements)
	}
	return text
}

// lost notes that a claim is another worker's now.
func (c *consumer) lost(claim string) {
	r, a := c.held.lose(claim)
	if r == nil {
		return
	}
	c.counts.lost.Add(1)
	if a == nil {
		c.log.Warn("waiting message is held no longer: run now or cancelled by an operator, or its lease ran out", "queue", r.delivery.Queue)
		return
	}
	a.log.Warn("message lost: its lease ran out")
	a.state.end(ErrLost)
}

func (c *consumer) deadLettered(queue, reason string) {
	c.counts.deadLettered.Add(1)
	c.log.Error("message set aside in the dead letters", "queue", queue, "reason", reason)
}
