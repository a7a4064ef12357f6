package exporter

import (
	"strings"
	"time"

	"github.com/evently/workers/monitor/fleet"
)

// hostOf returns the part of a node name after the @.
func hostOf(node string) string {
	if _, after, ok := strings.Cut(node, "@"); ok {
		return after
	}
	return node
}

// ObserveWorker implements [fleet.Observer].
func (x *Exporter) ObserveWorker(e fleet.WorkerEvent) {
	name := hostOf(e.Worker.Node)
	c := &x.ledger
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		if e.Type == "worker-offline" {
			return
		}
		if len(c.hosts) >= x.cfg.Series {
			c.folded++
			return
		}
		h = &host{nodes: map[string]*node{}}
		c.hosts[name] = h
	}
	n := h.nodes[e.Worker.Node]
	if n == nil {
		n = &node{}
		h.nodes[e.Worker.Node] = n
	}
	switch e.Type {
	case "worker-online":
		n.up, n.seen = true, e.At.Time()
	case "worker-heartbeat":
		n.up, n.seen, n.active, n.told = true, e.At.Time(), e.Worker.Active, true
	case "worker-offline":
		n.down()
	}
}

func (n *node) down() { n.up, n.active, n.told = false, 0, true }

// settle marks silent workers as down, and removes the series of hosts that were silent for
// longer. c.mu must be held.
func (x *Exporter) settle() {
	now := x.cfg.Now()
	c := &x.ledger
	for name, h := range c.hosts {
		for id, n := range h.nodes {
			silent := now.Sub(n.seen)
			if silent > x.cfg.Timeout {
				n.down()
			}
			if silent > x.cfg.Purge {
				delete(h.nodes, id)
			}
		}
		if len(h.nodes) == 0 {
			delete(c.hosts, name)
			c.purge(name)
		}
	}
}

// purge removes the series of a host.
func (c *counts) purge(name string) {
	kept := c.order[:0]
	for _, r := range c.order {
		if r.host == name {
			delete(c.rows, r.labels)
		} else {
			kept = append(kept, r)
		}
	}
	clear(c.order[len(kept):])
	c.order = kept
}

// state returns whether a worker of the host is up, and the number of running tasks, if it is
// known.
func (h *host) state() (up, active float64, told bool) {
	for _, n := range h.nodes {
		if n.up {
			up = 1
		}
		active += float64(n.active)
		told = told || n.told
	}
	return up, active, told
}

// betweenLooks is the pause between two looks at the workers because of an event.
const betweenLooks = time.Second

// learnAbout looks at the workers when those of a task's worker are not known. Scrapes look as well,
// but the first one comes after the first events.
func (x *Exporter) learnAbout(e *fleet.TaskEvent) {
	if x.cfg.Consumers == nil || e.Task.Has.Has(fleet.HasQueue) || !x.ledger.lacks(e.TaskNode, x.cfg.Now()) {
		return
	}
	x.ledger.learn(x.cfg.Consumers())
}

// lacks reports whether a look is due because the queues of a worker are not known.
func (c *counts) lacks(node string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.sole[node]
	if since := now.Sub(c.learnt); known || since >= 0 && since < betweenLooks {
		return false
	}
	c.learnt = now
	return true
}

// learn takes over which workers consume one queue alone.
func (c *counts) learn(consumers []Consumer) {
	sole := map[string]string{}
	for _, w := range consumers {
		sole[w.Node] = ""
		if len(w.Queues) == 1 {
			sole[w.Node] = w.Queues[0]
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sole = sole
}
