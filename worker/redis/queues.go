package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/queuename"
)

// peekers are those of all lists. They run from Run on, or from when their queue
// was added, until it is cancelled.
type peekers struct {
	mu    sync.Mutex
	all   map[string]*peeker // by key
	ctx   context.Context    // of Run; nil before
	loops sync.WaitGroup
}

// start lets all peekers run, until ctx ends.
func (p *peekers) start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
	for _, one := range p.all {
		p.launch(one)
	}
}

// launch runs one peeker; p.mu is held.
func (p *peekers) launch(one *peeker) {
	ctx, cancel := context.WithCancel(p.ctx)
	one.cancel = cancel
	p.loops.Go(func() {
		defer cancel()
		one.run(ctx)
	})
}

// set makes the peekers those of the given lists.
func (p *peekers) set(b *Broker, lists []list) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := map[string]*peeker{}
	for _, l := range lists {
		one := p.all[l.key]
		if one == nil {
			one = newPeeker(b, l.key)
			if p.ctx != nil && p.ctx.Err() == nil {
				p.launch(one)
			}
		}
		wanted[l.key] = one
	}
	for key, one := range p.all {
		if wanted[key] == nil && one.cancel != nil {
			one.cancel()
		}
	}
	p.all = wanted
}

// arm lets all peekers look again.
func (p *peekers) arm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		one.arm()
	}
}

// consumed returns the lists that are consumed now.
func (b *Broker) consumed() []list {
	b.claiming.Lock()
	defer b.claiming.Unlock()
	return b.lists
}

// setQueues makes queues those that are consumed; b.claiming is held, or nobody
// claims yet. The choice between them begins anew.
func (b *Broker) setQueues(queues []string) {
	b.session.Queues = queues
	b.choice = b.cfg.choiceOf(queues)
	b.lists, b.ahead = b.listsOf(b.choice.queues), ahead{list: -1}
	if many(b.lists) {
		b.pause.Store(int64(b.manyPause(len(b.lists))))
		b.peekers.set(b, nil)
		return
	}
	b.pause.Store(0)
	b.peekers.set(b, b.lists)
}

// listsOf returns the lists of queues, by step and then by queue.
func (b *Broker) listsOf(queues []string) []list {
	lists := make([]list, 0, len(queues)*len(b.cfg.PrioritySteps))
	for _, step := range b.cfg.PrioritySteps {
		for _, q := range queues {
			lists = append(lists, list{queue: q, key: b.listKey(q, step)})
		}
	}
	return lists
}

// AddQueue implements [broker.QueueSet].
func (b *Broker) AddQueue(ctx context.Context, queue string) (bool, error) {
	if fault := b.QueueFault(queue); fault != "" {
		return false, fmt.Errorf("add queue %q: it is not the name of a queue: %s", queue, fault)
	}
	// Bound first: with an error here nothing has changed.
	if err := b.do(ctx, func(c redigo.Conn) error { return b.bindQueues(c, []string{queue}) }); err != nil {
		return false, fmt.Errorf("add queue %s: %w", queue, err)
	}
	b.claiming.Lock()
	defer b.claiming.Unlock()
	if b.session.Node == "" {
		return false, errNotConsuming
	}
	if slices.Contains(b.session.Queues, queue) {
		return false, nil
	}
	b.setQueues(append(slices.Clone(b.session.Queues), queue))
	b.signal() // a message may be waiting there
	return true, nil
}

// QueueFault implements [broker.Namer]: the list of such a queue would have the key of
// something else.
func (b *Broker) QueueFault(queue string) string {
	if fault := queuename.Fault(queue); fault != "" {
		return fault
	}
	key := b.cfg.KeyPrefix + queue
	for _, prefix := range []string{b.keys.result(""), b.keys.chordBase("")} {
		if strings.HasPrefix(key, prefix) {
			return "keys that begin with " + prefix + " are those of results"
		}
	}
	if _, step, ok := cutLast(queue, b.cfg.Separator); ok {
		if n, err := strconv.Atoi(step); err == nil && slices.Contains(b.cfg.PrioritySteps, n) {
			return "it contains the separator of priorities"
		}
	}
	return ""
}

// cutLast cuts text around the last separator.
func cutLast(text, separator string) (before, after string, ok bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// bindQueues enters queues into the routing tables of their exchanges, a thousand in a
// round trip. A table of another type costs the routing alone.
func (b *Broker) bindQueues(c redigo.Conn, queues []string) error {
	for chunk := range slices.Chunk(queues, 1000) {
		for _, q := range chunk {
			if err := c.Send("SADD", b.keys.binding(q), q+b.cfg.Separator+b.cfg.Separator+q); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		var fault error
		for range chunk {
			if _, err := c.Receive(); err != nil && !wrongType(err) {
				fault = err
			}
			if c.Err() != nil {
				return fault
			}
		}
		if fault != nil {
			return fault
		}
	}
	return nil
}

// CancelQueue implements [broker.QueueSet]. What was claimed from the queue stays
// claimed and runs.
func (b *Broker) CancelQueue(_ context.Context, queue string) (bool, error) {
	b.claiming.Lock()
	defer b.claiming.Unlock()
	if !slices.Contains(b.session.Queues, queue) {
		return false, nil
	}
	b.setQueues(slices.DeleteFunc(slices.Clone(b.session.Queues), func(q string) bool { return q == queue }))
	return true, nil
}
