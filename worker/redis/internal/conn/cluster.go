package conn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/hashslot"
)

// nodeTimeout bounds one question to one node of a cluster, and the dial to the owner that it
// names. There are other nodes to ask.
const nodeTimeout = DialTimeout / 2

// confirmTimeout bounds the question to an owner whether it still is, when another node names a
// new one. A frozen owner does not answer.
const confirmTimeout = 500 * time.Millisecond

// maxMoves bounds the redirections that one dial follows.
const maxMoves = 4

// cluster knows nodes of a Redis Cluster, and which one owns the slot of our keys. It finds
// the owner like sentinels find their master, and is no general client of clusters.
type cluster struct {
	dialer     *dialer
	name       string // of the server, for errors
	key        string // a key of the slot that never exists
	slot       int
	seeds      []string
	asking     redigo.Conn
	askingHost string // both of newMaster alone

	mu    sync.Mutex
	nodes []string // host:port, in the order in which they are asked
	owner string   // address of the node that connections lead to; "": none yet
	sure  bool     // the last dial to it succeeded
}

func newCluster(cfg Config, d *dialer) *cluster {
	return &cluster{
		dialer: d, name: cfg.Name, key: cfg.ClusterKey, slot: hashslot.Of(cfg.ClusterKey),
		seeds: cfg.ClusterNodes, nodes: slices.Clone(cfg.ClusterNodes),
	}
}

// dialMaster connects to the owner of the slot. It tries the one that it knows, and asks one
// node after the other when that one has moved or does not answer. An owner that several nodes
// name is tried once.
func (cl *cluster) dialMaster(ctx context.Context, nd netDialer) (redigo.Conn, error) {
	var faults []error
	tried := map[string]bool{}
	if owner, sure := cl.known(); sure {
		c, err := cl.dialOwner(ctx, owner, nd)
		if err == nil {
			return c, nil
		}
		faults, tried[owner] = append(faults, err), true
	}
	for _, node := range cl.inOrder() {
		if ctx.Err() != nil {
			break
		}
		owner, err := cl.askOnce(ctx, node)
		if err == nil && tried[owner] {
			continue
		}
		if err == nil {
			tried[owner] = true
			var c redigo.Conn
			if c, err = cl.dialOwner(ctx, owner, nd); err == nil {
				cl.putFirst(node)
				return c, nil
			}
		}
		faults = append(faults, fmt.Errorf("node %s: %w", node, dialCause(err)))
	}
	return nil, fmt.Errorf("connect to redis %s: %w", cl.name, errors.Join(faults...))
}

// dialOwner connects to a node, or to the one that it names as the owner of the slot. It
// remembers the node that says that the slot is its own.
func (cl *cluster) dialOwner(ctx context.Context, addr string, nd netDialer) (redigo.Conn, error) {
	for range maxMoves {
		c, moved, err := cl.dialNode(ctx, addr, nd)
		if err == nil && moved == "" {
			cl.setOwner(addr)
			return c, nil
		}
		if err != nil {
			cl.doubt()
			return nil, fmt.Errorf("owner %s: %w", addr, dialCause(err))
		}
		addr = moved
	}
	cl.doubt()
	return nil, errors.New("the nodes send from one to another: the slot moves at this moment")
}

// dialNode connects to a node that owns the slot, or returns the address of the owner that
// it names.
func (cl *cluster) dialNode(ctx context.Context, addr string, nd netDialer) (c redigo.Conn, moved string, err error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	if c, err = cl.dialer.server(ctx, "tcp", addr, nd); err != nil {
		return nil, "", err
	}
	// A replica, and a master that does not own the slot, reply with MOVED.
	_, err = redigo.DoContext(c, ctx, "EXISTS", cl.key)
	if moved = movedTo(err, addr); moved != "" {
		c.Close()
		return nil, moved, nil
	}
	if err != nil && !HasCode(err, "ASK") { // the owner, while the slot moves away
		c.Close()
		return nil, "", err
	}
	return &guardedConn{c, cl.key}, "", nil
}

// movedTo returns the address in a MOVED reply, "" for other errors. asked is the node that
// has replied.
func movedTo(err error, asked string) string {
	reply, _ := serverError(err)
	addr, asking := hashslot.Redirect(reply, asked)
	if asking {
		return ""
	}
	return addr
}

// askOnce asks a node for the owner of the slot over a connection of its own.
func (cl *cluster) askOnce(ctx context.Context, node string) (owner string, err error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	c, err := cl.dialer.server(ctx, "tcp", node, cl.dialer.net)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return cl.ask(ctx, c, node)
}

// ask returns the owner of the slot, and remembers all nodes.
func (cl *cluster) ask(ctx context.Context, c redigo.Conn, node string) (owner string, err error) {
	ranges, err := redigo.Values(redigo.DoContext(c, ctx, "CLUSTER", "SLOTS"))
	if err != nil {
		return "", explainCluster(err)
	}
	var nodes []string
	for _, one := range ranges {
		from, to, addrs := readRange(one, node)
		if len(addrs) == 0 {
			continue
		}
		if from <= cl.slot && cl.slot <= to {
			owner = addrs[0]
		}
		nodes = append(nodes, addrs...)
	}
	if owner == "" {
		return "", fmt.Errorf("no node serves the slot %d of the keys", cl.slot)
	}
	cl.learn(nodes)
	return owner, nil
}

// explainCluster says what to do about a server that does not answer CLUSTER SLOTS.
func explainCluster(err error) error {
	switch {
	case HasCode(err, "NOPERM"):
		return fmt.Errorf("the user of Redis needs +cluster|slots: %w", err)
	case IsUnavailable(err), HasCode(err, "ERR This instance has cluster support disabled"):
		return fmt.Errorf("it is no node of a Redis Cluster: unset REDIS_CLUSTER, or Cluster of the broker's configuration; or name the nodes themselves: %w", err)
	}
	return err
}

// readRange reads one entry of CLUSTER SLOTS: first and last slot, then the nodes, the master
// first. A node is a preferred host, which may be null, "" or "?", a port, an id, and since
// Redis 7 other names.
func readRange(reply any, asked string) (from, to int, addrs []string) {
	fields, err := redigo.Values(reply, nil)
	if err != nil || len(fields) < 3 {
		return 0, 0, nil
	}
	if _, err = redigo.Scan(fields, &from, &to); err != nil {
		return 0, 0, nil
	}
	for _, one := range fields[2:] {
		node, err := redigo.Values(one, nil)
		if err != nil || len(node) < 2 {
			continue
		}
		host, _ := redigo.String(node[0], nil)
		port, err := redigo.Int(node[1], nil)
		if err != nil || port == 0 {
			continue
		}
		if len(node) > 3 && host == "?" { // it prefers a name that it does not have
			names, _ := redigo.StringMap(node[3], nil)
			host = names["ip"]
		}
		addrs = append(addrs, hashslot.Endpoint(host, strconv.Itoa(port), asked))
	}
	return from, to, addrs
}

// newMaster returns the address of the owner when it is not the one that connections lead
// to, else "". It keeps a connection to another node open: the owner itself may hang.
func (cl *cluster) newMaster(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	used, _ := cl.known()
	if used == "" {
		return "", nil // the first dial finds it
	}
	if cl.asking != nil && cl.askingHost == used && len(cl.inOrder()) > 1 {
		cl.hangUp() // it was promoted
	}
	named, err := cl.askAgain(ctx, used)
	if err != nil || named == used {
		return "", err
	}
	owner, err := cl.confirm(ctx, named, used)
	if err != nil {
		node := cl.askingHost
		cl.hangUp()
		cl.putLast(node)
		return "", fmt.Errorf("look at the new owner that node %s names: %w", node, err)
	}
	return owner, nil
}

// askAgain asks over the connection that is kept open.
func (cl *cluster) askAgain(ctx context.Context, used string) (owner string, err error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	if cl.asking != nil {
		if owner, err = cl.ask(ctx, cl.asking, cl.askingHost); err == nil {
			return owner, nil
		}
		cl.hangUp() // it may have been cut off with the others
	}
	cl.askingHost = cl.witness(used)
	if cl.asking, err = cl.dialer.server(ctx, "tcp", cl.askingHost, cl.dialer.net); err != nil {
		cl.asking = nil
	} else {
		owner, err = cl.ask(ctx, cl.asking, cl.askingHost)
	}
	if err != nil {
		cl.hangUp()
		cl.putLast(cl.askingHost)
		return "", fmt.Errorf("node %s: %w", cl.askingHost, dialCause(err))
	}
	return owner, nil
}

// confirm returns the node that says that the slot is its own, "" while the one that
// connections lead to says so too. A node that is cut off from the others names an old owner
// for ever.
func (cl *cluster) confirm(ctx context.Context, named, used string) (string, error) {
	short, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if c, moved, err := cl.dialNode(short, used, cl.dialer.net); err == nil && moved == "" {
		c.Close()
		return "", nil
	}
	c, err := cl.dialOwner(ctx, named, cl.dialer.net)
	if err != nil {
		return "", err
	}
	c.Close()
	owner, _ := cl.known()
	if owner == used {
		return "", nil
	}
	return owner, nil
}

// hangUp closes the connection of newMaster.
func (cl *cluster) hangUp() {
	if cl.asking != nil {
		cl.asking.Close()
		cl.asking = nil
	}
}

// known returns the owner, and whether the last dial to it succeeded.
func (cl *cluster) known() (owner string, sure bool) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.owner, cl.sure
}

func (cl *cluster) current() string {
	owner, _ := cl.known()
	return owner
}

// setOwner remembers the owner. Connections to an earlier one are cut: it answers no command,
// but keeps subscriptions.
func (cl *cluster) setOwner(addr string) {
	cl.mu.Lock()
	before := cl.owner
	cl.owner, cl.sure = addr, true
	cl.mu.Unlock()
	if before == addr {
		return
	}
	cl.dialer.cfg.Logger.Info("found the owner of the keys in the redis cluster", "owner", addr, "slot", cl.slot)
	if before != "" {
		cl.dialer.cut(before)
	}
}

// doubt has the next dial ask the nodes.
func (cl *cluster) doubt() {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.sure = false
}

// learn remembers the nodes of the cluster, and the seeds, which may lead to it later.
func (cl *cluster) learn(nodes []string) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	now := append(slices.Clone(nodes), cl.seeds...)
	cl.nodes = slices.DeleteFunc(cl.nodes, func(n string) bool { return !slices.Contains(now, n) })
	for _, n := range now {
		if !slices.Contains(cl.nodes, n) {
			cl.nodes = append(cl.nodes, n)
		}
	}
}

func (cl *cluster) inOrder() []string {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return slices.Clone(cl.nodes)
}

// witness returns the first node that is not the owner, if there is one.
func (cl *cluster) witness(owner string) string {
	nodes := cl.inOrder()
	for _, n := range nodes {
		if n != owner {
			return n
		}
	}
	return nodes[0]
}

// putFirst puts a node to the front because its answer was true.
func (cl *cluster) putFirst(node string) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.nodes = slices.DeleteFunc(cl.nodes, func(o string) bool { return o == node })
	cl.nodes = slices.Insert(cl.nodes, 0, node)
}

// putLast puts a node to the end because it did not answer.
func (cl *cluster) putLast(node string) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.nodes = slices.DeleteFunc(cl.nodes, func(o string) bool { return o == node })
	cl.nodes = append(cl.nodes, node)
}
