package codes

import (
	"context"
	"errors"
	"slices"
	"sync"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/hashslot"
)

const (
	patience = 2  // times the timeout of a step, for a whole lookup
	maxMoves = 3  // from one node of a cluster to another, for one key
	maxNodes = 64 // of a cluster that are remembered
)

// nodes are the servers that are known: the configured ones, and those of a cluster that they
// have named.
type nodes struct {
	mu     sync.Mutex
	all    []*node
	closed bool
}

// node is one server.
type node struct {
	address string
	named   bool
	pool    *redigo.Pool
}

// add returns the node with that address, nil after close. named says that another node has
// named it: it is forgotten when there are too many.
func (ns *nodes) add(cfg Config, address string, named bool) *node {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.closed {
		return nil
	}
	for _, n := range ns.all {
		if n.address == address {
			return n
		}
	}
	for i := len(ns.all) - 1; i >= 0 && len(ns.all) >= maxNodes; i-- {
		if ns.all[i].named {
			_ = ns.all[i].pool.Close() // its connections are given up
			ns.all = slices.Delete(ns.all, i, i+1)
		}
	}
	n := &node{address, named, cfg.pool(address)}
	ns.all = append(ns.all, n)
	return n
}

func (ns *nodes) inOrder() []*node {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return slices.Clone(ns.all)
}

// putFirst has a node asked first from now on, because it has answered.
func (ns *nodes) putFirst(n *node) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if i := slices.Index(ns.all, n); i > 0 {
		ns.all = slices.Insert(slices.Delete(ns.all, i, i+1), 0, n)
	}
}

func (ns *nodes) close() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.closed = true
	var faults []error
	for _, n := range ns.all {
		faults = append(faults, n.pool.Close())
	}
	return errors.Join(faults...)
}

// follow reads a key where the cluster has it, if err is the reply of a node that does not have
// it. It returns other errors.
func (r *Reader) follow(ctx context.Context, asked, key string, err error) ([]byte, error) {
	for range maxMoves {
		refusal, ok := errors.AsType[redigo.Error](err)
		if !ok {
			return nil, err
		}
		addr, asking := hashslot.Redirect(string(refusal), asked)
		if addr == "" {
			return nil, err
		}
		n := r.nodes.add(r.cfg, addr, true)
		if n == nil {
			return nil, err
		}
		value, next := n.get(ctx, key, asking)
		if next == nil {
			return value, nil
		}
		asked, err = addr, next
	}
	return nil, err
}

// get reads one key. A node that takes the key over from another one wants ASKING.
func (n *node) get(ctx context.Context, key string, asking bool) ([]byte, error) {
	c, err := n.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if asking {
		if _, err := redigo.DoContext(c, ctx, "ASKING"); err != nil {
			return nil, err
		}
	}
	return redigo.Bytes(redigo.DoContext(c, ctx, "GET", key))
}
